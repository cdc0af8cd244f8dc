"""A scripted upstream on bare sockets: records the bytes of each request, and answers as it was told.

A request names its answer with the header `x-script`, else by its path; what is in neither table gets 200 and `ok`.
"""

import asyncio
import hashlib
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from socket import SO_LINGER, SOL_SOCKET
from types import TracebackType

from tests.e2e.support.threaded_server import ThreadedServer
from tests.e2e.support.wire import PATIENCE_S

#: Bodies are kept up to here; of longer ones only length and digest.
_KEPT_BODY_BYTES = 65536
_PIECE = bytes(65536)
_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ \S+ HTTP/1\.1")


class After(Enum):
    """What the upstream does with the connection after its answer."""

    KEEP = "keep"
    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send, exactly, and what to do then."""

    parts: tuple[bytes, ...] = (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",)
    after: After = After.KEEP
    before_body: bool = False
    """Answer as soon as the head is in, without reading the body."""
    delay_s: float = 0.0
    """How slow this upstream is; part of its behaviour, never a way to synchronise."""
    held: bool = False
    """Answer only after `release`."""
    unread: bool = False
    """Never read the body."""
    zeros: int = 0
    """This many zero bytes follow `parts`."""


@dataclass(slots=True)
class SeenRequest:
    """One request as it arrived."""

    connection: int
    request_line: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    body_length: int = 0
    chunked: bool = False
    trailer_lines: tuple[bytes, ...] = ()
    complete: bool = False
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def path(self) -> bytes:
        """The request target without its query."""
        return self.request_line.split(b" ")[1].partition(b"?")[0]

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a header, in order; `name` in lower case."""
        return [value for key, value in self.headers if key.lower() == name]


class ScriptedUpstream(ThreadedServer):
    """The upstream."""

    name = "scripted-upstream"

    def __init__(
        self, scripts: dict[str, Answer] | None = None, paths: dict[str, Answer] | None = None
    ) -> None:
        super().__init__()
        self.scripts = dict(scripts or {})
        self.paths = dict(paths or {})
        self.connections = 0
        self.bytes_sent = 0
        """Zero bytes of streamed answers that the kernel of this side has taken."""
        self.requests: list[SeenRequest] = []
        self.faults: list[bytes] = []
        """What a proxy sent where a request should begin: the worst that can happen on a shared connection."""
        self._released = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        assert not self.faults, f"bytes that are no request: {self.faults}"

    @property
    def open_connections(self) -> int:
        """Connections that have not ended yet."""
        return len(self._writers)

    def take_requests(self) -> list[SeenRequest]:
        """The requests seen since the last call."""
        with self._changed:
            taken, self.requests = self.requests, []
            return taken

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Block until `condition` holds; it is asked again whenever something happened here."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S), "the upstream waited in vain"

    def release(self) -> None:
        """Let every held answer go, now and later."""
        self._loop.call_soon_threadsafe(self._released.set)

    def wait_until_no_progress(self) -> int:
        """Block until no byte came or went for a while; the zero bytes sent so far."""
        with self._changed:
            while self._changed.wait(timeout=0.5):
                pass
            return self.bytes_sent

    def close_connections(self) -> None:
        """Close every open connection, idle ones too."""

        def close_all() -> None:
            for writer in self._writers:
                writer.close()

        self._loop.call_soon_threadsafe(close_all)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after the other."""
        self._writers.add(writer)
        with self._changed:
            self.connections += 1
            number = self.connections
            self._changed.notify_all()
        try:
            while await self._on_request(number, reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            with self._changed:
                self._writers.discard(writer)
                self._changed.notify_all()
            writer.transport.abort() if self._stopping.is_set() else writer.close()

    async def _on_request(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        request_line, *lines = head[:-4].split(b"\r\n")
        if not _REQUEST_LINE.fullmatch(request_line):
            self.faults.append(head)
            return False
        fields = (line.partition(b":") for line in lines)
        headers = tuple((name, value.strip(b" \t")) for name, _, value in fields)
        seen = SeenRequest(number, request_line, headers)
        with self._changed:
            self.requests.append(seen)
            self._changed.notify_all()
        answer = self._answer_to(seen)
        if answer.unread:
            await self._stopping.wait()
        if answer.before_body:
            keep = await self._send(answer, reader, writer)
            if keep:
                await self._read_body(seen, reader)
            return keep
        await self._read_body(seen, reader)
        return await self._send(answer, reader, writer)

    def _answer_to(self, seen: SeenRequest) -> Answer:
        for script in seen.values(b"x-script"):
            return self.scripts[script.decode()]
        answer = self.paths.get(seen.path.decode("latin-1"), Answer())
        if seen.request_line.startswith(b"HEAD "):
            heads = (part.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for part in answer.parts[:1])
            return Answer(tuple(heads), answer.after)
        return answer

    async def _read_body(self, seen: SeenRequest, reader: asyncio.StreamReader) -> None:
        seen.chunked = seen.values(b"transfer-encoding") == [b"chunked"]
        if seen.chunked:
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                await self._read_exactly(size, seen, reader)
                await reader.readexactly(2)
            trailers: list[bytes] = []
            while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
                trailers.append(line)
            seen.trailer_lines = tuple(trailers)
        else:
            for length in seen.values(b"content-length"):
                await self._read_exactly(int(length), seen, reader)
        with self._changed:
            seen.complete = True
            self._changed.notify_all()

    async def _read_exactly(self, count: int, seen: SeenRequest, reader: asyncio.StreamReader) -> None:
        while count:
            piece = await reader.read(min(count, 262144))
            if not piece:
                raise asyncio.IncompleteReadError(b"", count)
            count -= len(piece)
            with self._changed:
                seen.body_length += len(piece)
                seen.digest.update(piece)
                seen.body += piece[: max(0, _KEPT_BODY_BYTES - len(seen.body))]
                self._changed.notify_all()

    async def _send(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if answer.held:
            await self._released.wait()
        if answer.delay_s:
            await asyncio.sleep(answer.delay_s)
        for part in answer.parts:
            writer.write(part)
            await writer.drain()
        await self._stream_zeros(answer.zeros, writer)
        if answer.after is After.RESET:
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif answer.after is After.HANG:
            while await reader.read(65536):
                pass
        return answer.after is After.KEEP

    async def _stream_zeros(self, count: int, writer: asyncio.StreamWriter) -> None:
        if not count:
            return
        writer.transport.set_write_buffer_limits(high=0)
        while count:
            piece = _PIECE[: min(count, len(_PIECE))]
            writer.write(piece)
            # With a limit of 0 this returns when the kernel has taken the piece, and not before.
            await writer.drain()
            count -= len(piece)
            with self._changed:
                self.bytes_sent += len(piece)
                self._changed.notify_all()
