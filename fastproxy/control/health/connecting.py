"""How connections for checks are made: as those of the cluster are, with TLS and PROXY header, on nobody's behalf."""

import asyncio
import os
import socket
import struct
from typing import Any

from fastproxy.control.health.target import Target
from fastproxy.upstream.settings import Address, UpstreamProxyProtocolSettings

_SIGNATURE_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL = 0x20


async def open_streams(
    target: Target, *, limit_bytes: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to an endpoint.

    Args:
        target: says where, and how.
        limit_bytes: of the reader's buffer.

    Raises:
        ssl.SSLError, OSError: there is no connection.
    """
    address, context, name = target.address, target.context, target.server_hostname
    if target.announces is not None:
        sock = await _announced(address, target.announces)
        try:
            return await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname=name, limit=limit_bytes
            )
        except BaseException:
            sock.close()
            raise
    if address.is_pipe:
        return await asyncio.open_unix_connection(
            pipe_path(address), ssl=context, server_hostname=name, limit=limit_bytes
        )
    return await asyncio.open_connection(
        address.host, address.port, ssl=context, server_hostname=name, limit=limit_bytes
    )


async def _announced(address: Address, settings: UpstreamProxyProtocolSettings) -> socket.socket:
    """A connected socket on which the header was sent."""
    loop = asyncio.get_running_loop()
    place: Any = (address.host, address.port)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    if address.is_pipe:
        family, place = socket.AF_UNIX, pipe_path(address)
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await loop.sock_connect(sock, place)
        await loop.sock_sendall(sock, encode_own_header(sock, settings))
    except BaseException:
        sock.close()
        raise
    return sock


def encode_own_header(sock: socket.socket, settings: UpstreamProxyProtocolSettings) -> bytes:
    """The PROXY header of a connection that is made for nobody, as Envoy writes it.

    Version 2 says LOCAL; version 1 has no word for that, and names the two ends of the connection itself.
    """
    if settings.version == 2:
        tlvs = b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in settings.tlvs)
        return _SIGNATURE_V2 + struct.pack("!BBH", _LOCAL, 0, len(tlvs)) + tlvs
    if sock.family == socket.AF_UNIX:
        return b"PROXY UNKNOWN\r\n"
    own, peer = sock.getsockname(), sock.getpeername()
    family = "TCP6" if sock.family == socket.AF_INET6 else "TCP4"
    return f"PROXY {family} {own[0]} {peer[0]} {own[1]} {peer[1]}\r\n".encode()


def pipe_path(address: Address) -> str:
    """The path of a Unix domain socket; `@` stands for the NUL byte of the abstract namespace."""
    return "\0" + address.host[1:] if address.host.startswith("@") else address.host


def os_reason(error: OSError) -> str:
    """The system's words for an error."""
    return os.strerror(error.errno) if error.errno else type(error).__name__
