"""Details of sockets to upstreams."""

import socket

import pytest

from fastproxy.upstream.dialing import select_source, set_keepalive
from fastproxy.upstream.settings import TcpKeepaliveSettings

SOURCES = (("127.0.0.2", 0), ("::1", 4000))


@pytest.mark.parametrize(
    ("host", "source"),
    [("192.0.2.1", ("127.0.0.2", 0)), ("2001:db8::1", ("::1", 4000))],
)
def test_the_source_is_of_the_family_of_the_endpoint(host: str, source: tuple[str, int]) -> None:
    """An IPv4 address cannot be bound for a connection to an IPv6 one."""
    assert select_source(host, SOURCES) == source


def test_without_a_source_of_the_family_the_system_chooses() -> None:
    """One family may be bound and the other not."""
    assert select_source("2001:db8::1", SOURCES[:1]) is None


def test_keepalive_is_set_and_what_is_not_said_is_the_systems() -> None:
    """`tcp_keepalive`."""
    with socket.socket() as sock, socket.socket() as plain:
        set_keepalive(sock, TcpKeepaliveSettings(probes=3, time_s=30))
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        interval = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == interval


def test_unix_domain_sockets_are_left_alone() -> None:
    """They have no keepalive."""
    with socket.socket(socket.AF_UNIX) as sock:
        set_keepalive(sock, TcpKeepaliveSettings(probes=3))
    set_keepalive(None, TcpKeepaliveSettings(probes=3))
