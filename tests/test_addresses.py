"""Addresses of IP and of Unix domain sockets, read and written in one form."""

from ipaddress import ip_address

import pytest

from fastproxy.addresses import address_of, ends_of, format_address, ip_text, is_pipe, read_ip


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("192.0.2.1", 80), ("192.0.2.1", 80)),
        (("2001:db8::1", 80, 0, 0), ("2001:db8::1", 80)),
        (("::ffff:192.0.2.1", 80, 0, 0), ("192.0.2.1", 80)),
        ("/run/a.sock", ("/run/a.sock", 0)),
        (b"\0name", ("@name", 0)),
        (b"\0n\xff", ("@n\ufffd", 0)),
        ("", ("", 0)),
        (None, ("", 0)),
    ],
)
def test_what_the_system_says_becomes_host_and_port(name: object, address: tuple[str, int]) -> None:
    """Whatever the family: everything above reads pairs."""
    assert address_of(name) == address


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("192.0.2.1", 80, "192.0.2.1:80"),
        ("2001:db8::1", 80, "[2001:db8::1]:80"),
        ("/run/a.sock", 0, "/run/a.sock"),
        ("@name", 0, "@name"),
        ("/run/a:b.sock", 0, "/run/a:b.sock"),
    ],
)
def test_addresses_are_written_as_envoy_writes_them(host: str, port: int, text: str) -> None:
    """In logs, on the admin interface and in messages."""
    assert format_address(host, port) == text
    assert is_pipe(host) is (port == 0)


def test_a_peer_without_a_name_is_called_like_our_end() -> None:
    """A client of a Unix domain socket is not bound to a path, as a rule; Envoy does the same."""
    assert ends_of("", "/run/a.sock") == (("/run/a.sock", 0), ("/run/a.sock", 0))
    assert ends_of(b"\0me", "/run/a.sock") == (("@me", 0), ("/run/a.sock", 0))
    assert ends_of(("192.0.2.1", 5), ("192.0.2.2", 80)) == (("192.0.2.1", 5), ("192.0.2.2", 80))


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::ffff:c000:201", "::ffff:192.0.2.1"),
        ("::192.0.2.1", "::c000:201"),
    ],
)
def test_an_ip_address_has_one_spelling(written: str, text: str) -> None:
    """Whatever version of Python writes it: limits and rules compare text."""
    assert ip_text(ip_address(written)) == read_ip(written) == text


@pytest.mark.parametrize(
    "text", ["", "a", "192.0.2", "192.0.2.01", "fe80::1%eth0", "fe80::1%", "[::1]", " ::1"]
)
def test_what_is_no_ip_address_is_nothing(text: str) -> None:
    """A zone may be any text at all, and somebody else's zone means nothing here."""
    assert read_ip(text) == ""
