"""Where a listener listens, as the configuration fixes it (Envoy `Address`, `SocketOption`)."""

from dataclasses import dataclass
from enum import Enum

from fastproxy.addresses import format_address, is_pipe


class SocketState(Enum):
    """When an option is set on a listening socket (Envoy `SocketOption.SocketState`)."""

    PREBIND = "STATE_PREBIND"
    BOUND = "STATE_BOUND"
    LISTENING = "STATE_LISTENING"


@dataclass(frozen=True, slots=True)
class SocketOption:
    """One `setsockopt` on a listening socket."""

    level: int
    name: int
    value: int | bytes
    state: SocketState = SocketState.PREBIND


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """An IP address and port, or a Unix domain socket, to listen on."""

    host: str
    """IP literal; or the path of a socket, which begins with `/`, or with `@` in the abstract namespace."""
    port: int
    """0 lets the system choose; a Unix domain socket has none."""
    ipv4_compat: bool = False
    mode: int = 0
    """Permissions of the file of a Unix domain socket; 0: what the process's umask leaves."""
    options: tuple[SocketOption, ...] = ()

    @property
    def is_pipe(self) -> bool:
        """Whether it is a Unix domain socket."""
        return is_pipe(self.host)

    @property
    def is_file(self) -> bool:
        """Whether it is a Unix domain socket that has a file."""
        return self.host.startswith("/")

    def __str__(self) -> str:
        """Envoy's `ip:port`, IPv6 in brackets; the path of a Unix domain socket."""
        return format_address(self.host, self.port)


#: Names an address of a listener: those that let the system choose a port are told apart by the listener's name.
Place = tuple[str, int, bool, str]


def place_of(name: str, address: ListenAddress, position: int = 0) -> Place:
    """Say where the listener of this name listens: two of one place can follow each other on the same sockets.

    `position`: of the address among those of the listener.
    """
    chosen = not address.port and not address.is_pipe
    label = f"{name}/{position}" if position else name
    return (address.host, address.port, address.ipv4_compat, label if chosen else "")
