"""What of a response reaches the downstream, and how its end is told."""

import pytest

from fastproxy.router.settings import DirectResponseAction
from tests.listener.support import CHUNKED, GET, OK, POST, Proxy, head_of, route

HELLO = route("/hello", DirectResponseAction(200, b"hello"))


# -- response framing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n", b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
    ],
    ids=["chunked", "1xx", "204", "304", "empty"],
)
def test_every_self_delimited_response_leaves_the_upstream_connection_usable(
    wire: bytes, body: bytes, step: int
) -> None:
    """RFC 9112 section 6.3: each ends without a close."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(wire, step)
        received = proxy.take()
        head, _, rest = received.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head:
            rest = b"".join(line for line in rest.split(b"\r\n")[1::2] if line)
        assert rest == body
        assert b"x-t" not in received
        assert not proxy.upstream.is_closed()
        proxy.check_nothing_left()


def test_204_and_304_get_no_framing_that_they_had_not() -> None:
    """`transfer-encoding` there breaks clients (RFC 9112 section 6.1)."""
    for status in (b"204 No Content", b"304 Not Modified"):
        with Proxy() as proxy:
            proxy.send(GET)
            proxy.upstream.respond(b"HTTP/1.1 " + status + b"\r\netag: x\r\n\r\n")
            headers = head_of(proxy.take())[1]
            assert b"transfer-encoding" not in headers
            assert b"content-length" not in headers


@pytest.mark.parametrize("framing", [b"content-length: 9\r\n", b"transfer-encoding: chunked\r\n"])
def test_head_response_has_headers_only(framing: bytes) -> None:
    """RFC 9110 section 9.3.2; the upstream's framing is told, not used."""
    with Proxy() as proxy:
        for _ in range(2):
            proxy.send(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
            proxy.upstream.respond(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")
            received = proxy.take()
            assert received.endswith(b"\r\n\r\n")
            assert framing.strip() in received
        proxy.send(GET)
        proxy.upstream.respond(OK)
        assert proxy.take().endswith(b"ok")
        assert len(proxy.upstreams) == 1
        proxy.check_nothing_left()


@pytest.mark.parametrize("step", [0, 1])
def test_close_delimited_response_becomes_chunked(step: int) -> None:
    """The downstream connection need not end because the upstream's does."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(b"HTTP/1.0 200 OK\r\n\r\nsome text", step)
        proxy.upstream.close()
        received = proxy.take()
        assert head_of(received)[1][b"transfer-encoding"] == b"chunked"
        assert received.endswith(b"\r\n0\r\n\r\n")
        assert not proxy.is_closed()
        proxy.check_nothing_left()


@pytest.mark.parametrize(
    ("error", "logged"),
    [(None, "UPE {protocol_error}"), (ConnectionResetError(), "UC {connection_termination}")],
)
@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
    ],
)
def test_a_response_that_breaks_off_is_cut_and_not_ended(
    wire: bytes, error: Exception | None, logged: str
) -> None:
    """The downstream must be able to see that it is not complete (spec/http.md section 11.1)."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(wire)
        proxy.upstream.close(error)
        assert not proxy.take().endswith(b"0\r\n\r\n")
        assert proxy.transport.was_aborted()
        assert proxy.log.lines == [f"200 {logged.replace('{', 'upstream_reset_after_response_started{')}"]
        proxy.check_nothing_left()


def test_close_delimited_response_that_is_reset_is_cut() -> None:
    """A reset is not the end of a body."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\n\r\nsome")
        proxy.upstream.close(ConnectionResetError())
        assert not proxy.take().endswith(b"0\r\n\r\n")
        assert proxy.transport.was_aborted()
        proxy.check_nothing_left()


# -- early answers -----------------------------------------------------------------------------------------


def test_early_upstream_response_is_passed_on_and_ends_both_connections() -> None:
    """The rest of the body is not worth reading (spec/http.md section 5)."""
    with Proxy() as proxy:
        proxy.send(POST[:-3])
        proxy.upstream.respond(b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\n\r\nno")
        line, headers = head_of(received := proxy.take())
        assert line == b"HTTP/1.1 413 Payload Too Large"
        assert headers[b"connection"] == b"close"
        assert b"x-envoy-upstream-service-time" not in headers
        assert received.endswith(b"no")
        assert proxy.is_closed()
        assert proxy.upstream.is_closed()
        proxy.check_nothing_left()


def test_a_local_reply_before_the_body_ended_closes() -> None:
    """What follows is the rest of the body, and nobody is going to read it."""
    with Proxy(routes=[HELLO]) as proxy:
        proxy.send(b"POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe")
        assert head_of(proxy.take())[1][b"connection"] == b"close"
        assert proxy.is_closed()
        assert proxy.transport.is_reading()


def test_an_early_response_still_takes_the_rest_of_the_upload() -> None:
    """Bidirectional streaming: the upstream has begun to answer and still reads."""
    with Proxy() as proxy:
        proxy.send(CHUNKED + b"3\r\nabc\r\n")
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n1\r\n")
        proxy.upstream.take()
        proxy.send(b"3\r\ndef\r\n0\r\n\r\n")
        assert proxy.upstream.take() == b"3\r\ndef\r\n0\r\n\r\n"
        proxy.upstream.respond(b"1\r\n2\r\n0\r\n\r\n")
        assert proxy.take().endswith(b"1\r\n1\r\n1\r\n2\r\n0\r\n\r\n")
        assert proxy.is_closed()
        proxy.check_nothing_left()


def test_a_large_answer_reaches_a_slow_downstream_whole_before_the_close() -> None:
    """`connection: close` is said after the answer, not instead of its second half."""
    with Proxy() as proxy:
        proxy.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        proxy.transport.unsent = 500_000
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 500000\r\n\r\n" + b"x" * 500_000)
        for unsent in range(500_000, 0, -20_000):
            proxy.transport.unsent = unsent
            proxy.advance(1)
            assert not proxy.transport.was_aborted()
        proxy.transport.unsent = 0
        proxy.advance(3)
        assert proxy.transport.was_aborted()
        assert proxy.loop.live_timers == 0


def test_a_downstream_that_takes_nothing_of_the_last_answer_is_cut_in_the_end() -> None:
    """Otherwise a peer that never reads holds the buffer for ever."""
    with Proxy(stream_idle_timeout_s=10) as proxy:
        proxy.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        proxy.transport.unsent = 100
        proxy.upstream.respond(OK)
        proxy.advance(5)
        assert not proxy.transport.was_aborted()
        proxy.advance(8)
        assert proxy.transport.was_aborted()
