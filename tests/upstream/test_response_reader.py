"""The parsing half of an upstream connection: what of a response there is after each read."""

import httptools
import pytest

from fastproxy.upstream.response_reader import ResponseReader

CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"


def started(*, head_only: bool = False, max_head_bytes: int = 0, max_headers: int = 100) -> ResponseReader:
    reader = ResponseReader(max_head_bytes=max_head_bytes, max_headers=max_headers)
    reader.head_only = head_only
    return reader


def read(reader: ResponseReader, data: bytes) -> None:
    """As a connection does."""
    reader.unproductive_bytes += len(data)
    try:
        reader.feed(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        reader.on_stop(error, data)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_pieces_of_any_size_give_one_response(step: int) -> None:
    """Chunk extensions and trailers are gone: the body alone goes on."""
    reader = started()
    for at in range(0, len(CHUNKED), step):
        assert not reader.done
        read(reader, CHUNKED[at : at + step])
    assert (reader.status, reader.done, reader.fault) == (200, True, False)
    assert reader.headers == {b"transfer-encoding": b"chunked"}
    assert b"".join(reader.body) == b"hello"
    assert reader.keep_alive
    assert not reader.surplus


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 1\r\ntransfer-encoding: chunked",
        b"transfer-encoding: gzip, chunked",
        b"transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        b"content-length: 1\r\ncontent-length: 2",
    ],
)
def test_s51_a_head_that_could_be_framed_in_two_ways_is_a_fault(head: bytes) -> None:
    """RFC 9112 section 6.3: what one side takes for a body is the next response to the other."""
    reader = started()
    read(reader, b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\nx")
    assert reader.fault


@pytest.mark.parametrize("head", [b"transfer-encoding: chunked", b"content-length: 1"])
def test_204_has_no_body(head: bytes) -> None:
    """RFC 9110 section 15.3.5."""
    reader = started()
    read(reader, b"HTTP/1.1 204 No Content\r\n" + head + b"\r\n\r\n")
    assert reader.fault


def test_the_answer_to_head_has_no_body_whatever_its_length_says() -> None:
    """And the next response is read by a parser that expects none of it."""
    reader = started(head_only=True)
    read(reader, b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
    assert reader.done
    reader.done, reader.status, reader.head_only = False, 0, False
    read(reader, CHUNKED)
    assert (reader.status, reader.done, reader.fault, reader.surplus) == (200, True, False, False)


def test_interim_heads_are_swallowed() -> None:
    """Nobody waits for them: `expect` is answered by the proxy."""
    reader = started()
    read(reader, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + CHUNKED)
    assert (reader.status, reader.done, reader.fault) == (200, True, False)
    assert reader.headers == {b"transfer-encoding": b"chunked"}


def test_a_body_that_nothing_delimits_ends_with_the_connection() -> None:
    """The only way that HTTP/1.0 had (RFC 9112 section 6.3)."""
    reader = started()
    read(reader, b"HTTP/1.1 200 OK\r\n\r\nsome")
    assert reader.close_delimited
    assert not reader.done
    assert reader.body == [b"some"]


def test_what_follows_a_response_is_surplus_and_no_fault_of_it() -> None:
    """It was complete; only its connection cannot be used again."""
    reader = started()
    read(reader, CHUNKED + b"junk")
    assert (reader.done, reader.fault, reader.surplus) == (True, False, True)


def test_a_switch_that_was_asked_for_hands_over_what_follows_as_it_is() -> None:
    """RFC 9110 section 7.8."""
    reader = started()
    reader.expects_switch = True
    read(reader, SWITCH + b"\x81\x00")
    assert (reader.status, reader.body, reader.fault) == (101, [b"\x81\x00"], False)
    assert reader.headers == {b"connection": b"Upgrade", b"upgrade": b"websocket"}
    read(reader, b"HTTP/1.1 200 OK\r\n\r\n")
    assert reader.body == [b"\x81\x00", b"HTTP/1.1 200 OK\r\n\r\n"]


@pytest.mark.parametrize(
    ("asked", "wire"),
    [
        (False, SWITCH),
        (True, b"HTTP/1.1 101 x\r\nconnection: upgrade\r\n\r\n"),
        (True, SWITCH.replace(b"\r\n\r\n", b"\r\ncontent-length: 3\r\n\r\nabc")),
        (True, SWITCH.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n")),
    ],
)
def test_s51_a_switch_that_was_not_asked_for_or_not_agreed_on_is_a_fault(asked: bool, wire: bytes) -> None:
    """Otherwise an upstream could take a connection out of HTTP that others are going to use."""
    reader = started()
    reader.expects_switch = asked
    read(reader, wire)
    assert reader.fault


@pytest.mark.parametrize(
    ("max_headers", "max_head_bytes", "is_fault"),
    [(4, 0, False), (3, 0, True), (4, 200, False), (4, 20, True)],
)
def test_limits_of_a_head(max_headers: int, max_head_bytes: int, is_fault: bool) -> None:
    """`max_headers_count` and `max_response_headers_kb` of the cluster."""
    reader = started(max_headers=max_headers, max_head_bytes=max_head_bytes)
    read(reader, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-a: 1\r\nx-a: 2\r\nx-b: 3\r\n\r\n")
    assert reader.fault is is_fault
