"""Faults of both sides at once, thousands of them, on real sockets and across reloads: at the end nothing is left.

tests/fuzz/test_exchange_faults.py, without sockets, sees neither the event loop nor file descriptors and memory.
FASTPROXY_LONG_TESTS=1 makes it ten times as long.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fastproxy.clock import monotonic
from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.proxies import Config, Ports, RunningProxy, resident_bytes, workers_of, write_config
from tests.e2e.support.templates import bootstrap, cluster, direct, forward, listener, virtual_host
from tests.e2e.support.threaded_server import ThreadedServer
from tests.listener.test_client_hello import hello_of
from tests.listener.test_proxy_header import V4, v2
from tests.tls.pki import Authority

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_COMPRESSOR = {
    "name": "gzip",
    "typed_config": {
        "@type": f"{_EXTENSIONS}.filters.http.compressor.v3.Compressor",
        "compressor_library": {
            "name": "text",
            "typed_config": {"@type": f"{_EXTENSIONS}.compression.gzip.compressor.v3.Gzip"},
        },
    },
}
_BUFFER = {
    "name": "buffer",
    "disabled": True,
    "typed_config": {"@type": f"{_EXTENSIONS}.filters.http.buffer.v3.Buffer", "max_request_bytes": 40_000},
}
_PER_ROUTE = {
    "buffer": {
        "@type": f"{_EXTENSIONS}.filters.http.buffer.v3.BufferPerRoute",
        "buffer": {"max_request_bytes": 40_000},
    }
}
_LISTENER_FILTERS = [
    {
        "name": "proxy",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.filters.listener.proxy_protocol.v3.ProxyProtocol",
            "allow_requests_without_proxy_protocol": True,
        },
    },
    {
        "name": "tls",
        "typed_config": {"@type": f"{_EXTENSIONS}.filters.listener.tls_inspector.v3.TlsInspector"},
    },
]
#: What may stand before everything else on a connection to the second listener; the last ones are no good.
_OPENINGS = (
    b"",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
    v2(V4),
    b"PROXY TCP4 192.0",
    v2(V4)[:20],
    v2(V4[:-1]),
)
_RETRY = {
    "retry_on": "5xx,reset,connect-failure",
    "num_retries": 2,
    "per_try_timeout": "0.2s",
    "retry_back_off": {"base_interval": "0.001s"},
}
_BROKEN = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
_CLIENTS = 24
_SCALE = 10 if os.environ.get("FASTPROXY_LONG_TESTS") else 1
_PATIENCE_S = 20.0
#: What an allocator may keep after a phase that was three times as long as the one before.
_MEMORY_SLACK_BYTES = 12 * 1024 * 1024


class _FaultyUpstream(ThreadedServer):
    """Answers in every way that an upstream can, and some that it must not."""

    name = "faulty-upstream"

    def __init__(self) -> None:
        super().__init__()
        self._random = random.Random(7)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(*_BROKEN):
                while await self._answer((await reader.readuntil(b"\r\n\r\n")).lower(), reader, writer):
                    pass
        finally:
            writer.transport.abort()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; says whether the connection goes on."""
        if b"upgrade: websocket" in head:
            writer.write(b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi")
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
                if self._random.random() < 0.2:
                    break
            return False
        kind = self._random.randrange(12)
        if kind == 0:
            return False
        if kind == 1:
            _reset(writer)
            return False
        if kind == 2:
            # Before the request's body was read.
            writer.write(b"HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            return False
        await _read_body(head, reader)
        if kind == 3:
            writer.write(b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno")
        elif kind == 4:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n" + b"a" * 20_000)
            await writer.drain()
            return False
        elif kind == 5:
            # Nothing, until the proxy gives up.
            await reader.read(1)
            return False
        elif kind == 6:
            writer.write(
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
            )
            await writer.drain()
            writer.write(b"0\r\n\r\n" if self._random.random() < 0.7 else b"zz\r\n")
        elif kind == 7:
            writer.write(b"nonsense\r\n\r\n")
        elif kind == 8:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
            await writer.drain()
            return False
        else:
            size = self._random.choice((0, 10, 3_000, 400_000))
            has_body = not head.startswith(b"head ")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n" % size)
            writer.write(b"x" * size if has_body else b"")
        await writer.drain()
        return True


async def _read_body(head: bytes, reader: asyncio.StreamReader) -> None:
    if b"transfer-encoding: chunked" in head:
        await reader.readuntil(b"0\r\n\r\n")
        return
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    # A TLS connection that is lost has none any more.
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Client:
    """A downstream that does what it should, does half of it, or goes away in the middle."""

    def __init__(self, ports: Ports, seed: int) -> None:
        self._ports = ports
        self._random = random.Random(seed)
        self._tls = ssl.create_default_context()
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE

    async def run(self, times: int) -> None:
        kinds: list[Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]] = [
            self._get,
            self._get,
            self._post,
            self._post_chunked,
            self._pipeline,
            self._upgrade,
            self._half_a_head,
        ]
        for _ in range(times):
            with contextlib.suppress(*_BROKEN):
                if self._random.random() < 0.3:
                    await self._knock()
            name = self._random.choice(("plain", "plain", "secure"))
            try:
                reader, writer = await self._open(name)
            except _BROKEN:
                continue
            with contextlib.suppress(*_BROKEN):
                async with asyncio.timeout(self._random.choice((0.01, 0.05, 0.3, 1.0))):
                    await self._random.choice(kinds)(reader, writer)
            if self._random.random() < 0.3:
                _reset(writer)
            writer.transport.abort()

    async def _open(self, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection, with TLS or not."""
        port = self._ports[name]
        tls = self._tls if name == "secure" and self._random.random() < 0.7 else None
        return await asyncio.open_connection("127.0.0.1", port, ssl=tls)

    async def _knock(self) -> None:
        """Begin a connection with a PROXY header, a ClientHello, part of them or nonsense, and leave."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._ports["secure"])
        hello = hello_of("a.test", ("http/1.1",))
        more = (b"", hello, hello[:90], hello + b"nonsense", self._head("GET"), b"\x16\x03\x01\xff\xff")
        try:
            writer.write(self._random.choice(_OPENINGS))
            await asyncio.sleep(self._random.choice((0, 0.01)))
            writer.write(self._random.choice(more))
            async with asyncio.timeout(self._random.choice((0.01, 0.1))):
                await reader.read(1000)
        finally:
            if self._random.random() < 0.3:
                _reset(writer)
            writer.transport.abort()

    def _head(self, method: str, *lines: str) -> bytes:
        path = self._random.choice(("/", "/retry", "/mirror", "/both", "/brief", "/buffer", "/direct"))
        return "\r\n".join((f"{method} {path} HTTP/1.1", "host: a", *lines, "", "")).encode()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if self._random.random() < 0.5:
            await reader.read(self._random.choice((1, 100_000)))

    async def _get(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(4):
            writer.write(self._head(self._random.choice(("GET", "HEAD", "PUT")), "accept-encoding: gzip"))
            await self._read(reader)

    async def _post(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = self._random.choice((5, 30_000, 300_000))
        writer.write(self._head("POST", f"content-length: {size}", "expect: 100-continue"))
        writer.write(b"b" * self._random.choice((0, size // 2, size, size)))
        await writer.drain()
        await self._read(reader)
        await self._read(reader)

    async def _post_chunked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._head("POST", "transfer-encoding: chunked"))
        for _ in range(self._random.choice((1, 20))):
            writer.write(b"7d0\r\n" + b"c" * 2000 + b"\r\n")
            await writer.drain()
        writer.write(self._random.choice((b"0\r\n\r\n", b"0\r\n\r\n", b"", b"zz\r\n")))
        await self._read(reader)

    async def _pipeline(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._head("GET") * 8)
        for _ in range(self._random.randrange(9)):
            await self._read(reader)

    async def _upgrade(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._head("GET", "connection: upgrade", "upgrade: websocket"))
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(self._random.randrange(8)):
            writer.write(b"frame" * 100)
            await reader.read(100)

    async def _half_a_head(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._head("GET")[: self._random.randrange(20)])
        await reader.read(1)


def _listener(name: str, port: int, routes: list[Config]) -> Config:
    options: Config = {"upgrade_configs": [{"upgrade_type": "websocket"}], "request_timeout": "1s"}
    options |= {"common_http_protocol_options": {"idle_timeout": "2s"}}
    return listener(
        name,
        port,
        [virtual_host("all", ["*"], routes)],
        filters=[_COMPRESSOR, _BUFFER],
        options=options,
        listener_options={"per_connection_buffer_limit_bytes": 16_384},
    )


def _secure(port: int, routes: list[Config], folder: Path) -> Config:
    """The same behind PROXY headers, with TLS for those who ask for it."""
    made = _listener("secure", port, routes)
    (plain,) = made["filter_chains"]
    certificate = {
        "certificate_chain": {"filename": str(folder / "own.pem")},
        "private_key": {"filename": str(folder / "own.key")},
    }
    context = {
        "@type": f"{_EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [certificate]},
    }
    tls = {
        **plain,
        "filter_chain_match": {"transport_protocol": "tls"},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
    }
    made["filter_chains"] = [tls, {**plain, "filter_chain_match": {"transport_protocol": "raw_buffer"}}]
    return {**made, "listener_filters": _LISTENER_FILTERS, "listener_filters_timeout": "0.5s"}


def _config(ports: Ports, upstream_port: int, folder: Path, connect_timeout: str = "1s") -> Config:
    mirror: dict[str, Any] = {"request_mirror_policies": [{"cluster": "echo"}], "timeout": "0.5s"}
    routes = [
        direct({"prefix": "/direct"}, 200, "made here"),
        forward({"prefix": "/retry"}, retry_policy=_RETRY, timeout="0.5s"),
        forward({"prefix": "/mirror"}, **mirror),
        forward({"prefix": "/both"}, retry_policy=_RETRY, **mirror),
        forward({"prefix": "/brief"}, timeout="0.05s", max_stream_duration={"max_stream_duration": "0.2s"}),
        {**forward({"prefix": "/buffer"}, timeout="0.5s"), "typed_per_filter_config": _PER_ROUTE},
        forward({"prefix": "/"}, timeout="0.5s"),
    ]
    limits = {"max_connections": 16, "max_pending_requests": 8, "max_requests": 40, "track_remaining": True}
    return bootstrap(
        ports["admin"],
        [
            _listener("plain", ports["plain"], routes),
            _secure(ports["secure"], routes, folder),
        ],
        [
            cluster(
                "echo",
                upstream_port,
                connect_timeout=connect_timeout,
                circuit_breakers={"thresholds": [limits]},
                outlier_detection={"consecutive_5xx": 1000},
            )
        ],
    )


class _Soaked:
    """The proxy under load."""

    def __init__(self, proxy: RunningProxy, upstream_port: int, folder: Path) -> None:
        self.proxy = proxy
        self._upstream_port = upstream_port
        self._folder = folder

    async def load(self, times: int, seed: int) -> None:
        """All clients at once, and reloads meanwhile."""
        clients = [_Client(self.proxy.ports, seed + number) for number in range(_CLIENTS)]
        running = asyncio.gather(*(client.run(times * _SCALE) for client in clients))
        reloads = self.counter("server.config_reload_success")
        for number in range(3):
            # Two with the same cluster, one with another: connections and breakers pass on, or end with their requests.
            config = _config(
                self.proxy.ports, self._upstream_port, self._folder, "1s" if number < 2 else f"1.{seed}s"
            )
            write_config(config, self.proxy.config_path)
            self.proxy.process.send_signal(signal.SIGHUP)
            await self.reloaded(reloads + number + 1)
        await running

    async def reloaded(self, times: int) -> None:
        """Wait until so many reloads have taken effect."""
        await self.wait_until(lambda: self.counter("server.config_reload_success") >= times)

    async def settle(self) -> None:
        """Wait until every gauge of something under way is zero."""
        await self.wait_until(lambda: not self.active())

    def active(self) -> dict[str, int]:
        """Gauges of requests, connections and tunnels that are not zero; idle upstream connections may stay."""
        found = self.stats("_active$")
        ours = ("http.plain.", "http.secure.", "cluster.echo.", "listener.127")
        busy = {name: value for name, value in found.items() if value and name.startswith(ours)}
        busy.pop("cluster.echo.upstream_cx_active", None)
        return busy

    def stats(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose names match a pattern."""
        lines = self.proxy.admin(f"/stats?filter={pattern}")[1].splitlines()
        pairs = (line.rpartition(": ") for line in lines)
        return {name: int(value) for name, _, value in pairs if value.isdigit()}

    def counter(self, name: str) -> int:
        """One value."""
        return self.stats(f"^{name}$").get(name, 0)

    async def wait_until(self, condition: Callable[[], object]) -> None:
        """Ask the admin interface until it is so; its numbers come once in a while."""
        deadline = monotonic() + _PATIENCE_S * _SCALE
        while not await asyncio.to_thread(condition):
            assert monotonic() < deadline, (self.active(), self.proxy.log()[-3000:])
            await asyncio.sleep(0.02)

    def open_files(self) -> int:
        """Of the worker, without the connections that wait idle for the next request."""
        (pid,) = workers_of(self.proxy)
        idle = self.counter("cluster.echo.upstream_cx_active")
        return len(list(Path(f"/proc/{pid}/fd").iterdir())) - idle

    def memory_bytes(self) -> int:
        """Of the worker."""
        (pid,) = workers_of(self.proxy)
        return resident_bytes(pid)


@pytest.mark.timeout(120 * _SCALE)
async def test_nothing_is_left_after_thousands_of_faults(
    start_fastproxy: StartFastProxy, tmp_path: Path
) -> None:
    """A leak of one in a thousand requests ends a proxy within a day."""
    with _FaultyUpstream() as upstream:
        Authority("ca").issue("a.test").write(tmp_path, "own")
        proxy = start_fastproxy(
            lambda ports: _config(ports, upstream.port, tmp_path), listeners=("plain", "secure")
        )
        soaked = _Soaked(proxy, upstream.port, tmp_path)
        await soaked.load(15, seed=100)
        await soaked.settle()
        files, memory = soaked.open_files(), soaked.memory_bytes()

        await soaked.load(45, seed=200)
        await soaked.settle()

        numbers = soaked.stats("cluster.echo")
        limits = {"remaining_pending": 8, "remaining_rq": 40, "remaining_retries": 3}
        told = {name: numbers[f"cluster.echo.circuit_breakers.default.{name}"] for name in limits}
        assert told == limits
        taken = 16 - numbers["cluster.echo.circuit_breakers.default.remaining_cx"]
        assert taken == numbers["cluster.echo.upstream_cx_active"]
        # Each kind of fault has happened, or the test has become one of nothing.
        cut = "upstream_cx_destroy_remote_with_active_rq"
        seen = ("upstream_rq_retry", "upstream_rq_timeout", cut, "upstream_rq_cancelled")
        assert {name for name in seen if not numbers[f"cluster.echo.{name}"]} == set()
        shaken = soaked.stats("secure_?|ssl.handshake|proxy_proto")
        assert any(value for name, value in shaken.items() if name.endswith("ssl.handshake")), shaken
        # The number of idle connections comes with the counters, a moment later than the files.
        await soaked.wait_until(lambda: soaked.open_files() <= files)
        assert soaked.memory_bytes() < memory + _MEMORY_SLACK_BYTES
        log = soaked.proxy.log()
        assert "Traceback" not in log
        assert "never awaited" not in log
