"""Listening sockets: one per worker and address, bound together with SO_REUSEPORT before any worker runs.

They are bound here and put to listening by the workers, when these can serve. So a port that is in use fails
the start before anything else happens, a worker that cannot start takes no connections, and a worker that
dies leaves its socket listening (this process still holds it): connections wait in the backlog for its
successor.
"""

import errno
import itertools
import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Final

from fastproxy.errors import FastProxyError
from fastproxy.listener.settings import ListenerSettings


class StartupError(FastProxyError):
    """The proxy cannot start; the text says what, where and who can fix it. Exit code 1."""


#: Names sockets in messages to workers; never used twice, so nothing stale can be meant.
_numbers: Final = itertools.count(1)


class ListenerSockets:
    """The sockets of one listener, all bound to one address; usually one per worker.

    There are more when a predecessor with more workers has passed them on, and none of them may be left without a
    worker: connections wait in it. There are fewer when a service manager has opened them; workers then share.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        sockets: tuple[socket.socket, ...],
        numbers: tuple[int, ...] | None = None,
    ) -> None:
        self.settings = settings
        self.sockets = sockets
        self.numbers = tuple(next(_numbers) for _ in sockets) if numbers is None else numbers
        self.port: int = sockets[0].getsockname()[1]
        """The bound port, also when the configuration said 0."""

    def of_worker(self, worker_id: int, concurrency: int) -> dict[int, socket.socket]:
        """Return the sockets that one of `concurrency` workers serves, by number."""
        indexes = range(worker_id, len(self.sockets), concurrency) or (worker_id % len(self.sockets),)
        return {self.numbers[index]: self.sockets[index] for index in indexes}

    def renamed(self, settings: ListenerSettings) -> "ListenerSockets":
        """Return the same sockets as those of another configuration's listener."""
        return ListenerSockets(settings, self.sockets, self.numbers)

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


#: Where a listener listens; those that let the system choose a port are told apart by their names.
Place = tuple[str, int, bool, str]


def place_of(settings: ListenerSettings) -> Place:
    """Say where a listener listens: two listeners of one place can follow each other on the same sockets."""
    return (settings.host, settings.port, settings.ipv4_compat, "" if settings.port else settings.name)


def open_listener_sockets(
    listeners: tuple[ListenerSettings, ...],
    concurrency: int,
    held: Iterable[ListenerSockets] = (),
    passed_on: Mapping[Place, list[socket.socket]] | None = None,
) -> tuple[ListenerSockets, ...]:
    """Bind every address of the configuration, `concurrency` times each; all or nothing.

    Args:
        listeners: the configuration's.
        concurrency: number of workers.
        held: sockets of the configuration in force; those of the same place are used on.
        passed_on: sockets that a predecessor or a service manager has opened; taken over where their place is asked
            for. What nobody asks for is the caller's to close.

    Raises:
        StartupError: an address cannot be bound.
    """
    known = {place_of(one.settings): one for one in held}
    with ExitStack() as undo:
        opened = []
        for settings in listeners:
            place = place_of(settings)
            if place in known:
                # Taken once: a second listener of the same place is refused as it would be at a start.
                opened.append(known.pop(place).renamed(settings))
                continue
            bound = _open_one(settings, concurrency, (passed_on or {}).get(place, []))
            undo.callback(bound.close)
            opened.append(bound)
        undo.pop_all()
    return tuple(opened)


def close_all_but(sockets: Iterable[ListenerSockets], kept: Iterable[ListenerSockets]) -> None:
    """Close the sockets that are not among `kept`."""
    numbers = {number for one in kept for number in one.numbers}
    for one in sockets:
        if numbers.isdisjoint(one.numbers):
            one.close()


def _open_one(
    settings: ListenerSettings, concurrency: int, passed_on: list[socket.socket]
) -> ListenerSockets:
    label = f"listener '{settings.name}'"
    if passed_on and not passed_on[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        # Nothing else can be bound beside it.
        return ListenerSockets(settings, tuple(passed_on))
    if settings.port and not passed_on:
        # SO_REUSEPORT lets a second proxy of the same user share the port in silence, and half of the
        # requests would go astray. A bind without it fails if anybody listens there.
        with _bind(
            settings.host, settings.port, reuse_port=False, ipv4_compat=settings.ipv4_compat, label=label
        ):
            pass
    with ExitStack() as undo:
        sockets = list(passed_on)
        port = passed_on[0].getsockname()[1] if passed_on else settings.port
        for _ in range(concurrency - len(passed_on)):
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
