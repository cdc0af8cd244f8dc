"""The address of the admin interface: opened, kept for a successor, closed."""

import asyncio
import logging
import socket
from pathlib import Path

from fastproxy.addresses import address_of, format_address
from fastproxy.admin_log import AdminLog
from fastproxy.config.settings import AdminSettings
from fastproxy.control.admin import AdminServer, AdminView
from fastproxy.control.admin.access import warn_if_exposed
from fastproxy.control.inheritance import Inheritance
from fastproxy.control.options import ControlOptions
from fastproxy.control.pipes import PipeFile
from fastproxy.control.sockets import StartupError, bind_admin_socket
from fastproxy.stats import StatsSink

_log = logging.getLogger("fastproxy")


class AdminDoor:
    """The admin server with its socket.

    Args:
        view: what it shows.
        options: where its address is told (`admin_address_path`), and how its log is written (`access_log_flush`).
    """

    def __init__(self, view: AdminView, options: ControlOptions) -> None:
        self._view = view
        self._options = options
        self._log: AdminLog | None = None
        self._server: AdminServer | None = None
        self._socket: socket.socket | None = None
        """A copy: the server closes what it gets, and a successor may want it later."""
        self._file: PipeFile | None = None

    async def open(self, admin: AdminSettings | None, inheritance: Inheritance) -> None:
        """Answer on the address of the configuration, if it has one.

        Args:
            admin: where; None: nowhere.
            inheritance: what a predecessor has passed on, its socket perhaps.

        Raises:
            StartupError: nobody can listen there, or a file cannot be written.
        """
        if admin is None:
            return
        warn_if_exposed(admin.host)
        sock, self._file = inheritance.take_admin(admin) or bind_admin_socket(admin.address)
        self._socket = sock.dup()
        if admin.access_logs:
            self._log = _open_log(admin, self._options)
        self._server = AdminServer(self._view, self._log)
        await self._server.start(sock)
        address = format_address(*address_of(sock.getsockname()))
        _log.info("admin address: %s", address)
        if self._options.admin_address_path:
            _write_address(self._options.admin_address_path, address)

    def for_successor(self) -> tuple[tuple[str, int], socket.socket, PipeFile | None] | None:
        """The configured host and port, the socket and its file; None if there is none."""
        admin = self._view.settings.admin
        if admin is None or self._socket is None:
            return None
        return (admin.host, admin.port), self._socket, self._file

    def keep_no_socket(self) -> None:
        """No successor will ask for it any more."""
        if self._socket is not None:
            self._socket.close()

    async def stop(self) -> None:
        """Answer no longer."""
        if self._server is not None:
            await self._server.stop()
        if self._log is not None:
            self._log.close()

    def reopen_log(self) -> None:
        """After a rotation the paths name new files."""
        if self._log is not None:
            self._log.reopen()

    def remove_file(self) -> None:
        """The file of a Unix domain socket goes with the one who listens there last."""
        if self._file is not None:
            self._file.remove()

    def write_stats(self, sink: StatsSink) -> None:
        """Add what the admin server counts."""
        if self._server is not None:
            self._server.write_stats(sink)


def _open_log(admin: AdminSettings, options: ControlOptions) -> AdminLog:
    try:
        return AdminLog(admin.access_logs, options.access_log_flush, asyncio.get_running_loop())
    except OSError as error:
        raise StartupError(
            f"cannot open the access log {error.filename} of the admin interface: {error.strerror}"
        ) from error


def _write_address(path: str, address: str) -> None:
    try:
        Path(path).write_text(address, encoding="ascii")
    except OSError as error:
        raise StartupError(f"cannot write the admin address to {path}: {error.strerror}") from error
