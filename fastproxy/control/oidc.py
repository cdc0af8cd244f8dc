"""OpenID Connect Discovery 1.0 without I/O: where the metadata is, what may be believed of it (S38).

The metadata names the place of the keys, and whoever names that place decides which tokens are good. So the
issuer in it must be the configured one, the keys may not travel less protected than the metadata, and their
place may not be inside the operator's own network, where a request of ours could do harm.
"""

import ipaddress
from collections.abc import Collection, Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from fastproxy.jwt.encoding import parse_json_object

_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_LONGEST_URI: Final = 2048
#: IPv4 addresses behind a translator (RFC 6052): what counts is the address inside.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class BadMetadata(Exception):
    """The metadata cannot be used; the text is fit for a log and quotes nothing of the answer."""


def metadata_uri(issuer: str) -> str:
    """Return where an issuer publishes its metadata (section 4.1: a final slash is dropped first)."""
    return issuer.removesuffix("/") + _WELL_KNOWN


def parse_metadata(body: bytes, issuer: str) -> str:
    """Return the `jwks_uri` of a metadata document (section 3) that says it is the configured issuer's.

    Args:
        body: the answer.
        issuer: as configured; compared character by character (section 4.3).

    Raises:
        BadMetadata: another issuer's, or no usable `jwks_uri`.
    """
    try:
        metadata = parse_json_object(body)
    except ValueError as error:
        raise BadMetadata(f"the metadata is {error}") from None
    found = metadata.get("issuer")
    if not isinstance(found, str):
        raise BadMetadata("the metadata names no issuer")
    if found != issuer:
        hint = " (they differ by a final slash)" if found.rstrip("/") == issuer.rstrip("/") else ""
        raise BadMetadata(f"the metadata names another issuer than the configured one{hint}")
    uri = metadata.get("jwks_uri")
    if not isinstance(uri, str):
        raise BadMetadata("the metadata has no jwks_uri")
    _check_jwks_uri(uri, issuer)
    return uri


def _check_jwks_uri(uri: str, issuer: str) -> None:
    if len(uri) > _LONGEST_URI or not uri.isascii() or any(c <= " " or c in '\x7f\\"<>^`{|}' for c in uri):
        raise BadMetadata("jwks_uri is no URL")
    try:
        parts = urlsplit(uri)
        # Reading the port is what checks it.
        usable = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise BadMetadata("jwks_uri is no absolute http or https URL")
    if "@" in parts.netloc or parts.fragment:
        raise BadMetadata("jwks_uri has credentials or a fragment")
    if parts.scheme != "https" and not issuer.startswith("http:"):
        raise BadMetadata("jwks_uri is not https, though the issuer is")


def is_same_origin(one: str, other: str) -> bool:
    """Tell whether two URLs have scheme, host and port in common (RFC 6454 section 4)."""
    return _origin(urlsplit(one)) == _origin(urlsplit(other))


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, port_of(parts)


def port_of(parts: SplitResult) -> int | None:
    """Return the port of a URL, the scheme's own if it names none."""
    return parts.port or _DEFAULT_PORTS.get(parts.scheme)


def select_allowed(addresses: Sequence[str], issuer_addresses: Collection[str]) -> list[str]:
    """Keep the addresses that `jwks_uri` may lead to: public ones, and those where the issuer itself is.

    Args:
        addresses: what the host of `jwks_uri` resolves to. The connection must go to these very addresses: a
            second lookup could answer something else.
        issuer_addresses: what the issuer's host resolves to. It was the operator who chose that host.
    """
    return [address for address in addresses if address in issuer_addresses or is_public(address)]


def is_public(address: str) -> bool:
    """Tell a globally reachable unicast address from loopback, link-local, private and reserved ones."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast
