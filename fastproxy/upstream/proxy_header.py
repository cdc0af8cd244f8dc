"""The PROXY header that tells an upstream who the downstream is (HAProxy's specification, versions 1 and 2)."""

import ipaddress
import struct

#: Who connected to whom: the addresses of the downstream connection.
Origin = tuple[tuple[str, int], tuple[str, int]]

_SIGNATURE_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
#: Of what follows the first 16 bytes of version 2.
_MAX_LENGTH = 0xFFFF


def encode_proxy_header(
    version: int, origin: Origin | None, tlvs: tuple[tuple[int, bytes], ...] = ()
) -> bytes:
    """Write a header.

    Args:
        version: 1 or 2.
        origin: source and destination, as IP literals; None, or addresses that are no such pair: the header says that
            it does not know.
        tlvs: types and values that follow the addresses; version 2 only.
    """
    pair = None if origin is None else _pair(origin)
    if version == 1:
        if pair is None or origin is None:
            return b"PROXY UNKNOWN\r\n"
        source, destination = pair
        return f"PROXY TCP{source.version} {source} {destination} {origin[0][1]} {origin[1][1]}\r\n".encode()
    extra = b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in tlvs)
    if pair is None or origin is None:
        return _SIGNATURE_V2 + struct.pack("!BBH", _LOCAL, 0, len(extra)) + extra
    source, destination = pair
    addresses = source.packed + destination.packed + struct.pack("!HH", origin[0][1], origin[1][1])
    family = _TCP4 if source.version == 4 else _TCP6
    return (
        _SIGNATURE_V2 + struct.pack("!BBH", _PROXY, family, len(addresses) + len(extra)) + addresses + extra
    )


def fits_in_header(tlvs: tuple[tuple[int, bytes], ...]) -> bool:
    """Whether a header of version 2 has room for these types and values."""
    # 36 bytes: two IPv6 addresses and ports.
    return 36 + sum(3 + len(value) for _, value in tlvs) <= _MAX_LENGTH


_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def _pair(origin: Origin) -> tuple[_Ip, _Ip] | None:
    """Both addresses in one family; None if they are no addresses, or cannot be."""
    try:
        source, destination = (ipaddress.ip_address(host) for host, _ in origin)
    except ValueError:
        return None
    if source.version == destination.version:
        return source, destination
    # A listener for both families sees IPv4 peers as mapped ones, but its own address may be written either way.
    plain = [getattr(one, "ipv4_mapped", None) or one for one in (source, destination)]
    return (plain[0], plain[1]) if plain[0].version == plain[1].version else None
