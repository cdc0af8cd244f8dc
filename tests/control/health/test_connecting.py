"""Checks of endpoints that want a PROXY header: of every kind, in front of plain bytes and of TLS."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fastproxy.control.health.checkers import make_checker
from fastproxy.control.health.connecting import encode_own_header
from fastproxy.control.health.target import Target
from fastproxy.tls.openssl import load_pair, load_trust
from fastproxy.upstream.health.settings import (
    HealthCheckSettings,
    HttpCheckSettings,
    TcpCheckSettings,
)
from fastproxy.upstream.settings import Address, UpstreamProxyProtocolSettings, UpstreamTlsSettings
from tests.control.health.support import INTERVALS
from tests.tls.pki import Authority

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_V2_LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


class Announced:
    """Reads a header off each connection before anything else, and speaks TLS behind it if it has a context."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.headers: list[bytes] = []
        self.requests = 0
        self.address = Address("127.0.0.1", 0)
        self._context = context

    async def serve(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        header = b""
        while not (header == _V2_LOCAL or (header.endswith(b"\r\n") and header.startswith(b"PROXY"))):
            # Not a byte more than the header: TLS begins behind it.
            header += await loop.sock_recv(sock, 1)
        self.headers.append(header)
        server = await loop.connect_accepted_socket(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._talk), sock, ssl=self._context
        )
        assert server

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            self.requests += 1
            writer.write(_ANSWER)
        writer.close()


@asynccontextmanager
async def announced(context: ssl.SSLContext | None = None) -> AsyncIterator[Announced]:
    peer = Announced(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        peer.address = Address("127.0.0.1", listening.getsockname()[1], "up.test")

        async def accept() -> None:
            while True:
                sock, _ = await asyncio.get_running_loop().sock_accept(listening)
                await peer.serve(sock)

        async with asyncio.TaskGroup() as group:
            accepting = group.create_task(accept())
            try:
                yield peer
            finally:
                accepting.cancel()


def tls_of(authority: Authority) -> tuple[ssl.SSLContext, UpstreamTlsSettings]:
    """What the peer shows, and what the cluster trusts."""
    issued = authority.issue("up.test")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(server, issued.chain, issued.private_key, "")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_trust(client, authority.pem)
    return server, UpstreamTlsSettings(client)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("with_tls", [False, True])
@pytest.mark.parametrize("kind", [HttpCheckSettings("/hc"), TcpCheckSettings(b"ping", (b"200 OK",))])
async def test_checks_begin_with_a_header(
    kind: HttpCheckSettings | TcpCheckSettings, with_tls: bool, version: int
) -> None:
    """An endpoint that wants one would refuse every check without it, and be taken out of use."""
    server, tls = tls_of(Authority()) if with_tls else (None, None)
    async with announced(server) as peer:
        announces = UpstreamProxyProtocolSettings(version)
        target = Target(peer.address, "service", tls, announces=announces)
        checker = make_checker(HealthCheckSettings(kind, 5.0, INTERVALS, 1, 1), target)
        try:
            for _ in range(2):
                assert (await checker.check()).failure is None
        finally:
            await checker.close()
        assert peer.requests == 2
        (header,) = peer.headers
        if version == 2:
            assert header == _V2_LOCAL
        else:
            port = peer.address.port
            assert re.fullmatch(rb"PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ %d\r\n" % port, header)


async def test_an_endpoint_that_cannot_be_reached_is_told_as_such() -> None:
    """The log says why, also where another connection is in between."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", closed.getsockname()[1])
        target = Target(address, "service", announces=UpstreamProxyProtocolSettings(2))
        for kind in (HttpCheckSettings("/hc"), TcpCheckSettings()):
            checker = make_checker(HealthCheckSettings(kind, 5.0, INTERVALS, 1, 1), target)
            try:
                assert (await checker.check()).reason == "Connection refused"
            finally:
                await checker.close()


def test_headers_of_unix_domain_sockets_and_with_tlvs() -> None:
    """A path is no address that version 1 could name."""
    first, second = socket.socketpair()
    with first, second:
        assert encode_own_header(first, UpstreamProxyProtocolSettings(1)) == b"PROXY UNKNOWN\r\n"
        found = encode_own_header(first, UpstreamProxyProtocolSettings(2, ((0xE0, b"foo"),)))
        assert found == b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x06\xe0\0\x03foo"
