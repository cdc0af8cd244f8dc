"""Where new connections come in: the listening sockets of a listener in one worker.

Where nothing has to be looked at before a connection is served, the event loop accepts by itself: that costs half as
much. Otherwise sockets are accepted here, a few at a time, and handed on.
"""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from typing import Protocol

from fastproxy.listener.network_filter import ConnectionProtocol

_log = logging.getLogger("fastproxy.listener")

#: One burst of new connections must not hold up those that are being served.
_ACCEPTS_PER_EVENT = 32
#: How long to leave the backlog alone when the process has no file descriptors left.
_PAUSE_S = 0.5
_NO_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class PlainListener(Protocol):
    """A listener whose connections need no look before they are served."""

    def make_plain(self) -> ConnectionProtocol:
        """Make the protocol of a new connection."""


class Entrance:
    """Leads new connections to the listener in force, where the event loop accepts by itself.

    A connection keeps the server that accepted it alive, and so whatever that server calls: were it the listener, a
    connection that outlives a hundred reloads would keep the first configuration in memory.
    """

    __slots__ = ("listener",)

    def __init__(self, listener: PlainListener) -> None:
        self.listener = listener

    def __call__(self) -> ConnectionProtocol:
        """Make the protocol of a new connection."""
        return self.listener.make_plain()


class ListeningSockets:
    """The sockets on which one listener accepts.

    Args:
        name: the listener's, for messages.
        backlog: how many connections may wait to be accepted.
        loop: runs everything here.
        on_accepted: takes every accepted socket, which does not block, and its peer's address.
    """

    __slots__ = (
        "_backlog",
        "_is_short_of_files",
        "_loop",
        "_name",
        "_on_accepted",
        "_pause",
        "_servers",
        "_socks",
    )

    def __init__(
        self,
        name: str,
        backlog: int,
        loop: asyncio.AbstractEventLoop,
        on_accepted: Callable[[socket.socket, object], None],
    ) -> None:
        self._name = name
        self._backlog = backlog
        self._loop = loop
        self._on_accepted = on_accepted
        self._servers: list[asyncio.Server] = []
        self._socks: list[socket.socket] = []
        self._pause: asyncio.TimerHandle | None = None
        self._is_short_of_files = False

    async def serve(self, sock: socket.socket, entrance: Entrance) -> None:
        """Let the event loop accept on a bound socket, and make what `entrance` says of each connection."""
        create = self._loop.create_unix_server if sock.family == socket.AF_UNIX else self._loop.create_server
        server = await create(
            entrance,  # type: ignore[arg-type]  # a protocol by shape
            sock=sock,
            backlog=self._backlog,
        )
        self._servers.append(server)

    def accept(self, sock: socket.socket) -> None:
        """Accept on a bound socket here."""
        sock.listen(self._backlog)
        self._socks.append(sock)
        self._loop.add_reader(sock, self._on_readable, sock)

    def close(self) -> None:
        """Accept nothing more; what was accepted stays."""
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
            self._on_accepted(accepted, peer)

    def _pause_accepting(self, error: OSError) -> None:
        """Leave the backlog alone for a moment: asking again at once would be a loop that does nothing else."""
        if error.errno not in _NO_RESOURCES or not self._is_short_of_files:
            _log.error(
                "listener '%s' cannot accept: %s; trying again every %.1f s",
                self._name,
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


class Refusal:
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
