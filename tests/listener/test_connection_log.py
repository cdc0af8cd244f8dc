"""The log of a listener's connections, on real sockets; what each line says is compared with Envoy in tests/e2e."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastproxy.filters.chain import FilterChain
from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.listener.acceptor import Listener, is_plain
from fastproxy.listener.access_log import AccessLog
from fastproxy.listener.connection_log import ConnectionLog, end_connection, record_of
from fastproxy.listener.manager import HttpConnectionManager
from fastproxy.listener.settings import (
    AccessLogSettings,
    FilterChainMatchSettings,
    FilterChainSettings,
    HttpConnectionManagerSettings,
    ListenerSettings,
    ProxyProtocolSettings,
)
from fastproxy.router.router import Router
from fastproxy.router.settings import DirectResponseAction, RouteConfigurationSettings, VirtualHostSettings
from tests.listener.support import GET, LogLines, route

FORMAT = (
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% %PROTOCOL% %FILTER_CHAIN_NAME% "
    "%ACCESS_LOG_TYPE% %METADATA(LISTENER:n:k)% %METADATA(LISTENER_FILTER_CHAIN:n:k)%"
)
ENTRY = AccessLogSettings("unused", text_format=FORMAT)


class Lines(LogLines):
    """Lines, and who waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    def append(self, line: str) -> None:
        super().append(line)
        self._more.set()

    async def take(self) -> list[str]:
        """What there is, at least one line."""
        async with asyncio.timeout(10):
            await self._more.wait()
        self._more.clear()
        found, self.lines = self.lines, []
        return found


class World:
    """A listener, its log and the connections to it."""

    def __init__(self, listener: Listener, lines: Lines, port: int) -> None:
        self.listener, self.lines, self.port = listener, lines, port

    async def say(self, data: bytes, until: bytes = b"") -> str:
        """Send something on a new connection, read, close, and give its line."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        try:
            if until:
                await reader.readuntil(until)
            else:
                await reader.read()
        except ConnectionResetError:
            pass
        writer.close()
        (line,) = await self.lines.take()
        return line


def chain(http: HttpConnectionManagerSettings, **fields: Any) -> FilterChainSettings:
    return FilterChainSettings(http, "chain", metadata='{"n": {"k": "c"}}', **fields)


@asynccontextmanager
async def running(
    make: Callable[[HttpConnectionManagerSettings], ListenerSettings],
    limit: int | None = None,
) -> AsyncIterator[World]:
    loop, lines = asyncio.get_running_loop(), Lines()
    routes = (route("/", DirectResponseAction(200, b"hello")),)
    config = RouteConfigurationSettings("r", (VirtualHostSettings("v", ("*",), routes),))
    http = HttpConnectionManagerSettings("s", config)
    settings = make(http)
    manager = HttpConnectionManager(
        settings, http, router=Router(config, {}), filters=FilterChain([]), access_logs=[], loop=loop
    )
    log = ConnectionLog([AccessLog(ENTRY, lines)])
    listener = Listener(settings, [manager], loop, max_connections=limit, connection_log=log)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    await listener.listen(sock)
    yield World(listener, lines, port)
    await listener.drain(0.0)


def logged(http: HttpConnectionManagerSettings, **fields: Any) -> ListenerSettings:
    chains = fields.pop("filter_chains", (chain(http),))
    return ListenerSettings(
        "l", "127.0.0.1", 0, chains, access_logs=(ENTRY,), metadata='{"n": {"k": "l"}}', **fields
    )


async def test_a_connection_is_logged_once_when_it_ends() -> None:
    """With what it brought and got, whatever the number of its requests."""
    async with running(logged) as world:
        line = (await world.say(GET, b"hello")).split()
        assert line[:3] == ["-", "-", str(len(GET))]
        assert int(line[3]) > 100
        assert line[4:] == ["HTTP/1.1", "chain", "NotSet", "l", "c"]
        assert await world.say(b"garbage\r\n\r\n") == (await garbage_line(world))


async def garbage_line(world: World) -> str:
    """Twice the same, for the sizes do not depend on when."""
    line = await world.say(b"garbage\r\n\r\n")
    assert line.startswith("DPE - 11 ")
    assert line.endswith(" - chain NotSet l c")
    return line


async def test_what_no_chain_matches_is_logged() -> None:
    """Nobody else would say that it was there."""

    def make(http: HttpConnectionManagerSettings) -> ListenerSettings:
        foreign = FilterChainMatchSettings(source_prefix_ranges=("10.0.0.0/8",))
        return logged(http, filter_chains=(chain(http, match=foreign),))

    async with running(make) as world:
        assert await world.say(b"") == "NR filter_chain_not_found 0 0 - - NotSet l -"


async def test_what_a_listener_filter_refuses_is_logged() -> None:
    """A peer without the header that it was to send."""

    def make(http: HttpConnectionManagerSettings) -> ListenerSettings:
        return logged(http, listener_filters=(ProxyProtocolSettings(),))

    async with running(make) as world:
        assert await world.say(GET * 3) == "- - 0 0 - - NotSet l -"


async def test_what_is_above_a_limit_is_not_logged() -> None:
    """As in Envoy; a flood would fill the disk."""
    async with running(logged, limit=0) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        assert await reader.read() == b""
        writer.close()
        assert world.lines.lines == []
        assert world.listener.stats.downstream_cx_overflow == 1


async def test_connections_that_are_cut_at_the_end_are_logged() -> None:
    """The proxy stops with them open."""
    async with running(logged) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(GET + GET[:9])
        await reader.readuntil(b"hello")
        await world.listener.drain(0.0)
        (line,) = await world.lines.take()
        assert line.startswith(f"- - {len(GET) + 9} ")
        writer.close()


def test_a_listener_without_a_log_pays_nothing() -> None:
    """The event loop accepts for it, and no record is made."""
    config = RouteConfigurationSettings("r", ())
    http = HttpConnectionManagerSettings("s", config)
    plain = ListenerSettings("l", "127.0.0.1", 0, (FilterChainSettings(http),))
    assert is_plain(plain)
    assert not is_plain(logged(http))
    info = ConnectionInfo(("192.0.2.1", 1), ("192.0.2.2", 2))
    assert record_of(info) is None
    end_connection(info)


def test_a_connection_ends_once() -> None:
    """Whoever hears of it a second time has nothing to log."""
    lines = LogLines()
    info = ConnectionInfo(("192.0.2.1", 1), ("192.0.2.2", 2))
    ConnectionLog([AccessLog(ENTRY, lines), AccessLog(ENTRY, lines)]).begin(info)
    end_connection(info)
    end_connection(info)
    assert len(lines.lines) == 2, "one for each entry"
