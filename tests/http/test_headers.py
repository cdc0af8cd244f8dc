"""Header maps: how repeated names are kept and written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.http.headers import (
    SINGLE_SLOT_REQUEST_NAMES,
    SINGLE_SLOT_RESPONSE_NAMES,
    HeaderMap,
    add_repeated,
    append,
    encode_headers,
    first,
    lines,
    values,
)


def build(*pairs: tuple[bytes, bytes]) -> HeaderMap:
    headers: HeaderMap = {}
    for name, value in pairs:
        append(headers, name, value)
    return headers


@pytest.mark.parametrize(
    "name", [b"authorization", b"x-forwarded-for", b"via", b"te", b"accept", b"x-request-id"]
)
def test_single_slot_names_are_joined_without_a_space(name: bytes) -> None:
    """Envoy's inline headers; JWT extraction sees the joined value (S48)."""
    assert build((name, b"a"), (name, b"b"), (name, b"c")) == {name: b"a,b,c"}


@pytest.mark.parametrize("name", [b"cookie", b"x-custom", b"forwarded", b"x-jwt-payload"])
def test_other_names_stay_separate_lines_in_order(name: bytes) -> None:
    """spec/http.md section 5."""
    headers = build((name, b"a"), (b"x", b"1"), (name, b"b"), (name, b"c"))
    assert headers[name] == [b"a", b"b", b"c"]
    assert encode_headers(headers).split(b"\r\n") == [name + b": a", name + b": b", name + b": c", b"x: 1"]


def test_set_cookie_is_never_joined() -> None:
    """RFC 9110 section 5.3: it is the exception, a comma may be part of a cookie."""
    assert b"set-cookie" not in SINGLE_SLOT_RESPONSE_NAMES
    assert b"cookie" not in SINGLE_SLOT_REQUEST_NAMES


def test_nothing_is_no_value_of_a_list() -> None:
    """As in Envoy: an empty entry of `x-forwarded-for` would be counted as a hop."""
    for pair in ((b"a", b""), (b"", b"a")):
        assert build(*((b"x-forwarded-for", value) for value in pair)) == {b"x-forwarded-for": b"a"}
    assert build((b"via", b""), (b"via", b"")) == {b"via": b""}


@pytest.mark.parametrize("name", [b"host", b"transfer-encoding", b"content-length", b"connection"])
def test_s51_an_empty_line_that_frames_is_a_second_line(name: bytes) -> None:
    """Another parser may go by the empty one."""
    assert build((name, b"a"), (name, b"")) == {name: b"a,"}


def test_response_names_have_their_own_list() -> None:
    """`vary` is joined in a response and unknown in a request."""
    headers: HeaderMap = {b"vary": b"a"}
    add_repeated(headers, b"vary", b"b", SINGLE_SLOT_RESPONSE_NAMES)
    assert headers == {b"vary": b"a,b"}


def test_values_and_first_hide_how_a_name_is_kept() -> None:
    """Callers should not care whether there is a list."""
    headers: HeaderMap = {b"one": b"1", b"two": [b"1", b"2"]}
    assert [values(headers, name) for name in (b"one", b"two", b"none")] == [[b"1"], [b"1", b"2"], []]
    assert [first(headers, name) for name in (b"one", b"two", b"none")] == [b"1", b"1", None]


NAMES = st.sampled_from([b"a", b"b", b"via", b"x-c"])


@given(st.lists(st.tuples(NAMES, st.binary(max_size=5))))
def test_fast_encoding_equals_the_plain_one(pairs: list[tuple[bytes, bytes]]) -> None:
    """The trick with `map` and TypeError must not change a byte; this is the plain version (style.md section 8)."""
    headers = build(*pairs)
    assert encode_headers(headers) == b"\r\n".join(name + b": " + value for name, value in lines(headers))


@given(st.lists(st.tuples(NAMES, st.binary(max_size=5).filter(lambda value: b"," not in value))))
def test_no_value_is_lost(pairs: list[tuple[bytes, bytes]]) -> None:
    """Whatever is joined or listed, every value that came in goes out, in order."""
    headers = build(*pairs)
    for name in {name for name, _ in pairs}:
        joined = name in SINGLE_SLOT_REQUEST_NAMES
        sent = (value for known, value in pairs if known == name and (value or not joined))
        assert b",".join(values(headers, name)) == b",".join(sent)
