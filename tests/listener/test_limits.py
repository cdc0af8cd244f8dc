"""Limits of a downstream connection: number of requests, age, and how long a request may take."""

import asyncio
from typing import Any

import pytest

from fastproxy.filters.base import Outcome
from fastproxy.http.messages import LocalReply, Request
from fastproxy.stats import StatsSink
from tests.listener.support import GET, OK, Proxy, head_of, status_of, to_service


def counter(proxy: Proxy, name: str) -> int:
    return proxy.stats().counters[f"http.ingress.{name}"]


def test_the_last_request_of_a_connection_closes_it() -> None:
    """`max_requests_per_connection`."""
    with Proxy(max_requests_per_connection=2) as proxy:
        closes = []
        for _ in range(2):
            proxy.send(GET)
            proxy.upstream.respond(OK)
            closes.append(head_of(proxy.take())[1].get(b"connection"))
        assert closes == [None, b"close"]
        assert proxy.is_closed()
        assert counter(proxy, "downstream_cx_max_requests_reached") == 1


def test_the_limit_counts_local_replies_and_holds_for_http_10() -> None:
    """`keep-alive` of an HTTP/1.0 peer does not reset it."""
    request = b"GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n"
    with Proxy(max_requests_per_connection=1, accept_http_10=True, routes=()) as proxy:
        proxy.send(request)
        assert head_of(proxy.take())[1][b"connection"] == b"close"


def test_an_idle_connection_is_closed_when_it_is_too_old() -> None:
    """`max_connection_duration`."""
    with Proxy(max_connection_duration_s=60.0) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.advance(59)
        assert not proxy.is_closed()
        proxy.advance(1.1)
        assert proxy.is_closed()
        assert counter(proxy, "downstream_cx_max_duration_reached") == 1
        assert counter(proxy, "downstream_cx_idle_timeout") == 0


def test_a_connection_that_is_too_old_finishes_its_request() -> None:
    """And says that it closes; also when only a part of the head was there."""
    for sent in (len(GET), 5):
        with Proxy(max_connection_duration_s=60.0, routes=[to_service(timeout_s=0.0)]) as proxy:
            proxy.send(GET[:sent])
            proxy.advance(61)
            assert not proxy.is_closed()
            proxy.send(GET[sent:])
            proxy.advance(1)
            proxy.upstream.respond(OK)
            assert head_of(proxy.take())[1][b"connection"] == b"close"
            assert proxy.is_closed()


@pytest.mark.parametrize("options", [{"max_connection_duration_s": 60.0}, {"idle_timeout_s": 59.5}])
def test_a_connection_whose_time_is_over_takes_one_more_request(options: dict[str, Any]) -> None:
    """`drain_timeout`: it may be on its way already, and a connection that closes would lose it."""
    with Proxy(drain_timeout_s=5.0, **options) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.take()
        proxy.advance(61)
        assert not proxy.is_closed()
        proxy.send(GET[:9])
        proxy.advance(6)
        assert not proxy.is_closed()
        proxy.send(GET[9:] + GET)
        proxy.upstream.respond(OK)
        wire = proxy.take()
        assert wire.count(b"HTTP/1.1 200 OK") == 1
        assert head_of(wire)[1][b"connection"] == b"close"
        assert proxy.is_closed()


def test_a_connection_whose_time_is_over_ends_without_a_request() -> None:
    """After `drain_timeout`, and if nothing ever came over it at once."""
    with Proxy(drain_timeout_s=5.0, max_connection_duration_s=60.0) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.advance(64)
        assert not proxy.is_closed()
        proxy.advance(1.1)
        assert proxy.is_closed()
        assert counter(proxy, "downstream_cx_max_duration_reached") == 1
        assert counter(proxy, "downstream_cx_idle_timeout") == 0
        proxy.transport.lose(None)
        assert proxy.loop.live_timers == 0
    with Proxy(drain_timeout_s=5.0, idle_timeout_s=60.0) as proxy:
        proxy.advance(61)
        assert proxy.is_closed()
        assert counter(proxy, "downstream_cx_idle_timeout") == 1
        assert counter(proxy, "downstream_cx_http1_total") == 0


def test_the_time_of_a_connection_is_over_once() -> None:
    """Too old, and idle in its last seconds: that is one end."""
    with Proxy(drain_timeout_s=30.0, max_connection_duration_s=60.0, idle_timeout_s=70.0) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.advance(89)
        assert not proxy.is_closed()
        assert counter(proxy, "downstream_cx_idle_timeout") == 0
        proxy.advance(2)
        assert proxy.is_closed()


def test_a_connection_that_ended_leaves_no_timer() -> None:
    """Each keeps its owner alive."""
    with Proxy(max_connection_duration_s=60.0, max_stream_duration_s=5.0) as proxy:
        proxy.send(GET)
        proxy.leave()
        assert proxy.loop.live_timers == 0


def test_a_stream_that_takes_too_long_ends() -> None:
    """`max_stream_duration` of the connection manager."""
    with Proxy(max_stream_duration_s=5.0, routes=[to_service(timeout_s=0.0)]) as proxy:
        proxy.send(GET)
        proxy.advance(4.9)
        assert proxy.take() == b""
        proxy.advance(0.2)
        wire = proxy.take()
        assert status_of(wire) == 504
        assert wire.endswith(b"downstream duration timeout")
        assert proxy.log.lines == ["504 - max_duration_timeout"]
        assert counter(proxy, "downstream_rq_max_duration_reached") == 1


def test_a_route_may_take_longer() -> None:
    """What the route says counts, also that there is no limit."""
    for duration in (30.0, 0.0):
        route = to_service(timeout_s=0.0, max_stream_duration_s=duration)
        with Proxy(max_stream_duration_s=5.0, routes=[route]) as proxy:
            proxy.send(GET)
            proxy.advance(10)
            proxy.upstream.respond(OK)
            assert status_of(proxy.take()) == 200


class Waiting:
    """A filter that never decides."""

    def __init__(self) -> None:
        self.cancelled = 0

    def on_request(self, request: Request) -> Outcome:
        return self._wait(request)

    async def _wait(self, _request: Request) -> LocalReply | None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return None

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Nothing is counted."""


async def test_a_filter_that_waits_is_given_up() -> None:
    """Its late word must not be taken for that about the next request."""
    waiting = Waiting()
    with Proxy(max_stream_duration_s=5.0, filters=[waiting]) as proxy:
        proxy.send(GET)
        await proxy.settle()
        proxy.advance(5.1)
        assert status_of(proxy.take()) == 504
        await proxy.settle()
        assert waiting.cancelled == 1
        assert not proxy.is_closed()
