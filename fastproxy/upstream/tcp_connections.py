"""The connections that a TCP proxy makes to a cluster: no pool manages them, and they count all the same."""

from typing import Protocol, final

from fastproxy.upstream.circuit_breaker import CircuitBreaker
from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.errors import ConnectTimeout, UpstreamError
from fastproxy.upstream.stats import ClusterStats


class TcpSession(Protocol):
    """A connection of a TCP proxy."""

    def on_endpoint_failed(self) -> None:
        """End it: its endpoint is out of use, and the cluster wants no connection to such a one."""


@final
class TcpConnections:
    """Those of one cluster.

    Args:
        stats: the cluster's.
        breaker: that of routes of priority DEFAULT, which has the limit.
        ends_with_endpoint: `close_connections_on_host_health_failure`.
    """

    def __init__(self, stats: ClusterStats, breaker: CircuitBreaker, *, ends_with_endpoint: bool) -> None:
        self._stats = stats
        self._breaker = breaker
        self._ends_with_endpoint = ends_with_endpoint
        self._sessions: dict[Endpoint, set[TcpSession]] = {}
        """Those that end when their endpoint fails."""

    def admit(self) -> bool:
        """Let a TCP proxy make a connection; False: `max_connections` is reached. Else one of these follows.

        `on_connect_failed`, `on_given_up` and `on_closed` give its place back.
        """
        if self._breaker.connections.acquire():
            return True
        self._stats.upstream_cx_overflow += 1
        return False

    def on_opened(self, endpoint: Endpoint, session: TcpSession) -> None:
        """A connection is there; `on_closed` follows. It counts as a request, too (Envoy)."""
        if self._ends_with_endpoint:
            self._sessions.setdefault(endpoint, set()).add(session)
        self._stats.upstream_cx_total += 1
        self._stats.upstream_rq_total += 1
        self._stats.upstream_rq_pending_total += 1
        endpoint.stats.cx_total += 1
        endpoint.stats.rq_total += 1
        endpoint.stats.tcp_open += 1
        if endpoint.monitor is not None:
            # All that can be said about it, as in Envoy.
            endpoint.monitor.on_response(200, {})

    def on_closed(self, endpoint: Endpoint, session: TcpSession, *, began: float, local: bool) -> None:
        """A connection has ended, here or by the upstream; `began` is monotonic seconds."""
        sessions = self._sessions.get(endpoint)
        if sessions is not None:
            sessions.discard(session)
            if not sessions:
                del self._sessions[endpoint]
        self._breaker.connections.release()
        stats = self._stats
        stats.count_closed(began, local=local)
        # It was its own request, from its begin to its end.
        stats.upstream_cx_destroy_with_active_rq += 1
        stats.upstream_cx_destroy_local_with_active_rq += local
        stats.upstream_cx_destroy_remote_with_active_rq += not local
        stats.upstream_rq_ended += 1
        endpoint.stats.rq_ended += 1
        endpoint.stats.tcp_open -= 1

    def on_connect_failed(self, endpoint: Endpoint, error: UpstreamError) -> None:
        """A connection could not be made."""
        self._breaker.connections.release()
        stats, is_timeout = self._stats, isinstance(error, ConnectTimeout)
        stats.upstream_cx_total += 1
        stats.upstream_cx_destroy += 1
        if is_timeout:
            stats.upstream_cx_destroy_local += 1
        else:
            stats.upstream_cx_destroy_remote += 1
        stats.upstream_cx_connect_fail += 1
        endpoint.stats.cx_total += 1
        endpoint.stats.cx_connect_fail += 1
        if endpoint.monitor is not None:
            endpoint.monitor.on_no_response()
        if is_timeout:
            stats.upstream_cx_connect_timeout += 1

    def on_given_up(self) -> None:
        """Nobody wants a connection any more, and it is not there yet."""
        self._breaker.connections.release()

    def on_endpoint_failed(self, endpoint: Endpoint) -> None:
        """Checks, or how it answers, have taken an endpoint out of use."""
        for session in tuple(self._sessions.get(endpoint, ())):
            session.on_endpoint_failed()
