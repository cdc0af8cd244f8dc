"""One downstream connection through a TCP proxy.

    CONNECTING --upstream connected--> OPEN --both sides have ended--> CLOSED
        | no cluster (NC), no endpoint (UH), too many connections (UO), no attempt succeeded (UF,URX)
        |                            OPEN --idle for too long, one side failed (UR: the upstream)--> CLOSED
        | open for too long (DT), the proxy ends: from either state
        v
      CLOSED

The upstream is connected as soon as the downstream is there; the downstream is not read before. OPEN is the affair of a
relay: `SocketRelay` between two plain connections, `TransportRelay` with TLS on either side.
Always true: until OPEN the downstream belongs to the session, from then on both sides to the relay; a session is in its
proxy's list until it is CLOSED, and is logged and counted exactly once on the way there.
"""

import asyncio
import random
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastproxy import clock
from fastproxy.addresses import address_of
from fastproxy.http.connection_info import ConnectionInfo, UpstreamLink
from fastproxy.listener.tcp_proxy.socket_relay import SocketRelay
from fastproxy.listener.tcp_proxy.transport_relay import TransportEnd, TransportRelay
from fastproxy.tasks import spawn
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.dial import connect_error, open_socket, open_transport
from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.errors import ConnectFailed, UpstreamError

if TYPE_CHECKING:
    from fastproxy.listener.tcp_proxy.proxy import TcpProxy

#: Values of `%ACCESS_LOG_TYPE%`.
LOG_CONNECTED, LOG_PERIODIC, LOG_END = "TcpUpstreamConnected", "TcpPeriodic", "TcpConnectionEnd"


