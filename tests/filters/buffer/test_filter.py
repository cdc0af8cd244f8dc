"""The buffer filter on a whole data path: what waits, what is refused, and what reaches the upstream."""

import asyncio

import pytest

from fastproxy.filters.base import Outcome
from fastproxy.filters.buffer.filter import BufferFilter
from fastproxy.filters.buffer.settings import BufferRouteSettings, BufferSettings
from fastproxy.http.messages import LocalReply, Request
from fastproxy.match.settings import PathKind, PathMatch
from fastproxy.router.settings import ForwardAction, RouteSettings
from fastproxy.stats import StatsSink
from tests.listener.support import CLUSTER, Proxy

HEAD = b"POST / HTTP/1.1\r\nhost: a\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


def buffering(limit: int = 10, *, is_off: bool = False) -> BufferFilter:
    """The filter under the name `b`."""
    return BufferFilter("b", BufferSettings(limit, is_off))


async def settle(proxy: Proxy) -> None:
    """Let the filter's task run."""
    for _ in range(5):
        await asyncio.sleep(0)
        proxy.loop.run_ready()


@pytest.mark.parametrize("step", [0, 1, 7])
async def test_a_chunked_body_goes_on_whole_and_with_its_length(step: int) -> None:
    """The upstream sees nothing before it, so a slow downstream occupies none of its connections."""
    with Proxy(filters=[buffering()]) as proxy:
        for piece in (CHUNKED, b"5\r\n01234\r\n"):
            proxy.send(piece, step)
            await settle(proxy)
        assert proxy.upstream.take() == b""
        proxy.send(b"5\r\n56789\r\n0\r\n\r\n", step)
        await settle(proxy)
        head, _, body = proxy.upstream.take().partition(b"\r\n\r\n")
        assert body == b"0123456789"
        assert b"\r\ncontent-length: 10" in head
        assert b"transfer-encoding" not in head


async def test_a_body_that_came_with_its_head_needs_no_task() -> None:
    """The usual case."""
    with Proxy(filters=[buffering()]) as proxy:
        proxy.send(HEAD + b"content-length: 2\r\n\r\nok")
        assert proxy.upstream.take().endswith(b"\r\n\r\nok")


async def test_a_length_above_the_limit_is_refused_at_once() -> None:
    """Not a byte of the body has to come."""
    with Proxy(filters=[buffering()]) as proxy:
        proxy.send(HEAD + b"content-length: 11\r\n\r\n")
        answer = proxy.take()
        assert answer.startswith(b"HTTP/1.1 413 Payload Too Large\r\n")
        assert answer.endswith(b"\r\n\r\nPayload Too Large")
        assert b"\r\nconnection: close" in answer
        assert proxy.is_closed()
        assert proxy.upstream.take() == b""
        proxy.manager.write_stats(sink := StatsSink())
        assert sink.counters["http.ingress.downstream_rq_too_large"] == 1


@pytest.mark.parametrize("step", [0, 1])
async def test_a_body_that_grows_too_long_is_refused(step: int) -> None:
    """A length that nobody announced counts as it comes."""
    with Proxy(filters=[buffering()]) as proxy:
        proxy.send(CHUNKED)
        await settle(proxy)
        proxy.send(b"b\r\n0123456789a\r\n", step)
        await settle(proxy)
        assert proxy.take().startswith(b"HTTP/1.1 413 ")
        assert proxy.is_closed()
        assert proxy.upstream.take() == b""


async def test_a_broken_body_ends_the_wait() -> None:
    """Otherwise a task would wait for ever for each of them."""
    before = asyncio.all_tasks()
    with Proxy(filters=[buffering()]) as proxy:
        proxy.send(CHUNKED + b"1\r\na\r\n")
        await settle(proxy)
        proxy.send(b"zz\r\n")
        assert proxy.take().startswith(b"HTTP/1.1 400 ")
        await settle(proxy)
        assert asyncio.all_tasks() == before


async def test_a_downstream_that_leaves_ends_the_wait() -> None:
    """As above."""
    before = asyncio.all_tasks()
    with Proxy(filters=[buffering()]) as proxy:
        proxy.send(CHUNKED + b"1\r\na\r\n")
        await settle(proxy)
        proxy.leave()
        await settle(proxy)
        assert asyncio.all_tasks() == before


class Slow:
    """A filter that waits for something, so that reading stops meanwhile."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    def on_request(self, request: Request) -> Outcome:
        return self._wait()

    async def _wait(self) -> LocalReply | None:
        await self.go.wait()
        return None

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Nothing to tell."""


async def test_reading_goes_on_when_the_filter_s_turn_comes() -> None:
    """A filter before it had the reading stopped."""
    slow = Slow()
    with Proxy(filters=[slow, buffering()]) as proxy:
        proxy.send(HEAD + b"content-length: 4\r\n\r\n01")
        await settle(proxy)
        assert not proxy.transport.is_reading()
        slow.go.set()
        await settle(proxy)
        assert proxy.transport.is_reading()
        proxy.send(b"23")
        await settle(proxy)
        assert proxy.upstream.take().endswith(b"\r\n\r\n0123")


async def test_a_slow_body_meets_the_request_timeout() -> None:
    """The wait has no time limit of its own."""
    with Proxy(filters=[buffering()], request_timeout_s=2.0) as proxy:
        proxy.send(CHUNKED)
        await settle(proxy)
        proxy.advance(3)
        assert proxy.take().startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("config", "off", "status"),
    [
        (None, False, b"413"),
        (None, True, b""),
        (BufferRouteSettings(), True, b"413"),
        (BufferRouteSettings(100), False, b""),
        (BufferRouteSettings(3), True, b"413"),
        (BufferRouteSettings(is_off=True), False, b""),
    ],
)
async def test_routes_have_the_last_word(
    config: BufferRouteSettings | None, off: bool, status: bytes
) -> None:
    """Their own limit, none, or the filter's where it is off by default."""
    configs = {} if config is None else {"b": config}
    routes = [RouteSettings(PathMatch(PathKind.PREFIX, "/"), ForwardAction(CLUSTER), filter_configs=configs)]
    with Proxy(routes=routes, filters=[buffering(is_off=off)]) as proxy:
        proxy.send(HEAD + b"content-length: 11\r\n\r\n0123456789a")
        assert proxy.take()[9:12] == status
        assert (proxy.upstream.take() == b"") is bool(status)
