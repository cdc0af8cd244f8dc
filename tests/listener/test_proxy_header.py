"""PROXY headers, parsed: both versions, to the letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.listener.proxy_header import (
    V2_SIGNATURE,
    ProxyHeader,
    ProxyStart,
    find_proxy_header,
    parse_v2,
)

V4 = bytes((192, 0, 2, 1, 198, 51, 100, 1, 0x10, 0x92, 1, 0xBB))


def v2(body: bytes, command: int = 0x21, family: int = 0x11) -> bytes:
    return V2_SIGNATURE + bytes((command, family)) + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 4242 443", ("192.0.2.1", 4242), ("198.51.100.1", 443)),
        (b"PROXY TCP6 2001:db8::1 ::1 0 65535", ("2001:db8::1", 0), ("::1", 65535)),
        (b"PROXY UNKNOWN", None, None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2", None, None),
    ],
)
def test_version_1_is_read(line: bytes, source: object, destination: object) -> None:
    """And its size tells where the connection's own bytes begin."""
    found = find_proxy_header(line + b"\r\nGET / HTTP/1.1\r\n")
    assert found == ProxyHeader(1, len(line) + 2, source, destination)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY",
        b"PROXY ",
        b"PROXY TCP4 192.0.2.1",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r",
        V2_SIGNATURE[:5],
        V2_SIGNATURE,
        v2(V4)[:15],
    ],
)
def test_a_beginning_is_incomplete(line: bytes) -> None:
    """More has to come first."""
    assert find_proxy_header(line) is ProxyStart.INCOMPLETE


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 \r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 ::1 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP6 ::1 fe80::1%eth0 1 2\r\n",
        b"PROXY TCP6 fe80::1%\nx-jwt-payload:eve ::1 1 2\r\n",
        b"PROXY tcp4 192.0.2.1 198.51.100.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.\xff 1 2\r\n",
        b"PROXY UNKNOWN" + b" x" * 60,
        v2(V4, command=0x31),
        v2(V4, command=0x22),
    ],
)
def test_what_is_not_to_the_letter_is_malformed(data: bytes) -> None:
    """A guess would be a forged address."""
    assert find_proxy_header(data) is ProxyStart.MALFORMED


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1", b"\x16\x03\x01", b"PROXX", b"POST", b"\r\n\r\nx"])
def test_anything_else_is_no_header(data: bytes) -> None:
    """Clients that come without one."""
    assert find_proxy_header(data) is ProxyStart.ABSENT


def test_version_2_is_read_and_its_tlvs_are_skipped() -> None:
    """They may be long: the size says how much to take."""
    header = v2(V4 + b"\x04\0\x03abc")
    assert find_proxy_header(header[:16]) == ProxyHeader(2, len(header))
    assert parse_v2(header) == ProxyHeader(2, len(header), ("192.0.2.1", 4242), ("198.51.100.1", 443))
    six = bytes(15) + b"\x01" + bytes(15) + b"\x02" + bytes((0, 1, 0, 2))
    assert parse_v2(v2(six, family=0x21)) == ProxyHeader(2, 52, ("::1", 1), ("::2", 2))


def test_local_and_unspecified_keep_the_connections_own_addresses() -> None:
    """Health checks of the balancer itself."""
    assert parse_v2(v2(V4, command=0x20)) == ProxyHeader(2, 28)
    assert parse_v2(v2(b"", family=0)) == ProxyHeader(2, 16)


@pytest.mark.parametrize(
    "header",
    [v2(V4[:-1]), v2(V4, family=0x12), v2(V4, family=0x31), v2(bytes(35), family=0x21), v2(V4) + b"x", b""],
)
def test_broken_version_2_headers_are_malformed(header: bytes) -> None:
    """Too short, of a family that cannot be, or not whole."""
    assert parse_v2(header) is ProxyStart.MALFORMED


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", V2_SIGNATURE, V2_SIGNATURE + b"\x21"]),
    st.binary(max_size=200),
)
def test_any_bytes_give_an_answer(start: bytes, rest: bytes) -> None:
    """No exception, whatever a stranger sends."""
    assert isinstance(find_proxy_header(start + rest), ProxyHeader | ProxyStart)
    assert isinstance(parse_v2(start + rest), ProxyHeader | ProxyStart)
