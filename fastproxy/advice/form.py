"""Advice about tokens that cannot be read: cut, quoted, encoded in another way, or no tokens at all."""

import re

from fastproxy.advice.case import Advice, Case
from fastproxy.advice.claims import is_id_token
from fastproxy.advice.words import escape, quote
from fastproxy.jwt import SUPPORTED_ALGORITHMS, JwtStatus


def advise_algorithm(case: Case) -> Advice:
    """`alg` is not accepted."""
    return Advice(
        "The token's alg is one that is never accepted (`none`, for one) or that this provider does not allow."
        f" Supported are: {', '.join(sorted(SUPPORTED_ALGORITHMS))}.",
        "Have the issuer sign with one of these.",
    )


def advise_form(case: Case) -> Advice:
    """The token is not three parts with dots between them."""
    raw, dots = case.raw, case.raw.count(b".")
    size = f"{len(raw)} bytes, {dots} dots"
    if raw[:7].lower() == b"bearer ":
        return Advice("The word Bearer is there twice.", "Write it once: Authorization: Bearer TOKEN.")
    if b" " in raw or b"\t" in raw:
        return Advice(f"There is white space inside the token ({size}).", "Send the token in one piece.")
    if "longer than" in case.error.detail:
        return Advice(
            f"The token is {escape(case.error.detail)}.", "Have the issuer put less into its tokens."
        )
    if dots == 4:
        return Advice(
            "The token has five parts: it is encrypted (JWE), which is not supported.",
            "Have the issuer send signed tokens (JWS).",
        )
    if raw[:1] in (b'"', b"'"):
        return Advice("The token stands in quotation marks.", "Send it without them.")
    if not raw:
        return Advice(
            "The place of the token is there and empty.", "Put the token there; is the variable set?"
        )
    if raw[:3] == b"eyJ" and dots < 2:
        return Advice(
            f"The token is cut: {size}; a whole one has 2 dots.", "Copy the whole token, signature included."
        )
    if case.error.detail == "an empty part":
        return Advice(f"A part of the token is empty ({size}).", "Copy the whole token, signature included.")
    if dots == 0:
        return Advice(
            f"This is no JWT ({size}): an opaque token, a session id or another secret.",
            "Have the issuer send JWTs as access tokens; `fastproxy jwt decode` shows what can be read.",
        )
    return Advice(
        f"The token does not have three parts ({size}).",
        "Copy the whole token; `fastproxy jwt decode` shows how far it can be read.",
    )


def advise_malformed(case: Case) -> Advice:
    """A part of the token cannot be decoded, or a claim has the wrong type."""
    raw, status = case.raw, case.error.status
    detail = f" ({escape(case.error.detail)})" if case.error.detail else ""
    cause = f"{status.text}{detail}: {len(raw)} bytes, {raw.count(b'.')} dots."
    if raw[:1] in (b'"', b"'") or raw[-1:] in (b'"', b"'", b",", b";"):
        return Advice(
            f"{cause} There are quotation marks or commas around the token.", "Send it without them."
        )
    if raw[:7].lower() == b"bearer ":
        return Advice("The word Bearer is there twice.", "Write it once: Authorization: Bearer TOKEN.")
    if re.search(rb"\s", raw):
        return Advice(f"{cause} There is white space inside the token.", "Send the token in one piece.")
    if b"=" in raw:
        return Advice(
            f"{cause} There is base64 padding (=) in it, which tokens do not have (RFC 7515 section 2).",
            "Send the token as the issuer made it, or have the issuer leave the padding out.",
        )
    if b"+" in raw or b"/" in raw:
        return Advice(
            f"{cause} It is written in plain base64, tokens are in base64url: - and _ for + and /.",
            "Have the issuer encode it in base64url (RFC 7515 section 2).",
        )
    if status is JwtStatus.SIGNATURE_BAD_BASE64 or status is JwtStatus.SIGNATURE_BAD_ED25519_LENGTH:
        return Advice(
            f"{cause} The token was cut when it was copied, or something was added at its end.",
            "Copy the whole token.",
        )
    return Advice(
        f"{cause} The token is not well formed; `fastproxy jwt decode` shows how far it can be read.",
        "Get the token again, and copy all of it; if it is as the issuer made it, the issuer is wrong.",
    )


def advise_header(case: Case) -> Advice:
    """The header asks for `crit`, `b64` or the like."""
    detail = case.error.detail
    if "at+jwt" in detail:
        typ = None if case.token is None else case.token.jose_header.get("typ")
        return Advice(
            f"The token's typ is {quote(typ)}, wanted is at+jwt: only access tokens that say so are taken (RFC 9068)."
            + (" This one is an ID token." if is_id_token(case.claims) else ""),
            f"Send an access token of typ at+jwt; {case.around.knobs.any_typ} takes others, too.",
        )
    return Advice(
        f"{escape(detail[:1].upper() + detail[1:])}. The header asks for what is never granted.",
        "Ask the issuer for a plain access token.",
    )
