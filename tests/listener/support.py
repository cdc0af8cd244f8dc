"""A whole data path without sockets: bytes in from the downstream, bytes out to the upstream, and back.

`Proxy` puts a connection manager, its filters, its routes and one cluster together, on transports and a loop that do
nothing by themselves: a test sends bytes, moves the clock and looks at what was written. It reads like a transcript:

    with Proxy() as proxy:
        proxy.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert proxy.upstream.take().startswith(b"GET / HTTP/1.1\r\n")
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        assert proxy.take().endswith(b"ok")
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, cast

from fastproxy import clock
from fastproxy.filters.base import HttpFilter
from fastproxy.filters.chain import FilterChain
from fastproxy.filters.jwt_authn.filter import JwtAuthnFilter
from fastproxy.listener.access_log import AccessLog, AccessLogFile
from fastproxy.listener.connection import DownstreamConnection
from fastproxy.listener.manager import HttpConnectionManager
from fastproxy.listener.settings import (
    AccessLogSettings,
    FilterChainSettings,
    HttpConnectionManagerSettings,
    ListenerSettings,
)
from fastproxy.match.settings import PathKind, PathMatch
from fastproxy.router.router import Router
from fastproxy.router.settings import (
    ForwardAction,
    RouteActionSettings,
    RouteConfigurationSettings,
    RouteSettings,
    VirtualHostSettings,
)
from fastproxy.stats import StatsSink
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.errors import UpstreamError
from fastproxy.upstream.settings import Address, ClusterSettings

#: Unix time at the start of every test.
NOW = 1_700_000_000
START = 1000.0
PEER = ("192.0.2.7", 4711)
UPSTREAM = Address("198.51.100.1", 8080, "service.example")
CLUSTER = "service"

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class SteppedHandle:
    """A timer or a callback of a `SteppedLoop`."""

    def __init__(self, when: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.when = when
        self.callback = callback
        self.args = args
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class SteppedLoop:
    """An event loop whose time stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = START
        self._timers: list[tuple[float, int, SteppedHandle]] = []
        self._ready: list[SteppedHandle] = []
        self._count = 0

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> SteppedHandle:
        handle = SteppedHandle(self.now + delay, callback, args)
        self._count += 1
        heapq.heappush(self._timers, (handle.when, self._count, handle))
        return handle

    def call_soon(self, callback: Callable[..., object], *args: Any) -> SteppedHandle:
        handle = SteppedHandle(self.now, callback, args)
        self._ready.append(handle)
        return handle

    def run_ready(self) -> None:
        """Run what was scheduled for now, and what that schedules."""
        while self._ready:
            handle = self._ready.pop(0)
            if not handle.is_cancelled:
                handle.callback(*handle.args)

    def advance(self, seconds: float) -> None:
        """Let time pass; every timer runs at its own time."""
        self.run_ready()
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, handle = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if not handle.is_cancelled:
                handle.callback(*handle.args)
            self.run_ready()
        self.now = end

    @property
    def live_timers(self) -> int:
        """Timers that would still run: each keeps its owner alive."""
        return sum(not handle.is_cancelled for _, _, handle in self._timers)

    def as_loop(self) -> asyncio.AbstractEventLoop:
        return cast("asyncio.AbstractEventLoop", self)


class FakeTransport:
    """Records what the protocol does; refuses what uvloop refuses."""

    def __init__(self, loop: SteppedLoop, protocol: Any) -> None:
        self._loop = loop
        self._protocol = protocol
        self.written = bytearray()
        self.writes = 0
        self.unsent = 0
        """What `get_write_buffer_size` tells; a test sets it to play a peer that does not read."""
        self.high_water = 0
        self._reading = True
        self._aborted = False
        self.eof_written = False
        self._closing = False
        self._lost = False
        self.pauses: list[str] = []

    def as_transport(self) -> asyncio.Transport:
        return cast("asyncio.Transport", self)

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        assert data, "an empty write is a wasted call"
        if self._closing or self.eof_written:
            raise RuntimeError("the handler is closing or closed")
        self.written += data
        self.writes += 1

    def take(self) -> bytes:
        data = bytes(self.written)
        self.written.clear()
        return data

    def is_closing(self) -> bool:
        return self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high_water = high or 0

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": PEER, "sockname": ("203.0.113.9", 443)}.get(name, default)

    def pause_reading(self) -> None:
        assert self._reading, "paused twice"
        assert not self._closing
        self._reading = False
        self.pauses.append("pause")

    def resume_reading(self) -> None:
        assert not self._reading, "resumed without a pause"
        assert not self._closing
        self._reading = True
        self.pauses.append("resume")

    def is_reading(self) -> bool:
        return self._reading

    def was_aborted(self) -> bool:
        return self._aborted

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof_written = True

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self.lose, None)

    def abort(self) -> None:
        self._aborted = True
        self.close()

    def lose(self, error: Exception | None) -> None:
        """The connection is gone: the protocol hears of it, once."""
        self._closing = True
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(error)

    @property
    def is_lost(self) -> bool:
        return self._lost


