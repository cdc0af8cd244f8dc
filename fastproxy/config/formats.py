"""The text formats that `validate.rules` can ask for: host names, addresses, header names..."""

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EMAIL = re.compile(r"[^@\s]{1,64}@([^@\s]+)")
_HEADER_NAME = re.compile(r":?[0-9a-zA-Z!#$%&'*+\-.^_|~`]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0A-\x1F\x7F]*")
_HEADER_TEXT = re.compile(r"[^\x00\x0A\x0D]*")


def is_ip(text: str) -> bool:
    """An IPv4 or IPv6 address literal, without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_ip_version(text: str, version: int) -> bool:
    """An address literal of one family, 4 or 6."""
    return is_ip(text) and ipaddress.ip_address(text).version == version


def is_host_name(text: str) -> bool:
    """A DNS name by RFC 1123; one dot at the end is allowed."""
    name = text.removesuffix(".")
    return 0 < len(name) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in name.split("."))


def is_uri(text: str, *, absolute: bool = True) -> bool:
    """A URI (RFC 3986), or with `absolute` False any reference."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme) or not absolute


def _is_email(text: str) -> bool:
    match = _EMAIL.fullmatch(text)
    return match is not None and is_host_name(match[1])


#: Rule name in `validate.StringRules` -> what it demands, in words, and the test.
TEXT_FORMATS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "email": ("an e-mail address", _is_email),
    "hostname": ("a host name", is_host_name),
    "ip": ("an IP address", is_ip),
    "ipv4": ("an IPv4 address", lambda text: is_ip_version(text, 4)),
    "ipv6": ("an IPv6 address", lambda text: is_ip_version(text, 6)),
    "uri": ("an absolute URI", is_uri),
    "uri_ref": ("a URI", lambda text: is_uri(text, absolute=False)),
    "address": ("a host name or IP address", lambda text: is_host_name(text) or is_ip(text)),
    "uuid": ("a UUID", lambda text: _UUID.fullmatch(text) is not None),
}


def check_header_text(text: str, *, is_name: bool, strict: bool) -> str | None:
    """The complaint about a header name or value by `well_known_regex`, or None.

    Not strict means Envoy's tolerance: anything without NUL, CR and LF.
    """
    if not strict:
        return None if _HEADER_TEXT.fullmatch(text) else "must not contain NUL, CR or LF"
    if is_name:
        return None if _HEADER_NAME.fullmatch(text) else "must be a header name"
    return None if _HEADER_VALUE.fullmatch(text) else "must not contain control characters"
