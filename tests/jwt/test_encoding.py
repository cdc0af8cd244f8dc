"""base64url and JSON, against oracles: the standard library's slower ways to the same answer."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.jwt.encoding import MAX_JSON_DEPTH, decode_base64url, encode_base64url, parse_json_object

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
names = st.text('ab:"\\{', max_size=3)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


class DuplicateError(Exception):
    """The oracle met a duplicate member."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise DuplicateError
    return dict(pairs)


@given(st.binary(max_size=64))
def test_base64url_round_trip(data: bytes) -> None:
    """What we encode is the one spelling that we decode."""
    text = encode_base64url(data)

    assert decode_base64url(text) == data
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=")


@given(st.binary(max_size=12) | st.text("AQg-_=+/ \n.", max_size=12).map(str.encode))
def test_base64url_accepts_exactly_the_canonical_spellings(text: bytes) -> None:
    """Otherwise one signed token has many spellings, and a deny list knows only one of them."""
    try:
        decoded = decode_base64url(text)
    except ValueError:
        return
    assert encode_base64url(decoded) == text


@pytest.mark.parametrize(
    "text", [b"YQ==", b"YQ=", b"Y", b"YR", b"YWJ=", b"YW J", b"YQ\n", b"a+b/", b"YWJ\xc3", b"!!!!"]
)
def test_base64url_refuses_other_spellings(text: bytes) -> None:
    """Padding, blanks, the standard alphabet, unused bits: each is a second spelling of something."""
    with pytest.raises(ValueError):
        decode_base64url(text)


@given(st.dictionaries(st.text(max_size=4), json_values, max_size=5), st.booleans())
def test_json_without_duplicates_is_parsed_as_the_standard_library_does(
    value: dict[str, Any], ascii_only: bool
) -> None:
    """The member count must not mistake quotes, colons and backslashes in strings for structure."""
    assert parse_json_object(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@st.composite
def object_texts(draw: st.DrawFn, depth: int = 0) -> str:
    """Objects written by hand, in which members may share a name, plainly or by escapes."""
    names = st.sampled_from(['"a"', '"\\u0061"', '"b"', '"\\""', '"\\\\"', '":"', '"a\\\\\\""', '"\\u0022"'])
    leaf = st.sampled_from(["1", '"x:y"', '"\\\\"', '"\\":\\""', "null", "[]", '[":"]', "{}"])
    members = []
    for _ in range(draw(st.integers(0, 3))):
        nested = depth < 2 and draw(st.booleans())
        inner = object_texts(depth + 1)
        value = (
            draw(inner | st.lists(inner, max_size=2).map(lambda items: f"[{','.join(items)}]"))
            if nested
            else draw(leaf)
        )
        members.append(f"{draw(names)}{draw(st.sampled_from(['', ' ']))}:{value}")
    return "{" + ",".join(members) + "}"


@given(object_texts())
def test_duplicates_are_found_exactly_where_the_standard_library_finds_them(text: str) -> None:
    """orjson keeps the last of two members without a word; an upstream's parser may keep the first."""
    try:
        expected = json.loads(text, object_pairs_hook=_unique)
    except DuplicateError:
        with pytest.raises(ValueError, match="duplicate"):
            parse_json_object(text.encode())
    else:
        assert parse_json_object(text.encode()) == expected


def test_depth_is_limited_as_in_envoy() -> None:
    """100 levels pass and 101 do not, the outer object counted."""

    def nested(levels: int) -> bytes:
        return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert parse_json_object(nested(MAX_JSON_DEPTH))
    with pytest.raises(ValueError, match="deep"):
        parse_json_object(nested(MAX_JSON_DEPTH + 1))


@pytest.mark.parametrize(
    "text",
    [
        b"", b"null", b"[]", b'"a"', b"1", b"{", b"{'a':1}", b"{a:1}", b'{"a":1,}', b'{"a":NaN}',
        b'{"a":Infinity}', b'{"a":1e309}', b'{"a":01}', b'{"a":+1}', b'{"a":1}x', b'\xef\xbb\xbf{}',
        b'{"a":"\n"}', b'{"a":"\\ud800"}', b'{"a":"\xff"}', b'{"a":1}\x00', "{}".encode("utf-16"),
    ],
)  # fmt: skip
def test_lenient_json_is_refused(text: bytes) -> None:
    """Where Envoy is lenient (single quotes, bare keys, trailing commas, null), two parsers may disagree."""
    with pytest.raises(ValueError):
        parse_json_object(text)
