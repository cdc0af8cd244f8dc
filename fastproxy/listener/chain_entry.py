"""The way of an accepted socket to the filter chain that serves it.

    listener filters (`Opening`), if there are any
       v
    filter chain selected --none--> cut
       | TLS handshake (`TlsTermination`), if the chain ends TLS
       v
    network filter

Always true: a connection on this way is in `_openings` or in `_hand_overs`; none is in no list while it is open.
"""

import asyncio
import socket
from collections.abc import Sequence

from fastproxy import clock
from fastproxy.addresses import ends_of
from fastproxy.format.metadata import read_metadata
from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.listener.chain_match import FilterChainMatcher
from fastproxy.listener.connection_log import ConnectionLog, end_connection, end_unserved
from fastproxy.listener.network_filter import NetworkFilter
from fastproxy.listener.opening import Opening
from fastproxy.listener.settings import ListenerSettings
from fastproxy.listener.stats import ListenerStats
from fastproxy.listener.tcp_proxy.proxy import TcpProxy
from fastproxy.listener.tls.settings import DownstreamTlsSettings
from fastproxy.listener.tls.termination import TlsTermination
from fastproxy.stats import StatsSink
from fastproxy.tasks import cancel_and_wait, spawn
from fastproxy.tls.failure import tls_failure
from fastproxy.tls.stats import TlsStats

#: A peer that never ends its handshake would hold its socket for ever; Envoy has no bound of its own here.
_HANDSHAKE_TIMEOUT_S = 15.0
#: `DownstreamTransport` watches over the end of a connection; the event loop must not cut it before.
_SHUTDOWN_TIMEOUT_S = 3600.0


