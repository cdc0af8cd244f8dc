"""What is cut off the `host` of a request before anybody looks at it (Envoy `strip_*_host_port` and neighbours)."""

import re

_IPV4 = re.compile(rb"[0-9.]+")
_PORT = re.compile(rb":[0-9]*\Z")


def strip_port(authority: bytes, only: int = 0) -> bytes:
    """Cut the port off a host; `only`: none but this one."""
    found = _PORT.search(authority)
    if found is None or (only and found.group(0) != b":%d" % only):
        return authority
    return authority[: found.start()]


def strip_trailing_dot(authority: bytes) -> bytes:
    """Cut the dot off a host name that is written as fully qualified: `a.example.:80` is `a.example:80`."""
    host, colon, port = authority.rpartition(b":")
    if not colon or not port.isdigit():
        host, colon, port = authority, b"", b""
    return host[:-1] + colon + port if host.endswith(b".") and len(host) > 1 else authority


def server_name_of(authority: bytes) -> str:
    """The name that TLS sends for a host: lower case, without port and closing dot; empty for an IP address."""
    host = strip_port(authority) if not authority.endswith(b"]") else authority
    if host.startswith(b"[") or _IPV4.fullmatch(host) or not host.isascii():
        return ""
    return host.rstrip(b".").decode("ascii").lower()
