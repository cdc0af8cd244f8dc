"""From whom this process has its sockets, and to whom it will give them: service manager, predecessor, successor."""

import asyncio
import logging
import socket
from collections.abc import Callable

from fastproxy.config.settings import ProxySettings
from fastproxy.control.activation import take_activated_sockets
from fastproxy.control.inheritance import Inheritance, from_service_manager
from fastproxy.control.options import ControlOptions
from fastproxy.control.pipes import PipeFile
from fastproxy.control.sockets import ListenerSockets, StartupError
from fastproxy.control.upgrade import Predecessor, UpgradeServer, run_successor
from fastproxy.tasks import cancel_and_wait, spawn

_log = logging.getLogger("fastproxy.control.upgrade")


class Succession:
    """The life of a process among those before and after it: `inherit`, `begin`, `stop`.

    Args:
        options: the command line's.
        listeners: the listening sockets at that moment.
        admin: the admin interface's configured address, its socket, and its file if it has one.
        on_replaced: called with the successor's process id when it serves; this process must end then.
    """

    def __init__(
        self,
        options: ControlOptions,
        *,
        listeners: Callable[[], tuple[ListenerSockets, ...]],
        admin: Callable[[], tuple[tuple[str, int], socket.socket, PipeFile | None] | None],
        on_replaced: Callable[[int], None],
    ) -> None:
        self._options = options
        self._on_replaced = on_replaced
        self._predecessor: Predecessor | None = None
        self._successor: asyncio.Task[None] | None = None
        self._server: UpgradeServer | None = None
        if options.upgrade_path:
            self._server = UpgradeServer(
                options.upgrade_path, listeners=listeners, admin=admin, on_replaced=self._on_successor
            )
        self._serves = False
        self.inheritance = Inheritance()
        """Sockets that were open before; what is not taken out is closed by `begin`."""
        self.is_replaced = False
        """A successor serves."""

    @property
    def has_predecessor(self) -> bool:
        """Another process serves until `begin`."""
        return self._predecessor is not None

    async def inherit(self, settings: ProxySettings) -> Inheritance:
        """Get the sockets of a predecessor, or those that a service manager has opened.

        Raises:
            StartupError: there is a predecessor, but it cannot be replaced.
        """
        activated = take_activated_sockets()
        if self._options.upgrade_path:
            self._predecessor = await Predecessor.find(self._options.upgrade_path)
        if self._predecessor is None:
            self.inheritance = from_service_manager(activated, settings)
            return self.inheritance
        self.inheritance = self._predecessor.inheritance
        for sock in activated:
            # The predecessor has them, too, and whatever it has added.
            sock.close()
        return self.inheritance

    async def begin(self) -> None:
        """This process serves: let the predecessor go, and be ready for a successor.

        Raises:
            StartupError: the socket for successors cannot be made.
        """
        replaces, self._predecessor = self._predecessor, None
        if replaces is not None:
            await replaces.release()
        self.inheritance.close()
        if self._server is None:
            return
        try:
            self._server.start()
        except StartupError as error:
            if replaces is None:
                raise
            # The predecessor is ending: whatever is wrong with the path, somebody must serve.
            _log.error("%s; this process serves, but no other can take over from it", error)
        else:
            self._serves = True

    def start_successor(self) -> None:
        """Start this program again, to take over from this process (SIGUSR2)."""
        if not self._serves:
            _log.error("SIGUSR2: a new process can take over only with --upgrade-socket; nothing happens")
        elif self._successor is not None and not self._successor.done():
            _log.error("SIGUSR2: a new process is starting already")
        else:
            self._successor = spawn(run_successor(self._options.successor_argv), name="successor")

    async def stop(self) -> None:
        """End it: no successor from here on, and a predecessor that still serves goes on."""
        if self._predecessor is not None:
            self._predecessor.leave()
            self._predecessor = None
        self.inheritance.close()
        if self._server is not None:
            await self._server.stop()
        await cancel_and_wait(self._successor)

    def _on_successor(self, pid: int) -> None:
        self.is_replaced = True
        self._on_replaced(pid)