class ChainEntry:
    """Leads the sockets of one listener to its filter chains.

    Args:
        settings: the listener.
        chains: what serves the connections of each of `settings.chains()`, in that order.
        stats: the listener's.
        loop: runs everything here.
        log: where connections are logged, those that no chain serves included; None: nowhere.

    Raises (when it is made):
        ValueError: two filter chains match the same.
        ssl.SSLError, OSError: a certificate cannot be used.
    """

    __slots__ = (
        "_chain_metadata",
        "_chain_settings",
        "_default",
        "_hand_overs",
        "_log",
        "_loop",
        "_matcher",
        "_metadata",
        "_openings",
        "_serving",
        "_settings",
        "_settled",
        "_stats",
        "_tls",
        "_tls_stats",
    )

    def __init__(
        self,
        settings: ListenerSettings,
        chains: Sequence[NetworkFilter],
        stats: ListenerStats,
        loop: asyncio.AbstractEventLoop,
        log: ConnectionLog | None = None,
    ) -> None:
        self._settings = settings
        self._log = log
        self._metadata = read_metadata(settings.metadata)
        self._chain_metadata = [read_metadata(one.metadata) for one in settings.chains()]
        self._stats = stats
        self._loop = loop
        self._tls_stats = TlsStats()
        self._chain_settings = settings.chains()
        self._tls = tuple(
            None if one.tls is None else TlsTermination(one.tls, self._tls_stats)
            for one in self._chain_settings
        )
        self._matcher = FilterChainMatcher([one.match for one in settings.filter_chains])
        self._default = None if settings.default_filter_chain is None else len(settings.filter_chains)
        self._serving = list(chains)
        """What serves the connections that are still on their way to a chain: after a reload its successor."""
        self._openings: set[Opening] = set()
        self._hand_overs: set[asyncio.Task[None]] = set()
        self._settled = asyncio.Event()

    def open(self, sock: socket.socket, peer: object) -> None:
        """Take over an accepted socket."""
        try:
            info = ConnectionInfo(*ends_of(peer, sock.getsockname()))
        except OSError:
            sock.close()
            return
        info.listener_metadata = self._metadata
        if self._log is not None:
            self._log.begin(info)
        settings = self._settings
        if not settings.listener_filters:
            self._route(sock, info)
            return
        opening = Opening(
            sock,
            info,
            settings.listener_filters,
            self._stats,
            self._loop,
            on_decided=self._on_decided,
            on_closed=self._on_opening_closed,
        )
        self._openings.add(opening)
        opening.start(
            settings.listener_filters_timeout_s, continues=settings.continues_on_listener_filters_timeout
        )

    def _on_decided(self, opening: Opening) -> None:
        # First, so that a connection is never in no list while it is open.
        self._route(opening.sock, opening.info)
        self._forget(opening)

    def _on_opening_closed(self, opening: Opening) -> None:
        self._forget(opening)
        end_unserved(opening.info)

    def _forget(self, opening: Opening) -> None:
        self._openings.discard(opening)
        self._settle()

    def _route(self, sock: socket.socket, info: ConnectionInfo) -> None:
        """Hand a connection to the filter chain that matches it."""
        index = self._matcher.select(info)
        if index is None:
            index = self._default
        if index is None:
            self._stats.no_filter_chain_match += 1
            sock.close()
            end_unserved(info, "NR", "filter_chain_not_found")
            return
        info.filter_chain_name = self._chain_settings[index].name
        info.chain_metadata = self._chain_metadata[index]
        network = self._serving[index]
        if isinstance(network, TcpProxy) and self._tls[index] is None:
            network.serve(sock, info)
            return
        task = spawn(self._hand_over(index, sock, info), name="accept")
        self._hand_overs.add(task)
        task.add_done_callback(self._on_handed_over)

    def _on_handed_over(self, task: asyncio.Task[None]) -> None:
        self._hand_overs.discard(task)
        self._settle()

    def _settle(self) -> None:
        if not self._openings and not self._hand_overs:
            self._settled.set()

    async def _hand_over(self, index: int, sock: socket.socket, info: ConnectionInfo) -> None:
        """Let the event loop serve a socket, after the handshake if the chain ends TLS."""
        tls = self._tls[index]
        began = clock.monotonic()
        try:
            if tls is None:
                await self._loop.connect_accepted_socket(lambda: self._serving[index](info), sock)  # type: ignore[type-var]  # by shape
                return
            context = tls.context
            if context is None:
                # Fail closed: what was asked for is TLS.
                sock.close()
                end_connection(info)
                return
            await self._loop.connect_accepted_socket(
                lambda: tls.opening(info, lambda: self._serving[index](info)),  # type: ignore[type-var]  # by shape
                sock,
                ssl=context,
                ssl_handshake_timeout=self._chain_settings[index].handshake_timeout_s or _HANDSHAKE_TIMEOUT_S,
                ssl_shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
            )
        except (OSError, TimeoutError) as error:
            if tls is not None:
                tls.on_failure(error)
                info.transport_failure = tls_failure(error)
            sock.close()
            end_connection(info)
        except asyncio.CancelledError:
            end_connection(info)
            raise
        if tls is not None and info.tls is None:
            self._serving[index].on_handshake_failed((clock.monotonic() - began) * 1000)

    # -- what changes --------------------------------------------------------------------------------------

    def replace_tls(self, index: int, settings: DownstreamTlsSettings) -> None:
        """Put other certificates and rules of a chain into force for the handshakes to come.

        Raises:
            ssl.SSLError, OSError, ValueError: they cannot be used; those in force stay.
        """
        tls = self._tls[index]
        if tls is not None and tls.settings != settings:
            tls.replace(settings)

    def replace_chain(self, index: int, heir: NetworkFilter) -> None:
        """Let a successor serve the connections that are still on their way to a chain."""
        self._serving[index] = heir

    # -- the end -------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Connections that no chain serves yet."""
        return len(self._openings) + len(self._hand_overs)

    def close_silent(self) -> None:
        """Close connections whose peers have not said anything yet."""
        for opening in tuple(self._openings):
            if opening.is_silent:
                opening.close()

    async def wait_until_settled(self) -> None:
        """Return when every connection has reached its chain, or ended."""
        while self._openings or self._hand_overs:
            self._settled.clear()
            await self._settled.wait()

    async def abort(self) -> None:
        """Cut what has not reached its chain."""
        for opening in tuple(self._openings):
            opening.close()
        await cancel_and_wait(*self._hand_overs)

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Add the numbers of listener filters, matching and handshakes to a snapshot."""
        self._stats.write(sink, prefix, len(self._openings))
        if any(self._tls):
            self._tls_stats.write(sink, prefix + "ssl.")
            # Envoy's name for it.
            timeouts = self._tls_stats.handshake_timeout
            sink.counter(prefix + "downstream_cx_transport_socket_connect_timeout", timeouts)
