"""Making a connection to an endpoint, in steps: socket, PROXY header, TLS."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from fastproxy.tls.failure import tls_failure
from fastproxy.upstream.dialing import select_source, set_keepalive
from fastproxy.upstream.errors import ConnectFailed, ConnectTimeout, UpstreamError
from fastproxy.upstream.happy_eyeballs import connect_first
from fastproxy.upstream.proxy_header import Origin, encode_proxy_header
from fastproxy.upstream.settings import Address, ClusterSettings


async def open_connection(
    loop: asyncio.AbstractEventLoop,
    addresses: tuple[Address, ...],
    settings: ClusterSettings,
    factory: Callable[[], Any],
    *,
    server_name: str = "",
    origin: Origin | None = None,
) -> None:
    """Make a connection that a protocol uses, TLS handshake included.

    Args:
        loop: runs this.
        addresses: of one host, in the order in which to try them.
        settings: of the cluster.
        factory: makes the protocol, an `asyncio.Protocol` by shape.
        server_name: what TLS sends instead of the cluster's own; empty: that.
        origin: whose connection this is made for; None: nobody's.

    Raises:
        OSError, ValueError: no connection; `connect_error` words it.
    """
    address = addresses[0]
    if len(addresses) > 1 or settings.proxy_protocol is not None:
        sock, address = await open_socket(loop, addresses, settings, origin)
        await open_transport(loop, sock, address, settings, factory, server_name=server_name)
        return
    options = _tls_options(address, settings, server_name)
    if address.is_pipe:
        await loop.create_unix_connection(factory, _pipe_path(address), **options)
        return
    source = select_source(address.host, settings.connections.sources)
    if source is not None:
        options["local_addr"] = source
    await loop.create_connection(factory, address.host, address.port, **options)


async def open_socket(
    loop: asyncio.AbstractEventLoop,
    addresses: tuple[Address, ...],
    settings: ClusterSettings,
    origin: Origin | None,
) -> tuple[socket.socket, Address]:
    """Connect, and send the PROXY header if the cluster wants one.

    Args:
        loop: runs this.
        addresses: of one host, in the order in which to try them: IP literals and ports, or Unix domain sockets.
        settings: of the cluster.
        origin: whose connection this is made for; None: the proxy's own.

    Returns:
        A socket that does not block, and the address that it is connected to.

    Raises:
        OSError: the connection could not be made.
    """
    connect = partial(_connect, loop, settings)
    if len(addresses) == 1:
        sock, address = await connect(addresses[0]), addresses[0]
    else:
        sock, address = await connect_first(addresses, connect)
    if settings.proxy_protocol is not None:
        try:
            await loop.sock_sendall(sock, _proxy_header(sock, settings, origin))
        except BaseException:
            sock.close()
            raise
    return sock, address


async def _connect(
    loop: asyncio.AbstractEventLoop, settings: ClusterSettings, address: Address
) -> socket.socket:
    target: Any
    if address.is_pipe:
        family, target = socket.AF_UNIX, _pipe_path(address)
    else:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        target = (address.host, address.port)
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        if not address.is_pipe:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if settings.connections.keepalive is not None:
                set_keepalive(sock, settings.connections.keepalive)
            source = select_source(address.host, settings.connections.sources)
            if source is not None:
                sock.bind(source)
        await loop.sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


def _pipe_path(address: Address) -> str:
    # `@` stands for the NUL byte that begins a name in Linux's abstract namespace (Envoy).
    return "\0" + address.host[1:] if address.host.startswith("@") else address.host


def _proxy_header(sock: socket.socket, settings: ClusterSettings, origin: Origin | None) -> bytes:
    assert settings.proxy_protocol is not None
    version = settings.proxy_protocol.version
    if origin is None and version == 1 and sock.family != socket.AF_UNIX:
        # Version 1 has no word for "my own connection": its own addresses say the same (Envoy).
        local, remote = sock.getsockname(), sock.getpeername()
        origin = (local[:2], remote[:2])
    return encode_proxy_header(version, origin, settings.proxy_protocol.tlvs)


def _tls_options(address: Address, settings: ClusterSettings, server_name: str) -> dict[str, Any]:
    tls = settings.tls
    return {
        "ssl": None if tls is None else tls.context,
        "server_hostname": None if tls is None else server_name or tls.server_name(address),
    }


async def open_transport(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    address: Address,
    settings: ClusterSettings,
    factory: Callable[[], Any],
    *,
    server_name: str = "",
) -> None:
    """Let a protocol use a connected socket, which is the event loop's from now on, with TLS if the cluster has it.

    Args:
        loop: runs this.
        sock: from `open_socket`.
        address: that it is connected to.
        settings: of the cluster.
        factory: makes the protocol, an `asyncio.Protocol` by shape.
        server_name: what TLS sends instead of the cluster's own; empty: that.

    Raises:
        ssl.SSLError, OSError: the handshake failed; the socket is closed.
    """
    try:
        await loop.create_connection(factory, sock=sock, **_tls_options(address, settings, server_name))
    except BaseException:
        sock.close()
        raise


def _reason(error: OSError) -> str:
    """The system's words alone: asyncio adds the address, which the log has already."""
    number = error.errno
    return os.strerror(number) if number and number > 0 else error.strerror or str(error)


def connect_error(error: Exception) -> UpstreamError:
    """Word a failed attempt to connect for access logs and counters."""
    if isinstance(error, UpstreamError):
        return error
    if isinstance(error, TimeoutError) and not error.errno:
        return ConnectTimeout()
    if isinstance(error, ssl.SSLError):
        return ConnectFailed(tls_failure(error))
    if isinstance(error, OSError):
        return ConnectFailed(f"delayed connect error: {_reason(error)}")
    # A name that TLS cannot send or verify.
    return ConnectFailed(f"invalid address or name: {error}")
