"""Details of sockets to upstreams: keepalive, and the address to connect from."""

import socket

from fastproxy.upstream.settings import TcpKeepaliveSettings


def set_keepalive(sock: socket.socket | None, keepalive: TcpKeepaliveSettings) -> None:
    """Let the system find out when the other side is gone (`tcp_keepalive`); no effect on Unix domain sockets."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = (
        (socket.TCP_KEEPCNT, keepalive.probes),
        (socket.TCP_KEEPIDLE, keepalive.time_s),
        (socket.TCP_KEEPINTVL, keepalive.interval_s),
    )
    for option, value in options:
        if value:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def select_source(host: str, sources: tuple[tuple[str, int], ...]) -> tuple[str, int] | None:
    """The address to connect from: the first of the family of `host`; None leaves it to the system."""
    is_v6 = ":" in host
    for source in sources:
        if (":" in source[0]) == is_v6:
            return source
    return None
