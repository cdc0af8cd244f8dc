"""The HTTP connection manager: what all connections of one listener share in one worker."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from fastproxy import clock
from fastproxy.farewell import Farewell
from fastproxy.filters.chain import FilterChain
from fastproxy.format.context import REQUEST_END, REQUEST_START
from fastproxy.format.metadata import read_metadata
from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.messages import Request
from fastproxy.listener.access_log import AccessLog
from fastproxy.listener.connection import DownstreamConnection
from fastproxy.listener.local_replies import LocalReplies
from fastproxy.listener.network_filter import NetworkFilter
from fastproxy.listener.observed_connection import ObservedConnection
from fastproxy.listener.preparation import RequestPreparation
from fastproxy.listener.response import ResponseEncoder
from fastproxy.listener.settings import AT_END, HttpConnectionManagerSettings, ListenerSettings
from fastproxy.listener.stats import HttpStats, LiveConnections
from fastproxy.listener.stream_deadlines import NEVER_S
from fastproxy.listener.upgrades import Upgrades
from fastproxy.router.router import Router
from fastproxy.stats import StatsSink

#: How often a drain looks for connections whose grace is over.
_DRAIN_SWEEP_S = 0.1


#: Of a listener and of its filter chain, for formats; None: neither has any.
_Metadata = tuple[dict[str, object] | None, dict[str, object] | None] | None


class HttpConnectionManager:
    """Settings, counters and parts that every connection of a listener uses (Envoy `HttpConnectionManager`).

    Args:
        settings: the listener.
        http: the connection manager.
        router: its routes and clusters.
        filters: its filters.
        access_logs: where requests are logged.
        loop: serves the connections.
        upgrade_filters: the filters of upgrade types that have their own.
        identity_headers: names that only filters may set.
        farewell: what the operator has said about the end of the proxy.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        http: HttpConnectionManagerSettings,
        *,
        router: Router,
        filters: FilterChain,
        access_logs: Sequence[AccessLog],
        loop: asyncio.AbstractEventLoop,
        upgrade_filters: Mapping[bytes, FilterChain] | None = None,
        identity_headers: frozenset[bytes] = frozenset(),
        farewell: Farewell | None = None,
    ) -> None:
        self.loop = loop
        self.filters = filters
        self.on_response = filters.on_response
        self.access_logs = tuple(access_logs)
        self.router = router
        self.log_moments = http.log_moments if self.access_logs else AT_END
        self.select_first_route = self._route_selection()
        own = upgrade_filters or {}
        self.upgrades = Upgrades(http.upgrades, filters, own, identity_headers)
        self._own_filters = tuple(own.values())
        self.stats = HttpStats()
        self.responses = ResponseEncoder(http)
        self.local_replies = None if http.local_replies is None else LocalReplies(http.local_replies)
        self.buffer_limit_bytes = settings.buffer_limit_bytes
        self.max_request_headers_bytes = http.max_request_headers_bytes
        self.max_headers_count = http.max_headers_count
        # 0 switches a timeout off; ten years is off for a connection.
        self.idle_timeout_s = http.idle_timeout_s or NEVER_S
        self.stream_idle_timeout_s = http.stream_idle_timeout_s or NEVER_S
        self.request_timeout_s = http.request_timeout_s
        self.request_headers_timeout_s = http.request_headers_timeout_s
        self.limits_arrival = bool(http.request_timeout_s or http.request_headers_timeout_s)
        self.max_requests_per_connection = http.max_requests_per_connection
        self.max_connection_duration_s = http.max_connection_duration_s
        self.max_stream_duration_s = http.max_stream_duration_s
        self.drain_timeout_s = http.drain_timeout_s
        self.delayed_close_timeout_s = http.delayed_close_timeout_s
        self.announces_connections = http.announces_connections
        self.allows_chunked_length = http.allow_chunked_length
        self.allows_custom_methods = http.allow_custom_methods
        self.proxies_continue = http.proxy_100_continue
        self.has_limits = http.looks_at_every_request
        self.draining = False
        self._farewell = farewell or Farewell()
        self._ends_all = False
        """The end has come: `drain` was called."""
        self.successor: HttpConnectionManager | None = None
        """Set by `hand_over`: serves what is begun from then on."""
        self._kept_case, self._counts_bytes = http.kept_case, http.counts_bytes
        preparation = RequestPreparation(http, self.stats)
        self.prepare = preparation.prepare
        self.trailer_rules = preparation.build_trailer_rules(http, identity_headers)
        self._stat_prefix = f"http.{http.stat_prefix}."
        self._settings = settings
        self.filter_chain_name, self.metadata = _facts_of_chain(settings, http)
        self._connections: set[DownstreamConnection] = set()
        self._empty = asyncio.Event()

    def __call__(self, info: ConnectionInfo | None = None) -> DownstreamConnection:
        """Make the protocol of a new connection; without `info` its transport says what there is to know."""
        if (
            self._kept_case is not None
            or self._counts_bytes
            or self.trailer_rules is not None
            or (info is not None and info.record is not None)
        ):
            return ObservedConnection(self, info, kept_case=self._kept_case, counts_bytes=self._counts_bytes)
        return DownstreamConnection(self, info)

    def on_connection(self, connection: DownstreamConnection) -> None:
        """A connection was accepted."""
        self.stats.downstream_cx_total += 1
        self.stats.downstream_cx_active += 1
        self.stats.downstream_cx_ssl_total += connection.info.tls is not None
        self._connections.add(connection)

    def on_connection_closed(self, connection: DownstreamConnection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if self.draining and not self._connections:
            self._empty.set()

    def on_handshake_failed(self, length_ms: float) -> None:
        """A connection ended before its TLS handshake did."""
        stats = self.stats
        stats.downstream_cx_total += 1
        stats.downstream_cx_active += 1
        stats.downstream_cx_ssl_total += 1
        stats.count_closed(length_ms, local=False, in_request=False, has_spoken=False)

    def end_keep_alive(self, request: Request) -> None:
        """While the listener drains: the request is the last one of its connection, or may be."""
        if request.keep_alive and (self._ends_all or self._farewell.is_due(clock.monotonic())):
            self.stats.downstream_cx_drain_close += 1
            request.keep_alive = False

    def log_access(self, request: Request, now: float, log_type: str = REQUEST_END) -> None:
        """Write the request's access log lines; `now` is monotonic seconds."""
        for log in self.access_logs:
            log.write(request, now, log_type)

    def _route_selection(self) -> Callable[[Request], None]:
        return self._begin_logged if self.log_moments.at_start else self.router.select_first_route

    def _begin_logged(self, request: Request) -> None:
        """Select the route of a request that is logged as soon as it has one."""
        self.router.select_first_route(request)
        self.log_access(request, clock.monotonic(), REQUEST_START)

    def check_idle(self, now: float) -> None:
        """End what did not move for too long; called about once a second."""
        for connection in tuple(self._connections):
            connection.check_idle(now)
            if self.successor is not None:
                connection.follow()
        self.router.check_idle(now)

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    @property
    def is_idle(self) -> bool:
        """No connection is open, and nothing goes on behind one that has ended."""
        return not self._connections and self.router.is_idle

    def hand_over(self, successor: NetworkFilter) -> bool:
        """Let another manager serve the open connections; each follows when no request is being served on it."""
        if not isinstance(successor, HttpConnectionManager):
            return False
        self.successor = successor
        for connection in tuple(self._connections):
            connection.follow()
        return True

    def on_connection_moved(self, connection: DownstreamConnection) -> "HttpConnectionManager":
        """A connection leaves for the newest successor, which is returned."""
        heir = self
        while heir.successor is not None:
            heir = heir.successor
        self.stats.downstream_cx_active -= 1
        self._connections.discard(connection)
        heir.stats.downstream_cx_active += 1
        heir._connections.add(connection)  # noqa: SLF001 - of the same class
        return heir

    def follow_farewell(self) -> None:
        """The operator has said something about the end of the proxy."""
        self.draining = self._ends_all or self._farewell.is_active

    def announce_drain(self) -> None:
        """No answer promises to keep its connection any more."""
        self.draining = self._ends_all = True

    def drain(self, idle_grace_s: float = 0.0) -> None:
        """Close what is idle; what is being served ends with `connection: close`.

        A client may have sent its next request before it can know that the connection is to be closed. So one that
        has been idle for less than `idle_grace_s` stays open for the rest of that time, for this last request.
        """
        self.announce_drain()
        now = clock.monotonic()
        for connection in tuple(self._connections):
            connection.drain(now, idle_grace_s)

    async def wait_until_empty(self, timeout_s: float) -> None:
        """After `drain`: return when the last connection has ended, or after `timeout_s`."""
        deadline = clock.monotonic() + timeout_s
        while self._connections:
            now = clock.monotonic()
            if now >= deadline:
                return
            self.check_idle(now)
            try:
                async with asyncio.timeout(min(_DRAIN_SWEEP_S, deadline - now)):
                    await self._empty.wait()
            except TimeoutError:
                continue

    def abort(self) -> None:
        """Cut every connection that is left."""
        for connection in tuple(self._connections):
            connection.abort()

    def write_stats(self, sink: StatsSink) -> None:
        """Add the listener's numbers to a snapshot."""
        listener_prefix = f"listener.{self._settings.stat_address}."
        live = LiveConnections()
        for connection in self._connections:
            live.count(
                connection.waiting_bytes, connection.info, connection.has_spoken, connection.is_upgraded
            )
        self.stats.write(sink, self._stat_prefix, listener_prefix, live)
        self.router.write_stats(sink, self._stat_prefix)
        self.filters.write_stats(sink, self._stat_prefix)
        for own in self._own_filters:
            own.write_stats(sink, self._stat_prefix)


def _facts_of_chain(settings: ListenerSettings, http: HttpConnectionManagerSettings) -> tuple[str, _Metadata]:
    """The name of the filter chain that ends in a connection manager, the listener's metadata and its own."""
    found = ((one.name, one.metadata) for one in settings.chains() if one.network is http)
    name, metadata = next(found, ("", ""))
    if not settings.metadata and not metadata:
        return name, None
    return name, (read_metadata(settings.metadata), read_metadata(metadata))
