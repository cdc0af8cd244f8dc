"""Strict base64url (RFC 7515 section 2) and strict JSON (RFC 8259, no duplicate members: RFC 7515 section 4).

One token must have one spelling and one meaning. Where decoders are lenient, attackers get twins of a token
that a deny list does not know, and two parsers in one path that read different claims. So: no padding, no
white space, no `+` or `/`, no unused bits; and JSON whose members are unique at every depth, also when they
are spelt with escapes.
"""

import binascii
from typing import TypeAlias, cast

import orjson

JsonObject: TypeAlias = dict[str, object]

# Envoy refuses JSON nested deeper than 100, the outer object counted.
MAX_JSON_DEPTH = 100

# A tuple, for isinstance is twice as fast with it as with `dict | list`. bench/test_jwt_core.py
_CONTAINERS = (dict, list)

# `-` and `_` become what binascii knows; what binascii would take, but base64url does not have, becomes `!`.
_TO_STANDARD_ALPHABET = bytes.maketrans(b"-_+/=", b"+/!!!")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# The last character carries 6 bits of which 4 (one octet left) or 2 (two octets left) must be zero.
_LAST_OF_TWO = frozenset(_ALPHABET[::16])
_LAST_OF_THREE = frozenset(_ALPHABET[::4])


def decode_base64url(text: bytes) -> bytes:
    """Decode unpadded base64url (RFC 7515 section 2), accepting exactly one spelling of each value.

    Raises:
        ValueError: padding, white space, a foreign character, a length of 4n+1, or non-zero unused bits.
    """
    # Hot path: three times per new token. bench/test_jwt_core.py
    tail = len(text) & 3
    if not tail:
        return binascii.a2b_base64(text.translate(_TO_STANDARD_ALPHABET), strict_mode=True)
    if tail == 2:
        if text[-1] not in _LAST_OF_TWO:
            raise ValueError("not base64url")
        return binascii.a2b_base64(text.translate(_TO_STANDARD_ALPHABET) + b"==", strict_mode=True)
    if tail == 1 or text[-1] not in _LAST_OF_THREE:
        raise ValueError("not base64url")
    return binascii.a2b_base64(text.translate(_TO_STANDARD_ALPHABET) + b"=", strict_mode=True)


def encode_base64url(data: bytes) -> bytes:
    """Encode as unpadded base64url (RFC 7515 section 2)."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(bytes.maketrans(b"+/", b"-_"))


def parse_json_object(text: bytes) -> JsonObject:
    """Parse a JSON object strictly: UTF-8, RFC 8259 grammar, unique members, at most MAX_JSON_DEPTH deep.

    Raises:
        ValueError: anything else. The message is a fixed phrase that holds nothing of `text`.
    """
    # Hot path: once per new token. bench/test_jwt_core.py
    try:
        value = orjson.loads(text)
    except ValueError:
        raise ValueError("not JSON") from None
    if value.__class__ is not dict:
        raise ValueError("not a JSON object")
    # orjson keeps the last of two equal members and does not tell. The text is valid JSON by now, so counting
    # the members it spells is easy, and fewer members in the parsed tree means that two shared a name. The
    # oracle in tests/jwt/test_encoding.py is the standard library's object_pairs_hook.
    if _count_spelt_members(text) != _count_parsed_members(value):
        raise ValueError("duplicate member")
    return cast("JsonObject", value)


def _count_spelt_members(text: bytes) -> int:
    """Count the members in valid JSON: the colons outside strings."""
    if b"\\" in text:
        # Without escaped backslashes first, and then escaped quotes, every quote left opens or closes a
        # string.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(text.split(b'"')[::2]).count(b":")


def _count_parsed_members(value: JsonObject) -> int:
    """Count the members of a parsed tree, level by level: no recursion, so depth cannot exhaust the stack."""
    members = len(value)
    level: list[JsonObject | list[object]] = [
        child for child in value.values() if isinstance(child, _CONTAINERS)
    ]
    depth = 1
    while level:
        depth += 1
        if depth > MAX_JSON_DEPTH:
            raise ValueError("nested too deeply")
        below: list[JsonObject | list[object]] = []
        for node in level:
            if isinstance(node, dict):
                members += len(node)
                below += [child for child in node.values() if isinstance(child, _CONTAINERS)]
            else:
                below += [child for child in node if isinstance(child, _CONTAINERS)]
        level = below
    return members
