"""An upstream that wants a PROXY header, and dead addresses to put beside a good one."""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address
from typing import Any

from tests.e2e.support.wire import PATIENCE_S

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class AnnouncedUpstream:
    """Answers each request with what the header of its connection said, and which connection that was.

    `with AnnouncedUpstream() as upstream`; with a context TLS begins behind the header. A thread for each connection
    and blocking reads: whatever TLS needs must not have been read together with the header.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._changed = threading.Condition()
        self._count = 0
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="announced-upstream", daemon=True)

    def __enter__(self) -> "AnnouncedUpstream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listening, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(PATIENCE_S)

    @property
    def open_connections(self) -> int:
        """Connections that have not ended."""
        return len(self._open)

    def wait_until_open(self, count: int) -> None:
        """Block until that many connections are open."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._open) == count, PATIENCE_S), len(self._open)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            with self._changed:
                self._count += 1
                self._open.add(sock)
                self._changed.notify_all()
            threading.Thread(target=self._serve, args=(sock, self._count), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            with suppress(OSError, EOFError), sock:
                found = {"connection": number, **read_header(sock)}
                if self._context is None:
                    self._answer(sock, found)
                else:
                    # A copy, for `wrap_socket` takes what it gets; the set has the other.
                    with self._context.wrap_socket(sock.dup(), server_side=True) as sealed:
                        self._answer(sealed, found)
        finally:
            with self._changed:
                self._open.discard(sock)
                self._changed.notify_all()

    def _answer(self, sock: socket.socket, found: dict[str, Any]) -> None:
        while head := sock.recv(65536):
            body = json.dumps({**found, "bare": head.startswith(b"GET /")}).encode()
            sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


def read_header(sock: socket.socket) -> dict[str, Any]:
    """A PROXY header, version 1 or 2, as a reader of the specification would parse it; not a byte beyond it."""
    begin = _read(sock, 12)
    if begin != _SIGNATURE:
        line = begin
        while not line.endswith(b"\r\n"):
            line += _read(sock, 1)
        word, family, *rest = line.decode().split()
        assert word == "PROXY", line
        return {"version": 1, "family": family, "ends": rest, "tlvs": []}
    command, family, length = struct.unpack("!BBH", _read(sock, 4))
    data = _read(sock, length)
    size = {0x11: 4, 0x21: 16}.get(family, 0)
    ends: list[str] = []
    if size:
        ends = [str(ip_address(data[:size])), str(ip_address(data[size : 2 * size]))]
        ends += [str(port) for port in struct.unpack("!HH", data[2 * size : 2 * size + 4])]
        data = data[2 * size + 4 :]
    tlvs = []
    while data:
        kind, length = struct.unpack("!BH", data[:3])
        tlvs.append([kind, data[3 : 3 + length].hex()])
        data = data[3 + length :]
    return {"version": 2, "family": f"{command:#x}/{family:#x}", "ends": ends, "tlvs": tlvs}


def _read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


@contextmanager
def black_hole() -> Iterator[int]:
    """A port of 127.0.0.1 that answers no SYN: whoever connects to it waits."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        # The queue of connections that nobody accepts is full after these.
        for _ in range(3):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections, and that nobody else gets."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
