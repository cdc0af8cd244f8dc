"""Listener filters at work on real sockets: what they see, wait for, take off and refuse."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.listener.opening import Opening
from fastproxy.listener.settings import ListenerFilterSettings, ProxyProtocolSettings, TlsInspectorSettings
from fastproxy.listener.stats import ListenerStats
from tests.listener.test_client_hello import hello_of
from tests.listener.test_proxy_header import V4, v2

INSPECTOR = TlsInspectorSettings()
PROXY = ProxyProtocolSettings()


@dataclass
class World:
    """Both ends of a connection, and what the opening said."""

    peer: socket.socket
    ours: socket.socket
    stats: ListenerStats = field(default_factory=ListenerStats)
    decided: list[Opening] = field(default_factory=list)
    closed: list[Opening] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    opening: Opening | None = None

    def open(
        self, *filters: ListenerFilterSettings, timeout_s: float = 0.0, continues: bool = False
    ) -> Opening:
        def note(where: list[Opening], opening: Opening) -> None:
            where.append(opening)
            self.heard.set()

        self.opening = Opening(
            self.ours,
            ConnectionInfo(("127.0.0.1", 1), ("127.0.0.1", 2)),
            filters,
            self.stats,
            asyncio.get_running_loop(),
            on_decided=lambda one: note(self.decided, one),
            on_closed=lambda one: note(self.closed, one),
        )
        self.opening.start(timeout_s, continues=continues)
        return self.opening

    async def outcome(self) -> Opening:
        await asyncio.wait_for(self.heard.wait(), 10)
        return (self.decided + self.closed)[0]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
        ours.setblocking(False)
        made = World(peer, ours)
        yield made
        if made.opening is not None and not made.heard.is_set():
            made.opening.close()
        peer.close()
        ours.close()


async def test_a_hello_in_pieces_is_waited_for_and_left_in_the_socket(world: World) -> None:
    """TLS itself reads it afterwards; and half a hello must not make the loop spin."""
    hello = hello_of("a.test", ("http/1.1",))
    opening = world.open(INSPECTOR)
    assert opening.is_silent
    loop = asyncio.get_running_loop()
    for piece in (hello[:1], hello[1:7], hello[7:100]):
        await loop.sock_sendall(_async(world.peer), piece)
        looks = 0
        while opening._peeked != hello.index(piece) + len(piece):
            await asyncio.sleep(0.001)
            looks += 1
            assert looks < 5000
        assert not world.heard.is_set()
    world.peer.setblocking(True)
    world.peer.sendall(hello[100:])
    await world.outcome()
    assert (opening.info.requested_server_name, opening.info.transport_protocol) == ("a.test", "tls")
    assert opening.info.application_protocols == ("http/1.1",)
    assert world.ours.recv(10000) == hello
    assert world.ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    assert (world.stats.tls_inspector.tls_found, world.stats.tls_inspector.sni_found) == (1, 1)


def _async(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    return sock


async def test_a_plain_client_goes_on_at_its_first_byte(world: World) -> None:
    """It must not wait for a hello that never comes."""
    world.peer.sendall(b"G")
    opening = world.open(INSPECTOR)
    await world.outcome()
    assert opening.info.transport_protocol == "raw_buffer"
    assert world.stats.tls_inspector.tls_not_found == 1


async def test_a_malformed_hello_is_plain_or_refused_as_configured(world: World) -> None:
    """`close_connection_on_client_hello_parsing_errors`."""
    world.peer.sendall(b"\x16\x03\x01\0\0")
    world.open(TlsInspectorSettings(refuses_malformed=True))
    await world.outcome()
    assert world.closed
    assert world.stats.tls_inspector.client_hello_malformed == 1


async def test_the_end_of_the_connection_ends_the_wait(world: World) -> None:
    """Port scanners connect and leave."""
    world.peer.sendall(b"\x16")
    world.open(INSPECTOR)
    world.peer.close()
    await world.outcome()
    assert world.closed


@pytest.mark.parametrize("step", [1, 5, 1000])
@pytest.mark.parametrize(
    "header", [b"PROXY TCP4 192.0.2.1 198.51.100.1 4242 443\r\n", v2(V4 + b"\x04\x01\0" + bytes(256))]
)
async def test_a_proxy_header_is_taken_off_to_its_last_byte(world: World, header: bytes, step: int) -> None:
    """And what follows it is looked at by the next filter."""
    hello = hello_of("a.test")
    wire = header + hello
    opening = world.open(PROXY, INSPECTOR)
    world.peer.setblocking(False)
    loop = asyncio.get_running_loop()
    for at in range(0, len(wire), step):
        await loop.sock_sendall(world.peer, wire[at : at + step])
        if step < 1000:
            await asyncio.sleep(0)
    await world.outcome()
    assert world.decided
    assert opening.info.remote_address == ("192.0.2.1", 4242)
    assert opening.info.local_address == ("198.51.100.1", 443)
    assert opening.info.direct_remote_address == ("127.0.0.1", 1)
    assert opening.info.requested_server_name == "a.test"
    assert world.ours.recv(10000) == hello


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n", b"PROXY TCP4 x y 1 2\r\n", v2(V4[:-1])])
async def test_a_connection_without_a_good_header_is_refused(world: World, sent: bytes) -> None:
    """Its address would be the balancer's."""
    world.peer.sendall(sent)
    world.open(PROXY)
    await world.outcome()
    assert world.closed
    assert world.stats.proxy_protocol_errors == 1
    (kind,) = world.stats.proxy_protocol
    assert kind == {b"G": "not_found_disallowed", b"P": "versions.v1.error"}.get(
        sent[:1], "versions.v2.error"
    )


