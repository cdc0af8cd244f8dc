"""Checkers against real sockets, honest and hostile."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fastproxy.control.health.checkers import Checker, has_blocks, make_checker
from fastproxy.control.health.state import CheckResult, FailureKind
from fastproxy.control.health.target import Target
from fastproxy.upstream.health.settings import (
    HealthCheckSettings,
    HttpCheckSettings,
    StatusRange,
    TcpCheckSettings,
)
from fastproxy.upstream.settings import Address, UpstreamTlsSettings
from tests.control.health.support import INTERVALS
from tests.control.support import Certificates, until

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """An upstream that answers with fixed bytes and records what it was sent."""

    def __init__(self, *answers: bytes, handler: Handler | None = None) -> None:
        self.answers = answers
        self.handler = handler
        self.received: list[bytes] = []
        self.connections = 0
        self.address = Address("", 0)
        self._writers: list[asyncio.StreamWriter] = []

    async def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            if self.handler is not None:
                await self.handler(reader, writer)
                return
            for answer in (*self.answers[self.connections - 1 :], *self.answers[-1:] * 10):
                self.received.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(answer)
                await writer.drain()
                if b"connection: close" in answer:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def serving(peer: Peer, *, path: Path | None = None, tls: Any = None) -> AsyncIterator[Peer]:
    if path is not None:
        server = await asyncio.start_unix_server(peer.on_connection, path)
        peer.address = Address(str(path), 0)
    else:
        server = await asyncio.start_server(peer.on_connection, "127.0.0.1", 0, ssl=tls)
        peer.address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        yield peer
    finally:
        peer.close()
        server.close()
        # Before Python 3.12 `wait_closed` does not wait for the connections, and one may have just been accepted.
        for _ in range(5):
            await asyncio.sleep(0)
        while getattr(server, "_active_count", 0):
            peer.close()
            await asyncio.sleep(0)
        await server.wait_closed()


def checker(peer: Peer, what: Any = None, *, tls: UpstreamTlsSettings | None = None, **more: Any) -> Checker:
    settings = HealthCheckSettings(what or HttpCheckSettings("/hc?a=%2F"), 5.0, INTERVALS, 1, 1, **more)
    return make_checker(settings, Target(peer.address, "service", tls))


async def check(peer: Peer, what: Any = None, **more: Any) -> CheckResult:
    one = checker(peer, what, **more)
    try:
        return await one.check()
    finally:
        await one.close()


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} x\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body


async def test_request_is_envoys() -> None:
    """Health endpoints look at `host` and `user-agent`."""
    async with serving(Peer(answer())) as peer:
        assert (await check(peer)).failure is None
    assert peer.received == [b"GET /hc?a=%2F HTTP/1.1\r\nhost: service\r\nuser-agent: Envoy/HC\r\n\r\n"]


async def test_method_host_body_and_headers_are_the_files() -> None:
    """Everything that `http_health_check` can say about the request."""
    what = HttpCheckSettings(
        "/",
        host="hc.test",
        method="POST",
        send=b"ping",
        headers_to_add=(("x-probe", "1"), ("user-agent", "probe")),
    )
    got = bytearray()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(4))
        writer.write(answer())

    async with serving(Peer(handler=handler)) as peer:
        assert (await check(peer, what)).failure is None
    head = bytes(got)
    assert head.startswith(b"POST / HTTP/1.1\r\nhost: hc.test\r\n")
    assert b"x-probe: 1\r\n" in head
    assert b"user-agent: probe\r\n" in head
    assert head.endswith(b"\r\n\r\nping")
    async with serving(Peer(answer())) as peer:
        await check(peer, HttpCheckSettings("/", headers_to_remove=("user-agent",)))
    assert peer.received == [b"GET / HTTP/1.1\r\nhost: service\r\n\r\n"]


@pytest.mark.parametrize(
    ("status", "failure", "retriable"),
    [
        (200, None, False),
        (204, None, False),
        (205, FailureKind.ACTIVE, False),
        (503, FailureKind.ACTIVE, True),
        (504, FailureKind.ACTIVE, False),
        (302, FailureKind.ACTIVE, False),
    ],
)
async def test_status_decides(status: int, failure: FailureKind | None, *, retriable: bool) -> None:
    """Ranges without their end; a redirect is followed nowhere."""
    what = HttpCheckSettings("/", expected=(StatusRange(200, 205),), retriable=(StatusRange(503, 504),))
    async with serving(Peer(answer(status, location="http://192.0.2.1/"))) as peer:
        found = await check(peer, what)
    assert (found.failure, found.retriable, found.status) == (failure, retriable, status)


async def test_body_must_hold_the_blocks_in_order() -> None:
    """`receive`, within `response_buffer_size`."""
    what = HttpCheckSettings("/", receive=(b"db", b"ok"), response_buffer_bytes=16)
    for body, failure in (
        (b"db: ok", None),
        (b"ok: db", FailureKind.ACTIVE),
        (b" " * 20 + b"db: ok", FailureKind.ACTIVE),
    ):
        async with serving(Peer(answer(body=body))) as peer:
            assert (await check(peer, what)).failure is failure


async def test_degraded_is_said_by_a_header() -> None:
    """`x-envoy-degraded`."""
    async with serving(Peer(answer(x_envoy_degraded="1"))) as peer:
        assert (await check(peer)).degraded


@pytest.mark.parametrize(("reuse", "connections"), [(True, 1), (False, 3)])
async def test_connection_is_reused_unless_told_otherwise(*, reuse: bool, connections: int) -> None:
    """`reuse_connection: false` finds out whether new connections are accepted."""
    async with serving(Peer(answer(body=b"ok"))) as peer:
        one = checker(peer, reuse_connection=reuse)
        for _ in range(3):
            assert (await one.check()).failure is None
        await one.close()
    assert peer.connections == connections


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 x\r\ncontent-length: 5\r\nconnection: close\r\n\r\nab",
        b"HTTP/1.1 200 x\r\n" + b"a: " + b"b" * 100_000 + b"\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 99999999 x\r\nconnection: close\r\n\r\n",
    ],
    ids=["nothing", "another protocol", "half a body", "huge head", "odd status"],
)
async def test_what_is_no_answer_is_a_network_failure(raw: bytes) -> None:
    """And none of its bytes gets into a log."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()

    async with serving(Peer(handler=handler)) as peer:
        found = await check(peer)
    assert found.failure is FailureKind.NETWORK
    assert "b" * 10 not in found.reason
    assert "SSH" not in found.reason


