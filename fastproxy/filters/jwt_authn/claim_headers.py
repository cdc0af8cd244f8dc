"""Claims as header values (Envoy `claim_to_headers`; spec/jwt_authn.md section 12.2).

A header value must be one thing to everybody who reads it (S47). Envoy puts text there as it is, and answers 503 when
that cannot be done. Here:

- printable ASCII goes as it is;
- text with a control character is left out: no encoding of it would be understood by every upstream;
- other text, and text with blanks at its ends, which parsers cut off, is encoded as RFC 8187 section 3.2 has it:
  `UTF-8''J%C3%BCrgen`. Text that looks so encoded is encoded as well, so that two claims never give one value.
"""

import re
from base64 import b64encode
from urllib.parse import quote

import orjson

from fastproxy.jwt.encoding import JsonObject

_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MARK = "UTF-8''"
#: RFC 8187 `attr-char` beyond letters and digits.
_UNESCAPED = "!#$&+-.^_`|~"
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
        return _encode_text(value)
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


def _encode_text(text: str) -> bytes | None:
    if _PLAIN.fullmatch(text) and text[: len(_MARK)].upper() != _MARK:
        return text.encode()
    if not text or _CONTROL.search(text):
        return None
    return (_MARK + quote(text, safe=_UNESCAPED)).encode()
