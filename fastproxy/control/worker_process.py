"""One worker process: a freshly started interpreter and the channel to it."""

import asyncio
import contextlib
import os
import signal
import site
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import fastproxy
from fastproxy.ipc.channel import Channel
from fastproxy.ipc.handover import handover_pair, send_sockets


class WorkerProcess:
    """A running worker. Created by `start`; whoever holds it must `close` it."""

    def __init__(
        self,
        worker_id: int,
        process: asyncio.subprocess.Process,
        channel: Channel,
        handover: socket.socket,
    ) -> None:
        self.id = worker_id
        self.channel = channel
        self._handover = handover
        self._handed_over: set[int] = set()
        self.ready = False
        """The worker said WorkerReady."""
        self._process = process

    @classmethod
    async def start(
        cls, worker_id: int, argv: tuple[str, ...], *, log_path: str, inherited_fd: int = -1
    ) -> "WorkerProcess":
        """Start `argv` with the descriptors of channel and handover as last arguments.

        It inherits no other but `inherited_fd`, unless that is -1.

        Raises:
            OSError: the interpreter cannot be started (no memory, no processes left).
        """
        ours, theirs = socket.socketpair()
        our_handover, their_handover = handover_pair()
        try:
            with theirs, their_handover, contextlib.ExitStack() as stack:
                # The worker logs to its stderr, so that also what a dying interpreter writes is kept.
                stderr = stack.enter_context(_open_log(log_path)) if log_path else None
                process = await asyncio.create_subprocess_exec(
                    *argv,
                    str(theirs.fileno()),
                    str(their_handover.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    stderr=stderr,
                    pass_fds=tuple(
                        fd for fd in (theirs.fileno(), their_handover.fileno(), inherited_fd) if fd >= 0
                    ),
                    env=_environment(),
                    # Ctrl-C reaches the whole foreground process group; only `main` may decide what it means.
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            our_handover.close()
            raise
        return cls(worker_id, process, await Channel.open(ours), our_handover)

    @property
    def pid(self) -> int:
        """The process id, for log lines."""
        return self._process.pid

    def hand_over(self, sockets: Mapping[int, socket.socket]) -> None:
        """Give the worker these sockets, but for those that it has; before the message that names them.

        Raises:
            ChannelError: the worker does not take them.
        """
        new = {number: sock for number, sock in sockets.items() if number not in self._handed_over}
        send_sockets(self._handover, new)
        self._handed_over.update(new)

    def kill(self) -> None:
        """End the process at once; a worker has nothing that must be saved."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self, grace_s: float) -> str:
        """Close the channel, wait for the process to end (killed after `grace_s`) and say how it ended."""
        self.channel.close()
        self._handover.close()
        try:
            async with asyncio.timeout(grace_s):
                code = await self._process.wait()
        except TimeoutError:
            self.kill()
            code = await self._process.wait()
        if code >= 0:
            return f"exit code {code}"
        return f"signal {signal.Signals(-code).name}"


def _open_log(path: str) -> BinaryIO:
    return Path(path).open("ab")


def _environment() -> dict[str, str]:
    """Environment of a worker: ours, plus the place of this package if no installed path leads to it.

    That happens when somebody runs `python -m fastproxy` in a source tree: the current directory is on our
    path, and `-P` keeps it off the worker's.
    """
    environment = dict(os.environ)
    package_parent = str(Path(fastproxy.__file__).resolve().parent.parent)
    installed = {*site.getsitepackages(), site.getusersitepackages()}
    if package_parent in sys.path and package_parent not in installed:
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = package_parent if not known else f"{known}{os.pathsep}{package_parent}"
    return environment
