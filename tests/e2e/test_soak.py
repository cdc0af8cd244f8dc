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
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )


class _Client:
    """A downstream that does what it should, does half of it, or goes away in the middle."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._random = random.Random(seed)

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
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            with contextlib.suppress(*_BROKEN):
                async with asyncio.timeout(self._random.choice((0.01, 0.05, 0.3, 1.0))):
                    await self._random.choice(kinds)(reader, writer)
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


def _config(ports: Ports, upstream_port: int, connect_timeout: str = "1s") -> Config:
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
    options: Config = {"upgrade_configs": [{"upgrade_type": "websocket"}], "request_timeout": "1s"}
    options |= {"common_http_protocol_options": {"idle_timeout": "2s"}}
    limits = {"max_connections": 16, "max_pending_requests": 8, "max_requests": 40, "track_remaining": True}
    return bootstrap(
        ports["admin"],
        [
            listener(
                "plain",
                ports["plain"],
                [virtual_host("all", ["*"], routes)],
                filters=[_COMPRESSOR, _BUFFER],
                options=options,
                listener_options={"per_connection_buffer_limit_bytes": 16_384},
            )
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

    def __init__(self, proxy: RunningProxy, upstream_port: int) -> None:
        self.proxy = proxy
        self._upstream_port = upstream_port

    async def load(self, times: int, seed: int) -> None:
        """All clients at once, and reloads meanwhile."""
        clients = [_Client(self.proxy.ports["plain"], seed + number) for number in range(_CLIENTS)]
        running = asyncio.gather(*(client.run(times * _SCALE) for client in clients))
        reloads = self.counter("server.config_reload_success")
        for number in range(3):
            # Two with the same cluster, one with another: connections and breakers pass on, or end with their requests.
            config = _config(self.proxy.ports, self._upstream_port, "1s" if number < 2 else f"1.{seed}s")
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
        ours = ("http.plain.", "cluster.echo.", "listener.127")
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
async def test_nothing_is_left_after_thousands_of_faults(start_fastproxy: StartFastProxy) -> None:
    """A leak of one in a thousand requests ends a proxy within a day."""
    with _FaultyUpstream() as upstream:
        soaked = _Soaked(start_fastproxy(lambda ports: _config(ports, upstream.port)), upstream.port)
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
        # The number of idle connections comes with the counters, a moment later than the files.
        await soaked.wait_until(lambda: soaked.open_files() <= files)
        assert soaked.memory_bytes() < memory + _MEMORY_SLACK_BYTES
        log = soaked.proxy.log()
        assert "Traceback" not in log
        assert "never awaited" not in log
