"""Unix domain sockets to listen on: bound safely, and their files removed by who made them.

A file at the path is removed before only if it is a socket on which nobody listens: what a proxy that was killed has
left. Envoy removes whatever is there, also a file that is no socket, and also the socket of a running process.
"""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

from fastproxy.errors import FastProxyError
from fastproxy.listener.settings import ListenAddress

_PROBE_TIMEOUT_S: Final = 1.0


class PipeTaken(FastProxyError):
    """The path of a Unix domain socket is in use; the text says by what, and what to do."""


class PipeFile:
    """The file of a Unix domain socket that this process has made, or taken over from a predecessor.

    Args:
        path: where the file is now.

    Raises:
        OSError: there is none.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._identity = _identity(self._path)

    def remove(self) -> None:
        """Remove the file, unless another one has taken its place."""
        with contextlib.suppress(OSError):
            if _identity(self._path) == self._identity:
                self._path.unlink()

    def set_mode(self, mode: int) -> None:
        """Change the permissions; 0 leaves them.

        Raises:
            OSError: they cannot be changed.
        """
        if mode:
            self._path.chmod(mode)


def bind_pipe(sock: socket.socket, address: ListenAddress) -> PipeFile | None:
    """Bind a socket to the path of a Unix domain socket; None for an abstract name, which has no file.

    Nobody can connect before the socket listens, so the permissions are right from the first connection on.

    Raises:
        PipeTaken: something is at the path that must stay.
        OSError: the path cannot be used.
    """
    if not address.is_file:
        sock.bind("\0" + address.host[1:])
        return None
    _remove_stale(Path(address.host))
    sock.bind(address.host)
    file = PipeFile(address.host)
    try:
        file.set_mode(address.mode)
    except OSError:
        file.remove()
        raise
    return file


def _remove_stale(path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise PipeTaken("there is something that is no socket; move it away or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EPROTOTYPE) or isinstance(
                error, TimeoutError
            ):
                raise PipeTaken(_IN_USE) from None
            raise
        else:
            raise PipeTaken(_IN_USE)


_IN_USE: Final = "another process listens there (`ss -lxp` names it): stop it or choose another path"


def _identity(path: Path) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino
