"""Ports and dots that are cut off a host."""

import pytest

from fastproxy.http.hosts import server_name_of, strip_port, strip_trailing_dot


@pytest.mark.parametrize(
    ("host", "stripped"),
    [
        (b"a.test:80", b"a.test"),
        (b"a.test", b"a.test"),
        (b"a.test:", b"a.test"),
        (b"[::1]:80", b"[::1]"),
        (b"[::1]", b"[::1]"),
        (b"", b""),
    ],
)
def test_any_port_is_cut_off(host: bytes, stripped: bytes) -> None:
    """`strip_any_host_port`; an address in brackets is left whole."""
    assert strip_port(host) == stripped


def test_only_the_listeners_port_is_cut_off() -> None:
    """`strip_matching_host_port`."""
    assert strip_port(b"a.test:8080", 8080) == b"a.test"
    assert strip_port(b"a.test:808", 8080) == b"a.test:808"


@pytest.mark.parametrize(
    ("host", "stripped"),
    [
        (b"a.test.", b"a.test"),
        (b"a.test.:80", b"a.test:80"),
        (b"a.test:80", b"a.test:80"),
        (b"a.test..", b"a.test."),
        (b"a.test", b"a.test"),
        (b".", b"."),
        (b"", b""),
    ],
)
def test_one_dot_is_cut_off(host: bytes, stripped: bytes) -> None:
    """`strip_trailing_host_dot`."""
    assert strip_trailing_dot(host) == stripped


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        (b"A.example", "a.example"),
        (b"a.example:8443", "a.example"),
        (b"a.example.", "a.example"),
        (b"192.0.2.1:80", ""),
        (b"[2001:db8::1]:80", ""),
        (b"[2001:db8::1]", ""),
        ("ä.example".encode(), ""),
    ],
)
def test_server_name_of_a_host(authority: bytes, name: str) -> None:
    """What TLS may send (RFC 6066 section 3): a name, never an address."""
    assert server_name_of(authority) == name
