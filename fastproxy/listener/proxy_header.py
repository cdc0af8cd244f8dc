"""PROXY protocol headers, versions 1 and 2 (haproxy's proxy-protocol.txt sections 2.1 and 2.2).

Strict: what does not follow the specification to the letter is malformed. Any bytes give one of the answers; nothing
here raises.
"""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

from fastproxy.addresses import ip_text

#: "PROXY UNKNOWN" with two longest IPv6 addresses and ports, and its line end.
MAX_V1_BYTES = 107
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
#: Signature, version with command, family with protocol, length.
V2_HEAD_BYTES = 16
_V1_BEGIN = b"PROXY "
_V2_LOCAL, _V2_PROXY = 0x20, 0x21
_V2_TCP4, _V2_TCP6 = 0x11, 0x21
_DIGITS = frozenset(b"0123456789")


class ProxyStart(Enum):
    """What the bytes so far are, if they are no header."""

    INCOMPLETE = "incomplete"
    ABSENT = "absent"
    """No header begins like this."""
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """One header."""

    version: int
    size: int
    """Bytes of the header on the wire. Of a version 2 header only the first 16 need to be there to know it."""
    source: tuple[str, int] | None = None
    """None: the connection speaks for itself (UNKNOWN, LOCAL, a family that is not ours)."""
    destination: tuple[str, int] | None = None


def find_proxy_header(data: bytes) -> ProxyHeader | ProxyStart:
    """Look for a header at the begin of a connection; all bytes, every time there are more.

    A version 2 header comes back with its size as soon as its first 16 bytes are there, and without addresses:
    `parse_v2` reads them when all of it has been taken off the connection.
    """
    if data.startswith(_V1_BEGIN):
        return _find_v1(data)
    if data.startswith(V2_SIGNATURE):
        if len(data) < V2_HEAD_BYTES:
            return ProxyStart.INCOMPLETE
        if data[12] not in (_V2_LOCAL, _V2_PROXY):
            return ProxyStart.MALFORMED
        return ProxyHeader(2, V2_HEAD_BYTES + int.from_bytes(data[14:16], "big"))
    if _V1_BEGIN.startswith(data) or V2_SIGNATURE.startswith(data):
        return ProxyStart.INCOMPLETE
    return ProxyStart.ABSENT


def parse_v2(header: bytes) -> ProxyHeader | ProxyStart:
    """Parse a complete version 2 header; what follows the addresses (TLVs) is skipped."""
    found = find_proxy_header(header)
    if not isinstance(found, ProxyHeader) or found.version != 2 or found.size != len(header):
        return ProxyStart.MALFORMED
    if header[12] == _V2_LOCAL:
        return found
    body = header[V2_HEAD_BYTES:]
    if header[13] == _V2_TCP4:
        if len(body) < 12:
            return ProxyStart.MALFORMED
        ends = [str(IPv4Address(body[:4])), str(IPv4Address(body[4:8]))]
        ports = body[8:12]
    elif header[13] == _V2_TCP6:
        if len(body) < 36:
            return ProxyStart.MALFORMED
        ends = [ip_text(IPv6Address(body[:16])), ip_text(IPv6Address(body[16:32]))]
        ports = body[32:36]
    elif header[13] == 0:
        # UNSPEC: to be accepted, and the addresses ignored.
        return found
    else:
        return ProxyStart.MALFORMED
    source = (ends[0], int.from_bytes(ports[:2], "big"))
    return ProxyHeader(2, found.size, source, (ends[1], int.from_bytes(ports[2:], "big")))


def _find_v1(data: bytes) -> ProxyHeader | ProxyStart:
    end = data.find(b"\r\n", 0, MAX_V1_BYTES)
    if end < 0:
        return ProxyStart.INCOMPLETE if len(data) < MAX_V1_BYTES else ProxyStart.MALFORMED
    size = end + 2
    fields = data[:end].split(b" ")
    if fields[1] == b"UNKNOWN":
        return ProxyHeader(1, size)
    if len(fields) != 6 or fields[1] not in (b"TCP4", b"TCP6"):
        return ProxyStart.MALFORMED
    if b"%" in fields[2] or b"%" in fields[3]:
        # Python takes an address with a zone, and any text for the name of the zone: line ends, too.
        return ProxyStart.MALFORMED
    ports = [_port(text) for text in fields[4:]]
    try:
        kind = IPv4Address if fields[1] == b"TCP4" else IPv6Address
        ends = [ip_text(kind(text.decode("ascii"))) for text in fields[2:4]]
    except ValueError:
        return ProxyStart.MALFORMED
    if ports[0] is None or ports[1] is None:
        return ProxyStart.MALFORMED
    return ProxyHeader(1, size, (ends[0], ports[0]), (ends[1], ports[1]))


def _port(text: bytes) -> int | None:
    if not 0 < len(text) <= 5 or not _DIGITS.issuperset(text) or (text[0] == 0x30 and len(text) > 1):
        return None
    port = int(text)
    return port if port < 1 << 16 else None
