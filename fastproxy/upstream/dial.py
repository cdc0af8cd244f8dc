"""A connection to an endpoint that no pool manages, in steps: socket, PROXY header, TLS."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

from fastproxy.upstream.dialing import select_source, set_keepalive
from fastproxy.upstream.errors import ConnectFailed, ConnectTimeout, UpstreamError
from fastproxy.upstream.proxy_header import Origin, encode_proxy_header
from fastproxy.upstream.settings import Address, ClusterSettings


async def open_socket(
    loop: asyncio.AbstractEventLoop, address: Address, settings: ClusterSettings, origin: Origin | None
) -> socket.socket:
    """Connect, and send the PROXY header if the cluster wants one.

    Args:
        loop: runs this.
        address: an IP literal and port, or a Unix domain socket.
        settings: of the cluster.
        origin: whose connection this is made for.

    Returns:
        A socket that does not block.

    Raises:
        OSError: the connection could not be made.
    """
    if address.is_pipe:
        family = socket.AF_UNIX
        # `@` stands for the NUL byte that begins a name in Linux's abstract namespace (Envoy).
        target: Any = "\0" + address.host[1:] if address.host.startswith("@") else address.host
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
        if settings.proxy_protocol is not None:
            header = encode_proxy_header(
                settings.proxy_protocol.version, origin, settings.proxy_protocol.tlvs
            )
            await loop.sock_sendall(sock, header)
    except BaseException:
        sock.close()
        raise
    return sock


async def open_transport(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    address: Address,
    settings: ClusterSettings,
    factory: Callable[[], Any],
) -> None:
    """Let a protocol use a connected socket, which is the event loop's from now on, with TLS if the cluster has it.

    Args:
        loop: runs this.
        sock: from `open_socket`.
        address: that it is connected to.
        settings: of the cluster.
        factory: makes the protocol, an `asyncio.Protocol` by shape.

    Raises:
        ssl.SSLError, OSError: the handshake failed; the socket is closed.
    """
    tls = settings.tls
    try:
        await loop.create_connection(
            factory,
            sock=sock,
            ssl=None if tls is None else tls.context,
            server_hostname=None if tls is None else tls.server_name(address),
        )
    except BaseException:
        sock.close()
        raise


def connect_error(error: Exception) -> UpstreamError:
    """Word a failed attempt to connect for access logs and counters."""
    if isinstance(error, UpstreamError):
        return error
    if isinstance(error, TimeoutError) and not error.errno:
        return ConnectTimeout()
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectFailed(f"TLS_error: CERTIFICATE_VERIFY_FAILED: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        # Only those that OpenSSL raised have a reason.
        return ConnectFailed(f"TLS_error: {getattr(error, 'reason', None) or type(error).__name__}")
    if isinstance(error, OSError):
        return ConnectFailed(f"delayed connect error: {error.strerror or error}")
    # A name that TLS cannot send or verify.
    return ConnectFailed(f"invalid address or name: {error}")