class TcpSession:
    """From an accepted connection to the line in the access log. Owns timers, the upstream's place in its cluster."""

    __slots__ = (
        "_cluster",
        "_connecting",
        "_duration_timer",
        "_endpoint",
        "_idle_timer",
        "_is_closed",
        "_log_timer",
        "_opened_at",
        "_proxy",
        "_relay",
        "_socket",
        "attempts",
        "cluster_metadata",
        "failure",
        "flags",
        "info",
        "started_at",
        "started_unix",
        "upstream_cluster",
        "upstream_host",
        "upstream_host_name",
        "upstream_link",
        "upstream_metadata",
    )

    def __init__(self, proxy: "TcpProxy", info: ConnectionInfo) -> None:
        self._proxy = proxy
        self.info = info
        self.started_at = clock.monotonic()
        self.started_unix = clock.unix_time()
        self.flags = ""
        """Response flags for the access log."""
        self.failure = ""
        """Why the last attempt to connect failed (`%UPSTREAM_TRANSPORT_FAILURE_REASON%`)."""
        self.attempts = 0
        self.upstream_cluster = ""
        self.upstream_host = ""
        self.upstream_host_name = ""
        """The name by which the endpoint was found; empty if it has none."""
        self.upstream_link: UpstreamLink | None = None
        """The connection to it."""
        self.cluster_metadata: Mapping[str, object] | None = None
        self.upstream_metadata: Mapping[str, object] | None = None
        self._cluster: Cluster | None = None
        self._endpoint: Endpoint | None = None
        """Set while a connection to it counts."""
        self._socket: socket.socket | None = None
        """The downstream until OPEN, if it is plain."""
        self._relay: SocketRelay | TransportRelay | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._opened_at = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._duration_timer: asyncio.TimerHandle | None = None
        self._log_timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    # -- the beginning -------------------------------------------------------------------------------------

    def serve_socket(self, sock: socket.socket) -> None:
        """Begin with a plain downstream; the socket, which does not block, is the session's from now on."""
        self._socket = sock
        self._start()

    def serve_transport(self) -> TransportEnd:
        """Begin with a downstream whose TLS the event loop ends; give that the protocol it asks for."""
        relay = self._relay = self._make_transport_relay()
        self._start()
        return relay.downstream

    @property
    def relay(self) -> SocketRelay | TransportRelay | None:
        """What moves the bytes; None until there is something to move."""
        return self._relay

    def _start(self) -> None:
        proxy = self._proxy
        proxy.on_session(self)
        duration_s = proxy.settings.max_connection_duration_s
        if duration_s:
            # Chance spreads the moments at which clients come again; nobody gains by guessing it.
            duration_s *= 1 + proxy.settings.max_connection_duration_jitter * random.random()  # noqa: S311
            self._duration_timer = proxy.loop.call_later(duration_s, self._on_max_duration)
        self._connecting = spawn(self._connect(), name="tcp connect")

    async def _connect(self) -> None:
        """Try endpoints until one is connected, then open."""
        proxy = self._proxy
        target = proxy.select_cluster()
        cluster = self._cluster = proxy.clusters.get(target.name)
        if cluster is None:
            proxy.stats.downstream_cx_no_route += 1
            self._refuse("NC")
            return
        self.upstream_cluster = cluster.shown_name
        self.cluster_metadata = cluster.filter_metadata
        hash_value = proxy.hash_of(self.info) if cluster.uses_hash else None
        for attempt in range(1, proxy.settings.max_connect_attempts + 1):
            endpoint = cluster.select_endpoint(hash_value, target.subset)
            if endpoint is None:
                cluster.stats.upstream_cx_none_healthy += 1
                self._refuse("UH")
                return
            if not cluster.tcp.admit():
                self._refuse("UO")
                return
            self.attempts = attempt
            self.upstream_host = endpoint.text
            self.upstream_host_name = endpoint.address.hostname
            self.upstream_metadata = endpoint.filter_metadata
            try:
                await self._try(cluster, endpoint)
                return
            except (OSError, ValueError) as error:
                self._on_connect_error(cluster, endpoint, connect_error(error))
            except asyncio.CancelledError:
                cluster.tcp.on_given_up()
                raise
            pause_s = proxy.pause_after(attempt)
            if pause_s and attempt < proxy.settings.max_connect_attempts:
                await asyncio.sleep(pause_s)
        cluster.stats.upstream_cx_connect_attempts_exceeded += 1
        self._refuse("URX")

    async def _try(self, cluster: Cluster, endpoint: Endpoint) -> None:
        """Connect to one endpoint, TLS handshake included, within `connect_timeout`, and open.

        Raises:
            OSError, ValueError: no connection.
        """
        proxy, settings = self._proxy, cluster.settings
        origin = (self.info.remote_address, self.info.local_address)
        async with asyncio.timeout(settings.connect_timeout_s):
            upstream, address = await open_socket(proxy.loop, endpoint.addresses, settings, origin)
            self.upstream_link = UpstreamLink(
                address_of(upstream.getsockname()), (address.host, address.port)
            )
            relay = self._relay
            if relay is None and settings.tls is None:
                self._open(endpoint, self._make_socket_relay(upstream))
                return
            if relay is None:
                relay = self._relay = self._make_transport_relay()
            assert isinstance(relay, TransportRelay)
            ends = relay
            await open_transport(proxy.loop, upstream, address, settings, lambda: ends.upstream)
        # Only now: until here another attempt could still need the socket.
        sock, self._socket = self._socket, None
        if sock is not None:
            try:
                await proxy.loop.connect_accepted_socket(lambda: ends.downstream, sock)  # type: ignore[type-var]  # by shape
            except OSError:
                sock.close()
                cluster.tcp.on_given_up()
                self._end()
                return
        self._open(endpoint, relay)

    def _make_socket_relay(self, upstream: socket.socket) -> SocketRelay:
        proxy, downstream, cluster = self._proxy, self._socket, self._cluster
        assert downstream is not None
        assert cluster is not None
        self._socket = None
        return SocketRelay(
            proxy.tools,
            downstream,
            upstream,
            self,
            downstream_limit_bytes=proxy.buffer_limit_bytes,
            upstream_limit_bytes=cluster.settings.buffer_limit_bytes,
        )

    def _make_transport_relay(self) -> TransportRelay:
        limit = self._proxy.buffer_limit_bytes
        upstream_limit = limit if self._cluster is None else self._cluster.settings.buffer_limit_bytes
        return TransportRelay(
            self._proxy.loop, self, downstream_limit_bytes=limit, upstream_limit_bytes=upstream_limit
        )

    def _on_connect_error(self, cluster: Cluster, endpoint: Endpoint, error: UpstreamError) -> None:
        self._add_flag(error.flag)
        self.failure = error.cause if isinstance(error, ConnectFailed) else error.reason
        cluster.tcp.on_connect_failed(endpoint, error)

    def _refuse(self, flag: str) -> None:
        """There is no upstream for this connection."""
        self._add_flag(flag)
        self._end()

    # -- open ----------------------------------------------------------------------------------------------

    def _open(self, endpoint: Endpoint, relay: SocketRelay | TransportRelay) -> None:
        proxy, cluster = self._proxy, self._cluster
        assert cluster is not None
        self._endpoint = endpoint
        cluster.tcp.on_opened(endpoint, self)
        self._relay = relay
        self._opened_at = clock.monotonic()
        settings = proxy.settings
        if settings.idle_timeout_s:
            self._idle_timer = proxy.loop.call_later(settings.idle_timeout_s, self._on_idle_timer)
        if proxy.log_interval_s:
            self._log_timer = proxy.loop.call_later(proxy.log_interval_s, self._on_log_timer)
        if settings.logs_connected:
            proxy.log(self, LOG_CONNECTED)
        relay.start()

    def on_relay_ended(self, *, upstream: bool) -> None:
        """Both sides have ended, and got everything; `upstream`: that one was the last."""
        self._end(local=not upstream)

    def on_relay_broken(self, *, upstream: bool) -> None:
        """One side has failed, and the relay has reset the other."""
        if upstream:
            self._add_flag("UR")
        self._end(local=not upstream)

    def on_endpoint_failed(self) -> None:
        """The upstream fails its checks (`close_connections_on_host_health_failure`)."""
        self._end()

    def on_flow_paused(self) -> None:
        """One side does not keep up."""
        self._proxy.stats.downstream_flow_control_paused_reading_total += 1

    def on_flow_resumed(self) -> None:
        """It does again."""
        self._proxy.stats.downstream_flow_control_resumed_reading_total += 1

    def adopt(self, proxy: "TcpProxy") -> None:
        """After a reload: an equal proxy has taken this one's place."""
        self._proxy = proxy

    # -- timers --------------------------------------------------------------------------------------------

    def _on_idle_timer(self) -> None:
        """Armed for the earliest moment at which the time can be over; bytes that moved since put it off."""
        relay, proxy = self._relay, self._proxy
        if relay is None:
            return
        timeout_s = proxy.settings.idle_timeout_s
        remaining_s = max(relay.active_at, self._opened_at) + timeout_s - clock.monotonic()
        if remaining_s > 0.001:
            self._idle_timer = proxy.loop.call_later(remaining_s, self._on_idle_timer)
            return
        proxy.stats.idle_timeout += 1
        self._end()

    def _on_max_duration(self) -> None:
        self._proxy.stats.max_downstream_connection_duration += 1
        self._add_flag("DT")
        self._end()

    def _on_log_timer(self) -> None:
        proxy = self._proxy
        self._log_timer = proxy.loop.call_later(proxy.log_interval_s, self._on_log_timer)
        proxy.log(self, LOG_PERIODIC)

    # -- the end -------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """The proxy ends, and will not wait any longer."""
        self._end()

    def _add_flag(self, flag: str) -> None:
        if flag not in self.flags.split(","):
            self.flags = f"{self.flags},{flag}" if self.flags else flag

    def upstream_bytes(self) -> tuple[Cluster, int, int] | None:
        """What has come from and gone to an upstream that is connected still, and by which cluster."""
        relay, cluster = self._relay, self._cluster
        if relay is None or cluster is None or self._endpoint is None:
            return None
        return cluster, relay.sent_bytes, relay.received_bytes

    def _end(self, *, local: bool = True) -> None:
        """Close what is open, count and log. Once, from every state; `local`: not by the upstream's end."""
        if self._is_closed:
            return
        self._is_closed = True
        for timer in (self._idle_timer, self._duration_timer, self._log_timer):
            if timer is not None:
                timer.cancel()
        task, self._connecting = self._connecting, None
        if task is not None and not task.done() and task is not asyncio.current_task():
            task.cancel()
        if self._socket is not None:
            # With unread bytes in it the kernel resets the connection, as for every refusal.
            self._socket.close()
            self._socket = None
        if self._relay is not None:
            self._relay.close()
        if self._cluster is not None and self._endpoint is not None:
            if self._relay is not None:
                self._cluster.stats.upstream_cx_rx_bytes_total += self._relay.sent_bytes
                self._cluster.stats.upstream_cx_tx_bytes_total += self._relay.received_bytes
            self._cluster.tcp.on_closed(self._endpoint, self, began=self._opened_at, local=local)
            self._endpoint = None
        self._proxy.on_session_ended(self)
