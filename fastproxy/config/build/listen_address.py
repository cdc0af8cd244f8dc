"""Where to listen: `Address` with the socket options of its owner (envoy.config.core.v3)."""

import socket
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Final

from fastproxy.addresses import is_pipe
from fastproxy.config.build.address import build_address, check_ip
from fastproxy.config.problems import quote
from fastproxy.config.view import MAX_SYSTEM_INTEGER, View
from fastproxy.listener.settings import ListenAddress, SocketOption, SocketState

#: `sockaddr_un.sun_path` of Linux holds 108 bytes, a NUL at the end (or, for abstract names, at the begin) included.
_MAX_PATH_BYTES: Final = 107
# Linux's numbers; the `socket` module of Python 3.11 has not all of them.
_IP_FREEBIND: Final = 15
_IPV6_FREEBIND: Final = 78
_IP_TRANSPARENT: Final = 19
_IPV6_TRANSPARENT: Final = 75


def build_listen_address(owner: View, options: tuple[SocketOption, ...] = ()) -> ListenAddress | None:
    """Build `owner.address`; None when there is none, or it cannot be used (reported)."""
    holder = owner.child("address")
    if holder is not None and holder.selected("address") == "pipe":
        found = _build_pipe(holder.child_or_empty("pipe"))
        return None if found is None else replace(found, options=options)
    address = build_address(owner)
    if address is None:
        return None
    host, port, written = address
    compat = written.flag("ipv4_compat")
    if not check_ip(written, host):
        return None
    if compat and not _may_be_both(host):
        written.error(
            "only the address '::' (or an IPv4-mapped one) can be one of both families",
            "Write address: '::', or remove ipv4_compat",
            field="ipv4_compat",
        )
    return ListenAddress(host, port, compat, options=options)


def build_socket_options(owner: View) -> tuple[SocketOption, ...]:
    """Build `owner.socket_options`; those that cannot be used are left out (reported)."""
    found = []
    for one in owner.children("socket_options"):
        one.accept("description")
        value: int | bytes = (
            one.blob("buf_value") if one.selected("value") == "buf_value" else one.integer("int_value")
        )
        level, name = one.integer("level"), one.integer("name")
        if not _fit(one, level=level, name=name, int_value=value if isinstance(value, int) else 0):
            continue
        state = SocketState(one.choice("state"))
        kind = one.child("type")
        if kind is not None and kind.has("datagram") and not kind.has("stream"):
            # For UDP sockets, of which there are none.
            kind.accept("datagram")
            continue
        if kind is not None:
            kind.accept("stream", "datagram")
        found.append(SocketOption(level, name, value, state))
    return tuple(found)


def _fit(option: View, **numbers: int) -> bool:
    """Whether the system can take the numbers of an option; those that it cannot are reported."""
    too_large = [
        name for name, number in numbers.items() if not -MAX_SYSTEM_INTEGER <= number <= MAX_SYSTEM_INTEGER
    ]
    for name in too_large:
        option.error(f"{numbers[name]} is larger than what socket options hold, which is 32 bits", field=name)
    return not too_large


def build_shorthand_options(listener: View, host: str) -> tuple[SocketOption, ...]:
    """Build the options that have a field of their own: `transparent`, `freebind`, `tcp_fast_open_queue_length`."""
    found: list[SocketOption] = []
    is_v6 = ":" in host
    level = socket.IPPROTO_IPV6 if is_v6 else socket.IPPROTO_IP
    if listener.flag_or("transparent", default=False):
        found.append(SocketOption(level, _IPV6_TRANSPARENT if is_v6 else _IP_TRANSPARENT, 1))
    if listener.flag_or("freebind", default=False):
        found.append(SocketOption(level, _IPV6_FREEBIND if is_v6 else _IP_FREEBIND, 1))
    if listener.has("tcp_fast_open_queue_length"):
        length = listener.system_integer_or("tcp_fast_open_queue_length", 0)
        found.append(SocketOption(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, length, SocketState.LISTENING))
    return () if is_pipe(host) else tuple(found)


def _build_pipe(pipe: View) -> ListenAddress | None:
    path, mode = pipe.text("path"), pipe.integer("mode")
    if not path.startswith(("/", "@")) or path == "@":
        pipe.error(f"{quote(path)} is not an absolute path", "Write the whole path, or @name", field="path")
        return None
    if "\0" in path or (path.startswith("/") and path.endswith("/")):
        pipe.error(f"{quote(path)} cannot be the path of a socket", field="path")
        return None
    if len(path.encode()) > _MAX_PATH_BYTES:
        pipe.error(
            f"the path of a Unix domain socket has at most {_MAX_PATH_BYTES} bytes, this one {len(path.encode())}",
            "Choose a shorter one, as in /run/fastproxy.sock",
            field="path",
        )
        return None
    if mode and path.startswith("@"):
        pipe.error("an abstract socket has no file, so no mode", "Remove mode, or use a path", field="mode")
    return ListenAddress(path, 0, mode=mode)


def _may_be_both(host: str) -> bool:
    address = IPv6Address(host) if ":" in host else None
    return address is not None and (address == IPv6Address("::") or address.ipv4_mapped is not None)
