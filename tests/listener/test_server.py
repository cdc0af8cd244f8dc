"""The one place that meets aiohttp's runner, on a real socket."""

import asyncio
import socket

from fastproxy.filters.chain import FilterChain
from fastproxy.listener.manager import HttpConnectionManager
from fastproxy.listener.server import ProxyRunner
from fastproxy.listener.settings import HttpConnectionManagerSettings, ListenerSettings
from fastproxy.router.router import Router
from fastproxy.router.settings import DirectResponseAction, RouteConfigurationSettings, VirtualHostSettings
from tests.listener.support import GET, route


def manager() -> HttpConnectionManager:
    routes = (route("/", DirectResponseAction(200, b"hello")),)
    config = RouteConfigurationSettings("r", (VirtualHostSettings("v", ("*",), routes),))
    settings = ListenerSettings("l", "127.0.0.1", 0, HttpConnectionManagerSettings("s", config))
    return HttpConnectionManager(
        settings,
        router=Router(config, {}),
        filters=FilterChain([]),
        access_logs=[],
        loop=asyncio.get_running_loop(),
    )


async def test_the_runner_accepts_serves_and_drains() -> None:
    """Idle connections are closed by `cleanup`, and the socket no longer accepts."""
    made = manager()
    runner = ProxyRunner(made, drain_time_s=30.0)
    await runner.setup()
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    port = sock.getsockname()[1]
    await runner.listen(sock, 16)

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET)
    assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 OK\r\n")

    runner.set_drain_time(10.0)
    cleanup = asyncio.get_running_loop().create_task(runner.cleanup())
    assert await reader.read() == b"", "the idle connection is closed"
    writer.close()
    await writer.wait_closed()
    await cleanup
    assert made.draining
    assert made.open_connections == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


async def test_what_does_not_end_within_the_drain_time_is_cut() -> None:
    """A stop must come to an end."""
    made = manager()
    runner = ProxyRunner(made, drain_time_s=0.0)
    await runner.setup()
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    await runner.listen(sock, 16)
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    writer.write(GET + GET[:10])
    await reader.readuntil(b"hello")
    await runner.cleanup()
    assert await reader.read() == b""
    writer.close()
    assert made.open_connections == 0
