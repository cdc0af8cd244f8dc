"""A listener at work: on real sockets, from the first connection to the end of the drain."""

import asyncio
import socket

from fastproxy.filters.chain import FilterChain
from fastproxy.http.connection_info import NO_CONNECTION, ConnectionInfo, PeerCertificate
from fastproxy.listener.acceptor import Listener
from fastproxy.listener.manager import HttpConnectionManager
from fastproxy.listener.settings import FilterChainSettings, HttpConnectionManagerSettings, ListenerSettings
from fastproxy.router.router import Router
from fastproxy.router.settings import DirectResponseAction, RouteConfigurationSettings, VirtualHostSettings
from fastproxy.stats import StatsSink
from tests.listener.support import GET, Proxy, route


def listener() -> tuple[Listener, HttpConnectionManager]:
    routes = (route("/", DirectResponseAction(200, b"hello")),)
    config = RouteConfigurationSettings("r", (VirtualHostSettings("v", ("*",), routes),))
    http = HttpConnectionManagerSettings("s", config)
    settings = ListenerSettings("l", "127.0.0.1", 0, (FilterChainSettings(http),))
    manager = HttpConnectionManager(
        settings,
        http,
        router=Router(config, {}),
        filters=FilterChain([]),
        access_logs=[],
        loop=asyncio.get_running_loop(),
    )
    return Listener(settings, [manager], asyncio.get_running_loop()), manager


def bound() -> tuple[socket.socket, int]:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock, sock.getsockname()[1]


async def test_a_listener_accepts_serves_and_drains() -> None:
    """Idle connections are closed by the drain, and the socket no longer accepts."""
    made, manager = listener()
    sock, port = bound()
    await made.listen(sock)

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET)
    assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 OK\r\n")
    sink = StatsSink()
    made.write_stats(sink)
    assert sink.counters["listener.127.0.0.1_0.downstream_cx_total"] == 1

    drain = asyncio.get_running_loop().create_task(made.drain(10.0))
    assert await reader.read() == b"", "the idle connection is closed"
    writer.close()
    await writer.wait_closed()
    await drain
    assert manager.draining
    assert manager.open_connections == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


async def test_what_does_not_end_within_the_drain_time_is_cut() -> None:
    """A stop must come to an end."""
    made, manager = listener()
    sock, port = bound()
    await made.listen(sock)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET + GET[:10])
    await reader.readuntil(b"hello")
    await made.drain(0.0)
    assert await reader.read() == b""
    writer.close()
    assert manager.open_connections == 0


def test_a_request_knows_the_connection_it_came_over() -> None:
    """Filters and logs decide by it."""
    with Proxy() as proxy:
        proxy.send(GET[:-2])
        assert proxy.downstream.info.remote_address == ("192.0.2.7", 4711)
        assert proxy.downstream.info is not NO_CONNECTION
        info = ConnectionInfo(("192.0.2.1", 1), ("192.0.2.2", 2))
        info.remote_address = ("203.0.113.5", 5)
        connection = proxy.manager(info)
        assert connection.info.remote_address == ("203.0.113.5", 5)
        assert connection.info.direct_remote_address == ("192.0.2.1", 1)


def test_the_principal_of_a_certificate_is_its_first_name() -> None:
    """Envoy's order: URI, DNS, subject."""
    assert PeerCertificate(b"", subject="CN=a", uri_sans=("spiffe://a",), dns_sans=("b",)).principal == (
        "spiffe://a"
    )
    assert PeerCertificate(b"", subject="CN=a", dns_sans=("b", "c")).principal == "b"
    assert PeerCertificate(b"", subject="CN=a").principal == "CN=a"
