"""Addresses as pairs of host and port, the one form for IP and for Unix domain sockets.

A Unix domain socket has its path for a host, which begins with `/`, or with `@` in the abstract namespace, and port 0.
"""


def is_pipe(host: str) -> bool:
    """Whether a host is the path of a Unix domain socket."""
    return host.startswith(("/", "@"))


def format_address(host: str, port: int) -> str:
    """Envoy's `ip:port`, IPv6 in brackets; the path of a Unix domain socket."""
    if is_pipe(host):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(name: object) -> tuple[str, int]:
    """Read what the socket module says of an end of a connection, or of a listening socket.

    Args:
        name: of `getsockname` or `getpeername`: a tuple for IP; for a Unix domain socket its path, or the bytes of an
            abstract name; empty or None if there is none.
    """
    if isinstance(name, tuple):
        host, port = name[0], name[1]
        return str(host), int(port)
    if isinstance(name, bytes):
        text = name.decode("utf-8", "replace")
        return ("@" + text[1:] if text.startswith("\0") else text), 0
    return str(name or ""), 0


def ends_of(peer: object, own: object) -> tuple[tuple[str, int], tuple[str, int]]:
    """Read both ends of an accepted connection, as `address_of` does: the peer's, and our own.

    The peer of a Unix domain socket has no name, as a rule; then it is called what our end is called, as in Envoy.
    """
    local = address_of(own)
    remote = address_of(peer)
    return (remote if remote[0] else local), local
