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
    count_header_bytes,
    encode_head,
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
    lines_of_head = encode_head([b"GET / HTTP/1.1\r\n"], headers).split(b"\r\n")
    assert lines_of_head[1:] == [name + b": a", name + b": b", name + b": c", b"x: 1", b"", b""]


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
def test_a_head_is_its_start_its_lines_and_an_empty_line(pairs: list[tuple[bytes, bytes]]) -> None:
    """RFC 9112 section 2.1; and the length that limits go by is that of the lines."""
    headers = build(*pairs)
    encoded = b"\r\n".join(name + b": " + value for name, value in lines(headers))
    end = b"\r\n\r\n" if headers else b"\r\n"
    assert encode_head([b"HTTP/1.1 200", b" OK\r\n"], headers) == b"HTTP/1.1 200 OK\r\n" + encoded + end
    assert count_header_bytes(headers) == len(encoded)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=5).filter(lambda value: b"," not in value))))
def test_no_value_is_lost(pairs: list[tuple[bytes, bytes]]) -> None:
    """Whatever is joined or listed, every value that came in goes out, in order."""
    headers = build(*pairs)
    for name in {name for name, _ in pairs}:
        joined = name in SINGLE_SLOT_REQUEST_NAMES
        sent = (value for known, value in pairs if known == name and (value or not joined))
        assert b",".join(values(headers, name)) == b",".join(sent)
