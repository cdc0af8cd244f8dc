"""The downstream connection as a transcript: what comes in, what goes upstream, what comes back."""

import pytest

from fastproxy.listener.connection import DownstreamConnection
from fastproxy.router.settings import DirectResponseAction
from fastproxy.upstream.settings import ClusterSettings
from tests.listener.support import CLUSTER, GET, OK, Proxy, head_of, route, status_of, to_service

POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
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


# -- bodies and flow control -------------------------------------------------------------------------------


def test_length_framed_body_stays_length_framed() -> None:
    """spec/http.md section 5: length kept, chunked stays chunked."""
    with Proxy() as proxy:
        proxy.send(POST, 20)
        _line, headers = head_of(sent := proxy.upstream.take())
        assert headers[b"content-length"] == b"5"
        assert b"transfer-encoding" not in headers
        assert sent.endswith(b"\r\n\r\nhello")


def test_chunked_body_stays_chunked_without_extensions_and_trailers() -> None:
    """Extensions and trailers are where parsers disagree (S51)."""
    with Proxy() as proxy:
        proxy.send(CHUNKED + b"5;x=y\r\nhello\r\n2\r\n!!\r\n0\r\nx-t: 1\r\n\r\n")
        sent = proxy.upstream.take()
        assert head_of(sent)[1][b"transfer-encoding"] == b"chunked"
        assert sent.partition(b"\r\n\r\n")[2] == b"5\r\nhello\r\n2\r\n!!\r\n0\r\n\r\n"


