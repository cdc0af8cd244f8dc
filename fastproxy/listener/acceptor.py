"""A listener at work in one worker: it accepts connections and hands each to a filter chain.

Life: built -> `listen` accepts -> `stop_accepting` -> `drain` -> every connection has ended, or `abort`.
"""

import asyncio
import socket
from collections.abc import Sequence

from fastproxy.listener.network_filter import NetworkFilter
from fastproxy.listener.settings import ListenerSettings
from fastproxy.stats import StatsSink


class Listener:
    """Accepts on one listening socket (Envoy `Listener`).

    Args:
        settings: the listener.
        chains: what serves the connections of each of `settings.chains()`, in that order.
        loop: runs everything here.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        chains: Sequence[NetworkFilter],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.settings = settings
        self.chains = tuple(chains)
        self._loop = loop
        self._server: asyncio.Server | None = None

    async def listen(self, sock: socket.socket) -> None:
        """Accept on a bound socket, and take it over."""
        sock.setblocking(False)
        # Nothing has to be looked at before the connection is served: the event loop accepts by itself.
        self._server = await self._loop.create_server(
            self.chains[0],  # type: ignore[arg-type]  # a protocol by shape
            sock=sock,
            backlog=self.settings.tcp_backlog,
        )

    def announce_drain(self) -> None:
        """From now on no answer promises to keep its connection; new connections are still accepted."""
        for chain in self.chains:
            chain.draining = True

    def stop_accepting(self) -> None:
        """Close the listening socket; what is open stays open."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def drain(self, timeout_s: float) -> None:
        """Stop accepting, let the connections finish for at most `timeout_s`, then cut what is left."""
        self.announce_drain()
        self.stop_accepting()
        for chain in self.chains:
            chain.drain()
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
