"""The first message of a TLS client, looked at without TLS: server name and protocols (RFC 8446 section 4.1.2).

Strict: a length that does not add up, a second server name or a name that is no host name is malformed. Any bytes give
one of the four answers; nothing here raises.
"""

from dataclasses import dataclass
from enum import Enum

#: Envoy's bound for a ClientHello; OpenSSL reads no larger one either.
MAX_CLIENT_HELLO_BYTES = 16 * 1024
_RECORD_HEAD = 5
_HANDSHAKE_HEAD = 4
_MAX_RECORD = 1 << 14
_HANDSHAKE_RECORD = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_ALPN = 16
_HOST_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_.*")


class FirstBytes(Enum):
    """What the bytes so far are, if they are no complete ClientHello."""

    PLAIN = "plain"
    """Not TLS."""
    INCOMPLETE = "incomplete"
    """The begin of a ClientHello, as far as it goes."""
    MALFORMED = "malformed"
    """TLS, by its first bytes, that no client means."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a ClientHello asks for."""

    server_name: str
    """Lower case; empty: none was sent."""
    protocols: tuple[str, ...]
    """By ALPN, in the client's order; bytes that are no ASCII are escaped."""


class _MalformedError(Exception):
    """The bytes contradict themselves."""


def inspect_first_bytes(data: bytes) -> ClientHello | FirstBytes:
    """Look at the first bytes of a connection; all of them, every time there are more."""
    if not data:
        return FirstBytes.INCOMPLETE
    # A handshake record of SSL 3 to TLS 1.3. No text protocol begins with this byte.
    if data[0] != _HANDSHAKE_RECORD or (len(data) > 1 and data[1] != 3):
        return FirstBytes.PLAIN
    try:
        message = _handshake_message(data)
        return FirstBytes.INCOMPLETE if message is None else _parse_client_hello(message)
    except _MalformedError:
        return FirstBytes.MALFORMED


def _handshake_message(data: bytes) -> bytes | None:
    """The first handshake message, put together from the records it spans; None: it is not complete."""
    message = bytearray()
    at = 0
    while at + _RECORD_HEAD <= len(data):
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if data[at] != _HANDSHAKE_RECORD or data[at + 1] != 3 or not 0 < size <= _MAX_RECORD:
            raise _MalformedError
        message += data[at + _RECORD_HEAD : at + _RECORD_HEAD + size]
        at += _RECORD_HEAD + size
        if message and message[0] != _CLIENT_HELLO:
            raise _MalformedError
        if len(message) >= _HANDSHAKE_HEAD:
            length = int.from_bytes(message[1:4], "big")
            if length > MAX_CLIENT_HELLO_BYTES:
                raise _MalformedError
            if len(message) >= _HANDSHAKE_HEAD + length:
                return bytes(message[_HANDSHAKE_HEAD : _HANDSHAKE_HEAD + length])
    if len(data) > MAX_CLIENT_HELLO_BYTES:
        raise _MalformedError
    return None


class _Reader:
    """Takes vectors off the front of bytes."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise _MalformedError
        found = self._data[self._at : end]
        self._at = end
        return found

    def vector(self, length_bytes: int) -> bytes:
        return self.take(int.from_bytes(self.take(length_bytes), "big"))

    def is_at_end(self) -> bool:
        return self._at == len(self._data)


def _parse_client_hello(message: bytes) -> ClientHello:
    reader = _Reader(message)
    reader.take(2 + 32)
    reader.vector(1)
    reader.vector(2)
    reader.vector(1)
    server_name = ""
    protocols: tuple[str, ...] = ()
    if reader.is_at_end():
        return ClientHello("", ())
    extensions = _Reader(reader.vector(2))
    if not reader.is_at_end():
        raise _MalformedError
    seen: set[int] = set()
    while not extensions.is_at_end():
        kind = int.from_bytes(extensions.take(2), "big")
        body = extensions.vector(2)
        if kind in seen:
            # RFC 8446 section 4.2: two of a kind are an error, and which of them counts would be a guess.
            raise _MalformedError
        seen.add(kind)
        if kind == _SERVER_NAME:
            server_name = _parse_server_name(body)
        elif kind == _ALPN:
            protocols = _parse_protocols(body)
    return ClientHello(server_name, protocols)


def _parse_server_name(body: bytes) -> str:
    outer = _Reader(body)
    names = _Reader(outer.vector(2))
    if names.is_at_end() or not outer.is_at_end():
        raise _MalformedError
    found = ""
    while not names.is_at_end():
        kind = names.take(1)[0]
        name = names.vector(2).lower()
        if kind != 0 or found or not 0 < len(name) <= 255 or not _HOST_BYTES.issuperset(name):
            raise _MalformedError
        found = name.decode("ascii")
    return found


def _parse_protocols(body: bytes) -> tuple[str, ...]:
    outer = _Reader(body)
    entries = _Reader(outer.vector(2))
    if entries.is_at_end() or not outer.is_at_end():
        raise _MalformedError
    found = []
    while not entries.is_at_end():
        name = entries.vector(1)
        if not name:
            raise _MalformedError
        found.append(name.decode("ascii", "backslashreplace"))
    return tuple(found)
