"""One upstream connection: responses in, and nothing of one that reaches the next request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.errors import UpstreamInvalidResponse, UpstreamReset
from tests.listener.support import OK
from tests.upstream.support import PoolBench, Waiter


def started(*, head_only: bool = False) -> tuple[PoolBench, UpstreamConnection, Waiter]:
    bench = PoolBench()
    bench.idle()
    connection = bench.pool.take_idle()
    assert connection is not None
    waiter = Waiter()
    waiter.use(connection, head_only=head_only)
    return bench, connection, waiter


@pytest.mark.parametrize(
    "surplus",
    [OK, b"H", b"HTTP/1.1 200 OK\r\n", b"junk", b"\x00", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"],
)
@pytest.mark.parametrize(
    "wire",
    [
        OK,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 204 x\r\n\r\n",
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_surplus_bytes_never_become_the_next_response(wire: bytes, surplus: bytes, together: bool) -> None:
    """Response smuggling: the next request on the connection is another user's."""
    bench, connection, waiter = started()
    if together:
        connection.data_received(wire + surplus)
    else:
        connection.data_received(wire)
        connection.data_received(surplus)
    bench.loop.run_ready()
    assert len(waiter.events) == 1
    assert waiter.events[0][2] is True
    assert bench.pool.take_idle() is None
    assert bench.transport_of(connection).was_aborted()
    bench.check_invariants()


@pytest.mark.parametrize("framing", [b"content-length: 4", b"transfer-encoding: chunked"])
@pytest.mark.parametrize("together", [True, False])
def test_a_body_after_the_answer_to_head_ends_the_connection(framing: bytes, together: bool) -> None:
    """RFC 9110 section 9.3.2: there is none; an upstream that sends one anyway poisons the connection."""
    bench, connection, waiter = started(head_only=True)
    head, body = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n", b"evil"
    for data in [head + body] if together else [head, body]:
        connection.data_received(data)
    bench.loop.run_ready()
    assert waiter.events == [(200, b"", True)]
    assert bench.pool.take_idle() is None


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
def test_a_response_that_says_close_is_believed(wire: bytes) -> None:
    """RFC 9112 section 9.6."""
    bench, connection, waiter = started()
    connection.data_received(wire)
    assert waiter.events == [(200, b"ok", True)]
    assert bench.pool.take_idle() is None


def test_an_early_response_is_not_followed_by_another_request() -> None:
    """The rest of the first request's body would be the head of the second."""
    bench = PoolBench()
    bench.idle()
    connection = bench.pool.take_idle()
    assert connection is not None
    waiter = Waiter()
    connection.start(waiter, head_only=False)
    connection.write(b"head and half of a body")
    connection.data_received(OK)
    assert waiter.events == [(200, b"ok", True)]
    assert bench.pool.take_idle() is None
    assert bench.transport_of(connection).was_aborted()


def test_an_http_10_answer_with_keep_alive_is_reused() -> None:
    """It asked for it."""
    bench, connection, _ = started()
    connection.data_received(b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok")
    assert bench.pool.take_idle() is connection


def test_resets_tell_whether_the_connection_had_served() -> None:
    """Only then the upstream's idle timer explains it."""
    bench, connection, waiter = started()
    bench.transport_of(connection).lose(None)
    assert isinstance(waiter.events[0], UpstreamReset)
    assert not waiter.events[0].reused

    bench, connection, waiter = started()
    connection.data_received(OK)
    second = Waiter()
    second.use(connection)
    bench.transport_of(connection).lose(ConnectionResetError())
    assert isinstance(second.events[0], UpstreamReset)
    assert second.events[0].reused


def test_nothing_is_written_to_a_connection_that_is_closing() -> None:
    """uvloop raises; the handler hears of the end by `connection_lost`."""
    bench, connection, waiter = started()
    bench.transport_of(connection).close()
    connection.write(b"more")
    connection.pause_reading()
    connection.resume_reading()
    bench.loop.run_ready()
    assert isinstance(waiter.events[0], UpstreamReset)


def test_an_aborted_exchange_hears_nothing_more() -> None:
    """Its downstream is gone."""
    bench, connection, waiter = started()
    connection.close()
    connection.data_received(OK)
    bench.loop.run_ready()
    assert waiter.events == []
    assert bench.pool.open_connections == 0
    bench.check_invariants()


def test_flow_control_is_told_to_the_handler_of_the_moment() -> None:
    """And to nobody when there is none."""
    _, connection, waiter = started()
    connection.pause_writing()
    connection.resume_writing()
    assert waiter.events == ["blocked", "drained"]
    connection.data_received(OK)
    connection.pause_writing()
    connection.resume_writing()
    assert waiter.events[2:] == [(200, b"ok", True)]


def test_pausing_twice_is_pausing_once() -> None:
    """The transport's pause and resume must be balanced."""
    bench, connection, _ = started()
    for _ in range(2):
        connection.pause_reading()
    for _ in range(2):
        connection.resume_reading()
    assert bench.transport_of(connection).pauses == ["pause", "resume"]


@given(st.lists(st.integers(1, 200), max_size=20))
def test_a_response_in_any_pieces_is_the_same_response(cuts: list[int]) -> None:
    """Heads, chunk sizes and chunk ends may be torn anywhere."""
    wire = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3;ext=1\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nx-t: 1\r\n\r\n"
    )
    bench, connection, waiter = started()
    at = 0
    for cut in [*cuts, len(wire)]:
        if at < len(wire):
            connection.data_received(wire[at : at + cut])
            at += cut
    assert waiter.events.pop(0) == ("interim", {})
    status, body, complete = waiter.events[0]
    for piece, ended in waiter.events[1:]:
        assert not complete
        body += piece
        complete = ended
    assert (status, body, complete) == (200, b"abc0123456789abcdef", True)
    assert bench.pool.take_idle() is connection


