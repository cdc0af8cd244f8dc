"""Claims as header values (spec/jwt_authn.md 12.2), one text for one claim (S47)."""

import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.filters.jwt_authn.claim_headers import encode_claim, find_claim
from fastproxy.jwt.encoding import parse_json_object


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain text", b"plain text"),
        ("100%", b"100%"),
        ('a"b\\c,d', b'a"b\\c,d'),
        ("", None),
        (None, None),
        (True, b"true"),
        (False, b"false"),
        (0, b"0"),
        (-3, b"-3"),
        (9007199254740993, b"9007199254740993"),
        (-9007199254740993, b"-9007199254740993"),
        (18446744073709551615, b"18446744073709551615"),
        (-0.0, b"0"),
        (3.0, b"3"),
        (1e10, b"10000000000"),
        (1.5, b"1.500000"),
        (-2.5, b"-2.500000"),
        (1e-9, b"0.000000"),
        (1e21, b"1000000000000000000000.000000"),
        (["p", "q"], b"WyJwIiwicSJd"),
        ([], b"W10="),
        ({}, b"e30="),
        ({"k": 1}, b"eyJrIjoxfQ=="),
    ],
)
def test_every_type(value: object, expected: bytes | None) -> None:
    """Envoy's forms, but for numbers, which are not rounded."""
    assert encode_claim(value) == expected


@pytest.mark.parametrize("bad", ["\r\n", "\n", "\r", "\0", "\t", "\x1b", "\x7f", "\x85", "\u2028"])
@pytest.mark.parametrize("form", ["a{}b", "{}", "{}a", "a{}", "\u00fc{}"])
def test_s47_a_control_character_leaves_the_header_out(bad: str, form: str) -> None:
    """No encoding of it would be understood by every upstream; raw it would be a header of its own."""
    assert encode_claim(form.format(bad)) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("J\u00fcrgen", b"UTF-8''J%C3%BCrgen"),
        ("\U0001f511", b"UTF-8''%F0%9F%94%91"),
        (" alice", b"UTF-8''%20alice"),
        ("alice ", b"UTF-8''alice%20"),
        (" ", b"UTF-8''%20"),
        ("UTF-8''J%C3%BCrgen", b"UTF-8''UTF-8%27%27J%25C3%25BCrgen"),
        ("utf-8''x", b"UTF-8''utf-8%27%27x"),
        ("a\u00a0b", b"UTF-8''a%C2%A0b"),
    ],
)
def test_s47_what_parsers_would_change_is_encoded(text: str, expected: bytes) -> None:
    """RFC 8187 section 3.2; blanks at the ends are cut off by every HTTP parser."""
    assert encode_claim(text) == expected


@given(st.text())
def test_s47_any_text_gives_printable_ascii_that_means_only_it(text: str) -> None:
    """Two claims must never become one identity."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return  # a lone surrogate never gets through the JSON parser
    encoded = encode_claim(text)
    if encoded is None:
        return
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert encoded == encoded.strip()
    value = encoded.decode()
    assert text == (unquote(value[7:], errors="strict") if value.startswith("UTF-8''") else value)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("a",), 1),
        (("o", "p", "q"), "deep"),
        (("o", "p"), {"q": "deep"}),
        (("o.p",), "dotted"),
        (("a", "x"), None),
        (("l", "0"), None),
        (("nothing",), None),
        (("o", "nothing", "q"), None),
    ],
)
def test_where_a_claim_is(path: tuple[str, ...], expected: object) -> None:
    """Through objects only: lists cannot be indexed."""
    claims = parse_json_object(
        json.dumps({"a": 1, "o": {"p": {"q": "deep"}}, "o.p": "dotted", "l": ["zero"]}).encode()
    )
    assert find_claim(claims, path) == expected
