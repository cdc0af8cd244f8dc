"""The PROXY header that is sent; the reader of the listener understands every one."""

import pytest

from fastproxy.upstream.proxy_header import encode_proxy_header, fits_in_header

V4 = (("192.0.2.1", 40000), ("198.51.100.2", 443))
V6 = (("2001:db8::1", 40000), ("2001:db8::2", 443))


def test_version_1_names_both_addresses() -> None:
    """The examples of the specification, section 2.1."""
    assert encode_proxy_header(1, V4) == b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n"
    assert encode_proxy_header(1, V6) == b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 443\r\n"


def test_version_2_names_both_addresses() -> None:
    """Section 2.2: signature, command, family, length, addresses, ports."""
    signature = bytes.fromhex("0d0a0d0a000d0a515549540a")
    assert encode_proxy_header(2, V4) == signature + bytes.fromhex("2111000c c0000201 c6336402 9c40 01bb")
    header = encode_proxy_header(2, V6)
    assert header[12:16] == bytes.fromhex("21210024")
    assert len(header) == 16 + 36


def test_values_follow_the_addresses() -> None:
    """`added_tlvs`, counted in the length."""
    header = encode_proxy_header(2, V4, ((0xE0, b"abc"),))
    assert header[14:16] == bytes.fromhex("0012")
    assert header.endswith(bytes.fromhex("e00003") + b"abc")


@pytest.mark.parametrize("origin", [None, (("", 0), ("", 0)), (("192.0.2.1", 1), ("2001:db8::2", 2))])
def test_what_is_not_known_is_said_so(origin: object) -> None:
    """Not a made-up address: the upstream takes the connection for what it is."""
    assert encode_proxy_header(1, origin) == b"PROXY UNKNOWN\r\n"  # type: ignore[arg-type]
    header = encode_proxy_header(2, origin, ((0xE0, b"x"),))  # type: ignore[arg-type]
    assert header[12:16] == bytes.fromhex("20000004")


def test_mapped_addresses_are_written_plainly() -> None:
    """A listener for both families sees IPv4 peers as IPv6."""
    mixed = (("::ffff:192.0.2.1", 1), ("198.51.100.2", 2))
    assert encode_proxy_header(1, mixed) == b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n"


def test_a_header_has_room_for_so_much() -> None:
    """Its length is a number of 16 bits."""
    assert fits_in_header(((1, b"x" * 65496),))
    assert not fits_in_header(((1, b"x" * 65497),))
