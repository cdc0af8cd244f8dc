"""Connections with TLS on one side or on both, on real sockets."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from fastproxy.upstream.settings import UpstreamTlsSettings
from tests.listener.tcp_proxy.support import End, World, running, server_context
from tests.listener.tls.test_contexts import settings as downstream_tls
from tests.tls.pki import Authority

CA = Authority()
OWN = CA.issue("a.test")


def to_upstream() -> dict[str, Any]:
    """TLS towards the upstream."""
    return {"tls": UpstreamTlsSettings(CA.client_context(), "a.test")}


class TlsUpstream:
    """An upstream that speaks TLS, and hands its connections to the test."""

    def __init__(self, world: World) -> None:
        self.connections: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._world = world

    async def start(self) -> asyncio.Server:
        def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections.put_nowait((reader, writer))

        return await asyncio.start_server(
            on_connection, sock=self._world.server, ssl=server_context(OWN.chain, OWN.private_key)
        )


async def test_tls_of_clients_ends_here(tmp_path: Path) -> None:
    """Termination: the upstream gets the plain bytes; whoever ends the TLS session ends the connection."""
    async with running(tmp_path, chain={"tls": downstream_tls(OWN)}) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=CA.client_context())
        upstream = await world.accept()
        writer.write(b"ping")
        assert await upstream.receive() == b"ping"
        await upstream.send(b"pong")
        assert await reader.readexactly(4) == b"pong"
        writer.close()
        assert await upstream.receive() == b""
        upstream.close()
        assert (await world.log_lines(1))[0].startswith("- 4 4 ")
        await writer.wait_closed()


async def test_a_large_answer_reaches_a_tls_client_whole_though_the_upstream_is_gone(tmp_path: Path) -> None:
    """What is buffered is sent before the session ends."""
    async with running(tmp_path, chain={"tls": downstream_tls(OWN)}) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=CA.client_context())
        upstream = await world.accept()

        async def answer() -> None:
            await upstream.send(b"x" * 5_000_000)
            upstream.close()

        sending = asyncio.get_running_loop().create_task(answer())
        received = 0
        while data := await reader.read(65536):
            received += len(data)
        await sending
        assert received == 5_000_000
        writer.close()
        await world.until(lambda: world.proxy.is_idle)


async def test_tls_begins_here_towards_the_upstream(tmp_path: Path) -> None:
    """Origination; a client that has said all may still read the answer."""
    async with running(tmp_path, cluster=to_upstream()) as world:
        tls = TlsUpstream(world)
        server = await tls.start()
        client = await world.connect()
        await client.send(b"question")
        client.finish()
        reader, writer = await tls.connections.get()
        assert await reader.readexactly(8) == b"question"
        writer.write(b"answer")
        writer.close()
        assert await client.read(6) == b"answer"
        assert await client.receive() == b""
        client.close()
        await world.until(lambda: world.proxy.is_idle)
        assert (await world.log_lines(1))[0].startswith("- 8 6 ")
        server.close()


async def test_tls_on_both_sides(tmp_path: Path) -> None:
    """Decrypted and encrypted again."""
    async with running(tmp_path, cluster=to_upstream(), chain={"tls": downstream_tls(OWN)}) as world:
        tls = TlsUpstream(world)
        server = await tls.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=CA.client_context())
        upstream_reader, upstream_writer = await tls.connections.get()
        writer.write(b"a" * 300_000)
        assert await upstream_reader.readexactly(300_000) == b"a" * 300_000
        upstream_writer.write(b"b" * 300_000)
        assert await reader.readexactly(300_000) == b"b" * 300_000
        writer.close()
        assert await upstream_reader.read() == b""
        upstream_writer.close()
        await world.until(lambda: world.proxy.is_idle)
        server.close()


async def test_a_certificate_that_is_not_trusted_cuts_the_client(tmp_path: Path) -> None:
    """Before a byte of it is sent."""
    stranger = {"tls": UpstreamTlsSettings(Authority("other").client_context(), "a.test")}
    async with running(tmp_path, cluster=stranger) as world:
        server = await TlsUpstream(world).start()
        client = await world.connect()
        await client.send(b"secret")
        with pytest.raises(ConnectionResetError):
            # With unread bytes in it the kernel ends the connection by a reset.
            assert await client.receive() == b"none"
        assert (await world.log_lines(1))[0].startswith("UF,URX 0 0 ")
        server.close()


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_reset_crosses_the_tls_border(tmp_path: Path, side: str) -> None:
    """The other side must not take what it got for everything."""
    async with running(tmp_path, chain={"tls": downstream_tls(OWN)}) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=CA.client_context())
        upstream = await world.accept()
        writer.write(b"x")
        assert await upstream.receive() == b"x"
        if side == "upstream":
            upstream.reset()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
        else:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()
            assert await upstream.is_reset()
        flag = "UR" if side == "upstream" else "-"
        assert (await world.log_lines(1))[0].startswith(f"{flag} 1 0 ")


async def test_a_tls_client_that_does_not_read_holds_up_the_upstream(tmp_path: Path) -> None:
    """Buffers are bounded here, too; and the idle timeout ends what nobody takes."""
    async with running(
        tmp_path,
        chain={"tls": downstream_tls(OWN)},
        listener={"buffer_limit_bytes": 65536},
        idle_timeout_s=0.5,
    ) as world:
        context = CA.client_context()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing)
        client = await world.connect()
        await _handshake(client, session, incoming, outgoing)
        upstream = await world.accept()
        sending = asyncio.get_running_loop().create_task(upstream.send(b"x" * 50_000_000))
        with pytest.raises(ConnectionError):
            await sending
        (line,) = await world.log_lines(1)
        assert int(line.split()[2]) < 50_000_000
        counters = world.counters()
        assert counters["idle_timeout"] == 1
        assert counters["downstream_flow_control_paused_reading_total"] >= 1


async def _handshake(
    client: End, session: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
) -> None:
    while True:
        try:
            session.do_handshake()
        except ssl.SSLWantReadError:
            await client.send(outgoing.read())
            incoming.write(await client.receive())
            continue
        await client.send(outgoing.read())
        return
