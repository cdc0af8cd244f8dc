"""Advice about keys and signatures."""

from typing import Final

from fastproxy.advice.case import Advice, Case
from fastproxy.advice.claims import difference
from fastproxy.advice.words import escape, format_age, quote
from fastproxy.jwt import JwkSet, UnknownKey

_SHOWN_KEYS: Final = 12
#: RFC 7518 sections 3.2 and 3.4, RFC 8037 section 3.1.
_SIGNATURE_BYTES: Final = {
    "ES256": 64, "ES384": 96, "ES512": 132, "EdDSA": 64, "HS256": 32, "HS384": 48, "HS512": 64,
}  # fmt: skip


def advise_no_key(case: Case) -> Advice:
    """No key of the set fits `kid` and `alg`."""
    token, keys = case.token, case.keys
    if token is None or keys is None or not keys.keys:
        return Advice("The key set has no usable key.", f"Look at {case.around.knobs.keys}.")
    kid, alg, around = token.header.kid, token.header.alg, case.around
    details = _list_keys(keys)
    names = f"The token names kid {quote(kid)} and alg {alg}."
    if isinstance(case.error, UnknownKey) and not case.error.kid_unknown and kid is not None:
        kinds = sorted({alg for key in keys.keys if key.kid == kid for alg in key.algorithms})
        return Advice(
            f"{names} The key {quote(kid)} is for {', '.join(kinds) or 'no algorithm'} and does not fit {alg}.",
            _algorithm_fix(alg, kinds),
            details,
        )
    if kid is None:
        return Advice(
            f"The token names no kid, and no key of the set fits its alg {alg}.",
            _algorithm_fix(alg, []),
            details,
        )
    if gone := next((one for one in around.removed if one.kid == kid), None):
        return Advice(
            f"{names} The token's kid was removed from the set {format_age(case.now - gone.removed_at)} ago.",
            "Get a new token: the issuer has rotated its keys. If it still signs with this one, it must publish it.",
            details,
        )
    if why := next((why for _, ignored, why in keys.ignored if ignored == kid), ""):
        return Advice(
            f"{names} That key is in the set and not used: {escape(why)}.",
            "Have the issuer mend the key.",
            details,
        )
    if kid in around.kids:
        return Advice(
            f"{names} That is a key of provider {quote(around.kids[kid])}.",
            f"Send a token of this provider, or let the rule accept provider {quote(around.kids[kid])}, too.",
            details,
        )
    if near := next((key.kid for key in keys.keys if key.kid and difference(kid, key.kid)), None):
        return Advice(
            f"{names} The set has {quote(near)}, which differs {difference(kid, near)}.",
            "Have the issuer write the kid of its tokens and of its key set alike.",
            details,
        )
    return Advice(
        f"{names} The set has no such kid.",
        "Take the key set of the issuer that signed this token; if its keys were rotated, fetch it again and get a"
        " new token.",
        details,
    )


def _algorithm_fix(alg: str, kinds: list[str]) -> str:
    if alg.startswith("HS"):
        return "Have the issuer sign with its private key; a shared secret is only used from a key file of your own."
    return f"Have the issuer sign with {kinds[0] if kinds else 'an algorithm that its keys are for'}."


def _list_keys(keys: JwkSet) -> tuple[str, ...]:
    found = ["The keys are:"]
    found += [
        f"  kid {quote(key.kid)}: {key.kty} for {', '.join(key.algorithms)}"
        for key in keys.keys[:_SHOWN_KEYS]
    ]
    found += [f"  kid {quote(kid)}: not used, {escape(why)}" for _, kid, why in keys.ignored[:_SHOWN_KEYS]]
    more = len(keys.keys) + len(keys.ignored) - (len(found) - 1)
    return (*found, f"  and {more} more") if more > 0 else tuple(found)


def advise_no_keys_held(case: Case) -> Advice:
    """There are no keys at all."""
    why = case.around.unavailable or "no key set is held"
    return Advice(
        f"The keys could not be had: {escape(why)}. The token was not judged.",
        f"Make the keys reachable: {case.around.knobs.keys}.",
    )


def advise_signature(case: Case) -> Advice:
    """A key fits, and the signature is not of it."""
    token = case.token
    kid = None if token is None else token.header.kid
    gone = next((one for one in case.around.removed if kid is not None and one.kid == kid), None)
    if gone is not None:
        return Advice(
            f"The key named {quote(kid)} was replaced by another one of that name"
            f" {format_age(case.now - gone.removed_at)} ago; the token was signed with the old one.",
            "Get a new token. The issuer should give a new key a new kid.",
        )
    if token is not None and (wanted := _wrong_size(token.header.alg, len(token.signature))):
        return Advice(
            f"The signature has {len(token.signature)} bytes, {wanted}: the token was cut when it was copied, or"
            " something was added.",
            "Copy the whole token.",
        )
    return Advice(
        "The key fits, the signature does not: the token was changed after it was signed, or another issuer (a test"
        " system?) signed it with a key of the same kid.",
        "Get the token again, from the issuer whose keys these are.",
    )


def _wrong_size(alg: str, size: int) -> str:
    """What is wrong with the size of a signature; "" if it can be one of this algorithm."""
    fixed = _SIGNATURE_BYTES.get(alg)
    if fixed is not None:
        return "" if size == fixed else f"one by this key has {fixed}"
    # RSA keys have a multiple of 512 bits; other ones are never seen.
    return "which no RSA key makes" if alg[:2] in {"RS", "PS"} and size % 64 else ""
