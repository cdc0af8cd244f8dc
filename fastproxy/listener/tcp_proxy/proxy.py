"""The TCP proxy: what all connections of one filter chain share in one worker."""

import asyncio
import random
import socket
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from fastproxy import clock
from fastproxy.http.byte_counts import ByteCounts
from fastproxy.http.connection_info import NO_CONNECTION, ConnectionInfo
from fastproxy.http.messages import Request
from fastproxy.listener.access_log import AccessLog
from fastproxy.listener.connection_log import end_connection
from fastproxy.listener.network_filter import ConnectionProtocol, NetworkFilter
from fastproxy.listener.settings import ListenerSettings, TcpCluster, TcpProxySettings
from fastproxy.listener.tcp_proxy.pump import PumpTools
from fastproxy.listener.tcp_proxy.session import LOG_END, TcpSession
from fastproxy.listener.tcp_proxy.stats import TcpStats
from fastproxy.stats import StatsSink
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.hashing import xxh64


class TcpProxy:
    """Settings, counters and parts that every connection uses (Envoy `TcpProxy`).

    Args:
        listener: where connections come from.
        settings: what becomes of them.
        clusters: every cluster of the worker, by name.
        access_logs: of `settings`.
        tools: the worker's; its loop runs everything here.
    """

    def __init__(
        self,
        listener: ListenerSettings,
        settings: TcpProxySettings,
        *,
        clusters: Mapping[str, Cluster],
        access_logs: Sequence[AccessLog],
        tools: PumpTools,
    ) -> None:
        self.loop = tools.loop
        self.settings = settings
        self.clusters = clusters
        self.tools = tools
        self.buffer_limit_bytes = listener.buffer_limit_bytes
        self.stats = TcpStats()
        self.draining = False
        self._listener = listener
        self._access_logs = tuple(access_logs)
        self.log_interval_s = settings.access_log_interval_s if access_logs else 0.0
        self._bounds = tuple(accumulate(one.weight for one in settings.clusters))
        self._sessions: set[TcpSession] = set()
        self._empty = asyncio.Event()

    # -- connections ---------------------------------------------------------------------------------------

    def __call__(self, info: ConnectionInfo | None = None) -> ConnectionProtocol:
        """Make the protocol of a connection whose TLS the event loop ends."""
        return TcpSession(self, info or NO_CONNECTION).serve_transport()

    def serve(self, sock: socket.socket, info: ConnectionInfo) -> None:
        """Serve a plain connection; the socket, which does not block, is the proxy's from now on."""
        TcpSession(self, info).serve_socket(sock)

    def on_session(self, session: TcpSession) -> None:
        """A connection was accepted."""
        self.stats.downstream_cx_total += 1
        self.stats.downstream_cx_active += 1
        self._sessions.add(session)

    def on_session_ended(self, session: TcpSession) -> None:
        """A connection is gone."""
        stats, relay = self.stats, session.relay
        stats.count_closed((clock.monotonic() - session.started_at) * 1000)
        if relay is not None:
            stats.downstream_cx_rx_bytes_total += relay.received_bytes
            stats.downstream_cx_tx_bytes_total += relay.sent_bytes
        self._sessions.discard(session)
        if not self._sessions:
            self._empty.set()
        if session.info.record is not None:
            end_connection(session.info, _as_request(session))
        self.log(session, LOG_END)

    def on_handshake_failed(self, length_ms: float) -> None:
        """A connection ended before its TLS handshake did."""
        self.stats.downstream_cx_total += 1
        self.stats.downstream_cx_active += 1
        self.stats.count_closed(length_ms)

    def select_cluster(self) -> TcpCluster:
        """Where the next connection goes, by weight."""
        clusters = self.settings.clusters
        if len(clusters) == 1:
            return clusters[0]
        # Chance spreads load here, it protects nothing.
        return clusters[bisect_right(self._bounds, random.randrange(self._bounds[-1]))]  # noqa: S311

    def hash_of(self, info: ConnectionInfo) -> int | None:
        """By what a cluster chooses that goes by a hash; None: nothing is to be hashed, and any endpoint will do."""
        return xxh64(info.remote_address[0].encode()) if self.settings.hashes_source_ip else None

    def pause_after(self, attempt: int) -> float:
        """Seconds to wait after a failed attempt to connect, the first being 1: full jitter, growing (as in Envoy)."""
        backoff = self.settings.backoff
        if backoff is None:
            return 0.0
        # 2 ** 30 times anything is above every bound.
        return min(random.random() * backoff.base_s * ((1 << min(attempt, 30)) - 1), backoff.max_s)  # noqa: S311

    def log(self, session: TcpSession, kind: str) -> None:
        """Write the session's access log lines."""
        if not self._access_logs:
            return
        request = _as_request(session)
        now = clock.monotonic()
        for log in self._access_logs:
            log.write(request, now, kind)

    # -- the worker's side (NetworkFilter) -----------------------------------------------------------------

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._sessions)

    @property
    def is_idle(self) -> bool:
        """No connection is open."""
        return not self._sessions

    def check_idle(self, now: float) -> None:
        """Give back what connections do not need at the moment; called about once a second."""
        self.tools.pipes.relax()
        if self.tools.pipes.lent:
            for session in self._sessions:
                if session.relay is not None:
                    session.relay.release_quiet_pipes()

    def hand_over(self, successor: NetworkFilter) -> bool:
        """Let an equal proxy have the open connections; to another one they cannot go, for it has other rules."""
        if (
            not isinstance(successor, TcpProxy)
            or successor.settings != self.settings
            or successor.buffer_limit_bytes != self.buffer_limit_bytes
        ):
            return False
        moved, self._sessions = self._sessions, set()
        for session in moved:
            session.adopt(successor)
        successor._sessions |= moved  # noqa: SLF001 - of the same class
        self.stats.downstream_cx_active -= len(moved)
        successor.stats.downstream_cx_active += len(moved)
        self._empty.set()
        return True

    def follow_farewell(self) -> None:
        """Do nothing: a connection that is passed on as it is cannot be told to end."""

    def announce_drain(self) -> None:
        """Do nothing, for the same reason."""

    def drain(self, idle_grace_s: float = 0.0) -> None:
        """Connections go on: nobody but their ends knows when they may be closed."""
        self.draining = True

    async def wait_until_empty(self, timeout_s: float) -> None:
        """After `drain`: return when the last connection has ended, or after `timeout_s`."""
        if not self._sessions:
            return
        self._empty.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return

    def abort(self) -> None:
        """Cut every connection that is left."""
        for session in tuple(self._sessions):
            session.abort()

    def write_stats(self, sink: StatsSink) -> None:
        """Add this proxy's numbers to a snapshot."""
        relays = [one.relay for one in self._sessions if one.relay is not None]
        waiting = [relay.waiting_bytes for relay in relays]
        for session in self._sessions:
            moved = session.upstream_bytes()
            if moved is not None:
                cluster, received, sent = moved
                prefix = f"cluster.{cluster.settings.stat_name or cluster.name}."
                sink.counter(prefix + "upstream_cx_rx_bytes_total", received)
                sink.counter(prefix + "upstream_cx_tx_bytes_total", sent)
        self.stats.write(
            sink,
            f"tcp.{self.settings.stat_prefix}.",
            f"listener.{self._listener.stat_address}.",
            (sum(one.received_bytes for one in relays), sum(one.sent_bytes for one in relays)),
            (sum(up for up, _ in waiting), sum(down for _, down in waiting)),
        )


def _as_request(session: TcpSession) -> Request:
    """What access logs look at: a request without method, path and headers."""
    info, relay = session.info, session.relay
    request = Request(b"", b"", {}, info)
    request.start_monotonic = session.started_at
    request.start_unix = session.started_unix
    request.flags = session.flags
    request.upstream_cluster = session.upstream_cluster
    request.upstream_host = session.upstream_host
    request.cluster_metadata = session.cluster_metadata
    request.upstream_metadata = session.upstream_metadata
    request.upstream_host_name = session.upstream_host_name
    request.upstream_link = session.upstream_link
    request.transport_failure = session.failure
    request.version = ""
    if relay is not None:
        request.bytes_received = relay.received_bytes
        request.bytes_sent = relay.sent_bytes
        # As they are passed on, in both directions.
        request.byte_counts = counts = ByteCounts()
        counts.received = counts.upstream_sent = relay.received_bytes
        counts.sent = counts.upstream_received = relay.sent_bytes
    return request
