"""A new process takes over from a running one, sockets and all: upgrade without a lost connection.

Both are started with `--upgrade-socket PATH`. The running process listens on PATH; a new one that finds somebody there

    connects --> is given copies of all listening sockets --> starts as usual --> says LIVE --> the old one drains, ends

and listens on PATH itself from then on. Up to LIVE the old process goes on as if nothing were: if the new one fails,
its end of the connection closes and that is all. Both have the same sockets, so connections that wait in them are not
lost whoever of the two accepts them.

Who may do this can take over the service, so both sides check that the peer runs as the same user (SO_PEERCRED).
The messages are lines of JSON with a version of their own: the two processes may be of different releases.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import fastproxy
from fastproxy.control.inheritance import Inheritance
from fastproxy.control.pipes import PipeFile
from fastproxy.control.sockets import ListenerSockets, PassedOn, StartupError
from fastproxy.ipc.codec import ChannelError
from fastproxy.ipc.handover import handover_pair, receive_sockets, send_sockets
from fastproxy.tasks import cancel_and_wait, spawn

_log = logging.getLogger("fastproxy.control.upgrade")

_PROTOCOL: Final = 1
_MAX_LINE_BYTES: Final = 1024 * 1024
#: For the exchange of messages; between them the new process may take as long as its start takes.
_ANSWER_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.2
_CREDENTIALS: Final = struct.Struct("3i")


class PeerRefused(Exception):
    """The peer of an upgrade is not what it should be; the text says what is wrong."""


class UpgradeServer:
    """The running process's side.

    Args:
        path: where successors connect.
        listeners: the listening sockets at that moment.
        admin: the admin interface's configured address, its socket, and its file if it has one.
        on_replaced: called with the successor's process id when it serves; this process must end then.
    """

    def __init__(
        self,
        path: str,
        *,
        listeners: Callable[[], tuple[ListenerSockets, ...]],
        admin: Callable[[], tuple[tuple[str, int], socket.socket, PipeFile | None] | None],
        on_replaced: Callable[[int], None],
    ) -> None:
        self._path = Path(path)
        self._listeners = listeners
        self._admin = admin
        self._on_replaced = on_replaced
        self._sock: socket.socket | None = None
        self._inode = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen; whatever lies at the path is a socket that nobody listens on any more, or our predecessor's.

        Raises:
            StartupError: the path cannot be used.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Only the owner may connect, from the first moment on.
        previous = os.umask(0o177)
        try:
            if self._path.is_socket():
                self._path.unlink()
            sock.bind(str(self._path))
            sock.listen(1)
            sock.setblocking(False)
            self._inode = self._path.stat().st_ino
        except OSError as error:
            sock.close()
            raise StartupError(
                f"--upgrade-socket {self._path}: {error.strerror or error}; the directory must exist and be writable"
            ) from error
        finally:
            os.umask(previous)
        self._sock = sock
        self._task = spawn(self._serve(sock), name="upgrade")

    async def stop(self) -> None:
        """Stop listening; the path goes too, unless it is a successor's by now."""
        await cancel_and_wait(self._task)
        if self._sock is not None:
            self._sock.close()
            self._sock = None
            with contextlib.suppress(OSError):
                if self._path.stat().st_ino == self._inode:
                    self._path.unlink()

    async def _serve(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            peer, _ = await loop.sock_accept(sock)
            with peer:
                try:
                    pid = check_peer(peer)
                    if await self._hand_over(_Lines(peer), pid):
                        # The path is the successor's from now on.
                        self._inode = 0
                        self._on_replaced(pid)
                        return
                except (PeerRefused, ChannelError, OSError, TimeoutError) as error:
                    _log.error("upgrade refused: %s", error)

    async def _hand_over(self, lines: "_Lines", pid: int) -> bool:
        """Give a successor the sockets and wait until it serves; False if it gave up."""
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            hello = await lines.receive()
            if hello is None:
                return False
            if hello.get("protocol") != _PROTOCOL:
                raise PeerRefused(
                    "the new process speaks another version of the upgrade protocol; restart instead"
                )
            _log.info("process %d (version %s) is taking over", pid, str(hello.get("version"))[:40])
            await self._send_sockets(lines)
        message = await lines.receive()
        if message is None or message.get("state") != "live":
            _log.warning("process %d did not take over; going on", pid)
            return False
        await lines.send({"state": "draining"})
        return True

    async def _send_sockets(self, lines: "_Lines") -> None:
        listeners, admin = self._listeners(), self._admin()
        numbered = {
            number: sock for one in listeners for number, sock in zip(one.numbers, one.sockets, strict=True)
        }
        if admin is not None:
            # Numbers of listening sockets begin at 1.
            numbered[0] = admin[1]
        ours, theirs = handover_pair()
        with ours, theirs:
            send_sockets(ours, numbered)
            socket.send_fds(lines.sock, [b"\n"], [theirs.fileno()])
        await lines.send(
            {
                "protocol": _PROTOCOL,
                "version": fastproxy.__version__,
                "listeners": [
                    {
                        "place": list(one.spot.place),
                        "sockets": list(one.numbers),
                        "owns_file": one.file is not None,
                    }
                    for one in listeners
                ],
                "admin": None if admin is None else list(admin[0]),
                "admin_owns_file": admin is not None and admin[2] is not None,
            }
        )


class Predecessor:
    """The new process's side: the process that is being replaced. Created by `find`."""

    def __init__(self, lines: "_Lines", pid: int, inheritance: Inheritance) -> None:
        self._lines = lines
        self.pid = pid
        self.inheritance = inheritance
        """Take out what is used; the rest is closed by `release` and `leave`."""

    @classmethod
    async def find(cls, path: str) -> "Predecessor | None":
        """Connect to a running process and get its sockets; None if nobody listens at the path.

        Raises:
            StartupError: somebody does, but it is no process that can be replaced.
        """
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await loop.sock_connect(sock, path)
                pid = check_peer(sock)
                lines = _Lines(sock)
                await lines.send({"protocol": _PROTOCOL, "version": fastproxy.__version__})
                inheritance = await _receive_inheritance(lines)
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None
        except (PeerRefused, ChannelError, OSError, TimeoutError, ValueError) as error:
            sock.close()
            raise StartupError(
                f"cannot take over from the process at {path}: {str(error) or 'no answer'}"
            ) from error
        _log.info("taking over from process %d", pid)
        return cls(lines, pid, inheritance)

    async def release(self) -> None:
        """Say that this process serves; the predecessor ends then."""
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await self._lines.send({"state": "live"})
                answer = await self._lines.receive()
        except (OSError, TimeoutError, PeerRefused) as error:
            _log.warning("process %d did not answer (%s); both may be serving", self.pid, error)
        else:
            if answer is None:
                _log.warning("process %d had ended already", self.pid)
            else:
                _log.info("process %d drains and ends", self.pid)
        self.leave()

    def leave(self) -> None:
        """Drop the connection, and what was not used of the sockets."""
        self.inheritance.close()
        self._lines.sock.close()


async def run_successor(argv: Sequence[str]) -> None:
    """Start a new process that takes over from this one, and wait for its end (SIGUSR2).

    It is no child of the event loop, which would end it when this process ends.
    """
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)  # noqa: ASYNC220, S603 - our own command line
    except OSError as error:
        _log.error("a new process cannot be started: %s", error.strerror)
        return
    _log.info("process %d was started to take over", process.pid)
    while (code := process.poll()) is None:  # noqa: ASYNC110 - nothing tells of the end of a foreign process
        await asyncio.sleep(_POLL_S)
    _log.error("process %d ended (code %d) without taking over; going on", process.pid, code)


