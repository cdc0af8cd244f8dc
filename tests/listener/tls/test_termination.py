"""TLS ended on real sockets: what the connection knows, what is cut, and what a change of certificates does."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastproxy.filters.chain import FilterChain
from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.listener.acceptor import Listener
from fastproxy.listener.connection_limit import ConnectionLimit
from fastproxy.listener.manager import HttpConnectionManager
from fastproxy.listener.settings import (
    FilterChainMatchSettings,
    FilterChainSettings,
    HttpConnectionManagerSettings,
    ListenerSettings,
    TlsInspectorSettings,
)
from fastproxy.listener.tls.settings import ClientCertificates
from fastproxy.match.settings import StringKind, StringMatch
from fastproxy.router.router import Router
from fastproxy.router.settings import DirectResponseAction, RouteConfigurationSettings, VirtualHostSettings
from fastproxy.stats import StatsSink
from fastproxy.tls.settings import PeerValidation, SanKind, SanMatch
from tests.listener.support import GET, route
from tests.listener.tls.test_contexts import settings
from tests.tls.pki import Authority, Issued

CA = Authority()
OWN = CA.issue("a.test")
CLIENT = CA.issue("c.test")


class Running:
    """A listener with one TLS chain that answers everything with `hello`."""

    def __init__(self, listener: Listener, manager: HttpConnectionManager, port: int) -> None:
        self.listener = listener
        self.manager = manager
        self.port = port
        self.infos: list[ConnectionInfo] = []

    async def ask(self, client: ssl.SSLContext | None) -> bytes:
        """One request on a new connection; empty: it was cut."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=client)
        except OSError:
            return b""
        try:
            writer.write(GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
            return await reader.read()
        except OSError:
            return b""
        finally:
            writer.close()

    def counters(self) -> dict[str, int]:
        sink = StatsSink()
        self.listener.write_stats(sink)
        prefix = "listener.127.0.0.1_0."
        return {name.removeprefix(prefix): value for name, value in sink.counters.items() if value}


@asynccontextmanager
async def running(
    *issued: Issued, body: bytes = b"hello", limit: int | None = None, chain: Any = None, **tls: Any
) -> AsyncIterator[Running]:
    loop = asyncio.get_running_loop()
    routes = RouteConfigurationSettings(
        "r", (VirtualHostSettings("v", ("*",), (route("/", DirectResponseAction(200, body)),)),)
    )
    http = HttpConnectionManagerSettings("s", routes)
    made = ListenerSettings(
        "l",
        "127.0.0.1",
        0,
        (FilterChainSettings(http, tls=settings(*issued, **tls), **(chain or {})),),
    )
    manager = HttpConnectionManager(
        made, http, router=Router(routes, {}), filters=FilterChain([]), access_logs=[], loop=loop
    )
    listener = Listener(made, [manager], loop, max_connections=limit)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    await listener.listen(sock)
    yield Running(listener, manager, sock.getsockname()[1])
    await listener.drain(0.0)


async def test_requests_over_tls_are_served_and_counted() -> None:
    """`ssl.*` of the listener."""
    async with running(OWN) as proxy:
        assert (await proxy.ask(CA.client_context())).endswith(b"hello")
        counters = proxy.counters()
        assert (counters["ssl.handshake"], counters["ssl.no_certificate"]) == (1, 1)
        assert counters["ssl.versions.TLSv1.3"] == 1
        assert counters["ssl.ciphers.TLS_AES_256_GCM_SHA384"] == 1


async def test_a_long_answer_reaches_a_client_over_a_closing_connection() -> None:
    """The end of TLS must not cut off what is still buffered."""
    async with running(OWN, body=b"x" * 3_000_000) as proxy:
        answer = await proxy.ask(CA.client_context())
        assert len(answer.partition(b"\r\n\r\n")[2]) == 3_000_000


async def test_plain_http_is_cut_and_counted() -> None:
    """There is nobody to answer it."""
    async with running(OWN) as proxy:
        assert await proxy.ask(None) == b""
        assert proxy.counters()["ssl.connection_error"] == 1


async def test_clients_are_judged_before_a_byte_is_served() -> None:
    """Names and pins are checked after the handshake, and the answer to a refused one is silence."""
    wanted = SanMatch(SanKind.DNS, StringMatch(StringKind.EXACT, "c.test"))
    validation = PeerValidation(
        trusted_ca=CA.pem, sans=(wanted,), certificate_hashes=frozenset((CLIENT.sha256,))
    )
    async with running(OWN, client_certificates=ClientCertificates.REQUIRED, validation=validation) as proxy:
        assert (await proxy.ask(CA.client_context(CLIENT))).endswith(b"hello")
        assert await proxy.ask(CA.client_context(CA.issue("d.test"))) == b""
        assert await proxy.ask(CA.client_context(CA.issue("c.test"))) == b""
        assert await proxy.ask(CA.client_context()) == b""
        assert await proxy.ask(CA.client_context(Authority("o").issue("c.test"))) == b""
        counters = proxy.counters()
        assert counters["ssl.fail_verify_san"] == 1
        assert counters["ssl.fail_verify_cert_hash"] == 1
        assert counters["ssl.fail_verify_no_cert"] == 1
        assert counters["ssl.fail_verify_error"] == 1
        assert counters["http.s.downstream_rq_total"] == 1


async def test_new_certificates_serve_new_connections_and_drop_no_old_one() -> None:
    """A rotation is nobody's outage."""
    renewed = CA.issue("a.test")
    async with running(OWN) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, ssl=CA.client_context())
        proxy.listener.replace_tls(0, settings(renewed))
        writer.write(GET)
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        _, other = await asyncio.open_connection("127.0.0.1", proxy.port, ssl=CA.client_context())
        assert other.get_extra_info("ssl_object").getpeercert(binary_form=True) == renewed.der
        assert writer.get_extra_info("ssl_object").getpeercert(binary_form=True) == OWN.der
        for one in (writer, other):
            one.close()
            await one.wait_closed()


