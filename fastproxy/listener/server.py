"""The one place that meets aiohttp's runner: it accepts and shuts down, our protocol does the rest."""

import socket

from aiohttp import web

from fastproxy.listener.connection import DownstreamConnection
from fastproxy.listener.manager import HttpConnectionManager


class _ProxyServer:
    """What `web.BaseRunner` expects of a server: a protocol factory with two steps of shutting down."""

    def __init__(self, manager: HttpConnectionManager) -> None:
        self._manager = manager

    def __call__(self) -> DownstreamConnection:
        return self._manager()

    def pre_shutdown(self) -> None:
        """Close idle connections; the sites have stopped accepting."""
        self._manager.drain()

    async def shutdown(self, timeout: float | None = None) -> None:
        """Wait until every connection has ended, at most `timeout` seconds, then cut the rest."""
        await self._manager.wait_until_empty(timeout or 0.0)
        self._manager.abort()


class ProxyRunner(web.BaseRunner):
    """Runs one connection manager on its listening sockets."""

    def __init__(self, manager: HttpConnectionManager, *, drain_time_s: float) -> None:
        super().__init__(handle_signals=False, shutdown_timeout=drain_time_s)
        self._manager = manager

    async def shutdown(self) -> None:
        """Nothing beside the server itself."""

    async def _cleanup_server(self) -> None:
        """Nothing beside the server itself."""

    async def _make_server(self) -> _ProxyServer:  # type: ignore[override]  # a server by shape
        return _ProxyServer(self._manager)

    async def listen(self, sock: socket.socket, backlog: int) -> None:
        """Accept on a listening socket."""
        await web.SockSite(self, sock, backlog=backlog).start()

    def set_drain_time(self, drain_time_s: float) -> None:
        """How long `cleanup()` waits for requests in flight."""
        self._shutdown_timeout = drain_time_s
