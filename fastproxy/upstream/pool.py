"""Connections to one endpoint, kept open between requests (spec/clusters.md section 7).

A request takes the most recently used idle connection, or waits while one is made for it. Waiters are served first
come, first served, by whichever connection is there first: a new one, or one that another request gave back.
Always true: no connection is idle while somebody waits; there are as many connect attempts running as waiters, unless a
circuit breaker forbids more connections: then one waits for a connection that is there or under way, and there is at
least one. An attempt whose waiter was served by another connection, or went away, serves the next one or becomes idle;
so do those that `preconnect_policy` begins ahead of requests.
State changes are synchronous; the only thing awaited is the connect itself.
"""

import asyncio
import errno
import ssl
from collections import deque
from typing import Protocol

from fastproxy import clock
from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.large_reads import SharedBufferProtocol
from fastproxy.tasks import spawn
from fastproxy.upstream.circuit_breaker import CircuitBreaker
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.dial import connect_error, open_connection
from fastproxy.upstream.errors import CircuitBreakerOverflow, ConnectFailed, ConnectTimeout, UpstreamError
from fastproxy.upstream.proxy_header import Origin
from fastproxy.upstream.settings import NO_LIMIT, Address, ClusterSettings
from fastproxy.upstream.stats import ClusterStats, EndpointStats

#: What the system says to an address that is not ours, or a port that is taken.
_BIND_ERRORS = (errno.EADDRNOTAVAIL, errno.EADDRINUSE)


#: For one request; Envoy's number.
_MAX_SPARES_AT_ONCE = 3


class ConnectionWaiter(Protocol):
    """A request that needs a connection."""

    def on_connection(self, connection: UpstreamConnection) -> bool:
        """The connection is the waiter's from now on, unless it answers False."""

    def on_connect_error(self, error: UpstreamError) -> None:
        """No connection could be made."""


