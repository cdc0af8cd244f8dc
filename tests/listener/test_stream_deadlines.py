"""How long a request, and a connection between two, may take."""

from tests.listener.support import CHUNKED, GET, OK, POST, Proxy, status_of, to_service


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
