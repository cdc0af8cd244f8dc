"""Text as header values: one value for one text, and nothing that two readers could take for different things."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.http.field_values import encode_text, may_be_sent


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain text!", b"plain text!"),
        ("J\xfcrgen", b"UTF-8''J%C3%BCrgen"),
        (" padded", b"UTF-8''%20padded"),
        ("utf-8''x", b"UTF-8''utf-8%27%27x"),
        ("", None),
        ("a\nb", None),
        ("a\tb", None),
        ("a\x85b", None),
    ],
)
def test_text_becomes_one_value_or_none(text: str, value: bytes | None) -> None:
    """RFC 8187 section 3.2."""
    assert encode_text(text) == value


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_encoded_text_can_be_read_back(text: str) -> None:
    """Two texts never give one value."""
    value = encode_text(text)
    if value is None:
        return
    assert may_be_sent(value)
    found = value.decode()
    assert (unquote(found[7:]) if found.startswith("UTF-8''") else found) == text


@pytest.mark.parametrize("byte", [*range(0x20), 0x7F])
def test_s47_no_control_byte_may_be_sent(byte: int) -> None:
    """TAB is a blank to every parser."""
    assert may_be_sent(b"a" + bytes((byte,)) + b"b") is (byte == 9)
