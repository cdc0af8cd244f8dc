"""Connections that no pool manages: what is sent first, and how failures are worded."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from fastproxy.upstream.dial import connect_error, open_socket
from fastproxy.upstream.errors import ConnectFailed, ConnectTimeout, UpstreamError, UpstreamReset
from fastproxy.upstream.settings import Address, ClusterSettings, UpstreamProxyProtocolSettings

ORIGIN = (("192.0.2.1", 40000), ("198.51.100.2", 443))


async def test_the_proxy_header_comes_first() -> None:
    """Before TLS, before anything."""
    settings = ClusterSettings("c", proxy_protocol=UpstreamProxyProtocolSettings(1))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address("127.0.0.1", server.getsockname()[1])
        made, used = await open_socket(asyncio.get_running_loop(), (address,), settings, ORIGIN)
        with made:
            assert used == address
            accepted, _ = server.accept()
            with accepted:
                assert accepted.recv(100) == b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n"
            assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert not made.getblocking()


async def test_unix_domain_sockets_are_connected_too(tmp_path: Path) -> None:
    """Paths, and names in the abstract namespace."""
    path = str(tmp_path / "s")
    for given, bound in ((path, path), ("@fastproxy-test-dial", "\0fastproxy-test-dial")):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(bound)
            server.listen()
            made, _ = await open_socket(
                asyncio.get_running_loop(), (Address(given, 0),), ClusterSettings("c"), None
            )
            made.close()


async def test_a_refused_connect_leaves_no_socket_behind() -> None:
    """The error is the system's; unclosed sockets fail every test here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", probe.getsockname()[1])
    with pytest.raises(ConnectionRefusedError):
        await open_socket(asyncio.get_running_loop(), (address,), ClusterSettings("c"), None)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (TimeoutError(), ConnectTimeout, ""),
        (
            ConnectionRefusedError(111, "Connection refused"),
            ConnectFailed,
            "delayed connect error: Connection refused",
        ),
        (ssl.SSLError(1, "whatever"), ConnectFailed, "TLS_error: SSLError"),
        (ValueError("label too long"), ConnectFailed, "invalid address or name: label too long"),
        (UpstreamReset(reused=False), UpstreamReset, "upstream closed"),
        (
            TimeoutError(110, "Connection timed out"),
            ConnectFailed,
            "delayed connect error: Connection timed out",
        ),
    ],
)
def test_failures_are_worded_for_logs(error: Exception, kind: type[UpstreamError], words: str) -> None:
    """Flags and counters follow from the kind."""
    found = connect_error(error)
    assert type(found) is kind
    assert str(found).startswith(words)


async def test_a_host_with_a_dead_address_is_reached_by_another_one() -> None:
    """And the caller learns by which, for TLS verifies that one's name."""
    with socket.socket() as probe, socket.create_server(("127.0.0.1", 0)) as server:
        probe.bind(("127.0.0.1", 0))
        dead, good = (Address("127.0.0.1", one.getsockname()[1]) for one in (probe, server))
        made, used = await open_socket(asyncio.get_running_loop(), (dead, good), ClusterSettings("c"), None)
        with made:
            assert used == good
            assert made.getpeername() == server.getsockname()


async def test_nobody_s_connection_speaks_of_itself() -> None:
    """Version 1 has no other way to say so (Envoy)."""
    settings = ClusterSettings("c", proxy_protocol=UpstreamProxyProtocolSettings(1))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        made, _ = await open_socket(asyncio.get_running_loop(), (Address("127.0.0.1", port),), settings, None)
        with made:
            accepted, _ = server.accept()
            with accepted:
                own = made.getsockname()[1]
                assert accepted.recv(100) == b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (own, port)
