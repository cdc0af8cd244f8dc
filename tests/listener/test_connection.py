"""The downstream connection as a transcript: what comes in, what goes upstream, what comes back."""

import pytest

from fastproxy.listener.connection import DownstreamConnection
from fastproxy.router.settings import DirectResponseAction
from tests.listener.support import CHUNKED, GET, OK, POST, Proxy, head_of, route, status_of

HELLO = route("/hello", DirectResponseAction(200, b"hello"))


def test_request_and_response_pass_with_the_headers_of_both_sides() -> None:
    """The whole job in one transcript."""
    with Proxy() as proxy:
        proxy.send(b"GET /a?b HTTP/1.1\r\nHost: Example.com:80\r\nUser-Agent: x\r\n\r\n")
        sent = proxy.upstream.take()
        proxy.loop.advance(0.25)
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nServer: inner\r\ncontent-length: 2\r\n\r\nok")
        received = proxy.take()

        line, headers = head_of(sent)
        assert line == b"GET /a?b HTTP/1.1"
        assert len(headers.pop(b"x-request-id")) == 36
        assert headers == {
            b"host": b"Example.com:80",
            b"user-agent": b"x",
            b"x-forwarded-proto": b"http",
            b"x-envoy-expected-rq-timeout-ms": b"15000",
        }
        line, headers = head_of(received)
        assert line == b"HTTP/1.1 200 OK"
        assert headers == {
            b"x-a": b"1",
            b"server": b"fastproxy",
            b"content-length": b"2",
            b"x-envoy-upstream-service-time": b"250",
            b"date": b"Tue, 14 Nov 2023 22:13:20 GMT",
        }
        assert received.endswith(b"\r\n\r\nok")
        assert not proxy.is_closed()
        assert proxy.log.lines == ["200 - via_upstream"]
        proxy.check_nothing_left()


@pytest.mark.parametrize("step", [1, 3, 7])
def test_bytes_in_any_pieces_give_the_same_messages(step: int) -> None:
    """TCP has no message borders; a parser that relies on some breaks under load and nowhere else."""
    for wire in (GET, POST, CHUNKED + b"5;x=y\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n"):
        with Proxy() as proxy:
            proxy.send(wire, step)
            line, headers = head_of(proxy.upstream.take())
            assert headers[b"host"] == b"a"
            assert b"x-trailer" not in headers
            proxy.upstream.respond(OK, step)
            line, headers = head_of(proxy.take())
            assert line == b"HTTP/1.1 200 OK"
            proxy.check_nothing_left()


def test_head_and_first_body_bytes_leave_in_one_write() -> None:
    """Two writes are two packets, and with Nagle's algorithm a delay."""
    with Proxy() as proxy:
        proxy.send(POST)
        assert proxy.upstream.transport.writes == 1
        proxy.upstream.respond(OK)
        assert proxy.transport.writes == 1


def test_keep_alive_serves_the_next_request_on_both_connections() -> None:
    """A new connection per request would cost more than the request."""
    with Proxy() as proxy:
        for _ in range(3):
            proxy.send(GET)
            proxy.upstream.take()
            proxy.upstream.respond(OK)
            assert status_of(proxy.take()) == 200
        assert len(proxy.upstreams) == 1
        assert proxy.stats().counters["cluster.service.upstream_rq_total"] == 3
        proxy.check_nothing_left()


@pytest.mark.parametrize("value", [b"close", b"Close", b"keep-alive, close"])
def test_connection_close_is_answered_in_kind(value: bytes) -> None:
    """RFC 9112 section 9.6."""
    with Proxy() as proxy:
        proxy.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: " + value + b"\r\n\r\n")
        assert b"connection" not in head_of(proxy.upstream.take())[1]
        proxy.upstream.respond(OK)
        assert head_of(proxy.take())[1][b"connection"] == b"close"
        assert proxy.is_closed()
        proxy.loop.advance(1.0)
        assert proxy.transport.is_lost