class FakeUpstream:
    """One connection to the endpoint, seen from the endpoint."""

    def __init__(self, proxy: "Proxy", connection: UpstreamConnection) -> None:
        self.connection = connection
        self._proxy = proxy
        self.transport = FakeTransport(proxy.loop, connection)
        connection.connection_made(self.transport.as_transport())

    def take(self) -> bytes:
        """What arrived here since the last look."""
        return self.transport.take()

    def respond(self, data: bytes, step: int = 0) -> None:
        """Send bytes, whole or in steps."""
        for at in range(0, len(data), step or len(data) or 1):
            if self.transport.is_closing():
                return
            self.connection.data_received(data[at : at + step] if step else data)
            self._proxy.loop.run_ready()

    def close(self, error: Exception | None = None) -> None:
        """End of stream, or a reset if `error` is given."""
        if error is None:
            self.connection.eof_received()
        self.transport.lose(error)
        self._proxy.loop.run_ready()

    def block(self) -> None:
        """Stop reading until the proxy's write buffer is full."""
        self.connection.pause_writing()

    def unblock(self) -> None:
        """Read again."""
        self.connection.resume_writing()

    def is_closed(self) -> bool:
        return self.transport.is_closing()


class LogLines(AccessLogFile):
    """An access log file in memory."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def append(self, line: str) -> None:
        self.lines.append(line)


def to_service(prefix: str = "/", **action: Any) -> RouteSettings:
    """A route to the one cluster."""
    return RouteSettings(PathMatch(PathKind.PREFIX, prefix), ForwardAction(CLUSTER, **action))


def route(prefix: str, action: RouteActionSettings, kind: PathKind = PathKind.PREFIX) -> RouteSettings:
    """A route with any action."""
    return RouteSettings(PathMatch(kind, prefix), action)


def catch_connects(connect: Callable[..., Awaitable[None]]) -> None:
    """Have `connect` called instead of the running event loop's `create_connection`.

    At the loop and not in the pool: compiled classes have no methods to exchange. Without a running loop nothing that
    connects can run either.
    """
    with suppress(RuntimeError):
        loop: Any = asyncio.get_running_loop()
        loop.create_connection = connect


class Proxy:
    """One downstream connection, one cluster with one endpoint, everything between them."""

    def __init__(
        self,
        *,
        routes: Sequence[RouteSettings] = (to_service(),),
        filters: Sequence[HttpFilter] = (),
        log_format: str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%",
        cluster: ClusterSettings | None = None,
        buffer_limit_bytes: int = 1024 * 1024,
        warm: bool = True,
        **settings: Any,
    ) -> None:
        self.loop = SteppedLoop()
        self._filters = filters
        self.log = LogLines()
        self._log_format = log_format
        self._settings = ListenerSettings(
            "main",
            "127.0.0.1",
            8080,
            (
                FilterChainSettings(
                    HttpConnectionManagerSettings(
                        "ingress",
                        RouteConfigurationSettings("r", (VirtualHostSettings("v", ("*",), tuple(routes)),)),
                        **settings,
                    )
                ),
            ),
            buffer_limit_bytes=buffer_limit_bytes,
        )
        self.cluster = Cluster(cluster or ClusterSettings(CLUSTER))
        self._warm = warm
        self.upstreams: list[FakeUpstream] = []
        self.attempts: list[asyncio.Future[UpstreamConnection]] = []
        self._attempted: dict[asyncio.Future[UpstreamConnection], UpstreamConnection] = {}

    def __enter__(self) -> Self:
        self._real_clock = (clock.monotonic, clock.unix_time)
        clock.monotonic = self.loop.time
        clock.unix_time = lambda: NOW + self.loop.now - START
        self.cluster.update_endpoints([UPSTREAM])
        catch_connects(self._connect)
        identity_headers = frozenset(
            name for one in self._filters if isinstance(one, JwtAuthnFilter) for name in one.identity_headers
        )
        router = Router(
            self._settings.http.route_config,
            {self.cluster.name: self.cluster},
            suppress_envoy_headers=self._settings.http.suppress_envoy_headers,
            identity_headers=identity_headers,
            loop=self.loop.as_loop(),
            buffer_limit_bytes=self._settings.buffer_limit_bytes,
        )
        self.manager = HttpConnectionManager(
            self._settings,
            self._settings.http,
            router=router,
            filters=FilterChain(self._filters, router.select_route),
            access_logs=[AccessLog(AccessLogSettings("", text_format=self._log_format), self.log)],
            loop=self.loop.as_loop(),
            identity_headers=identity_headers,
        )
        self.open_downstream()
        if self._warm:
            self.offer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        clock.monotonic, clock.unix_time = self._real_clock

    # -- the downstream ------------------------------------------------------------------------------------

    def open_downstream(self) -> None:
        """Connect once more; `send` and `take` speak of the newest connection."""
        self.downstream: DownstreamConnection = self.manager()
        self.transport = FakeTransport(self.loop, self.downstream)
        self.downstream.connection_made(self.transport.as_transport())

    def send(self, data: bytes, step: int = 0) -> None:
        """Send bytes to the proxy, whole or in steps, as long as it does not close."""
        for at in range(0, len(data), step or len(data) or 1):
            if self.transport.is_closing():
                return
            self.downstream.data_received(data[at : at + step] if step else data)
            self.loop.run_ready()

    def take(self) -> bytes:
        """What the downstream received since the last look."""
        return self.transport.take()

    def leave(self, error: Exception | None = None) -> None:
        """The downstream goes away."""
        if error is None:
            self.downstream.eof_received()
        self.transport.lose(error)
        self.loop.run_ready()

    def is_closed(self) -> bool:
        """Whether the proxy has ended the connection, at least its own half."""
        return self.transport.eof_written or self.transport.is_closing()

    def advance(self, seconds: float) -> None:
        """Let time pass, with the worker's sweep every second."""
        for _ in range(int(seconds)):
            self.loop.advance(1.0)
            self.manager.check_idle(self.loop.now)
        self.loop.advance(seconds - int(seconds))
        self.loop.run_ready()

    # -- the upstream --------------------------------------------------------------------------------------

    @property
    def pool(self) -> Any:
        """The endpoint's pool; Any, for tests look behind its back."""
        return self.cluster.endpoints[0].pool

    @property
    def upstream(self) -> FakeUpstream:
        """The newest connection to the endpoint."""
        return self.upstreams[-1]

    def _connected(self, connection: UpstreamConnection | None = None) -> FakeUpstream:
        self.upstreams.append(FakeUpstream(self, connection or UpstreamConnection(self.pool)))
        return self.upstream

    def offer(self) -> FakeUpstream:
        """Put a fresh connection into the pool."""
        upstream = self._connected()
        self.pool.release(upstream.connection)
        return upstream

    async def _connect(
        self, make_protocol: Callable[[], UpstreamConnection], *_: object, **__: object
    ) -> None:
        attempt: asyncio.Future[UpstreamConnection] = asyncio.get_running_loop().create_future()
        self.attempts.append(attempt)
        self._attempted[attempt] = make_protocol()
        await attempt

    async def settle(self) -> None:
        """Let tasks run until nothing moves."""
        for _ in range(8):
            await asyncio.sleep(0)
            self.loop.run_ready()

    async def accept(self, index: int = -1) -> FakeUpstream:
        """The endpoint accepts a connection attempt."""
        await self.settle()
        attempt = self.attempts[index]
        upstream = self._connected(self._attempted[attempt])
        attempt.set_result(upstream.connection)
        await self.settle()
        return upstream

    async def refuse(self, error: UpstreamError, index: int = -1) -> None:
        """A connection attempt fails."""
        await self.settle()
        self.attempts[index].set_exception(error)
        await self.settle()

    # -- what is left --------------------------------------------------------------------------------------

    def stats(self) -> StatsSink:
        """A snapshot."""
        sink = StatsSink()
        self.manager.write_stats(sink)
        self.cluster.write_stats(sink)
        return sink

    def check_nothing_left(self) -> None:
        """No request is open anywhere: gauges are back at zero, nobody waits, no connection is held."""
        gauges = self.stats().gauges
        assert gauges["http.ingress.downstream_rq_active"] == 0
        assert gauges["cluster.service.upstream_rq_active"] == 0
        assert not self.pool._waiting
        alive = sum(not upstream.transport.is_lost for upstream in self.upstreams)
        assert self.pool.open_connections == alive
        assert len(self.pool._idle) == alive, "every open connection is idle"
        (host,) = self.stats().hosts[CLUSTER].values()
        assert host["rq_active"] == 0


def head_of(wire: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """First line and headers of the first message; repeated names are an error."""
    lines = wire.partition(b"\r\n\r\n")[0].split(b"\r\n")
    headers: dict[bytes, bytes] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b": ")
        assert colon, line
        assert name not in headers, line
        headers[name] = value
    return lines[0], headers


def status_of(wire: bytes) -> int:
    """Status of the first response."""
    assert wire.startswith(b"HTTP/1."), wire[:60]
    return int(wire[9:12])
