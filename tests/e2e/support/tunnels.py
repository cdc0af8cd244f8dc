"""An upstream that switches protocols: answers a handshake as its path says, then talks raw bytes."""

import asyncio
import struct
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET

from tests.e2e.support.threaded_server import ThreadedServer
from tests.e2e.support.wire import PATIENCE_S

_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: %b\r\nConnection: Upgrade\r\nSec-X: y\r\n%b\r\n"
#: Path -> what is answered; anything else switches to what was asked for.
ANSWERS = {
    b"/200": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    b"/200-chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"/204": b"HTTP/1.1 204 No Content\r\n\r\n",
    b"/302": b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
    b"/403": b"HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nnope",
    b"/403-chunked": b"HTTP/1.1 403 Forbidden\r\ntransfer-encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n",
    b"/500": b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n",
    b"/bare-101": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"/101-with-length": _SWITCH % (b"websocket", b"content-length: 3\r\n"),
    b"/early": _SWITCH % (b"websocket", b"") + b"EARLY",
}


@dataclass(slots=True)
class SeenTunnel:
    """One connection as it arrived."""

    head: bytes = b""
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False


class TunnelUpstream(ThreadedServer):
    """The upstream: it echoes every byte, closes at `QUIT`, and resets at `RESET`."""

    name = "tunnel-upstream"

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[SeenTunnel] = []

    def take(self) -> list[SeenTunnel]:
        """The connections since the last call, when all of them have ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: all(one.ended for one in self._seen), PATIENCE_S)
            taken, self._seen = self._seen, []
            return taken

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk, and note that it ended."""
        seen = SeenTunnel()
        with self._changed:
            self._seen.append(seen)
        try:
            await self._talk(reader, writer, seen)
        except OSError:
            pass
        finally:
            writer.transport.abort()
            with self._changed:
                seen.ended = True
                self._changed.notify_all()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: SeenTunnel
    ) -> None:
        first = await reader.read(65536)
        if first[:3] in (b"GET", b"POS", b"HEA", b"CON"):
            while b"\r\n\r\n" not in first:
                first += await reader.read(65536)
            seen.head, _, first = first.partition(b"\r\n\r\n")
            writer.write(_answer(seen.head))
            await writer.drain()
            first = first or await reader.read(65536)
        while first:
            seen.data += first
            if b"QUIT" in first:
                writer.write(b"bye")
                await writer.drain()
                writer.close()
                return
            if b"RESET" in first:
                writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                return
            writer.write(first)
            await writer.drain()
            first = await reader.read(65536)


def _answer(head: bytes) -> bytes:
    method, path = head.split(b" ")[:2]
    if method == b"CONNECT":
        return b"HTTP/1.1 200 OK\r\nx-a: 1\r\n\r\n"
    if path in ANSWERS:
        return ANSWERS[path]
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name.lower() == b"upgrade":
            return _SWITCH % (value, b"")
    return b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
