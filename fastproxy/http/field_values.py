"""What may stand in a header value (RFC 9110 section 5.5), and how other text gets into one.

A header value must be one thing to everybody who reads it (S47):

- printable ASCII goes as it is;
- text with a control character is left out: no encoding of it would be understood by every reader;
- other text, and text with blanks at its ends, which parsers cut off, is encoded as RFC 8187 section 3.2 has it:
  `UTF-8''J%C3%BCrgen`. Text that looks so encoded is encoded as well, so that two texts never give one value.
"""

import re
from urllib.parse import quote

_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_MARK = "UTF-8''"
#: RFC 8187 `attr-char` beyond letters and digits.
_UNESCAPED = "!#$&+-.^_`|~"


def encode_text(text: str) -> bytes | None:
    """Text as a whole header value; None if there is none for it."""
    if _PLAIN.fullmatch(text) and text[: len(_MARK)].upper() != _MARK:
        return text.encode()
    if not text or _CONTROL.search(text):
        return None
    return (_MARK + quote(text, safe=_UNESCAPED)).encode()


def may_be_sent(value: bytes) -> bool:
    """Whether bytes may stand in a header: no control character but TAB, which every parser takes for a blank."""
    return _CONTROL_BYTES.search(value) is None
