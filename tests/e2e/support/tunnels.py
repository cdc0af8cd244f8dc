"""An upstream that switches protocols: answers a handshake as its path says, then talks raw bytes."""

import asyncio
import struct
import threading
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from types import TracebackType
from typing import Self

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


class TunnelUpstream:
    """The upstream. A context manager; it echoes every byte, closes at `QUIT`, and resets at `RESET`."""

    def __init__(self) -> None:
        self.port = 0
        self._seen: list[SeenTunnel] = []
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._handlers: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="tunnel-upstream", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the upstream does not end"

    def take(self) -> list[SeenTunnel]:
        """The connections since the last call, when all of them have ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: all(one.ended for one in self._seen), PATIENCE_S)
            taken, self._seen = self._seen, []
            return taken

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in self._handlers:
            task.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        seen = SeenTunnel()
        with self._changed:
            self._seen.append(seen)
        try:
            await self._talk(reader, writer, seen)
        except OSError:
            pass
        finally:
            self._handlers.discard(task)
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
