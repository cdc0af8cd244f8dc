"""Readers of responses that keep trailers."""

import pytest

from fastproxy.http.name_case import KeptCaseSettings
from fastproxy.upstream.kept_trailers import build_reader
from fastproxy.upstream.response_reader import ResponseReader
from tests.upstream.test_response_reader import read

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
TRAILED = HEAD + b"2\r\nok\r\n0\r\nX-T: 1\r\nx-t: 2\r\nSet-Cookie: a\r\ngrpc-status: 5\r\n\r\n"


def started(*, max_head_bytes: int = 0, named: bool = False) -> ResponseReader:
    kept_case = KeptCaseSettings() if named else None
    return build_reader(max_head_bytes, 100, kept_case, keeps_trailers=True)


def begin(reader: ResponseReader, *, head_only: bool = False) -> None:
    """As a connection does for the next request."""
    reader.status = 0
    reader.done = False
    reader.body = []
    reader.head_only = head_only


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_trailers_are_there_with_the_end(step: int, named: bool) -> None:
    """And not before: half of them would be something else. What must not be a trailer is none."""
    reader = started(named=named)
    for at in range(0, len(TRAILED), step):
        assert not reader.trailers
        read(reader, TRAILED[at : at + step])
    assert (reader.done, reader.fault) == (True, False)
    assert reader.trailers == {b"x-t": [b"1", b"2"], b"grpc-status": b"5"}
    assert reader.headers == {b"transfer-encoding": b"chunked"}


@pytest.mark.parametrize(
    "second",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 103 Early\r\nx-t: 3\r\n\r\n" + HEAD + b"0\r\n\r\n",
    ],
)
def test_each_response_has_its_own(second: bytes) -> None:
    """Those of the first are not said of the second, and what a 103 says is no trailer of either."""
    reader = started()
    read(reader, TRAILED)
    first = reader.trailers
    begin(reader)
    read(reader, second)
    assert (reader.done, reader.fault, reader.trailers) == (True, False, {})
    assert first == {b"x-t": [b"1", b"2"], b"grpc-status": b"5"}


@pytest.mark.parametrize("head", [b"content-length: 5", b"transfer-encoding: chunked", b"x: y"])
def test_the_answer_to_head_has_none(head: bytes) -> None:
    """Not even those of the response before it."""
    reader = started()
    read(reader, TRAILED)
    begin(reader, head_only=True)
    read(reader, b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
    assert (reader.done, reader.fault, reader.trailers) == (True, False, {})


@pytest.mark.parametrize(
    ("lines", "limit"),
    [
        (b"".join(b"h%d: v\r\n" % n for n in range(101)), 0),
        (b"same: v\r\n" * 101, 0),
        (b"x-t: " + b"v" * 1000 + b"\r\n", 1000),
        (b"x-t: a\x01b\r\n", 0),
        (b"x t: a\r\n", 0),
        (b"x-t\r\n", 0),
    ],
)
def test_trailers_have_the_bounds_of_a_head(lines: bytes, limit: int) -> None:
    """Also the number of its lines is the same, counted by itself."""
    reader = started(max_head_bytes=limit)
    read(reader, HEAD + b"0\r\n" + lines + b"\r\n")
    assert reader.fault
    assert not reader.trailers


def test_as_many_as_a_head_may_have_are_taken() -> None:
    """Those of the head itself do not count (Envoy)."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n" + b"x: y\r\n" * 90 + b"\r\n0\r\n"
    reader = started()
    read(reader, head + b"".join(b"h%d: v\r\n" % n for n in range(100)) + b"\r\n")
    assert (reader.done, reader.fault) == (True, False)
    assert reader.trailers is not None
    assert len(reader.trailers) == 100