FRAGMENTS = st.sampled_from([
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 204 No\r\n", b"HTTP/1.1 100 C\r\n", b"HTTP/1.1 304 N\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 103 E\r\n", b"HTTP/1.1 199 X\r\n",
    b"HTTP/1.1 099 L\r\n", b"content-length: 3\r\n", b"content-length: 0\r\n", b"transfer-encoding: chunked\r\n",
    b"transfer-encoding: gzip\r\n", b"connection: close\r\n", b"\r\n", b"abc", b"3\r\nabc\r\n", b"0\r\n\r\n",
    b"\n", b"\x00",
])  # fmt: skip


@given(st.lists(st.one_of(FRAGMENTS, st.binary(max_size=10)), max_size=12), st.booleans())
def test_any_bytes_from_an_upstream_end_in_one_verdict(pieces: list[bytes], head_only: bool) -> None:
    """Invariant: never an exception; a head before a body; after the end or an error, silence."""
    bench, connection, waiter = started(head_only=head_only)
    for piece in pieces:
        if bench.transport_of(connection).is_closing():
            break
        connection.data_received(piece)
        bench.loop.run_ready()
    bench.transport_of(connection).lose(None)
    ended = False
    for number, event in enumerate(waiter.events):
        assert not ended
        if isinstance(event, UpstreamReset | UpstreamInvalidResponse):
            ended = True
        elif len(event) == 3:
            assert number == 0
            assert 200 <= event[0] <= 999
            ended = event[2]
        else:
            assert number > 0
            ended = event[1]
    assert ended
    assert bench.pool.open_connections == 0
    bench.check_invariants()


@pytest.mark.parametrize("together", [True, False])
def test_a_body_that_breaks_after_a_good_head_is_an_error_after_the_head(together: bool) -> None:
    """The handler must hear of both, in order: only so it can cut what has begun."""
    bench, connection, waiter = started()
    head, body = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", b"zz\r\n"
    for data in [head + body] if together else [head, body]:
        connection.data_received(data)
    bench.loop.run_ready()
    assert waiter.events[0][0] == 200
    assert isinstance(waiter.events[1], UpstreamInvalidResponse)
    assert len(waiter.events) == 2
    assert bench.pool.open_connections == 0


@pytest.mark.parametrize("status", [100, 102, 103, 104, 150, 199])
@pytest.mark.parametrize("framing", [b"content-length: 38", b"transfer-encoding: chunked"])
@pytest.mark.parametrize("together", [True, False])
def test_s51_an_interim_response_with_content_is_an_error(
    status: int, framing: bytes, together: bool
) -> None:
    """llhttp takes what follows some of them for a body, which went to the downstream without a head."""
    bench, connection, waiter = started()
    head = b"HTTP/1.1 %d X\r\n%s\r\n\r\n" % (status, framing)
    forged = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    for data in [head + forged] if together else [head, forged]:
        if not bench.transport_of(connection).is_closing():
            connection.data_received(data)
    bench.loop.run_ready()
    (error,) = waiter.events
    assert isinstance(error, UpstreamInvalidResponse)
    assert bench.pool.open_connections == 0


def test_an_interim_response_may_say_that_it_is_empty() -> None:
    """Some servers do, and it hides nothing."""
    _, connection, waiter = started()
    connection.data_received(b"HTTP/1.1 100 Continue\r\ncontent-length: 0\r\n\r\n")
    assert waiter.events == [("interim", {b"content-length": b"0"})]
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert waiter.events[1:] == [(200, b"ok", True)]


@pytest.mark.parametrize("coding", [b"chunked ", b"chunked\t", b"chunked, chunked", b"chunked;a=b"])
def test_s51_a_transfer_coding_that_llhttp_may_not_take_for_chunked_is_an_error(coding: bytes) -> None:
    """To llhttp a tab behind it means a body until the end of the connection, a blank does not."""
    _, connection, waiter = started()
    connection.data_received(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: " + coding + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    )
    (error,) = waiter.events
    assert isinstance(error, UpstreamInvalidResponse)


def test_a_response_with_thousands_of_equal_names_costs_no_more_than_its_bytes() -> None:
    """Joining each line to the ones before it would copy gigabytes; what is above the limit is not even kept."""
    bench, connection, waiter = started()
    connection.data_received(b"HTTP/1.1 200 OK\r\n" + b"age:1\r\n" * 20_000)
    kept = connection._reader._reading[b"age"]
    assert len(kept) <= 2 * bench.pool.max_headers + 1
    connection.data_received(b"\r\n")
    (error,) = waiter.events
    assert isinstance(error, UpstreamInvalidResponse)
