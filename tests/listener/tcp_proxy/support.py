"""A TCP proxy on real sockets: a test holds the client's end and the upstream's end of each connection."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.listener.acceptor import Listener
from fastproxy.listener.access_log import AccessLog, AccessLogFile
from fastproxy.listener.settings import (
    AccessLogSettings,
    FilterChainSettings,
    ListenerSettings,
    TcpCluster,
    TcpProxySettings,
)
from fastproxy.listener.tcp_proxy.pipes import PipePool
from fastproxy.listener.tcp_proxy.proxy import TcpProxy
from fastproxy.listener.tcp_proxy.pump import PumpTools
from fastproxy.stats import StatsSink
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.settings import Address, ClusterSettings

LOG = "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% %ACCESS_LOG_TYPE%\n"
_WAIT_S = 20.0


class End:
    """One end of a connection, as a client or an upstream has it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.sock, data), _WAIT_S)

    async def receive(self, size: int = 65536) -> bytes:
        """What comes next; empty at the end."""
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, size), _WAIT_S)

    async def read(self, size: int) -> bytes:
        """Exactly so much, or what there is until the end."""
        found = b""
        while len(found) < size and (piece := await self.receive(size - len(found))):
            found += piece
        return found

    async def is_reset(self) -> bool:
        """Whether the connection ends by a reset, not in peace."""
        try:
            return bool(await self.receive()) and await self.is_reset()
        except ConnectionResetError:
            return True

    def finish(self) -> None:
        """Send no more."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close in peace."""
        self.sock.close()

    def reset(self) -> None:
        """Close by a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


class World:
    """A listener with a TCP proxy, and an upstream that the test plays."""

    def __init__(
        self, proxy: TcpProxy, port: int, server: socket.socket, log: Path, cluster: Cluster
    ) -> None:
        self.proxy = proxy
        self.port = port
        self.server = server
        self.cluster = cluster
        self._log = log
        self.ends: list[End] = []

    async def connect(self) -> End:
        """A client."""
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        self.ends.append(End(sock))
        return self.ends[-1]

    async def accept(self) -> End:
        """The upstream's end of the next connection."""
        sock, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(self.server), _WAIT_S)
        self.ends.append(End(sock))
        return self.ends[-1]

    async def pair(self) -> tuple[End, End]:
        """Both ends of a connection through the proxy."""
        return await self.connect(), await self.accept()

    async def log_lines(self, count: int) -> list[str]:
        """Lines of the access log, once there are so many."""
        async with asyncio.timeout(_WAIT_S):
            while True:
                for one in self.proxy._access_logs:
                    one._file.flush()
                lines = self._log.read_text().splitlines()
                if len(lines) >= count:
                    return lines
                await asyncio.sleep(0.01)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop run until something is so."""
        async with asyncio.timeout(_WAIT_S):
            while not condition():
                await asyncio.sleep(0.005)

    def counters(self) -> dict[str, int]:
        """Of the proxy and its cluster, without the zeros."""
        sink = StatsSink()
        self.proxy.write_stats(sink)
        self.cluster.write_stats(sink)
        values = {**sink.counters, **sink.gauges}
        return {
            name.removeprefix("tcp.t.").removeprefix("cluster."): value
            for name, value in values.items()
            if value
        }


def tools(*, max_pipes: int = 16) -> PumpTools:
    """What pumps need, on the loop of the test."""
    return PumpTools(asyncio.get_running_loop(), PipePool(max_pipes))


def bound() -> socket.socket:
    """A listening socket."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def closed_port() -> int:
    """A port that refuses connections, and that nobody else gets."""
    sock = socket.socket()
    _closed.append(sock)
    sock.bind(("127.0.0.1", 0))
    port: int = sock.getsockname()[1]
    return port


#: Bound and never listening, to the end of the process.
_closed: list[socket.socket] = []


@asynccontextmanager
async def running(
    directory: Path,
    *,
    endpoints: tuple[Address, ...] | None = None,
    cluster: dict[str, Any] | None = None,
    listener: dict[str, Any] | None = None,
    chain: dict[str, Any] | None = None,
    max_pipes: int = 16,
    log: str = LOG,
    **settings: Any,
) -> AsyncIterator[World]:
    """A proxy in front of one upstream, or of other `endpoints`; options go to the settings of each part."""
    server = bound()
    service = Cluster(ClusterSettings("up", **(cluster or {})))
    own = Address("127.0.0.1", server.getsockname()[1])
    service.update_endpoints((own,) if endpoints is None else endpoints)
    made = TcpProxySettings("t", **{"clusters": (TcpCluster("up"),), **settings})
    chains = (FilterChainSettings(made, **(chain or {})),)
    listening = ListenerSettings("l", "127.0.0.1", 0, chains, **(listener or {}))
    path = directory / "access.log"
    file = AccessLogFile(str(path), asyncio.get_running_loop())
    proxy = TcpProxy(
        listening,
        made,
        clusters={"up": service},
        access_logs=[AccessLog(AccessLogSettings(str(path), text_format=log), file)],
        tools=tools(max_pipes=max_pipes),
    )
    acceptor = Listener(listening, [proxy], asyncio.get_running_loop())
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    await acceptor.listen(sock)
    world = World(proxy, sock.getsockname()[1], server, path, service)
    try:
        yield world
    finally:
        await acceptor.drain(0.0)
        for end in world.ends:
            end.close()
        server.close()
        proxy.tools.pipes.close()
        file.close()


def info(host: str = "192.0.2.1") -> ConnectionInfo:
    """A connection from somewhere."""
    return ConnectionInfo((host, 40000), ("192.0.2.9", 443))


def server_context(chain: bytes, key: bytes) -> ssl.SSLContext:
    """TLS of an upstream."""
    from fastproxy.tls.openssl import load_pair

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(context, chain, key, "")
    return context