async def test_endless_body_is_cut_off() -> None:
    """A stream instead of an answer: the status counts, the connection does not survive."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await writer.drain()

    async with serving(Peer(handler=handler)) as peer:
        assert (await check(peer)).failure is None


@pytest.mark.parametrize("kind", ["http", "tcp"])
async def test_dripping_answer_is_given_up_with_its_connection(kind: str) -> None:
    """The caller's time limit ends it, and nothing stays behind."""
    closed = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if kind == "http":
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 x\r\ncontent-length: 1000\r\n\r\n")
            writer.write(b"a")
            await reader.read()
        except ConnectionError:
            pass
        finally:
            closed.set()

    what = TcpCheckSettings(receive=(b"never",)) if kind == "tcp" else None
    async with serving(Peer(handler=handler)) as peer:
        one = checker(peer, what)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await one.check()
        await closed.wait()
        await one.close()


@pytest.mark.parametrize("what", [HttpCheckSettings("/"), TcpCheckSettings()])
async def test_refused_connection_is_told_in_the_systems_words(what: Any) -> None:
    """The operator's first question."""
    async with serving(Peer()) as peer:
        pass
    found = await check(peer, what)
    assert (found.failure, found.reason) == (FailureKind.NETWORK, "Connection refused")


@pytest.mark.parametrize("what", [HttpCheckSettings("/"), TcpCheckSettings()])
async def test_sockets_in_the_file_system_are_checked(tmp_path: Path, what: Any) -> None:
    """Endpoints that are Unix domain sockets."""
    async with serving(Peer(answer()), path=tmp_path / "sock") as peer:
        assert (await check(peer, what)).failure is None
        await until(lambda: peer.connections == 1)


@pytest.mark.parametrize("what", [HttpCheckSettings("/"), TcpCheckSettings()])
@pytest.mark.parametrize("trusted", [True, False])
async def test_checks_use_the_clusters_tls(tmp_path: Path, what: Any, *, trusted: bool) -> None:
    """An endpoint whose certificate requests would refuse must not pass."""
    certificates = Certificates(tmp_path)
    context = ssl.create_default_context(cadata=certificates.ca_pem if trusted else None)
    async with serving(Peer(answer()), tls=certificates.server) as peer:
        found = await check(peer, what, tls=UpstreamTlsSettings(context, "issuer.test"))
    assert found.failure is (None if trusted else FailureKind.NETWORK)
    if not trusted:
        assert found.reason in {"certificate refused", "TLS handshake failed"}


async def test_tcp_payloads_are_sent_and_looked_for() -> None:
    """Blocks in order, anything between them."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await reader.readexactly(4)) == b"PING":
            writer.write(b"xxPO")
            await writer.drain()
            writer.write(b"NGxxOK")

    what = TcpCheckSettings(b"PING", (b"PONG", b"OK"))

    async def patient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with serving(Peer(handler=patient)) as peer:
        one = checker(peer, what)
        assert (await one.check()).failure is None
        assert (await one.check()).failure is None
        await one.close()
    assert peer.connections == 1


async def test_tcp_peer_that_hangs_up_or_floods_fails() -> None:
    """Memory is bounded."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    what = TcpCheckSettings(receive=(b"PONG",))
    for handler, failure in ((hang_up, FailureKind.NETWORK), (flood, FailureKind.ACTIVE)):
        async with serving(Peer(handler=handler)) as peer:
            assert (await check(peer, what)).failure is failure


def test_blocks_must_not_overlap() -> None:
    """Each is looked for behind the one before."""
    assert has_blocks(b"abab", (b"ab", b"ab"))
    assert not has_blocks(b"aba", (b"ab", b"ba"))
    assert has_blocks(b"", ())
