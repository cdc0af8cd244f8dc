"""Where a connection is made to (Envoy `core.v3.Address`)."""

from dataclasses import dataclass

from fastproxy.addresses import format_address, is_pipe


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address and port, or a Unix domain socket, to connect to, and the name it came from."""

    host: str
    """IP literal; or the path of a socket, which begins with `/`, or with `@` in the abstract namespace."""
    port: int
    """0 for a Unix domain socket."""
    hostname: str = ""
    """The configured or resolved DNS name; `auto_host_rewrite` and TLS name checks use it."""

    @property
    def is_pipe(self) -> bool:
        """Whether it is a Unix domain socket."""
        return is_pipe(self.host)

    def __str__(self) -> str:
        """Envoy's `ip:port`, IPv6 in brackets; the path of a Unix domain socket."""
        return format_address(self.host, self.port)