async def test_an_optional_header_may_be_missing(world: World) -> None:
    """`allow_requests_without_proxy_protocol`."""
    world.peer.sendall(b"GET / HTTP/1.1\r\n")
    opening = world.open(ProxyProtocolSettings(optional=True))
    await world.outcome()
    assert world.decided
    assert opening.info.remote_address == ("127.0.0.1", 1)
    assert world.ours.recv(3) == b"GET"


async def test_a_version_that_is_not_allowed_is_refused(world: World) -> None:
    """`disallowed_versions`."""
    world.peer.sendall(b"PROXY UNKNOWN\r\n")
    world.open(ProxyProtocolSettings(versions=frozenset((2,))))
    await world.outcome()
    assert world.closed


@pytest.mark.parametrize("continues", [True, False])
async def test_a_silent_peer_is_given_up_or_served_as_it_is(world: World, continues: bool) -> None:
    """`listener_filters_timeout` and `continue_on_listener_filters_timeout`."""
    world.open(INSPECTOR, timeout_s=0.01, continues=continues)
    await world.outcome()
    assert bool(world.decided) is continues
    assert world.stats.downstream_pre_cx_timeout == 1


async def test_half_a_version_2_header_is_never_served(world: World) -> None:
    """What was taken off cannot be put back."""
    world.peer.sendall(v2(V4)[:20])
    world.open(PROXY, timeout_s=0.05, continues=True)
    await world.outcome()
    assert world.closed


async def test_a_header_in_pieces_is_waited_for_over_a_unix_domain_socket() -> None:
    """The kernel reports what was seen there again and again: that is no end of the connection."""
    peer, ours = socket.socketpair()
    ours.setblocking(False)
    world = World(peer, ours)
    with peer, ours:
        opening = world.open(PROXY)
        peer.sendall(b"PROXY TCP4 192.0.2.1")
        while not opening._pause_s > 0.01:
            # It has looked twice, at the same bytes.
            await asyncio.sleep(0.001)
        assert not world.heard.is_set()
        peer.sendall(b" 198.51.100.1 1 2\r\nrest")
        assert (await world.outcome()).info.remote_address == ("192.0.2.1", 1)
        assert ours.recv(100) == b"rest"


async def test_the_end_of_a_unix_domain_socket_ends_the_wait() -> None:
    """Half a header, and then nothing more."""
    peer, ours = socket.socketpair()
    ours.setblocking(False)
    world = World(peer, ours)
    with peer, ours:
        world.open(PROXY)
        peer.sendall(b"PROXY TCP4 192.0.2.1")
        peer.shutdown(socket.SHUT_WR)
        assert await world.outcome() in world.closed