def test_upstream_close_does_not_close_the_downstream() -> None:
    """Its connection is its own business (spec/http.md section 7.4)."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
        assert b"connection" not in head_of(proxy.take())[1]
        assert not proxy.is_closed()
        assert proxy.upstream.is_closed()
        proxy.check_nothing_left()


# -- pipelining --------------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    """RFC 9112 section 9.3.2."""
    with Proxy() as proxy:
        proxy.send(b"".join(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % n for n in range(3)))
        assert not proxy.transport.is_reading()
        for n in range(3):
            sent = proxy.upstream.take()
            assert sent.startswith(b"GET /%d " % n)
            assert sent.count(b"GET") == 1
            proxy.upstream.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % n)
            assert proxy.take().endswith(b"\r\n\r\n%d" % n)
        assert proxy.transport.is_reading()
        proxy.check_nothing_left()


def test_pipelined_requests_wait_as_bytes_and_reading_stops() -> None:
    """Otherwise one connection makes the proxy hold as many requests as it can send."""
    with Proxy() as proxy:
        proxy.send(GET * 5000)
        assert len(proxy.downstream._queue) < 200
        assert not proxy.transport.is_reading()
        for _ in range(5000):
            proxy.upstream.respond(OK)
        assert proxy.take().count(b"HTTP/1.1 200 OK") == 5000
        assert proxy.transport.is_reading()
        proxy.check_nothing_left()


def test_local_replies_stop_while_the_downstream_does_not_read() -> None:
    """Requests cost the peer little; their unread answers would fill our memory."""
    with Proxy(routes=[HELLO]) as proxy:
        proxy.downstream.pause_writing()
        proxy.send(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n" * 10)
        assert proxy.take() == b""
        assert not proxy.transport.is_reading()
        proxy.downstream.resume_writing()
        assert proxy.take().count(b"hello") == 10
        assert proxy.transport.is_reading()


def test_thousands_of_pipelined_local_replies_do_not_recurse() -> None:
    """A reply given at once serves the next request from inside the last."""
    with Proxy(routes=[HELLO]) as proxy:
        proxy.send(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n" * 5000)
        assert proxy.take().count(b"\r\n\r\nhello") == 5000


def test_thousands_of_pipelined_upgrades_behind_a_chunked_body_do_not_recurse() -> None:
    """llhttp stops at every one of them; going on by recursion would end in RecursionError."""
    with Proxy() as proxy:
        chunk = b"%x\r\n" % 4000 + b"x" * 4000 + b"\r\n"
        wire = CHUNKED + chunk * 2 + b"0\r\n\r\n"
        proxy.send(wire + b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n" * 3000)
        proxy.upstream.respond(OK)
        first, _, second = proxy.take().partition(b"\r\n\r\nok")
        assert status_of(first) == 200
        assert status_of(second) == 400


def test_what_follows_a_closing_request_is_never_served() -> None:
    """The answer said `close`: nobody reads what would be written after it."""
    with Proxy() as proxy:
        proxy.send(b"GET /1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" + GET)
        proxy.upstream.take()
        proxy.upstream.respond(OK)
        assert proxy.take().count(b"HTTP/1.1") == 1
        assert proxy.upstream.take() == b""
        assert proxy.is_closed()


def test_a_bad_request_behind_a_good_one_is_answered_after_it() -> None:
    """Answers in order, also when the second is a refusal."""
    with Proxy() as proxy:
        proxy.send(GET + b"NONSENSE\r\n\r\n")
        assert proxy.take() == b""
        proxy.upstream.respond(OK)
        first, _, second = proxy.take().partition(b"\r\n\r\nok")
        assert status_of(first) == 200
        assert status_of(second) == 400
        assert proxy.is_closed()
        assert proxy.log.lines == ["200 - via_upstream", "400 DPE http1.codec_error"]


# -- drain -------------------------------------------------------------------------------------------------


def test_drain_closes_idle_connections_and_lets_requests_finish() -> None:
    """Answers during a drain say `connection: close`."""
    with Proxy() as proxy:
        idle = proxy.transport
        proxy.open_downstream()
        proxy.send(GET)
        proxy.manager.drain()
        assert idle.eof_written
        assert not proxy.is_closed()
        proxy.upstream.respond(OK)
        assert head_of(proxy.take())[1][b"connection"] == b"close"
        assert proxy.is_closed()
        proxy.loop.advance(2)
        assert proxy.manager.open_connections == 0
        assert proxy.stats().counters["http.ingress.downstream_cx_drain_close"] == 1


def test_abort_cuts_what_is_left_and_leaks_nothing() -> None:
    """The drain time has passed."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.manager.drain()
        proxy.manager.abort()
        proxy.loop.run_ready()
        assert proxy.transport.was_aborted()
        assert proxy.manager.open_connections == 0
        proxy.check_nothing_left()


def test_a_connection_has_no_instance_dictionary() -> None:
    """Per-connection memory, and a typo in an attribute name is an error."""
    with Proxy() as proxy:
        assert not hasattr(proxy.downstream, "__dict__")
        assert isinstance(proxy.downstream, DownstreamConnection)


def test_byte_counters_and_classes_add_up() -> None:
    """What `/stats` shows is made of these."""
    with Proxy() as proxy:
        proxy.send(POST)
        proxy.upstream.respond(OK)
        counters = proxy.stats().counters
        assert counters["http.ingress.downstream_cx_rx_bytes_total"] == len(POST)
        assert counters["http.ingress.downstream_rq_2xx"] == 1
        assert counters["http.ingress.downstream_rq_completed"] == 1
        assert counters["http.ingress.downstream_cx_total"] == 1
