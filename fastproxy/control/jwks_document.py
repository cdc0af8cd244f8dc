"""From a body or file to the JWKS that workers get: checked and without private members (RFC 7517).

`fastproxy.jwt` decides what a usable key is. This module adds what concerns a set on its way to the workers: no
symmetric keys from the network (S4), no private members passed on (S16), and what may be shown of a key.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from fastproxy.jwt import JwksError, JwkSet
from fastproxy.jwt.pem import is_pem, parse_pem

#: Members that make a JWK private or symmetric (RFC 7518 sections 6.2.2, 6.3.2, 6.4.1; RFC 8037; RFC 9964 section 3).
_PRIVATE_MEMBERS = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"))
#: What /jwks shows of a key: names only, never numbers.
_SHOWN_MEMBERS = ("kid", "kty", "alg", "use", "crv")
_SHOWN_CHARACTERS = 200
#: The start of a log line's list of keys tells them apart; /jwks has them all.
_LOGGED_KEYS = 8


class BadJwks(Exception):
    """The body is no key set with a usable key; the text is fit for a log and holds nothing of the body."""


@dataclass(frozen=True, slots=True)
class JwksDocument:
    """A usable key set."""

    text: str
    """What the workers get."""
    fingerprint: bytes
    """Equal for sets with the same keys, whatever their order and white space."""
    keys: tuple[dict[str, str], ...]
    """`kid`, `kty`, `alg`, `use` and `crv` of every key, for /jwks."""
    had_private_members: bool
    """The source published private or symmetric keys; they were dropped."""
    digests: tuple[str, ...]
    """Tells the content of every key in `keys` from that of others; not to be shown, for a short secret could be
    guessed from it."""

    def kids(self) -> str:
        """Name the keys for a log line."""
        return ", ".join(key.get("kid", "(no kid)") for key in self.keys[:_LOGGED_KEYS])


def parse_jwks(body: bytes, *, is_local: bool = False) -> JwksDocument:
    """Check a key set.

    Args:
        body: as fetched, or read from a file.
        is_local: it is the operator's own, so symmetric keys are used (S4), and PEM text is read. Private members go
            in any case.

    Raises:
        BadJwks: no usable key in it.
    """
    if body.lstrip()[:1] == b"<":
        raise BadJwks("the answer is HTML or XML, not a key set")
    try:
        if is_local:
            body = _from_pem(body)
        JwkSet.parse(body, allow_symmetric=is_local)
        document = orjson.loads(body)
    except JwksError as error:
        raise BadJwks(str(error)) from None
    except orjson.JSONDecodeError:
        raise BadJwks("the answer is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        # The other form: key id -> PEM certificate (spec/jwt_authn.md section 10.1). It has no private part.
        canonical = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
        shown = tuple({"kid": _cut(kid), "kty": "RSA"} for kid in document)
        return JwksDocument(
            body.decode(),
            hashlib.sha256(canonical).digest(),
            shown,
            had_private_members=False,
            digests=tuple(_digest(entry) for entry in document.items()),
        )
    keys = [entry for entry in entries if isinstance(entry, dict)]
    private = any(_is_private(key, is_local=is_local) for key in keys)
    text = body.decode()
    if private:
        keys = [_public(key, is_local=is_local) for key in keys if is_local or key.get("kty") != "oct"]
        text = orjson.dumps({"keys": keys}).decode()
    canonical = b"\n".join(sorted(orjson.dumps(key, option=orjson.OPT_SORT_KEYS) for key in keys))
    return JwksDocument(
        text,
        hashlib.sha256(canonical).digest(),
        tuple(_describe(key) for key in keys),
        private,
        tuple(_digest(key) for key in keys),
    )


def describe_keys(document: bytes) -> tuple[dict[str, str], ...]:
    """Name the keys of a set that was checked before (`local_jwks`); empty if it is not readable as JSON."""
    with suppress(JwksError):
        document = _from_pem(document)
    try:
        parsed = orjson.loads(document)
    except orjson.JSONDecodeError:
        return ()
    entries = parsed.get("keys") if isinstance(parsed, dict) else None
    if isinstance(entries, list):
        return tuple(_describe(entry) for entry in entries if isinstance(entry, dict))
    return tuple({"kid": _cut(kid), "kty": "RSA"} for kid in parsed) if isinstance(parsed, dict) else ()


def _from_pem(document: bytes) -> bytes:
    """PEM text as the key set that it stands for, so that workers and pages know one form only."""
    return orjson.dumps({"keys": parse_pem(document)}) if is_pem(document) else document


def _is_private(key: dict[str, Any], *, is_local: bool) -> bool:
    return not _PRIVATE_MEMBERS.isdisjoint(key) and not (is_local and key.get("kty") == "oct")


def _public(key: dict[str, Any], *, is_local: bool) -> dict[str, Any]:
    if not _is_private(key, is_local=is_local):
        return key
    return {name: value for name, value in key.items() if name not in _PRIVATE_MEMBERS}


def _digest(entry: object) -> str:
    return hashlib.sha256(orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _describe(key: dict[str, Any]) -> dict[str, str]:
    return {name: _cut(key[name]) for name in _SHOWN_MEMBERS if isinstance(key.get(name), str)}


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
