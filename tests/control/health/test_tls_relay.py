"""What stands between the gRPC library and TLS; `test_grpc_checker.py` has what is verified."""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fastproxy.control.health.checkers import make_checker
from fastproxy.control.health.target import Target
from fastproxy.control.health.tls_relay import TlsRelay
from fastproxy.tls.openssl import load_pair
from fastproxy.upstream.health.settings import GrpcCheckSettings, HealthCheckSettings
from fastproxy.upstream.settings import Address, UpstreamTlsSettings
from tests.control.health.support import INTERVALS
from tests.tls.pki import Authority

_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
_PREFACE_BYTES = 24
_HEADERS = 1


@asynccontextmanager
async def tls_server(authority: Authority, found: "asyncio.Future[bytes]") -> AsyncIterator[int]:
    """Speaks HTTP/2 as far as the head of the first request, which is what is found; then it hangs up."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown = authority.issue("service.test")
    load_pair(context, shown.chain, shown.private_key, "")
    context.set_alpn_protocols(["h2"])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        writer.write(_SETTINGS)
        await reader.readexactly(_PREFACE_BYTES)
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == _HEADERS:
                found.set_result(payload)
                writer.transport.abort()
                return

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def target(authority: Authority, port: int) -> Target:
    context = authority.client_context()
    context.set_alpn_protocols(["h2"])
    tls = UpstreamTlsSettings(context, "service.test", check_contexts={("h2",): context})
    return Target(Address("127.0.0.1", port), "service", tls, alpn=("h2",))


async def test_the_server_is_told_that_the_scheme_is_https() -> None:
    """Some refuse what does not fit the connection; and both sides have agreed on HTTP/2."""
    authority = Authority()
    found: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    settings = HealthCheckSettings(GrpcCheckSettings(), 5.0, INTERVALS, 1, 1)
    async with tls_server(authority, found) as port:
        one = make_checker(settings, target(authority, port))
        try:
            result = await one.check()
        finally:
            await one.close()
    assert result.failure is not None
    # As text, or as entry 7 of the static table of HPACK (RFC 7541 appendix A); 6 would be http.
    block = found.result()
    assert b":scheme\x05https" in block or block.count(b"\x87") == 1
    assert b":scheme\x04http" not in block


async def test_another_process_is_refused() -> None:
    """The client certificate of the cluster is behind that socket."""
    authority = Authority()
    found: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    script = (
        "import socket, sys; one = socket.socket(socket.AF_UNIX); one.connect('\\0' + sys.argv[1]);"
        "one.settimeout(10)\ntry: print(len(one.recv(1)))\nexcept ConnectionError: print(0)"
    )
    async with tls_server(authority, found) as port:
        relay = TlsRelay(target(authority, port))
        name = await relay.open()
        try:
            done = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-c", script, name],
                capture_output=True,
                check=True,
                timeout=20,
            )
        finally:
            await relay.close()
    assert done.stdout.strip() == b"0"
    assert not found.done()


@pytest.mark.parametrize("ends", [True, False])
async def test_nothing_is_left_after_it_is_closed(*, ends: bool) -> None:
    """Checks are made for as long as the proxy runs."""
    authority = Authority()
    found: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    async with tls_server(authority, found) as port:
        relay = TlsRelay(target(authority, port))
        reader, writer = await asyncio.open_unix_connection("\0" + await relay.open())
        # The server's settings: so the way through is there.
        assert await reader.readexactly(len(_SETTINGS)) == _SETTINGS
        if ends:
            writer.transport.abort()
        await relay.close()
        assert await reader.read() == b""
        writer.transport.abort()
    assert relay.failure == ""
