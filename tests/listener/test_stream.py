"""One request of a connection: its body, what it asks of HTTP, and how it ends when a peer fails."""

import pytest

from fastproxy.upstream.settings import ClusterSettings
from tests.listener.support import CHUNKED, CLUSTER, GET, OK, POST, Proxy, head_of, status_of, to_service

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
    """404, whatever the routes say: rules for paths do not see it (S49)."""
    with Proxy(routes=[to_service("")]) as proxy:
        proxy.send(b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n")
        assert status_of(proxy.take()) == 404
        assert not proxy.is_closed()
        assert proxy.upstream.take() == b""
        assert proxy.log.lines == ["404 - absolute_path_rejected"]
        assert proxy.stats().counters["http.ingress.downstream_rq_non_relative_path"] == 1


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
            # Those count as cancelled that still waited for a connection (Envoy).
            assert counters["cluster.service.upstream_rq_cancelled"] == 0
            assert counters["cluster.service.upstream_cx_destroy_local_with_active_rq"] == 1
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


def test_an_upgrade_without_a_route_is_not_found() -> None:
    """As any other request; nothing was refused, and nothing upgraded."""
    with Proxy(routes=()) as proxy:
        proxy.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        assert status_of(proxy.take()) == 404
        stats = proxy.manager.stats
        assert (stats.downstream_cx_upgrades_total, stats.downstream_rq_ws_on_non_ws_route) == (0, 0)
