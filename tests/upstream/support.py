"""One pool without sockets: connection attempts are futures, transports record."""

import asyncio
from collections.abc import Callable
from typing import Any

from fastproxy.upstream.circuit_breaker import build_breakers
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.errors import UpstreamError
from fastproxy.upstream.pool import ConnectionPool
from fastproxy.upstream.settings import Address, ClusterSettings
from fastproxy.upstream.stats import ClusterStats, EndpointStats
from tests.listener.support import FakeTransport, SteppedLoop, catch_connects

ADDRESS = Address("198.51.100.1", 8080, "service.example")


class Waiter:
    """A `ConnectionWaiter` and `ResponseHandler` that writes down what happens to it."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.connection: UpstreamConnection | None = None
        self.events: list[Any] = []

    def on_connection(self, connection: UpstreamConnection) -> bool:
        assert self.connection is None, "served twice"
        self.connection = connection
        self.events.append("connection")
        self.use(connection)
        return True

    def use(self, connection: UpstreamConnection, *, head_only: bool = False) -> None:
        self.connection = connection
        connection.start(self, head_only=head_only)
        connection.write(b"request")
        connection.request_sent = True

    def on_connect_error(self, error: UpstreamError) -> None:
        self.events.append(error)

    def on_response_head(self, status: int, headers: object, body: list[bytes], *, complete: bool) -> None:
        self.events.append((status, b"".join(body), complete))

    def on_response_body(self, body: list[bytes], *, complete: bool) -> None:
        self.events.append((b"".join(body), complete))

    def on_upstream_error(self, error: UpstreamError) -> None:
        self.events.append(error)

    def on_interim(self, headers: object) -> None:
        self.events.append(("interim", headers))

    def on_upstream_blocked(self) -> None:
        self.events.append("blocked")

    def on_upstream_drained(self) -> None:
        self.events.append("drained")


class PoolBench:
    """A pool, its attempts and its connections."""

    def __init__(self, **settings: Any) -> None:
        self.loop = SteppedLoop()
        self.stats = ClusterStats()
        self.endpoint_stats = EndpointStats()
        cluster = ClusterSettings("c", **settings)
        self.breaker, self.high_breaker = build_breakers(cluster.thresholds)
        self.pool = ConnectionPool((ADDRESS,), cluster, self.stats, self.endpoint_stats)
        self.attempts: list[asyncio.Future[UpstreamConnection]] = []
        self.transports: list[FakeTransport] = []
        self._attempted: dict[asyncio.Future[UpstreamConnection], UpstreamConnection] = {}
        catch_connects(self._connect)

    async def _connect(
        self, make_protocol: Callable[[], UpstreamConnection], *_: object, **__: object
    ) -> None:
        attempt: asyncio.Future[UpstreamConnection] = asyncio.get_running_loop().create_future()
        self.attempts.append(attempt)
        self._attempted[attempt] = make_protocol()
        await attempt

    def connect(self, waiter: Waiter) -> None:
        """As a request of priority DEFAULT does."""
        self.pool.connect(waiter, self.breaker)

    def make_connection(self, connection: UpstreamConnection | None = None) -> UpstreamConnection:
        connection = connection or UpstreamConnection(self.pool)
        transport = FakeTransport(self.loop, connection)
        connection.connection_made(transport.as_transport())
        self.transports.append(transport)
        return connection

    def transport_of(self, connection: UpstreamConnection) -> FakeTransport:
        (found,) = (one for one in self.transports if one._protocol is connection)
        return found

    def idle(self) -> UpstreamConnection:
        """A connection that the pool holds."""
        connection = self.make_connection()
        self.pool.release(connection)
        return connection

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)
            self.loop.run_ready()

    async def accept(self, index: int) -> UpstreamConnection:
        await self.settle()
        attempt = self.attempts[index]
        connection = self.make_connection(self._attempted[attempt])
        attempt.set_result(connection)
        await self.settle()
        return connection

    async def refuse(self, index: int, error: UpstreamError) -> None:
        await self.settle()
        self.attempts[index].set_exception(error)
        await self.settle()

    def check_invariants(self) -> None:
        """What pool.py promises at all times."""
        pool = self.pool
        assert not (pool._idle and pool._waiting), "idle while somebody waits"
        assert len(set(map(id, pool._idle))) == len(pool._idle)
        for connection in pool._idle:
            assert connection._handler is None
        alive = sum(not transport.is_lost for transport in self.transports)
        assert pool.open_connections == alive
        unfinished = sum(not attempt.done() for attempt in self.attempts)
        assert len(pool._waiting) <= unfinished, "a waiter without an attempt waits for ever"