def test_body_is_streamed_as_it_comes() -> None:
    """Nothing is held back until the end (DESIGN section 2.3)."""
    with Proxy() as proxy:
        proxy.send(CHUNKED)
        proxy.upstream.take()
        proxy.send(b"3\r\nabc\r\n")
        assert proxy.upstream.take() == b"3\r\nabc\r\n"
        proxy.send(b"0\r\n\r\n")
        assert proxy.upstream.take() == b"0\r\n\r\n"


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"OPTIONS"])
def test_a_method_that_may_have_a_body_says_that_it_has_none(method: bytes) -> None:
    """Some upstreams wait for a body otherwise (spec/http.md section 7.3)."""
    with Proxy() as proxy:
        proxy.send(method + b" / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert head_of(proxy.upstream.take())[1][b"content-length"] == b"0"


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"TRACE"])
def test_a_method_without_a_body_says_nothing_of_it(method: bytes) -> None:
    """Envoy adds no length there."""
    with Proxy() as proxy:
        proxy.send(method + b" / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"content-length" not in head_of(proxy.upstream.take())[1]


def test_a_slow_upstream_stops_the_downstream_and_lets_it_go_on() -> None:
    """Flow control in the direction of the request."""
    with Proxy() as proxy:
        proxy.send(CHUNKED + b"3\r\nabc\r\n")
        proxy.upstream.block()
        assert not proxy.transport.is_reading()
        proxy.upstream.unblock()
        assert proxy.transport.is_reading()
        proxy.send(b"0\r\n\r\n")
        proxy.upstream.respond(OK)
        counters = proxy.stats().counters
        assert counters["http.ingress.downstream_flow_control_paused_reading_total"] == 1
        assert counters["http.ingress.downstream_flow_control_resumed_reading_total"] == 1
        proxy.check_nothing_left()


def test_an_upload_that_ends_while_the_upstream_is_blocked_does_not_stop_the_connection_for_good() -> None:
    """The end of the body may already have been read when reading was paused; someone must resume it."""
    with Proxy() as proxy:
        proxy.send(CHUNKED + b"3\r\nabc\r\n")
        proxy.upstream.block()
        assert not proxy.transport.is_reading()
        proxy.send(b"0\r\n\r\n")  # was under way
        proxy.upstream.unblock()
        assert proxy.transport.is_reading()
        proxy.upstream.respond(OK)
        proxy.send(GET)
        proxy.upstream.respond(OK)
        assert proxy.take().count(b"HTTP/1.1 200 OK") == 2


def test_an_answer_before_the_upload_was_taken_resumes_the_downstream_and_drops_the_upstream() -> None:
    """Bytes that the upstream never read would be the head of the next request's connection."""
    with Proxy() as proxy:
        proxy.send(CHUNKED + b"3\r\nabc\r\n")
        proxy.upstream.block()
        proxy.send(b"0\r\n\r\n")
        proxy.upstream.respond(OK)
        assert proxy.transport.is_reading()
        assert not proxy.is_closed()
        assert proxy.upstream.is_closed()
        counters = proxy.stats().counters
        assert counters["http.ingress.downstream_flow_control_resumed_reading_total"] == 1
        proxy.check_nothing_left()


def test_a_slow_downstream_stops_the_upstream_and_lets_it_go_on() -> None:
    """Flow control in the direction of the response."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc")
        proxy.downstream.pause_writing()
        assert not proxy.upstream.transport.is_reading()
        proxy.downstream.resume_writing()
        assert proxy.upstream.transport.is_reading()
        proxy.upstream.respond(b"def")
        assert proxy.take().endswith(b"abcdef")
        proxy.check_nothing_left()


def test_an_idle_upstream_connection_always_reads() -> None:
    """A paused one in the pool would notice neither its end nor an answer that nobody asked for."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.downstream.pause_writing()
        assert not proxy.upstream.transport.is_reading()
        # The rest of the response was read already when reading was paused.
        proxy.upstream.respond(OK)
        assert proxy.upstream.transport.is_reading()
        proxy.check_nothing_left()


def test_buffer_limits_reach_both_transports() -> None:
    """`per_connection_buffer_limit_bytes` of the listener and of the cluster."""
    cluster = ClusterSettings(CLUSTER, buffer_limit_bytes=32768)
    with Proxy(cluster=cluster, buffer_limit_bytes=65536) as proxy:
        assert proxy.transport.high_water == 65536
        assert proxy.upstream.transport.high_water == 32768


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
    "wire",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
    ],
)
def test_a_response_that_breaks_off_is_cut_and_not_ended(wire: bytes) -> None:
    """The downstream must be able to see that it is not complete (spec/http.md section 11.1)."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(wire)
        proxy.upstream.close()
        assert not proxy.take().endswith(b"0\r\n\r\n")
        assert proxy.transport.was_aborted()
        details = "upstream_reset_after_response_started{connection_termination}"
        assert proxy.log.lines == [f"200 UC {details}"]
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


# -- 100-continue, HTTP/1.0, upgrades, CONNECT ------------------------------------------------------------


def test_expect_continue_is_answered_by_the_proxy_and_removed() -> None:
    """spec/http.md section 5."""
    with Proxy() as proxy:
        proxy.send(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\ncontent-length: 5\r\n\r\n")
        assert proxy.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert b"expect" not in head_of(proxy.upstream.take())[1]
        proxy.send(b"hello")
        assert proxy.upstream.take() == b"hello"
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200


def test_http_10_is_refused_unless_the_listener_accepts_it() -> None:
    """426 `Upgrade Required`, also on a host that was seen before (spec/http.md section 5)."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.take()
        proxy.upstream.take()
        proxy.send(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n")
        assert status_of(received := proxy.take()) == 426
        assert received.endswith(b"\r\n\r\nUpgrade Required")
        assert proxy.upstream.take() == b""
        assert proxy.is_closed()


def test_http_10_closes_unless_keep_alive_was_asked_for() -> None:
    """RFC 9112 section 9.3."""
    with Proxy(accept_http_10=True) as proxy:
        for _ in range(2):
            proxy.send(b"GET / HTTP/1.0\r\nhost: a\r\nconnection: Keep-Alive\r\n\r\n")
            assert proxy.upstream.take().startswith(b"GET / HTTP/1.1\r\n")
            proxy.upstream.respond(OK)
            line, headers = head_of(proxy.take())
            assert line == b"HTTP/1.0 200 OK"
            assert headers[b"connection"] == b"keep-alive"
        proxy.send(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n")
        proxy.upstream.respond(OK)
        assert head_of(proxy.take())[1][b"connection"] == b"close"
        assert proxy.is_closed()


def test_http_10_gets_a_body_of_unknown_length_until_close() -> None:
    """It does not know chunks."""
    with Proxy(accept_http_10=True) as proxy:
        proxy.send(b"GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n")
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        received = proxy.take()
        assert b"transfer-encoding" not in received
        assert head_of(received)[1][b"connection"] == b"close"
        assert received.endswith(b"\r\n\r\nok")
        assert proxy.is_closed()


def test_http_10_without_host_gets_the_default_host() -> None:
    """`default_host_for_http_10`."""
    with Proxy(accept_http_10=True, default_host_for_http_10="old.example") as proxy:
        proxy.send(b"GET / HTTP/1.0\r\n\r\n")
        assert head_of(proxy.upstream.take())[1][b"host"] == b"old.example"


def test_http_10_is_never_sent_an_interim_response() -> None:
    """RFC 9110 section 10.1.1: it would take `100` for the answer."""
    with Proxy(accept_http_10=True) as proxy:
        proxy.send(b"POST / HTTP/1.0\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        assert proxy.take() == b""


@pytest.mark.parametrize("upgrade", [b"websocket", b"WebSocket", b"h2c, websocket"])
def test_s52_an_upgrade_is_refused_and_nothing_passes(upgrade: bytes) -> None:
    """Bytes behind the head would be a tunnel that no filter has seen."""
    with Proxy() as proxy:
        head = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: " + upgrade + b"\r\n\r\n"
        proxy.send(head + b"\x81\x05hello")
        assert status_of(proxy.take()) == 403
        assert proxy.is_closed()
        assert proxy.upstream.take() == b""
        assert proxy.log.lines == ["403 - upgrade_failed"]


def test_h2c_is_ignored_and_the_request_served() -> None:
    """spec/http.md section 13: its headers go."""
    with Proxy() as proxy:
        h2c = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n"
        proxy.send(b"GET / HTTP/1.1\r\nhost: a\r\n" + h2c + b"\r\n" + GET)
        headers = head_of(proxy.upstream.take())[1]
        assert not {b"connection", b"upgrade", b"http2-settings"} & set(headers)
        proxy.upstream.respond(OK)
        proxy.upstream.respond(OK)
        assert proxy.take().count(b"200 OK") == 2


@pytest.mark.parametrize("target", [b"a:443", b"/x", b"/"])
@pytest.mark.parametrize("prefix", ["/", ""])
def test_connect_is_never_forwarded(prefix: str, target: bytes) -> None:
    """Whatever a route matches: an upstream that grants it would tunnel (spec/http.md section 5)."""
    with Proxy(routes=[to_service(prefix)]) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.upstream.take()
        proxy.take()
        proxy.send(b"CONNECT " + target + b" HTTP/1.1\r\nhost: a\r\n\r\n" + GET)
        assert status_of(proxy.take()) == (400 if target.startswith(b"/") else 404)
        assert proxy.upstream.take() == b""
        assert proxy.is_closed()


def test_options_star_is_no_path() -> None:
    """404 unless a route matches `*`."""
    with Proxy() as proxy:
        proxy.send(b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n")
        assert status_of(proxy.take()) == 404
        assert not proxy.is_closed()


# -- failures of the upstream ------------------------------------------------------------------------------


def test_without_endpoint_the_answer_is_503() -> None:
    """`no healthy upstream`, UH."""
    with Proxy() as proxy:
        proxy.cluster.update_endpoints([])
        proxy.send(GET)
        line, _headers = head_of(received := proxy.take())
        assert line == b"HTTP/1.1 503 Service Unavailable"
        assert received.endswith(b"\r\n\r\nno healthy upstream")
        assert proxy.log.lines == ["503 UH no_healthy_upstream"]
        assert not proxy.is_closed()


def test_upstream_reset_before_the_head_is_503() -> None:
    """spec/http.md section 12; a POST is not sent twice, even on a connection that had served before."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.take()
        proxy.send(POST)
        proxy.upstream.close()
        received = proxy.take()
        assert status_of(received) == 503
        assert received.endswith(b"before headers. reset reason: connection termination")
        details = "upstream_reset_before_response_started{connection_termination}"
        assert proxy.log.lines[-1] == f"503 UC {details}"
        proxy.check_nothing_left()


@pytest.mark.parametrize(
    "wire",
    [
        b"NOT HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x-a: 1\r\n" * 101 + b"content-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: 1\r\n" % n for n in range(101)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx-a: " + b"x" * 300_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
        b"HTTP/1.1 200 OK\nlf: only\n\n",
        b"HTTP/1.1 000 Zero\r\ncontent-length: 4\r\n\r\nHTTP",
        b"HTTP/1.1 099 Low\r\ncontent-length: 4\r\n\r\nHTTP",
    ],
    ids=[
        "no-http", "cl-te", "two-cl", "te-gzip-chunked", "te-gzip", "204-cl", "204-te", "101", "repeated", "many",
        "large", "1xx-flood", "bare-lf", "status-0", "status-99",
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [0, 4096])
def test_s51_a_response_that_is_no_http_is_502(wire: bytes, step: int) -> None:
    """Nothing of it reaches the downstream: it could be read as something else there."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(wire, step)
        received = proxy.take()
        assert status_of(received) == 502
        assert received.endswith(b"before headers. reset reason: protocol error")
        assert received.count(b"HTTP/1.1") == 1
        assert not proxy.is_closed()
        assert proxy.upstream.is_closed()
        details = "upstream_reset_before_response_started{protocol_error}"
        assert proxy.log.lines == [f"502 UPE {details}"]
        proxy.check_nothing_left()


# -- the downstream goes away ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
@pytest.mark.parametrize("state", ["head", "body", "waiting-response", "response", "queued", "blocked"])
def test_a_downstream_that_leaves_takes_everything_with_it(state: str, error: Exception | None) -> None:
    """In every state: exchange aborted, pool consistent, gauges at zero, one log line, no timer left."""
    with Proxy() as proxy:
        if state == "head":
            proxy.send(GET[:10])
        elif state == "body":
            proxy.send(POST[:-2])
        elif state == "queued":
            proxy.send(GET * 4)
        elif state == "blocked":
            proxy.send(CHUNKED + b"1\r\na\r\n")
            proxy.upstream.block()
        else:
            proxy.send(GET)
        if state == "response":
            proxy.upstream.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")
        proxy.leave(error)

        assert proxy.upstream.is_closed() == (state != "head")
        counters = proxy.stats().counters
        if state == "head":
            assert proxy.log.lines == []
        else:
            code = 200 if state == "response" else 0
            assert proxy.log.lines == [f"{code} DC downstream_remote_disconnect"]
            assert counters["cluster.service.upstream_rq_cancelled"] == 1
            assert counters["http.ingress.downstream_cx_destroy_active_rq"] == 1
        assert proxy.stats().gauges["http.ingress.downstream_cx_active"] == 0
        assert proxy.manager.open_connections == 0
        assert proxy.loop.live_timers == 0
        proxy.check_nothing_left()


def test_late_bytes_from_the_upstream_reach_nobody() -> None:
    """The connection was aborted; its handler is gone, and the next request gets another one."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.downstream.connection_lost(None)
        proxy.upstream.connection.data_received(OK)
        proxy.loop.run_ready()
        proxy.check_nothing_left()


# -- time --------------------------------------------------------------------------------------------------


def test_route_timeout_is_504() -> None:
    """15 s by default, from the end of the request (spec/http.md section 11.2)."""
    with Proxy() as proxy:
        proxy.send(POST[:-1])
        proxy.advance(20)
        assert proxy.take() == b""
        proxy.send(POST[-1:])
        proxy.advance(14)
        assert proxy.take() == b""
        proxy.advance(2)
        received = proxy.take()
        assert status_of(received) == 504
        assert received.endswith(b"upstream request timeout")
        assert proxy.log.lines == ["504 UT response_timeout"]
        assert proxy.upstream.is_closed()
        assert not proxy.is_closed()
        assert proxy.stats().counters["cluster.service.upstream_rq_timeout"] == 1
        proxy.check_nothing_left()


def test_route_timeout_cuts_a_response_that_has_begun() -> None:
    """It covers the whole response."""
    with Proxy(routes=[to_service(timeout_s=3)]) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")
        proxy.advance(4)
        assert proxy.transport.was_aborted()
        assert proxy.log.lines == ["200 UT response_timeout"]
        proxy.check_nothing_left()


def test_route_timeout_of_zero_is_none() -> None:
    """`timeout: 0s`; the stream idle timeout remains, and no expected timeout is told upstream."""
    with Proxy(routes=[to_service(timeout_s=0)]) as proxy:
        proxy.send(GET)
        assert b"x-envoy-expected-rq-timeout-ms" not in proxy.upstream.take()
        proxy.advance(299)
        assert proxy.take() == b""
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200


def test_one_request_s_timeout_does_not_hit_the_next() -> None:
    """The loop timer is shared by all requests of a connection."""
    with Proxy() as proxy:
        for _ in range(4):
            proxy.send(GET)
            proxy.advance(10)
            proxy.upstream.respond(OK)
            assert status_of(proxy.take()) == 200
        proxy.advance(100)
        assert proxy.take() == b""


def test_stream_idle_timeout_is_504_for_a_complete_request_and_408_for_another() -> None:
    """spec/http.md section 11.2."""
    with Proxy(routes=[to_service(timeout_s=0)], stream_idle_timeout_s=10) as proxy:
        proxy.send(GET)
        proxy.advance(11)
        assert status_of(received := proxy.take()) == 504
        assert received.endswith(b"stream timeout")
        assert not proxy.is_closed()
        proxy.offer()
        proxy.send(POST[:-1])
        proxy.advance(11)
        assert status_of(received := proxy.take()) == 408
        assert received.endswith(b"stream timeout")
        assert proxy.is_closed()
        assert proxy.log.lines == ["504 SI stream_idle_timeout", "408 SI stream_idle_timeout"]
        proxy.check_nothing_left()


def test_stream_idle_timeout_counts_from_the_last_movement() -> None:
    """Body bytes in either direction and the response head are movement."""
    with Proxy(routes=[to_service(timeout_s=0)], stream_idle_timeout_s=10) as proxy:
        proxy.send(CHUNKED)
        for _ in range(3):
            proxy.advance(8)
            proxy.send(b"1\r\na\r\n")
        proxy.advance(8)
        proxy.send(b"0\r\n\r\n")
        proxy.advance(8)
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        proxy.advance(8)
        proxy.upstream.respond(b"o")
        proxy.advance(8)
        proxy.upstream.respond(b"k")
        assert proxy.take().endswith(b"ok")
        assert not proxy.is_closed()
        proxy.check_nothing_left()


def test_request_timeout_is_408() -> None:
    """`request_timeout`: the whole request within it."""
    with Proxy(request_timeout_s=5) as proxy:
        proxy.send(CHUNKED)
        for _ in range(5):
            proxy.advance(1)
            proxy.send(b"1\r\na\r\n")
        proxy.advance(1)
        received = proxy.take()
        assert status_of(received) == 408
        assert received.endswith(b"request timeout")
        assert proxy.log.lines == ["408 - request_overall_timeout"]
        assert proxy.is_closed()
        assert proxy.upstream.is_closed()
        proxy.check_nothing_left()


def test_request_timeout_ends_with_the_request() -> None:
    """A slow upstream is the route timeout's business."""
    with Proxy(request_timeout_s=5) as proxy:
        proxy.send(POST[:-1])
        proxy.advance(4)
        proxy.send(POST[-1:])
        proxy.advance(10)
        assert proxy.take() == b""
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200


def test_head_timeout_counts_from_the_first_byte_of_the_head() -> None:
    """A byte a second would keep the connection for hours otherwise: the slow loris."""
    with Proxy(request_headers_timeout_s=5) as proxy:
        proxy.advance(60)
        for byte in b"GET / ":
            proxy.send(bytes([byte]))
            proxy.advance(1)
        received = proxy.take()
        assert status_of(received) == 408
        assert received.endswith(b"request header timeout")
        assert proxy.log.lines == ["408 - request_header_timeout"]
        assert proxy.is_closed()
        assert proxy.stats().counters["http.ingress.downstream_rq_header_timeout"] == 1
        proxy.check_nothing_left()


def test_head_timeout_applies_to_the_next_head_anew() -> None:
    """Each head has its own time."""
    with Proxy(request_headers_timeout_s=5) as proxy:
        for _ in range(3):
            proxy.send(GET[:5])
            proxy.advance(3)
            proxy.send(GET[5:])
            proxy.upstream.respond(OK)
            assert status_of(proxy.take()) == 200
            proxy.advance(3)
        assert not proxy.is_closed()


def test_head_timeout_ends_with_the_head() -> None:
    """A long upload whose head came in two pieces is no slow loris."""
    with Proxy(request_headers_timeout_s=5) as proxy:
        proxy.send(CHUNKED[:20])
        proxy.send(CHUNKED[20:])
        proxy.advance(20)
        proxy.send(b"1\r\na\r\n0\r\n\r\n")
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200


def test_idle_connection_is_closed_after_the_idle_timeout() -> None:
    """`common_http_protocol_options.idle_timeout`, counted from the last answer."""
    with Proxy(idle_timeout_s=60) as proxy:
        proxy.advance(50)
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.advance(59)
        assert not proxy.is_closed()
        proxy.advance(2)
        assert proxy.is_closed()
        assert proxy.stats().counters["http.ingress.downstream_cx_idle_timeout"] == 1


def test_idle_timeout_of_zero_is_none() -> None:
    """Envoy's meaning of 0."""
    with Proxy(idle_timeout_s=0, stream_idle_timeout_s=0, routes=[to_service(timeout_s=0)]) as proxy:
        proxy.loop.advance(1e6)
        proxy.manager.check_idle(proxy.loop.now)
        proxy.send(GET)
        proxy.loop.advance(1e6)
        proxy.manager.check_idle(proxy.loop.now)
        assert not proxy.is_closed()


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
