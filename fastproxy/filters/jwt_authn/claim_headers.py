"""Claims as header values (Envoy `claim_to_headers`; spec/jwt_authn.md section 12.2).

A header value must be one thing to everybody who reads it (S47). Envoy puts text there as it is, and answers 503 when
that cannot be done; here it is encoded by `http.field_values`, or left out.
"""

from base64 import b64encode

import orjson

from fastproxy.http.field_values import encode_text
from fastproxy.jwt.encoding import JsonObject

_TWO_TO_64 = 2**64


def find_claim(claims: JsonObject, path: tuple[str, ...]) -> object:
    """The claim at a path through objects; None where it is absent. Lists cannot be indexed."""
    found: object = claims
    for key in path:
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    return found


def encode_claim(value: object) -> bytes | None:
    """The header value of a claim; None if there is to be no header.

    Unlike Envoy's, whole numbers are not rounded to what a double can hold, negative ones included.
    """
    if isinstance(value, str):
        return encode_text(value)
    if value is None:
        return None
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float):
        # Envoy: whole numbers of 64 bits in full, others with six decimals.
        is_whole = value.is_integer() and -_TWO_TO_64 < value < _TWO_TO_64
        return b"%d" % int(value) if is_whole else b"%.6f" % value
    return b64encode(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
