"""A listener at work in one worker: it accepts connections and hands each to a filter chain.

Life: built -> `listen` accepts -> `stop_accepting` -> `drain` -> every connection has ended, or `abort`.

    accepted --over a limit--> cut
       | `ChainEntry`: listener filters, filter chain, TLS
       v
    network filter

Where nothing has to be looked at before a connection is served, one plain chain for all, the event loop accepts by
itself (`entrance.py`).
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from dataclasses import replace

from fastproxy.listener.chain_entry import ChainEntry
from fastproxy.listener.connection_limit import Admission, ConnectionLimit
from fastproxy.listener.connection_log import ConnectionLog
from fastproxy.listener.entrance import Entrance, ListeningSockets, Refusal
from fastproxy.listener.network_filter import ConnectionProtocol, NetworkFilter
from fastproxy.listener.settings import (
    MATCHES_ALL,
    FilterChainSettings,
    ListenerSettings,
    ProxyProtocolSettings,
    TcpProxySettings,
)
from fastproxy.listener.stats import ListenerStats
from fastproxy.listener.tls.settings import DownstreamTlsSettings
from fastproxy.stats import StatsSink


class Listener:
    """Accepts on one listening socket (Envoy `Listener`).

    Args:
        settings: the listener.
        chains: what serves the connections of each of `settings.chains()`, in that order.
        loop: runs everything here.
        previous: the listener that this one may replace, at the same place.
        max_connections: this worker's part of the listener's own limit; None: no limit.
        connection_log: where connections are logged, as `settings.access_logs` say; None: nowhere.

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
        connection_log: ConnectionLog | None = None,
    ) -> None:
        self.settings = settings
        self.chains = tuple(chains)
        self.stats = ListenerStats(
            takes_proxy_headers=any(
                isinstance(one, ProxyProtocolSettings) for one in settings.listener_filters
            )
        )
        self._entry = ChainEntry(settings, chains, self.stats, loop, connection_log)
        self._admission = Admission(settings.name, max_connections, lambda: self.open_connections, self.stats)
        self._sockets = ListeningSockets(settings.name, settings.tcp_backlog, loop, self._on_accepted)
        self.entrance: Entrance = Entrance(self) if previous is None else previous.entrance

    # -- accepting -----------------------------------------------------------------------------------------

    def limit_by(self, limit: ConnectionLimit) -> None:
        """Count this listener's connections against a limit of the whole worker."""
        self._admission.limit_by(limit)

    async def listen(self, sock: socket.socket) -> None:
        """Accept on a bound socket, and take it over; once for each socket of the listener."""
        sock.setblocking(False)
        if is_plain(self.settings):
            self.entrance.listener = self
            await self._sockets.serve(sock, self.entrance)
        else:
            self._sockets.accept(sock)

    def make_plain(self) -> ConnectionProtocol:
        """Called by the event loop for a connection that needs no look: once per connection."""
        return Refusal() if self._admission.is_full() else self.chains[0]()

    def _on_accepted(self, sock: socket.socket, peer: object) -> None:
        if self._admission.is_full():
            sock.close()
        else:
            self._entry.open(sock, peer)

    def replace_tls(self, index: int, settings: DownstreamTlsSettings) -> None:
        """Put other certificates and rules of a chain into force for the handshakes to come.

        Raises:
            ssl.SSLError, OSError, ValueError: they cannot be used; those in force stay.
        """
        self._entry.replace_tls(index, settings)

    # -- the end -------------------------------------------------------------------------------------------

    @property
    def open_connections(self) -> int:
        """Connections that are open now, those that wait for their filter chain included."""
        return self._entry.waiting + sum(chain.open_connections for chain in self.chains)

    def announce_drain(self) -> None:
        """From now on no answer promises to keep its connection; new connections are still accepted."""
        for chain in self.chains:
            chain.announce_drain()

    def follow_farewell(self) -> None:
        """The operator has said something about the end of the proxy."""
        for chain in self.chains:
            chain.follow_farewell()

    def stop_accepting(self) -> None:
        """Close the listening socket; what is open stays open."""
        self._sockets.close()

    @property
    def is_idle(self) -> bool:
        """Nothing is open, and nothing on its way: the listener may be forgotten once it has stopped accepting."""
        return not self._entry.waiting and all(chain.is_idle for chain in self.chains)

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
        for index, (settings, chain) in enumerate(zip(self.settings.chains(), self.chains, strict=True)):
            for heir_settings, heir in heirs:
                # Equal but for what the chain ends in: the same connections would come here by the same handshake.
                if replace(settings, network=heir_settings.network) == heir_settings and chain.hand_over(
                    heir
                ):
                    self._entry.replace_chain(index, heir)
                    break
            else:
                orphans.append(chain)
        return tuple(orphans)

    async def drain(self, timeout_s: float, idle_grace_s: float = 0.0) -> None:
        """Stop accepting, let the connections finish for at most `timeout_s`, then cut what is left."""
        self.announce_drain()
        self.stop_accepting()
        self._entry.close_silent()
        for chain in self.chains:
            chain.drain(idle_grace_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._entry.wait_until_settled()
                await asyncio.gather(*(chain.wait_until_empty(timeout_s) for chain in self.chains))
        await self.abort()

    async def abort(self) -> None:
        """Cut every connection that is left."""
        await self._entry.abort()
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
        self._entry.write_stats(sink, f"listener.{self.settings.stat_address}.")


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
        # Its beginning is to be noted.
        and not settings.access_logs
    )
