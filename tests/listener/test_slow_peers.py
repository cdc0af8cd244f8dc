"""Peers that are slow on purpose: each has a bound, also between two requests."""

from tests.listener.support import GET, OK, Proxy


def test_half_a_head_behind_a_served_request_is_bounded() -> None:
    """`request_headers_timeout` begins when the request before it is over, not with bytes that may never come."""
    with Proxy(request_headers_timeout_s=5.0) as proxy:
        proxy.send(GET + GET[:10])
        proxy.upstream.respond(OK)
        proxy.take()
        proxy.advance(4.0)
        assert not proxy.is_closed()
        proxy.advance(2.0)
        assert proxy.take().startswith(b"HTTP/1.1 408 ")
        assert proxy.is_closed()


def test_a_peer_that_does_not_take_its_answer_is_cut() -> None:
    """Else a megabyte for each such peer stays in memory until `idle_timeout`."""
    with Proxy(stream_idle_timeout_s=10.0, idle_timeout_s=3600.0) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.transport.unsent = 1000
        proxy.advance(9.0)
        assert not proxy.transport.was_aborted()
        proxy.advance(3.0)
        assert proxy.transport.was_aborted()


def test_a_peer_that_takes_its_answer_slowly_gets_it() -> None:
    """Any progress within the time starts it anew."""
    with Proxy(stream_idle_timeout_s=10.0, idle_timeout_s=3600.0) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        for unsent in (1000, 800, 600, 400):
            proxy.transport.unsent = unsent
            proxy.advance(9.0)
        proxy.transport.unsent = 0
        proxy.advance(60.0)
        assert not proxy.transport.was_aborted()