class ConnectionPool:
    """All connections of one worker to one host."""

    def __init__(
        self,
        addresses: tuple[Address, ...],
        settings: ClusterSettings,
        stats: ClusterStats,
        endpoint_stats: EndpointStats,
        *,
        server_name: str = "",
        owner: ConnectionInfo | None = None,
    ) -> None:
        self.addresses = addresses
        """Where new connections go, in the order of attempts; a logical endpoint's change, its connections stay."""
        self.buffer_limit_bytes = settings.buffer_limit_bytes
        connections = settings.connections
        self.max_headers = connections.max_response_headers
        self.max_head_bytes = connections.max_response_head_bytes
        self.kept_case = settings.kept_case
        self.keeps_trailers = settings.enable_trailers
        self.keepalive = connections.keepalive
        self.max_stream_s = connections.max_stream_s
        self._max_requests = connections.max_requests
        self._max_duration_s = connections.max_duration_s
        self._spare_ratio = settings.preconnect.per_upstream
        self.is_healthy = True
        """Of the endpoint: one that is not gets no connections that nobody needs yet."""
        self._keeps_spares = self._spare_ratio > 1.0
        self._wears_out = bool(self._max_requests or self._max_duration_s)
        self._server_name = server_name
        """The name that TLS sends instead of the cluster's; connections of this pool are used for no other."""
        self._owner = owner
        """The downstream connection whose requests alone use this pool, and that a PROXY header names."""
        self._settings = settings
        self.stats = stats
        """Of the cluster; its connections count there, too."""
        self._endpoint_stats = endpoint_stats
        self._idle: list[UpstreamConnection] = []
        self._waiting: deque[tuple[ConnectionWaiter, CircuitBreaker]] = deque()
        self._open = 0
        self._attempts = 0
        """Connections under way."""
        self._admitted_by: set[CircuitBreaker] = set()
        """Who counts this pool (`max_connection_pools`)."""
        self._draining = False
        self._epoch = 0
        """One more each time that all connections so far are to be given up."""

    def take_idle(self) -> UpstreamConnection | None:
        """An idle connection, most recently used first; None if a new one is needed. Hot path."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.is_usable:
                if self._keeps_spares and connection.charged_to is not None:
                    self._add_spares(connection.charged_to)
                return connection
        return None

    def connect(self, waiter: ConnectionWaiter, breaker: CircuitBreaker) -> None:
        """Queue for a connection and start making one; what `breaker` does not allow fails at once."""
        stats = self.stats
        if not breaker.pending.acquire():
            stats.upstream_rq_pending_overflow += 1
            waiter.on_connect_error(CircuitBreakerOverflow())
            return
        if breaker.max_pools < NO_LIMIT:
            if not breaker.admit_pool(self):
                breaker.pending.release()
                stats.upstream_cx_pool_overflow += 1
                waiter.on_connect_error(CircuitBreakerOverflow())
                return
            self._admitted_by.add(breaker)
        self._waiting.append((waiter, breaker))
        stats.upstream_rq_pending_total += 1
        if len(self._waiting) > self._attempts:
            self._open_another(breaker)
        if self._keeps_spares:
            self._add_spares(breaker)

    def warm_up(self, breaker: CircuitBreaker, ratio: float) -> bool:
        """The next request will be for this endpoint: make it a connection, unless there are enough (Envoy).

        Args:
            breaker: allows it, or not.
            ratio: how many connections there should be for each request, the one that is to come included.

        Returns:
            Whether one was begun.
        """
        return self._lacks_connections(ratio, 1) and self._open_spare(breaker)

    def forget(self, waiter: ConnectionWaiter) -> bool:
        """The waiter no longer wants a connection; the attempt under way serves the next one or goes idle.

        Returns:
            Whether it was waiting for one.
        """
        for entry in self._waiting:
            if entry[0] is waiter:
                self._waiting.remove(entry)
                entry[1].pending.release()
                self.stats.upstream_rq_cancelled += 1
                return True
        return False

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection whose exchange ended cleanly."""
        if connection.epoch != self._epoch or (self._wears_out and self._is_worn_out(connection)):
            # Whoever waits gets another one when this one is gone.
            connection.close()
            return
        while self._waiting:
            if self._take_waiter().on_connection(connection):
                return
        if self._draining:
            connection.close()
            return
        connection.idle_since = clock.monotonic()
        self._idle.append(connection)

    def _is_worn_out(self, connection: UpstreamConnection) -> bool:
        """Whether a connection has served for as long as it may; new ones have not."""
        if self._max_requests and connection.served >= self._max_requests:
            self.stats.upstream_cx_max_requests += 1
            return True
        if self._max_duration_s and clock.monotonic() - connection.opened_at >= self._max_duration_s:
            self.stats.upstream_cx_max_duration_reached += 1
            return True
        return False

    def on_opened(self, connection: UpstreamConnection) -> None:
        """A connection is there; from now on `on_closed` will come for it."""
        connection.opened_at = clock.monotonic()
        self._open += 1

    def on_closed(self, connection: UpstreamConnection, *, busy: bool, local: bool) -> None:
        """A connection was lost; `busy`: a request was on it; `local`: we have closed it."""
        self._open -= 1
        stats = self.stats
        stats.count_closed(connection.opened_at, local=local)
        if busy:
            stats.upstream_cx_destroy_with_active_rq += 1
            if local:
                stats.upstream_cx_destroy_local_with_active_rq += 1
            else:
                stats.upstream_cx_destroy_remote_with_active_rq += 1
        stats.upstream_rq_per_cx.record(connection.served + busy)
        _discharge(connection)
        if not busy and connection in self._idle:
            self._idle.remove(connection)
        self._reopen()

    def close_idle(self, now: float) -> None:
        """Close connections that were idle for longer than the cluster's idle timeout."""
        if self._max_duration_s:
            for connection in [c for c in self._idle if now - c.opened_at >= self._max_duration_s]:
                self._idle.remove(connection)
                self.stats.upstream_cx_max_duration_reached += 1
                connection.close()
        limit = self._settings.idle_timeout_s
        if not limit:
            return
        for connection in [c for c in self._idle if now - c.idle_since >= limit]:
            self._idle.remove(connection)
            self.stats.upstream_cx_idle_timeout += 1
            connection.close()

    def drain(self) -> None:
        """The endpoint is gone: close what is idle, let requests finish, take nothing back."""
        self._draining = True
        self.close_all_idle()

    def close_all_idle(self) -> None:
        """Close every idle connection."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def renew(self) -> None:
        """Use none of the connections again: close what is idle now, what is busy when its request is done."""
        self._epoch += 1
        self.close_all_idle()

    @property
    def open_connections(self) -> int:
        """Connections that are open now, busy or idle."""
        return self._open

    @property
    def waiting_requests(self) -> int:
        """Requests that wait for a connection now."""
        return len(self._waiting)

    @property
    def is_empty(self) -> bool:
        """Whether there is no connection, and nobody waits for one."""
        return not (self._open or self._attempts or self._waiting)

    @property
    def is_unused(self) -> bool:
        """Whether no request is on any of its connections, and none waits for one."""
        return not self._waiting and not self._attempts and self._open == len(self._idle)

    def _take_waiter(self) -> ConnectionWaiter:
        waiter, breaker = self._waiting.popleft()
        breaker.pending.release()
        return waiter

    def _open_another(self, breaker: CircuitBreaker) -> bool:
        """Start making a connection, if the limits allow; the first one is always allowed, as in Envoy.

        Otherwise requests would wait here for a connection that other endpoints of the cluster have used up.
        """
        known = self._open + self._attempts
        if known >= self._settings.max_connections_per_endpoint or not breaker.connections.acquire():
            self.stats.upstream_cx_overflow += 1
            if known:
                return False
            breaker.connections.acquire_anyway()
        self._begin_attempt(breaker)
        return True

    def _lacks_connections(self, ratio: float, anticipated: int) -> bool:
        """Whether there are fewer connections, those under way included, than `ratio` for each request."""
        if not self.is_healthy:
            return False
        busy = self._open - len(self._idle)
        wanted = (len(self._waiting) + busy + anticipated) * ratio
        return wanted > self._open + self._attempts

    def _add_spares(self, breaker: CircuitBreaker) -> None:
        """A request has come: make connections for those that may follow (`per_upstream_preconnect_ratio`)."""
        for _ in range(_MAX_SPARES_AT_ONCE):
            if not self._lacks_connections(self._spare_ratio, 0) or not self._open_spare(breaker):
                return

    def _open_spare(self, breaker: CircuitBreaker) -> bool:
        """Begin a connection that nobody waits for, if the limits allow it; no request suffers if they do not."""
        if self._draining or self._open + self._attempts >= self._settings.max_connections_per_endpoint:
            return False
        if breaker.max_pools < NO_LIMIT and breaker not in self._admitted_by:
            return False
        if not breaker.connections.acquire():
            return False
        self._begin_attempt(breaker)
        return True

    def _begin_attempt(self, breaker: CircuitBreaker) -> None:
        self._attempts += 1
        # Those that fail are among them, as in Envoy.
        self.stats.upstream_cx_total += 1
        self.stats.upstream_cx_http1_total += 1
        self._endpoint_stats.cx_total += 1
        spawn(self._connect(breaker), name=f"connect {self.addresses[0]}")

    def _reopen(self) -> None:
        """A connection is gone: whoever waited for it needs another one."""
        while len(self._waiting) > self._attempts:
            if not self._open_another(self._waiting[self._attempts][1]):
                break
        if not self._open and not self._attempts:
            for breaker in self._admitted_by:
                breaker.dismiss_pool(self)
            self._admitted_by.clear()

    async def _connect(self, breaker: CircuitBreaker) -> None:
        connection = UpstreamConnection(self)
        connection.charged_to = breaker
        connection.epoch = self._epoch
        began = clock.monotonic()
        try:
            await self._open_connection(connection)
            self.stats.upstream_cx_connect_ms.record((clock.monotonic() - began) * 1000)
        except UpstreamError as error:
            self._attempts -= 1
            if connection.link is None:
                # There never was one.
                self.stats.count_closed(began, local=isinstance(error, ConnectTimeout))
            connection.close()
            _discharge(connection)
            self._on_connect_error(error)
            return
        self._attempts -= 1
        if not connection.is_usable:
            # Closed between the handshake and this task's turn; count it as a failed attempt.
            self._on_connect_error(ConnectFailed("connection closed at once"))
        else:
            self.release(connection)

    def _on_connect_error(self, error: UpstreamError) -> None:
        self.stats.upstream_cx_connect_fail += 1
        self._endpoint_stats.cx_connect_fail += 1
        if isinstance(error, ConnectTimeout):
            self.stats.upstream_cx_connect_timeout += 1
        # A waiter that has an attempt left goes on waiting: this one was a spare. Those that the limits left without an
        # attempt of their own fail with the last hope that they had (Envoy).
        lost = len(self._waiting) - self._attempts
        for _ in range(min(lost, 1) if self._open else lost):
            self.stats.upstream_rq_pending_failure_eject += 1
            self._take_waiter().on_connect_error(error)
        self._reopen()

    async def _open_connection(self, connection: UpstreamConnection) -> None:
        """Connect, TLS handshake included, within `connect_timeout`."""
        loop = asyncio.get_running_loop()
        settings = self._settings
        owner = self._owner
        origin: Origin | None = None
        if owner is not None and owner.is_announced:
            origin = (owner.remote_address, owner.local_address)
        protocol = connection if settings.tls is None else SharedBufferProtocol(connection)
        tls_stats = self.stats.tls
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                await open_connection(
                    loop,
                    self.addresses,
                    settings,
                    lambda: protocol,
                    server_name=self._server_name,
                    origin=origin,
                )
            if tls_stats is not None and connection.ssl_object is not None:
                tls_stats.on_handshake(connection.ssl_object)
        except (OSError, ValueError) as error:
            # ValueError: a name that TLS cannot send or verify.
            if isinstance(error, ssl.SSLError):
                if tls_stats is not None:
                    tls_stats.on_server_refused(error)
            elif isinstance(error, OSError) and error.errno in _BIND_ERRORS:
                self.stats.bind_errors += 1
            raise connect_error(error) from None


def _discharge(connection: UpstreamConnection) -> None:
    """The connection no longer counts; it may be told so twice."""
    breaker, connection.charged_to = connection.charged_to, None
    if breaker is not None:
        breaker.connections.release()
