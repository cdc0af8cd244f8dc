"""Both ends of a rehearsed request: a downstream without a socket, and an upstream that only listens.

The upstream is the one thing that needs a socket, on the loopback interface: what it reads is what a real one would
get, to the byte.
"""

import asyncio
from contextlib import suppress
from typing import Any

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_HEAD_END = b"\r\n\r\n"
_HEAD_LIMIT = 1 << 20


class MemoryTransport(asyncio.Transport):
    """A downstream connection whose peer reads everything at once."""

    def __init__(self, *, is_head: bool) -> None:
        super().__init__()
        self._is_head = is_head
        self._closed = False
        self._data = bytearray()
        self.answered = asyncio.Event()
        """Set when a whole response is there, or nothing more can come."""

    @property
    def data(self) -> bytes:
        """Everything that was written."""
        return bytes(self._data)

    def write(self, data: Any) -> None:
        """Take a part of the response."""
        self._data += data
        if _is_complete(self._data, is_head=self._is_head):
            self.answered.set()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Say who talks to whom."""
        known = {"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 80)}
        return known.get(name, default)

    def is_closing(self) -> bool:
        """Say whether it was closed."""
        return self._closed

    def close(self) -> None:
        """End it."""
        self._closed = True
        self.answered.set()

    def abort(self) -> None:
        """End it."""
        self.close()

    def can_write_eof(self) -> bool:
        """Say that it can be ended one way."""
        return True

    def write_eof(self) -> None:
        """Nothing more comes."""
        self.answered.set()

    def get_write_buffer_size(self) -> int:
        """Say how much waits: nothing ever does."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: nothing waits."""

    def pause_reading(self) -> None:
        """Do nothing: nothing comes that was not given."""

    def resume_reading(self) -> None:
        """Do nothing."""


class CapturingUpstream:
    """A server on the loopback interface that keeps the heads it gets and answers 200. A context manager."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "CapturingUpstream":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_HEAD_LIMIT)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            self.heads.append(await reader.readuntil(_HEAD_END))
            writer.write(_ANSWER)
            await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _is_complete(data: bytearray, *, is_head: bool) -> bool:
    """Say whether a final response is there; the proxy's own ones, and the upstream's here, have a length."""
    start = 0
    while (end := data.find(_HEAD_END, start)) >= 0:
        head = bytes(data[start:end]).lower()
        status = head[9:12]
        start = end + len(_HEAD_END)
        if status.startswith(b"1"):
            continue
        if is_head or status in (b"204", b"304"):
            return True
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), None
        )
        return length is not None and len(data) - start >= length
    return False