async def test_bad_certificates_change_nothing() -> None:
    """What is in force stays."""
    async with running(OWN) as proxy:
        with pytest.raises(ValueError):
            proxy.listener.replace_tls(0, settings())
        assert (await proxy.ask(CA.client_context())).endswith(b"hello")


async def test_without_certificates_nothing_is_served() -> None:
    """A worker that was not told the keys yet must not answer in the clear."""
    async with running() as proxy:
        assert await proxy.ask(CA.client_context()) == b""
        assert await proxy.ask(None) == b""


async def test_an_unfinished_handshake_is_ended() -> None:
    """`transport_socket_connect_timeout`: a slow client holds its socket no longer."""
    async with running(OWN, chain={"handshake_timeout_s": 0.05}) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"\x16\x03\x01")
        assert await reader.read() == b""
        writer.close()
        assert proxy.counters()["ssl.handshake_timeout"] == 1


async def test_connections_above_the_limit_are_cut() -> None:
    """`envoy.resource_limits.listener.<name>.connection_limit`."""
    async with running(OWN, limit=1) as proxy:
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port, ssl=CA.client_context())
        assert await proxy.ask(CA.client_context()) == b""
        assert proxy.counters()["downstream_cx_overflow"] == 1
        writer.close()
        await writer.wait_closed()


async def test_the_limit_of_the_whole_proxy_holds_on_every_listener() -> None:
    """`overload.global_downstream_max_connections`."""
    async with running(OWN) as proxy:
        limit = ConnectionLimit(0, lambda: proxy.listener.open_connections)
        proxy.listener.limit_by(limit)
        assert await proxy.ask(CA.client_context()) == b""
        assert proxy.counters()["downstream_global_cx_overflow"] == 1
        assert limit.rejected == 1


async def test_a_listener_may_have_tls_and_plain_chains_side_by_side() -> None:
    """By what the inspector finds; what matches no chain is cut and counted."""
    loop = asyncio.get_running_loop()
    routes = RouteConfigurationSettings(
        "r", (VirtualHostSettings("v", ("*",), (route("/", DirectResponseAction(200, b"hi")),)),)
    )
    http = HttpConnectionManagerSettings("s", routes)
    made = ListenerSettings(
        "l",
        "127.0.0.1",
        0,
        (
            FilterChainSettings(
                http, match=FilterChainMatchSettings(server_names=("a.test",)), tls=settings(OWN)
            ),
            FilterChainSettings(http, match=FilterChainMatchSettings(transport_protocol="raw_buffer")),
        ),
        listener_filters=(TlsInspectorSettings(),),
    )
    managers = [
        HttpConnectionManager(
            made, http, router=Router(routes, {}), filters=FilterChain([]), access_logs=[], loop=loop
        )
        for _ in range(2)
    ]
    listener = Listener(made, managers, loop)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    await listener.listen(sock)
    proxy = Running(listener, managers[0], sock.getsockname()[1])
    assert (await proxy.ask(None)).endswith(b"hi")
    assert await proxy.ask(CA.client_context()) == b"", "no server name, no chain"
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", proxy.port, ssl=CA.client_context(), server_hostname="a.test"
    )
    writer.write(GET)
    await reader.readuntil(b"hi")
    assert managers[0].open_connections == 1
    writer.close()
    await writer.wait_closed()
    assert proxy.counters()["no_filter_chain_match"] == 1
    await listener.drain(1.0)
