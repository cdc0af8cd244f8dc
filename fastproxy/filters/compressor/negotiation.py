"""Which encoding a client gets (RFC 9110 section 12.5.3, as Envoy reads it)."""

import re
from collections.abc import Sequence
from enum import Enum

# What absl::SimpleAtof takes, but for infinity, hexadecimal and NaN.
_NUMBER = re.compile(rb"[+-]?([0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9})")


class Reason(Enum):
    """How `choose_encoding` came to its choice; the names of Envoy's statistics."""

    USED = "header_compressor_used"
    WILDCARD = "header_wildcard"
    IDENTITY = "header_identity"
    NOT_VALID = "header_not_valid"


#: The encoding, `identity` for none, and how it was found.
Choice = tuple[bytes, Reason]

_NONE: Choice = (b"identity", Reason.NOT_VALID)


def choose_encoding(accept: bytes, offered: Sequence[tuple[bytes, bool]]) -> Choice:
    """Choose between the encodings that a filter chain has.

    Args:
        accept: the value of `accept-encoding`.
        offered: each encoding once, in configured order, and whether it wins over others with the same weight.
    """
    allowed = dict(offered)
    wishes: list[tuple[bytes, float]] = []
    for token in accept.split(b","):
        wish = _parse(token)
        if wish is not None:
            wishes.append(wish)
            if not wish[1]:
                allowed.pop(wish[0], None)
    if not allowed:
        return _NONE
    best, weight = b"identity", 0.0
    for name, q in wishes:
        if name not in allowed and name not in (b"identity", b"*"):
            continue
        if q > weight or (q == weight and q and allowed.get(name, False)):
            best, weight = name, q
    if not weight:
        return _NONE
    if best == b"identity":
        return best, Reason.IDENTITY
    if best == b"*":
        return next(iter(allowed)), Reason.WILDCARD
    return best, Reason.USED


def _parse(token: bytes) -> tuple[bytes, float] | None:
    """One entry and its weight; None if it says nothing that can be understood."""
    name, semicolon, parameters = token.partition(b";")
    name = name.strip(b" \t")
    if not name and not semicolon:
        return None
    key, equals, value = parameters.partition(b"=")
    if not equals or key.strip(b" \t").lower() != b"q":
        return name, 1.0
    value = value.strip(b" \t")
    return (name, max(float(value), 0.0)) if _NUMBER.fullmatch(value) else None
