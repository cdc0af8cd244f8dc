"""Listening sockets that a service manager has opened: systemd's socket activation (`sd_listen_fds(3)`).

They come as descriptors from 3 on, announced in LISTEN_FDS and meant for the process LISTEN_PID. Each is matched with
the listener, or the admin interface, that has its address.
"""

import logging
import os
import socket
from collections.abc import MutableMapping
from typing import Final

_log = logging.getLogger("fastproxy.control")
_FIRST_FD: Final = 3


def take_activated_sockets(
    environment: MutableMapping[str, str] | None = None, first_fd: int = _FIRST_FD
) -> list[socket.socket]:
    """Take the sockets that were passed to this process, and forget where they came from: children must not look.

    What is no listening TCP or Unix domain socket is left alone, with a warning.
    """
    variables = os.environ if environment is None else environment
    pid, count = variables.pop("LISTEN_PID", ""), variables.pop("LISTEN_FDS", "")
    names = variables.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    taken = []
    for position in range(int(count)):
        name = names[position] if position < len(names) else "unknown"
        sock = _take(first_fd + position)
        if sock is None:
            _log.warning(
                "descriptor '%s' of the service manager is no listening stream socket; not used", name
            )
        else:
            taken.append(sock)
    return taken


def _take(fd: int) -> socket.socket | None:
    try:
        # A copy tells what it is; closing it leaves the descriptor as it was.
        with socket.socket(fileno=os.dup(fd)) as probe:
            usable = (
                probe.family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
                and probe.type == socket.SOCK_STREAM
                and bool(probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
            )
        if not usable:
            return None
        sock = socket.socket(fileno=fd)
    except OSError:
        return None
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock
