"""Listening sockets: one per worker and address, bound together with SO_REUSEPORT before any worker runs.

They are bound here and put to listening by the workers, when these can serve. So a port that is in use fails
the start before anything else happens, a worker that cannot start takes no connections, and a worker that
dies leaves its socket listening (this process still holds it): connections wait in the backlog for its
successor.
"""

import errno
import os
import socket
from contextlib import ExitStack

from fastproxy.errors import FastProxyError
from fastproxy.listener.settings import ListenerSettings


class StartupError(FastProxyError):
    """The proxy cannot start; the text says what, where and who can fix it. Exit code 1."""


class ListenerSockets:
    """The sockets of one listener, one per worker, all bound to one address."""

    def __init__(self, settings: ListenerSettings, sockets: tuple[socket.socket, ...]) -> None:
        self.settings = settings
        self.sockets = sockets
        self.port: int = sockets[0].getsockname()[1]
        """The bound port, also when the configuration said 0."""

    @property
    def address(self) -> str:
        """Envoy's `ip:port`, IPv6 in brackets."""
        return format_address(self.settings.host, self.port)

    def close(self) -> None:
        """Stop holding the address; workers may still have their own copies."""
        for sock in self.sockets:
            sock.close()


def format_address(host: str, port: int) -> str:
    """Envoy's `ip:port`, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_listener_sockets(
    listeners: tuple[ListenerSettings, ...], concurrency: int
) -> tuple[ListenerSockets, ...]:
    """Bind every address of the configuration, `concurrency` times each; all or nothing.

    Raises:
        StartupError: an address cannot be bound.
    """
    with ExitStack() as undo:
        opened = []
        for settings in listeners:
            bound = _open_one(settings, concurrency)
            undo.callback(bound.close)
            opened.append(bound)
        undo.pop_all()
    return tuple(opened)


def _open_one(settings: ListenerSettings, concurrency: int) -> ListenerSockets:
    label = f"listener '{settings.name}'"
    if settings.port:
        # SO_REUSEPORT lets a second proxy of the same user share the port in silence, and half of the
        # requests would go astray. A bind without it fails if anybody listens there.
        with _bind(
            settings.host, settings.port, reuse_port=False, ipv4_compat=settings.ipv4_compat, label=label
        ):
            pass
    with ExitStack() as undo:
        port, sockets = settings.port, []
        for _ in range(concurrency):
            sock = _bind(settings.host, port, reuse_port=True, ipv4_compat=settings.ipv4_compat, label=label)
            undo.enter_context(sock)
            port = sock.getsockname()[1]
            sockets.append(sock)
        undo.pop_all()
    return ListenerSockets(settings, tuple(sockets))


def bind_admin_socket(host: str, port: int) -> socket.socket:
    """Bind the admin interface's address; nobody else may share it.

    Raises:
        StartupError: the address cannot be bound.
    """
    return _bind(host, port, reuse_port=False, ipv4_compat=False, label="the admin interface")


def _bind(host: str, port: int, *, reuse_port: bool, ipv4_compat: bool, label: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = None
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not ipv4_compat))
        sock.bind((host, port))
    except OSError as error:
        if sock is not None:
            sock.close()
        raise StartupError(_explain(error, f"{label}: cannot bind {format_address(host, port)}")) from error
    return sock


def _explain(error: OSError, what: str) -> str:
    """Say why a bind failed and who can do something about it."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    advice = {
        errno.EADDRINUSE: "another process listens there (`ss -ltnp` names it): stop it or choose"
        " another port",
        errno.EACCES: "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE: grant it or choose"
        " a higher port",
        errno.EADDRNOTAVAIL: "this machine has no such address: use one that `ip address` lists, or 0.0.0.0",
        errno.EAFNOSUPPORT: "IPv6 is switched off on this machine: use an IPv4 address",
        errno.EMFILE: "too many open files: raise the limit (`ulimit -n`) or lower --concurrency",
    }.get(error.errno or 0)
    return f"{what}: {reason}" + (f"; {advice}" if advice else "")
