"""A listener at work in one worker: it accepts connections and hands each to a filter chain.

Life: built -> `listen` accepts -> `stop_accepting` -> `drain` -> every connection has ended, or `abort`.
"""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace

from fastproxy.listener.network_filter import ConnectionProtocol, NetworkFilter
from fastproxy.listener.settings import ListenerSettings
from fastproxy.stats import StatsSink


class Entrance:
    """Leads new connections to the listener in force.

    A connection keeps the server that accepted it alive, and so whatever that server calls: were it the listener, a
    connection that outlives a hundred reloads would keep the first configuration in memory.
    """

    __slots__ = ("listener",)

    def __init__(self, listener: "Listener") -> None:
        self.listener = listener

    def __call__(self) -> ConnectionProtocol:
        """Make the protocol of a new connection."""
        return self.listener.chains[0]()


class Listener:
    """Accepts on one listening socket (Envoy `Listener`).

    Args:
        settings: the listener.
        chains: what serves the connections of each of `settings.chains()`, in that order.
        loop: runs everything here.
        previous: the listener that this one may replace, at the same place.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        chains: Sequence[NetworkFilter],
        loop: asyncio.AbstractEventLoop,
        *,
        previous: "Listener | None" = None,
    ) -> None:
        self.settings = settings
        self.chains = tuple(chains)
        self._loop = loop
        self._servers: list[asyncio.Server] = []
        self.entrance: Entrance = Entrance(self) if previous is None else previous.entrance

    async def listen(self, sock: socket.socket) -> None:
        """Accept on a bound socket, and take it over; once for each socket of the listener."""
        sock.setblocking(False)
        # Nothing has to be looked at before the connection is served: the event loop accepts by itself.
        self.entrance.listener = self
        server = await self._loop.create_server(
            self.entrance,  # type: ignore[arg-type]  # a protocol by shape
            sock=sock,
            backlog=self.settings.tcp_backlog,
        )
        self._servers.append(server)

    def announce_drain(self) -> None:
        """From now on no answer promises to keep its connection; new connections are still accepted."""
        for chain in self.chains:
            chain.draining = True

    def stop_accepting(self) -> None:
        """Close the listening socket; what is open stays open."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    def hand_over(self, successor: "Listener | None") -> tuple[NetworkFilter, ...]:
        """Another configuration has replaced this one, and `successor` accepts already: stop accepting.

        Open connections are served by the chain of `successor` that has the same match and the same transport.

        Returns:
            The chains without such a successor: their connections must be drained.
        """
        self.stop_accepting()
        orphans = []
        for settings, chain in zip(self.settings.chains(), self.chains, strict=True):
            heirs = (
                () if successor is None else zip(successor.settings.chains(), successor.chains, strict=True)
            )
            if not any(
                # Equal but for what the chain ends in: the same connections would come here by the same handshake.
                replace(settings, network=heir_settings.network) == heir_settings and chain.hand_over(heir)
                for heir_settings, heir in heirs
            ):
                orphans.append(chain)
        return tuple(orphans)

    async def drain(self, timeout_s: float, idle_grace_s: float = 0.0) -> None:
        """Stop accepting, let the connections finish for at most `timeout_s`, then cut what is left."""
        self.announce_drain()
        self.stop_accepting()
        for chain in self.chains:
            chain.drain(idle_grace_s)
        await asyncio.gather(*(chain.wait_until_empty(timeout_s) for chain in self.chains))
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