def check_peer(sock: socket.socket) -> int:
    """Return the process id of the peer of a Unix socket.

    Raises:
        PeerRefused: it runs as another user.
    """
    pid, uid, _ = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    if uid != os.geteuid():
        raise PeerRefused(f"process {pid} runs as another user (uid {uid})")
    return int(pid)


async def _receive_inheritance(lines: "_Lines") -> Inheritance:
    fd = await lines.receive_descriptor()
    with socket.socket(fileno=fd) as handover:
        message = await lines.receive()
        sockets = receive_sockets(handover)
    if message is None:
        raise PeerRefused("it closed the connection; perhaps it is ending, or speaks another version")
    inheritance = Inheritance()
    try:
        if message.get("protocol") != _PROTOCOL:
            raise PeerRefused("it speaks another version of the upgrade protocol; restart instead")
        for entry in message["listeners"]:
            host, port, compat, name = entry["place"]
            place = (str(host), int(port), bool(compat), str(name))
            # An older release says nothing about files, for it knew none.
            path = place[0] if place[0].startswith("/") and entry.get("owns_file") else ""
            inheritance.listeners[place] = PassedOn(
                [sockets.pop(int(number)) for number in entry["sockets"]], path
            )
        if message["admin"] is not None:
            host, port = message["admin"]
            path = str(host) if str(host).startswith("/") and message.get("admin_owns_file") else ""
            inheritance.admin_address = (str(host), int(port))
            inheritance.admin = PassedOn([sockets.pop(0)], path)
    except (KeyError, TypeError, ValueError) as error:
        raise PeerRefused("its message makes no sense") from error
    finally:
        for sock in sockets.values():
            sock.close()
    return inheritance


class _Lines:
    """One JSON object a line over a stream socket, which may also carry one descriptor."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)
        self._received = b""

    async def send(self, message: dict[str, Any]) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, json.dumps(message).encode() + b"\n")

    async def receive(self) -> dict[str, Any] | None:
        """The next message; None: the peer has closed.

        Raises:
            PeerRefused: no JSON object.
        """
        loop = asyncio.get_running_loop()
        while b"\n" not in self._received:
            if len(self._received) > _MAX_LINE_BYTES:
                raise PeerRefused("its message is too long")
            try:
                data = await loop.sock_recv(self.sock, 65536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise PeerRefused("its message is no JSON object")
        return message

    async def receive_descriptor(self) -> int:
        """Receive the one descriptor that travels with an empty line.

        Raises:
            PeerRefused: something else came, or nothing.
        """
        loop = asyncio.get_running_loop()
        readable = loop.create_future()
        loop.add_reader(self.sock, lambda: None if readable.done() else readable.set_result(None))
        try:
            await readable
        finally:
            loop.remove_reader(self.sock)
        # One byte: the message that follows stays for `receive`.
        data, fds, _, _ = socket.recv_fds(self.sock, 1, 1)
        if data != b"\n" or len(fds) != 1:
            for fd in fds:
                os.close(fd)
            raise PeerRefused("it closed the connection; perhaps it is ending, or speaks another version")
        return fds[0]
