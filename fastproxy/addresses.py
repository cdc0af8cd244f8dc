"""Addresses as pairs of host and port, the one form for IP and for Unix domain sockets.

A Unix domain socket has its path for a host, which begins with `/`, or with `@` in the abstract namespace, and port 0.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address

_MAPPED = "::ffff:"


def ip_text(address: IPv4Address | IPv6Address) -> str:
    """The one way in which an IP address is written: lower case, zeros cut, an IPv4 address within one with dots."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(address) if mapped is None else f"{_MAPPED}{mapped}"


def read_ip(text: str) -> str:
    """An IP address that somebody else has written, as `ip_text` writes it; empty if `text` is none.

    One with a zone (`fe80::1%eth0`) is none: the zone means something on one machine alone, and may be any text.
    """
    try:
        return "" if "%" in text else ip_text(ip_address(text))
    except ValueError:
        return ""


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
        host, port = str(name[0]), int(name[1])
        # A socket for both families writes IPv4 peers like this; to rules they are IPv4, as in Envoy.
        return (host[len(_MAPPED) :] if host.startswith(_MAPPED) and "." in host else host), port
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
