"""What a request head must satisfy before anything is sent upstream (RFC 9112 sections 3, 6; spec/http.md section 5).

llhttp refuses most malformed input by itself. These are the rules it leaves to us, because each lets two parsers
disagree on where a request ends or whom it is for.
"""

import re
from ipaddress import IPv6Address

from fastproxy.http.errors import ProtocolError
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request
from fastproxy.http.octets import COMMA

#: Names that need a second look; a head that has none of them is done with one set operation.
HOP_BY_HOP_REQUEST = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
        b"te",
        b"expect",
    )
)

# RFC 3986 host and port, IP literals in brackets; no user-info, no path, nothing a log or a regex could misread.
_AUTHORITY = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?\Z")
_ABSOLUTE_FORM = re.compile(rb"(https?)://(?:[^/?#@]*@)?([^/?#]+)((?:[/?].*)?)\Z", re.IGNORECASE | re.DOTALL)
# Envoy is stricter with the authority of a target than with `host`.
_TARGET_AUTHORITY = re.compile(rb"(?:[A-Za-z0-9.-]+|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?\Z")
_MAX_PORT = 65535
# Names that a downstream must not be able to have removed by listing them in `Connection` (Envoy).
_NEVER_NOMINATED = frozenset((b"host", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"))
_NOT_REMOVED = frozenset((b"content-length",))
# What `connection` of an upgrade request may say without being rewritten.
_UPGRADE_TOKENS = frozenset((b"upgrade", b"keep-alive"))

#: The upgrade type of a CONNECT request (Envoy: `upgrade_type: CONNECT`).
CONNECT = b"connect"


def check_framing(request: Request) -> None:
    """Settle how long the body is and whether the connection may stay open.

    Args:
        request: head as parsed, `transfer-encoding`, `content-length` and `connection` still in it.

    Raises:
        ProtocolError: with the status and code that Envoy gives.
    """
    headers = request.headers
    transfer_encoding = headers.get(b"transfer-encoding")
    length = headers.get(b"content-length")
    if transfer_encoding is not None:
        if length is not None:
            raise ProtocolError("http1.content_length_and_chunked_not_allowed")
        # Exactly `chunked`: `gzip, chunked` and `chunked, chunked` are where smuggling starts (S51).
        if not isinstance(transfer_encoding, bytes) or transfer_encoding.strip().lower() != b"chunked":
            raise ProtocolError("http1.invalid_transfer_encoding", status=501)
        if request.version == "1.0":
            # RFC 9112 section 6.1: a 1.0 message with Transfer-Encoding has faulty framing.
            raise ProtocolError("http1.invalid_transfer_encoding")
        request.content_length = None
        request.has_body = True
    elif length is not None:
        # llhttp has checked that it is one non-negative number.
        request.content_length = int(length)  # type: ignore[arg-type]  # single-slot name: bytes
        request.has_body = request.content_length > 0


def is_authority(host: bytes) -> bool:
    """Whether the bytes are a host, with or without a port, that may be sent upstream."""
    return _AUTHORITY.match(host) is not None


def take_authority(headers: HeaderMap) -> bytes | None:
    """Remove `host` from the headers and return it; None if there was none (RFC 9112 section 3.2).

    Raises:
        ProtocolError: more than one `host`, or one that is no valid authority.
    """
    host = headers.pop(b"host", None)
    if host is None:
        return None
    if isinstance(host, list) or COMMA in host:
        raise ProtocolError("http1.multiple_host_headers")
    if host and _AUTHORITY.match(host) is None:
        raise ProtocolError("http.invalid_authority")
    return host


def is_target_authority(authority: bytes, *, needs_port: bool) -> bool:
    """Whether the bytes may stand for the authority in a request target: a name or an address, no odd characters."""
    found = _TARGET_AUTHORITY.match(authority)
    if found is None:
        return False
    address, port = found.groups()
    if address is not None:
        try:
            IPv6Address(address.decode())
        except ValueError:
            return False
    return not needs_port if port is None else int(port) <= _MAX_PORT


def split_absolute_form(target: bytes) -> tuple[bytes, bytes]:
    """Authority and origin-form target of an absolute-form request target (RFC 9112 section 3.2.2).

    Raises:
        ProtocolError: another scheme than http and https, or no valid authority.
    """
    found = _ABSOLUTE_FORM.match(target)
    if found is None:
        scheme, separator, _ = target.lower().partition(b"://")
        is_http = not separator or scheme in (b"http", b"https")
        raise ProtocolError("http1.invalid_url" if is_http else "http1.invalid_scheme")
    authority, rest = found.group(2), found.group(3)
    if not is_target_authority(authority, needs_port=False):
        raise ProtocolError("http1.invalid_url")
    if not rest.startswith(b"/"):
        rest = b"/" + rest
    return authority, rest


def remove_hop_by_hop(request: Request) -> None:
    """Remove what concerns this connection alone (RFC 9110 section 7.6.1), nominated headers included.

    `te: trailers` stays, as in Envoy; `expect: 100-continue` is answered by the proxy and goes. Of an upgrade request
    `upgrade` stays, and of its `connection` what speaks of the connection alone: any other name there would have the
    upstream remove a header that a filter adds.

    Raises:
        ProtocolError: `connection` names a header that must not be removed.
    """
    headers = request.headers
    upgrades = bool(request.upgrade) and request.method != b"CONNECT"
    connection = headers.get(b"connection")
    if connection is not None:
        value = connection if isinstance(connection, bytes) else b",".join(connection)
        _remove_nominated(headers, value.lower(), keeps_upgrade=upgrades)
        if not upgrades:
            headers.pop(b"connection", None)
        elif not _UPGRADE_TOKENS.issuperset(token.strip() for token in value.lower().split(b",")):
            headers[b"connection"] = b"upgrade"
    headers.pop(b"keep-alive", None)
    headers.pop(b"proxy-connection", None)
    headers.pop(b"transfer-encoding", None)
    if not upgrades:
        headers.pop(b"upgrade", None)
    headers.pop(b"http2-settings", None)
    te = headers.pop(b"te", None)
    if isinstance(te, bytes) and b"trailers" in {token.strip().lower() for token in te.split(b",")}:
        headers[b"te"] = b"trailers"
    expect = headers.get(b"expect")
    if isinstance(expect, bytes) and expect.lower() == b"100-continue":
        del headers[b"expect"]


def _remove_nominated(headers: HeaderMap, connection: bytes, *, keeps_upgrade: bool) -> None:
    for token in connection.split(b","):
        name = token.strip()
        if keeps_upgrade and name in (b"upgrade", b"connection"):
            continue
        if name in _NEVER_NOMINATED or name.startswith(b":"):
            if name == b"host":
                raise ProtocolError("missing_host_header", body=b"", flag="")
            raise ProtocolError("http1.connection_header_rejected")
        if name == b"te":
            # `te` is handled by its own rule; nominating it is what RFC 9110 section 10.1.4 asks for.
            continue
        if name not in _NOT_REMOVED:
            headers.pop(name, None)


def is_upgrade(headers: HeaderMap) -> bool:
    """Whether the request asks to switch protocols: `connection` contains `upgrade`, and `upgrade` is there."""
    connection, upgrade = headers.get(b"connection"), headers.get(b"upgrade")
    return (
        isinstance(connection, bytes)
        and isinstance(upgrade, bytes)
        and bool(upgrade)
        and b"upgrade" in {token.strip() for token in connection.lower().split(b",")}
    )


def requested_upgrade(request: Request) -> bytes:
    """The protocol that a request asks to switch to, in lower case; empty if it asks for none that is ever honoured.

    `h2c` is never honoured: its headers go, and the request is served as it is (RFC 9113 section 3.1).
    """
    if request.method == b"CONNECT":
        return CONNECT
    headers = request.headers
    if not is_upgrade(headers):
        return b""
    upgrade = headers[b"upgrade"]
    assert isinstance(upgrade, bytes)
    return b"" if upgrade.lower() == b"h2c" else upgrade.lower()
