"""Listening sockets: one per worker and address, bound together with SO_REUSEPORT before any worker runs.

Of a Unix domain socket there is one, for all workers.

They are bound here and put to listening by the workers, when these can serve. So a port that is in use fails
the start before anything else happens, a worker that cannot start takes no connections, and a worker that
dies leaves its socket listening (this process still holds it): connections wait in the backlog for its
successor.
"""

import errno
import itertools
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from fastproxy.addresses import format_address
from fastproxy.control.pipes import PipeFile, PipeTaken, bind_pipe
from fastproxy.errors import FastProxyError
from fastproxy.listener.settings import ListenAddress, ListenerSettings, Place, SocketState

_log = logging.getLogger("fastproxy.control")


class StartupError(FastProxyError):
    """The proxy cannot start; the text says what, where and who can fix it. Exit code 1."""


#: Names sockets in messages to workers; never used twice, so nothing stale can be meant.
_numbers: Final = itertools.count(1)


@dataclass(slots=True)
class PassedOn:
    """Sockets of one place that were open before this process began."""

    sockets: list[socket.socket]
    path: str = ""
    """Of a Unix domain socket whose file is this process's to remove; empty: there is none, or it is not."""

    def file(self) -> PipeFile | None:
        """The file; None if there is none."""
        try:
            return PipeFile(self.path) if self.path else None
        except OSError:
            # Somebody has removed it: nobody can connect any more, but that is no reason not to serve the rest.
            _log.warning("the socket %s has lost its file: no new connections will come", self.path)
            return None


@dataclass(frozen=True, slots=True)
class Spot:
    """One address of one listener of a configuration."""

    settings: ListenerSettings
    listener_index: int
    """Position of the listener in the configuration."""
    address: ListenAddress
    place: Place
    """What another configuration may know it by."""

    @property
    def label(self) -> str:
        """The listener, for messages."""
        return f"listener '{self.settings.name}'"


class ListenerSockets:
    """The sockets of one address of a listener; usually one per worker.

    There are more when a predecessor with more workers has passed them on, and none of them may be left without a
    worker: connections wait in it. There are fewer when a service manager has opened them, when the configuration
    says so, and on a Unix domain socket: workers then share.

    Args:
        spot: what they are for.
        sockets: all bound to its address.
        numbers: names of the sockets, if they have any.
        file: of a Unix domain socket, if it is this process's to remove.
    """

    def __init__(
        self,
        spot: Spot,
        sockets: tuple[socket.socket, ...],
        *,
        numbers: tuple[int, ...] | None = None,
        file: PipeFile | None = None,
    ) -> None:
        self.spot = spot
        self.settings = spot.settings
        self.sockets = sockets
        self.numbers = tuple(next(_numbers) for _ in sockets) if numbers is None else numbers
        self.file = file
        self.port: int = 0 if spot.address.is_pipe else sockets[0].getsockname()[1]
        """The bound port, also when the configuration said 0."""

    def of_worker(self, worker_id: int, concurrency: int) -> dict[int, socket.socket]:
        """Return the sockets that one of `concurrency` workers serves, by number."""
        indexes = range(worker_id, len(self.sockets), concurrency) or (worker_id % len(self.sockets),)
        return {self.numbers[index]: self.sockets[index] for index in indexes}

    def renamed(self, spot: Spot) -> "ListenerSockets":
        """Return the same sockets as those of another configuration's listener."""
        return ListenerSockets(spot, self.sockets, numbers=self.numbers, file=self.file)

    @property
    def address(self) -> str:
        """Envoy's `ip:port`, IPv6 in brackets; the path of a Unix domain socket."""
        return format_address(self.spot.address.host, self.port)

    def settle_mode(self) -> None:
        """Give the file of a Unix domain socket the configured permissions."""
        if self.file is not None:
            try:
                self.file.set_mode(self.spot.address.mode)
            except OSError as error:
                _log.error("%s: the permissions cannot be changed: %s", self.address, error.strerror)

    def close(self, *, keeps_file: bool = False) -> None:
        """Stop holding the address; workers may still have their own copies.

        `keeps_file`: somebody else goes on listening on the Unix domain socket.
        """
        for sock in self.sockets:
            sock.close()
        if self.file is not None and not keeps_file:
            self.file.remove()


def open_listener_sockets(
    listeners: tuple[ListenerSettings, ...],
    concurrency: int,
    held: Iterable[ListenerSockets] = (),
    passed_on: Mapping[Place, PassedOn] | None = None,
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
    known = {one.spot.place: one for one in held}
    with ExitStack() as undo:
        opened = []
        for spot in _spots(listeners):
            if spot.place in known:
                # Taken once: a second listener of the same place is refused as it would be at a start.
                opened.append(_use_on(known.pop(spot.place), spot))
                continue
            bound = _open_one(spot, concurrency, (passed_on or {}).get(spot.place))
            undo.callback(bound.close)
            opened.append(bound)
        undo.pop_all()
    return tuple(opened)


def _spots(listeners: tuple[ListenerSettings, ...]) -> Iterator[Spot]:
    for index, settings in enumerate(listeners):
        for address, place in settings.places():
            yield Spot(settings, index, address, place)


def close_all_but(sockets: Iterable[ListenerSockets], kept: Iterable[ListenerSockets]) -> None:
    """Close the sockets that are not among `kept`."""
    numbers = {number for one in kept for number in one.numbers}
    for one in sockets:
        if numbers.isdisjoint(one.numbers):
            one.close()


def _use_on(held: ListenerSockets, spot: Spot) -> ListenerSockets:
    before = held.spot
    if (
        spot.address.options != before.address.options
        or spot.settings.shares_socket != before.settings.shares_socket
    ):
        _log.warning("%s: other socket options of %s are set at the next start", spot.label, held.address)
    return held.renamed(spot)


def _open_one(spot: Spot, concurrency: int, passed_on: PassedOn | None) -> ListenerSockets:
    address, label = spot.address, spot.label
    known = [] if passed_on is None else passed_on.sockets
    if passed_on is not None and not known[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        # Nothing else can be bound beside it.
        return ListenerSockets(spot, tuple(known), file=passed_on.file())
    if address.is_pipe or spot.settings.shares_socket:
        bound, file = _bind(address, reuse_port=False, label=label)
        return ListenerSockets(spot, (bound,), file=file)
    if address.port and not known:
        # SO_REUSEPORT lets a second proxy of the same user share the port in silence, and half of the
        # requests would go astray. A bind without it fails if anybody listens there.
        with _bind(address, reuse_port=False, label=label)[0]:
            pass
    with ExitStack() as undo:
        sockets = list(known)
        port = known[0].getsockname()[1] if known else address.port
        for _ in range(concurrency - len(known)):
            sock, _file = _bind(replace(address, port=port), reuse_port=True, label=label)
            undo.enter_context(sock)
            port = sock.getsockname()[1]
            sockets.append(sock)
        undo.pop_all()
    return ListenerSockets(spot, tuple(sockets))


def bind_admin_socket(address: ListenAddress) -> tuple[socket.socket, PipeFile | None]:
    """Bind the admin interface's address; nobody else may share it.

    Returns:
        The socket, and the file of a Unix domain socket, which is the caller's to remove.

    Raises:
        StartupError: the address cannot be bound.
    """
    return _bind(address, reuse_port=False, label="the admin interface")


def _bind(address: ListenAddress, *, reuse_port: bool, label: str) -> tuple[socket.socket, PipeFile | None]:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = file = None
    what = f"{label}: cannot bind {address}"
    try:
        sock = socket.socket(socket.AF_UNIX if address.is_pipe else family, socket.SOCK_STREAM)
        sock.setblocking(False)
        _set_options(sock, address, label, bound=False)
        if address.is_pipe:
            file = bind_pipe(sock, address)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not address.ipv4_compat))
            sock.bind((address.host, address.port))
        _set_options(sock, address, label, bound=True)
    except (OSError, PipeTaken, StartupError) as error:
        if sock is not None:
            sock.close()
        if file is not None:
            file.remove()
        if isinstance(error, OSError):
            raise StartupError(_explain(error, what, is_pipe=address.is_pipe)) from error
        raise (StartupError(f"{what}: {error}") if isinstance(error, PipeTaken) else error) from error
    return sock, file


def _set_options(sock: socket.socket, address: ListenAddress, label: str, *, bound: bool) -> None:
    """Set the configured options of one side of `bind`. What Envoy sets after `listen` Linux takes before it, too."""
    for option in address.options:
        if (option.state is not SocketState.PREBIND) is not bound:
            continue
        try:
            sock.setsockopt(option.level, option.name, option.value)
        except OSError as error:
            raise StartupError(
                f"{label}: socket option {option.name} of level {option.level} cannot be set on {address}:"
                f" {error.strerror}"
            ) from error


def _explain(error: OSError, what: str, *, is_pipe: bool) -> str:
    """Say why a bind failed and who can do something about it."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    advice = {
        errno.EADDRINUSE: "another process listens there (`ss -ltnp` names it): stop it or choose"
        " another port",
        errno.EACCES: "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE: grant it or choose"
        " a higher port",
        errno.EADDRNOTAVAIL: "this machine has no such address: use one that `ip address` lists, or 0.0.0.0",
        errno.EAFNOSUPPORT: "IPv6 is switched off on this machine: use an IPv4 address",
        errno.ENOENT: "the directory of the path does not exist: make it or choose another path",
        errno.EMFILE: "too many open files: raise the limit (`ulimit -n`) or lower --concurrency",
    }.get(error.errno or 0)
    if is_pipe:
        advice = _PIPE_ADVICE.get(error.errno or 0, advice)
    return f"{what}: {reason}" + (f"; {advice}" if advice else "")


_PIPE_ADVICE: Final = {
    errno.EADDRINUSE: "another process listens there (`ss -lxp` names it): stop it or choose another path",
    errno.EACCES: "this user may not write in the directory of the path: let it, or choose another path",
    errno.ENOTDIR: "a part of the path is no directory: choose another path",
}
