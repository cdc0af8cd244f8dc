"""A listener at work in one worker: it accepts connections and hands each to a filter chain.

Life: built -> `listen` accepts -> `stop_accepting` -> `drain` -> every connection has ended, or `abort`.

    accepted --over a limit--> cut
       | listener filters (`Opening`), if there are any
       v
    filter chain selected --none--> cut
       | TLS handshake (`TlsTermination`), if the chain ends TLS
       v
    network filter

Where nothing has to be looked at before a connection is served, one plain chain for all, the event loop accepts by
itself: that costs half as much.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import replace

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.listener.chain_match import FilterChainMatcher
from fastproxy.listener.connection_limit import ConnectionLimit
from fastproxy.listener.network_filter import ConnectionProtocol, NetworkFilter
from fastproxy.listener.opening import Opening
from fastproxy.listener.settings import MATCHES_ALL, FilterChainSettings, ListenerSettings
from fastproxy.listener.stats import ListenerStats
from fastproxy.listener.tcp_proxy.proxy import TcpProxy
from fastproxy.listener.tcp_proxy.settings import TcpProxySettings
from fastproxy.listener.tls.settings import DownstreamTlsSettings
from fastproxy.listener.tls.termination import TlsTermination
from fastproxy.stats import StatsSink
from fastproxy.tasks import cancel_and_wait, spawn
from fastproxy.tls.stats import TlsStats

_log = logging.getLogger("fastproxy.listener")

#: One burst of new connections must not hold up those that are being served.
_ACCEPTS_PER_EVENT = 32
#: How long to leave the backlog alone when the process has no file descriptors left.
_PAUSE_S = 0.5
#: A peer that never ends its handshake would hold its socket for ever; Envoy has no bound of its own here.
_HANDSHAKE_TIMEOUT_S = 15.0
#: `DownstreamTransport` watches over the end of a connection; the event loop must not cut it before.
_SHUTDOWN_TIMEOUT_S = 3600.0
_NO_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Entrance:
    """Leads new connections to the listener in force, where the event loop accepts by itself.

    A connection keeps the server that accepted it alive, and so whatever that server calls: were it the listener, a
    connection that outlives a hundred reloads would keep the first configuration in memory.
    """

    __slots__ = ("listener",)

    def __init__(self, listener: "Listener") -> None:
        self.listener = listener

    def __call__(self) -> ConnectionProtocol:
        """Make the protocol of a new connection."""
        return self.listener.make_plain()


class Listener:
    """Accepts on one listening socket (Envoy `Listener`).

    Args:
        settings: the listener.
        chains: what serves the connections of each of `settings.chains()`, in that order.
        loop: runs everything here.
        previous: the listener that this one may replace, at the same place.
        max_connections: this worker's part of the listener's own limit; None: no limit.

    Raises (when it is made):
        ValueError: two filter chains match the same.
        ssl.SSLError, OSError: a certificate cannot be used.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        chains: Sequence[NetworkFilter],
        loop: asyncio.AbstractEventLoop,
        *,
        previous: "Listener | None" = None,
        max_connections: int | None = None,
    ) -> None:
        self.settings = settings
        self.chains = tuple(chains)
        self.stats = ListenerStats()
        self._tls_stats = TlsStats()
        self._loop = loop
        self._max_connections = max_connections
        self._global_limit: ConnectionLimit | None = None
        self._chain_settings = settings.chains()
        self._tls = tuple(
            None if one.tls is None else TlsTermination(one.tls, self._tls_stats)
            for one in self._chain_settings
        )
        self._matcher = FilterChainMatcher([one.match for one in settings.filter_chains])
        self._default = None if settings.default_filter_chain is None else len(settings.filter_chains)
        self.entrance: Entrance = Entrance(self) if previous is None else previous.entrance
        self._serving = list(chains)
        """What serves the connections that are still on their way to a chain: after a reload its successor."""
        self._servers: list[asyncio.Server] = []
        self._socks: list[socket.socket] = []
        self._pause: asyncio.TimerHandle | None = None
        self._is_short_of_files = False
        self._is_overflowing = False
        self._openings: set[Opening] = set()
        self._hand_overs: set[asyncio.Task[None]] = set()
        self._settled = asyncio.Event()

    # -- accepting -----------------------------------------------------------------------------------------

    def limit_by(self, limit: ConnectionLimit) -> None:
        """Count this listener's connections against a limit of the whole worker."""
        self._global_limit = limit

    async def listen(self, sock: socket.socket) -> None:
        """Accept on a bound socket, and take it over; once for each socket of the listener."""
        sock.setblocking(False)
        if is_plain(self.settings):
            self.entrance.listener = self
            server = await self._loop.create_server(
                self.entrance,  # type: ignore[arg-type]  # a protocol by shape
                sock=sock,
                backlog=self.settings.tcp_backlog,
            )
            self._servers.append(server)
        else:
            sock.listen(self.settings.tcp_backlog)
            self._socks.append(sock)
            self._loop.add_reader(sock, self._on_readable, sock)

    def make_plain(self) -> ConnectionProtocol:
        """Called by the event loop for a connection that needs no look: once per connection."""
        return _Refusal() if self._is_full() else self.chains[0]()

    def _on_readable(self, sock: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_EVENT):
            if sock not in self._socks:
                return
            try:
                accepted, peer = sock.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._pause_accepting(error)
                return
            self._is_short_of_files = False
            accepted.setblocking(False)
            if self._is_full():
                accepted.close()
            else:
                self._open(accepted, peer)

    def _pause_accepting(self, error: OSError) -> None:
        """Leave the backlog alone for a moment: asking again at once would be a loop that does nothing else."""
        if error.errno not in _NO_RESOURCES or not self._is_short_of_files:
            _log.error(
                "listener '%s' cannot accept: %s; trying again every %.1f s",
                self.settings.name,
                os.strerror(error.errno or 0),
                _PAUSE_S,
            )
        self._is_short_of_files = True
        for sock in self._socks:
            self._loop.remove_reader(sock)
        if self._pause is None:
            self._pause = self._loop.call_later(_PAUSE_S, self._resume_accepting)

    def _resume_accepting(self) -> None:
        self._pause = None
        for sock in self._socks:
            self._loop.add_reader(sock, self._on_readable, sock)

    def _is_full(self) -> bool:
        """Whether the next connection is above a limit; counts and says so if it is. Once per connection."""
        limit = self._global_limit
        if self._max_connections is not None and self.open_connections >= self._max_connections:
            self.stats.downstream_cx_overflow += 1
            self._say_overflow(self._max_connections)
            return True
        if limit is not None and limit.is_reached():
            self.stats.downstream_global_cx_overflow += 1
            limit.rejected += 1
            self._say_overflow(limit.maximum)
            return True
        self._is_overflowing = False
        return False

    def _say_overflow(self, maximum: int) -> None:
        if not self._is_overflowing:
            self._is_overflowing = True
            _log.warning(
                "listener '%s': new connections are cut, %d are open in this worker",
                self.settings.name,
                maximum,
            )

    # -- from a socket to a filter chain -------------------------------------------------------------------

    def _open(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        try:
            info = ConnectionInfo((peer[0], peer[1]), sock.getsockname()[:2])
        except OSError:
            sock.close()
            return
        settings = self.settings
        if not settings.listener_filters:
            self._route(sock, info)
            return
        opening = Opening(
            sock,
            info,
            settings.listener_filters,
            self.stats,
            self._loop,
            on_decided=self._on_decided,
            on_closed=self._forget,
        )
        self._openings.add(opening)
        opening.start(
            settings.listener_filters_timeout_s, continues=settings.continues_on_listener_filters_timeout
        )

    def _on_decided(self, opening: Opening) -> None:
        # First, so that a connection is never in no list while it is open.
        self._route(opening.sock, opening.info)
        self._forget(opening)

    def _forget(self, opening: Opening) -> None:
        self._openings.discard(opening)
        self._settle()

    def _route(self, sock: socket.socket, info: ConnectionInfo) -> None:
        """Hand a connection to the filter chain that matches it."""
        index = self._matcher.select(info)
        if index is None:
            index = self._default
        if index is None:
            self.stats.no_filter_chain_match += 1
            sock.close()
            return
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
        try:
            if tls is None:
                await self._loop.connect_accepted_socket(lambda: self._serving[index](info), sock)  # type: ignore[type-var]  # by shape
                return
            context = tls.context
            if context is None:
                # Fail closed: what was asked for is TLS.
                sock.close()
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
            sock.close()

    def replace_tls(self, index: int, settings: DownstreamTlsSettings) -> None:
        """Put other certificates and rules of a chain into force for the handshakes to come.

        Raises:
            ssl.SSLError, OSError, ValueError: they cannot be used; those in force stay.
        """
        tls = self._tls[index]
        if tls is not None and tls.settings != settings:
            tls.replace(settings)

    # -- the end -------------------------------------------------------------------------------------------

    @property
    def open_connections(self) -> int:
        """Connections that are open now, those that wait for their filter chain included."""
        waiting = len(self._openings) + len(self._hand_overs)
        return waiting + sum(chain.open_connections for chain in self.chains)

    def announce_drain(self) -> None:
        """From now on no answer promises to keep its connection; new connections are still accepted."""
        for chain in self.chains:
            chain.draining = True

    def stop_accepting(self) -> None:
        """Close the listening socket; what is open stays open."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        socks, self._socks = self._socks, []
        for sock in socks:
            self._loop.remove_reader(sock)
            sock.close()

    @property
    def is_idle(self) -> bool:
        """Nothing is open, and nothing on its way: the listener may be forgotten once it has stopped accepting."""
        return not self._openings and not self._hand_overs and all(chain.is_idle for chain in self.chains)

    def hand_over(self, successor: "Listener | None") -> tuple[NetworkFilter, ...]:
        """Another configuration has replaced this one, and `successor` accepts already: stop accepting.

        Open connections are served by the chain of `successor` that has the same match and the same transport.

        Returns:
            The chains without such a successor: their connections must be drained.
        """
        self.stop_accepting()
        orphans = []
        heirs = (
            ()
            if successor is None
            else tuple(zip(successor.settings.chains(), successor.chains, strict=True))
        )
        for index, (settings, chain) in enumerate(zip(self._chain_settings, self.chains, strict=True)):
            for heir_settings, heir in heirs:
                # Equal but for what the chain ends in: the same connections would come here by the same handshake.
                if replace(settings, network=heir_settings.network) == heir_settings and chain.hand_over(
                    heir
                ):
                    self._serving[index] = heir
                    break
            else:
                orphans.append(chain)
        return tuple(orphans)

    async def drain(self, timeout_s: float, idle_grace_s: float = 0.0) -> None:
        """Stop accepting, let the connections finish for at most `timeout_s`, then cut what is left."""
        self.announce_drain()
        self.stop_accepting()
        for opening in tuple(self._openings):
            if opening.is_silent:
                opening.close()
        for chain in self.chains:
            chain.drain(idle_grace_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wait_until_settled()
                await asyncio.gather(*(chain.wait_until_empty(timeout_s) for chain in self.chains))
        await self.abort()

    async def _wait_until_settled(self) -> None:
        while self._openings or self._hand_overs:
            self._settled.clear()
            await self._settled.wait()

    async def abort(self) -> None:
        """Cut every connection that is left."""
        for opening in tuple(self._openings):
            opening.close()
        await cancel_and_wait(*self._hand_overs)
        for chain in self.chains:
            chain.abort()

    def check_idle(self, now: float) -> None:
        """End what did not move for too long; called about once a second."""
        for chain in self.chains:
            chain.check_idle(now)

    def write_stats(self, sink: StatsSink) -> None:
        """Add the listener's numbers to a snapshot."""
        for chain in self.chains:
            chain.write_stats(sink)
        prefix = f"listener.{self.settings.stat_address}."
        self.stats.write(sink, prefix, len(self._openings))
        if any(self._tls):
            self._tls_stats.write(sink, prefix + "ssl.")


def is_plain(settings: ListenerSettings) -> bool:
    """Whether a connection can be served without a look at it: one chain for everything, HTTP and no TLS."""
    chains: tuple[FilterChainSettings, ...] = settings.chains()
    return (
        len(chains) == 1
        and chains[0].tls is None
        # A TCP proxy wants the socket, not a transport that the event loop has made of it.
        and not isinstance(chains[0].network, TcpProxySettings)
        and (not settings.filter_chains or chains[0].match == MATCHES_ALL)
        and not settings.listener_filters
    )


class _Refusal:
    """The protocol of a connection above a limit: it ends at once."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Called by the event loop."""
        transport.abort()

    def data_received(self, data: bytes) -> None:
        """Not looked at."""

    def eof_received(self) -> bool:
        """Called by the event loop."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # the event loop's signature
        """It never was one."""

    def pause_writing(self) -> None:
        """Nothing is written."""

    def resume_writing(self) -> None:
        """Nothing is written."""
