"""Connections to one endpoint, kept open between requests (spec/clusters.md section 7).

A request takes the most recently used idle connection, or waits while one is made for it. Waiters are served first
come, first served, by whichever connection is there first: a new one, or one that another request gave back.
Always true: no connection is idle while somebody waits; every waiter has a connect attempt of its own running, or has
been served by another connection and left a surplus attempt behind, which then becomes idle.
State changes are synchronous; the only thing awaited is the connect itself.
"""

import asyncio
import ssl
from collections import deque
from typing import Any, Protocol

from fastproxy import clock
from fastproxy.tasks import spawn
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.errors import ConnectFailed, ConnectTimeout, UpstreamError
from fastproxy.upstream.settings import Address, ClusterSettings
from fastproxy.upstream.stats import ClusterStats, EndpointStats


class ConnectionWaiter(Protocol):
    """A request that needs a connection."""

    def on_connection(self, connection: UpstreamConnection) -> None:
        """The connection is the waiter's from now on."""

    def on_connect_error(self, error: UpstreamError) -> None:
        """No connection could be made."""


class ConnectionPool:
    """All connections of one worker to one address."""

    def __init__(
        self, address: Address, settings: ClusterSettings, stats: ClusterStats, endpoint_stats: EndpointStats
    ) -> None:
        self.address = address
        """Where new connections go; a logical endpoint's changes with DNS, its connections stay."""
        self.buffer_limit_bytes = settings.buffer_limit_bytes
        self._settings = settings
        self._stats = stats
        self._endpoint_stats = endpoint_stats
        self._idle: list[UpstreamConnection] = []
        self._waiting: deque[ConnectionWaiter] = deque()
        self._open = 0
        self._draining = False

    def take_idle(self) -> UpstreamConnection | None:
        """An idle connection, most recently used first; None if a new one is needed. Hot path."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.is_usable:
                return connection
        return None

    def connect(self, waiter: ConnectionWaiter) -> None:
        """Queue for a connection and start making one."""
        self._waiting.append(waiter)
        self._stats.upstream_rq_pending_total += 1
        spawn(self._connect(), name=f"connect {self.address}")

    def forget(self, waiter: ConnectionWaiter) -> None:
        """The waiter no longer wants a connection; the attempt under way serves the next one or goes idle."""
        try:
            self._waiting.remove(waiter)
        except ValueError:
            return

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection whose exchange ended cleanly."""
        if self._draining:
            connection.close()
            return
        if self._waiting:
            self._waiting.popleft().on_connection(connection)
            return
        connection.idle_since = clock.monotonic()
        self._idle.append(connection)

    def on_opened(self) -> None:
        """A connection is there; from now on `on_closed` will come for it."""
        self._open += 1
        self._stats.upstream_cx_total += 1
        self._endpoint_stats.cx_total += 1

    def on_closed(self, connection: UpstreamConnection, *, idle: bool) -> None:
        """A connection was lost; `idle`: no request was on it."""
        self._open -= 1
        self._stats.upstream_cx_destroy += 1
        if idle and connection in self._idle:
            self._idle.remove(connection)

    def close_idle(self, now: float) -> None:
        """Close connections that were idle for longer than the cluster's idle timeout."""
        limit = self._settings.idle_timeout_s
        if not limit:
            return
        for connection in [c for c in self._idle if now - c.idle_since >= limit]:
            self._idle.remove(connection)
            self._stats.upstream_cx_idle_timeout += 1
            connection.close()

    def drain(self) -> None:
        """The endpoint is gone: close what is idle, let requests finish, take nothing back."""
        self._draining = True
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    @property
    def open_connections(self) -> int:
        """Connections that are open now, busy or idle."""
        return self._open

    async def _connect(self) -> None:
        address = self.address
        try:
            connection = await self._open_connection(address)
        except UpstreamError as error:
            self._on_connect_error(error)
            return
        if self._draining and not self._waiting:
            connection.close()
        else:
            self._serve_or_keep(connection)

    def _serve_or_keep(self, connection: UpstreamConnection) -> None:
        if not connection.is_usable:
            # Closed between the handshake and this task's turn; count it as a failed attempt.
            self._on_connect_error(ConnectFailed("connection closed at once"))
        elif self._waiting:
            self._waiting.popleft().on_connection(connection)
        else:
            connection.idle_since = clock.monotonic()
            self._idle.append(connection)

    def _on_connect_error(self, error: UpstreamError) -> None:
        self._stats.upstream_cx_connect_fail += 1
        self._endpoint_stats.cx_connect_fail += 1
        if isinstance(error, ConnectTimeout):
            self._stats.upstream_cx_connect_timeout += 1
        if self._waiting:
            self._stats.upstream_rq_pending_failure_eject += 1
            self._waiting.popleft().on_connect_error(error)

    async def _open_connection(self, address: Address) -> UpstreamConnection:
        """Connect, TLS handshake included, within `connect_timeout`."""
        loop = asyncio.get_running_loop()
        tls = self._settings.tls
        connection = UpstreamConnection(self)
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                options: dict[str, Any] = {
                    "ssl": None if tls is None else tls.context,
                    "server_hostname": None if tls is None else tls.sni or address.hostname or address.host,
                }
                if address.is_pipe:
                    # `@` stands for the NUL byte that begins a name in Linux's abstract namespace (Envoy).
                    path = "\0" + address.host[1:] if address.host.startswith("@") else address.host
                    await loop.create_unix_connection(lambda: connection, path, **options)  # type: ignore[type-var]
                else:
                    await loop.create_connection(
                        lambda: connection,  # type: ignore[type-var]  # a protocol by shape
                        address.host,
                        address.port,
                        **options,
                    )
        except TimeoutError:
            raise ConnectTimeout from None
        except ssl.SSLError as error:
            raise ConnectFailed(f"TLS_error: {_tls_reason(error)}") from None
        except OSError as error:
            raise ConnectFailed(f"delayed connect error: {error.strerror or error}") from None
        except ValueError as error:
            # A name that TLS cannot send or verify. The request must not wait for an attempt that nobody makes.
            raise ConnectFailed(f"invalid address or name: {error}") from None
        return connection


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"CERTIFICATE_VERIFY_FAILED: {error.verify_message}"
    # Only those that OpenSSL raised have a reason.
    return getattr(error, "reason", None) or type(error).__name__
