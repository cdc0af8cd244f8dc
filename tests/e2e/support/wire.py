"""A downstream on a bare socket: sends exact bytes, and reads answers without changing a byte of them."""

import select
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from fastproxy.clock import monotonic

Headers = tuple[tuple[bytes, bytes], ...]

#: Nothing in these tests takes this long; it only ends a test whose peer fell silent.
PATIENCE_S = 20.0


class PeerSilentError(AssertionError):
    """The peer neither answered nor closed within `PATIENCE_S`."""


class PeerClosedError(AssertionError):
    """The peer closed before one byte of the awaited answer came."""


@dataclass(frozen=True, slots=True)
class WireResponse:
    """One final response as it stood on the wire, and the 1xx responses before it."""

    status_line: bytes
    headers: Headers
    body: bytes
    complete: bool
    """False: the connection ended before the announced body did."""
    interim: tuple[bytes, ...] = ()
    """Status lines of the 1xx responses that came first."""
    trailers: Headers = ()

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.status_line.split(b" ", 2)[1])

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a header, in order; `name` in lower case."""
        return [value for key, value in self.headers if key.lower() == name]

    def value(self, name: bytes) -> bytes | None:
        """The only value of a header, or None; two values are a failure."""
        values = self.values(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        """Whether the proxy said that it will close the connection."""
        return any(b"close" in value.lower() for value in self.values(b"connection"))


class Downstream:
    """One connection to a proxy. While it sends it also reads, so that no exchange can deadlock on full buffers."""

    def __init__(self, port: int | str, *, receive_buffer_bytes: int | None = None) -> None:
        """`port`: on 127.0.0.1, or the path of a Unix domain socket, `@name` for an abstract one."""
        family = socket.AF_UNIX if isinstance(port, str) else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._socket.settimeout(PATIENCE_S)
        try:
            self._socket.connect(port.replace("@", "\0", 1) if isinstance(port, str) else ("127.0.0.1", port))
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        if not isinstance(port, str):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.eof = False
        self.reset = False
        self.refused_bytes = 0
        """How much of what was sent the peer no longer took."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def abort(self) -> None:
        """Close with a RST instead of a FIN."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        if not self.reset:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.reset = True

    def send(self, data: bytes) -> None:
        """Send all of `data`, or as much as the peer takes before it closes; what comes meanwhile is kept."""
        view = memoryview(data)
        deadline = monotonic() + PATIENCE_S
        while view and not self.reset:
            readers = [] if self.eof else [self._socket]
            readable, writable, _ = select.select(
                readers, [self._socket], [], max(0.0, deadline - monotonic())
            )
            if not readable and not writable:
                raise PeerSilentError(f"{len(view)} bytes are not taken")
            if readable:
                self._receive()
            if writable:
                try:
                    view = view[self._socket.send(view[:262144]) :]
                    deadline = monotonic() + PATIENCE_S
                except (BrokenPipeError, ConnectionResetError):
                    break
        self.refused_bytes += len(view)

    def send_until_stalled(self, piece: bytes, limit: int) -> int:
        """Send `piece` again and again until the peer takes no more for a while, or `limit` bytes are gone."""
        sent = 0
        while sent < limit:
            _, writable, _ = select.select([], [self._socket], [], 0.5)
            if not writable:
                break
            sent += self._socket.send(piece)
        return sent

    def send_in_steps(self, data: bytes, step: int) -> None:
        """Send `data` in pieces of `step` bytes, each its own TCP segment as far as the kernel allows."""
        for start in range(0, len(data), step):
            self.send(data[start : start + step])

    def read_response(self, method: bytes = b"GET") -> WireResponse:
        """Read one final response to a request with this method.

        Raises:
            PeerClosedError: the connection ended and there is no response.
            PeerSilentError: nothing came in time.
        """
        interim: list[bytes] = []
        while True:
            status_line, headers = self._read_head()
            status = int(status_line.split(b" ", 2)[1])
            if status >= 200 or status == 101:
                break
            interim.append(status_line)
        body, complete, trailers = self._read_body(method, status, headers)
        return WireResponse(status_line, headers, body, complete, tuple(interim), trailers)

    def read_responses(self, methods: Iterable[bytes]) -> list[WireResponse]:
        """Read one response per method, until the connection ends."""
        responses: list[WireResponse] = []
        for method in methods:
            try:
                responses.append(self.read_response(method))
            except PeerClosedError:
                break
            if not responses[-1].complete:
                break
        return responses

    def read_to_end(self) -> bytes:
        """Everything that still comes until the peer closes."""
        while not self.eof:
            self._wait()
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def read_some(self, count: int) -> bytes:
        """Exactly `count` bytes, or fewer at the end of the stream."""
        self._fill(count)
        piece = bytes(self._buffer[:count])
        del self._buffer[:count]
        return piece

    def is_closed_by_peer(self) -> bool:
        """Wait until the peer closes; PeerSilentError if it does not."""
        self.read_to_end()
        return True

    def _receive(self) -> None:
        try:
            data = self._socket.recv(262144)
        except BlockingIOError:
            return
        except ConnectionResetError:
            self.reset = self.eof = True
            return
        if data:
            self._buffer += data
        else:
            self.eof = True

    def _wait(self) -> None:
        readable, _, _ = select.select([self._socket], [], [], PATIENCE_S)
        if not readable:
            raise PeerSilentError(f"no more bytes after {bytes(self._buffer[:200])!r}")
        self._receive()

    def _fill(self, count: int) -> bool:
        while len(self._buffer) < count and not self.eof:
            self._wait()
        return len(self._buffer) >= count

    def _read_line(self) -> bytes | None:
        start = 0
        while (end := self._buffer.find(b"\r\n", start)) < 0:
            if self.eof:
                return None
            start = max(0, len(self._buffer) - 1)
            self._wait()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _read_fields(self) -> Headers | None:
        fields: list[tuple[bytes, bytes]] = []
        while (line := self._read_line()) != b"":
            if line is None:
                return None
            name, _, value = line.partition(b":")
            fields.append((name, value.strip(b" \t")))
        return tuple(fields)

    def _read_head(self) -> tuple[bytes, Headers]:
        status_line = self._read_line()
        if status_line is None:
            assert not self._buffer, f"cut inside a status line: {bytes(self._buffer)!r}"
            raise PeerClosedError("no response")
        assert status_line.startswith(b"HTTP/1."), status_line[:200]
        headers = self._read_fields()
        assert headers is not None, f"cut inside a head: {status_line!r}"
        return status_line, headers

    def _read_body(self, method: bytes, status: int, headers: Headers) -> tuple[bytes, bool, Headers]:
        if method == b"HEAD" or status in (101, 204, 304):
            return b"", True, ()
        fields = {name.lower(): value for name, value in headers}
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            return self._read_chunks()
        if b"content-length" in fields:
            length = int(fields[b"content-length"])
            complete = self._fill(length)
            return self.read_some(length), complete, ()
        return self.read_to_end(), True, ()

    def _read_chunks(self) -> tuple[bytes, bool, Headers]:
        body = bytearray()
        while (line := self._read_line()) is not None:
            size = int(line.split(b";")[0], 16)
            if size == 0:
                trailers = self._read_fields()
                return bytes(body), trailers is not None, trailers or ()
            complete = self._fill(size + 2)
            body += self.read_some(size)
            if not complete:
                break
            assert self.read_some(2) == b"\r\n"
        return bytes(body), False, ()


def method_of(request: bytes) -> bytes:
    """The method of a request on the wire; GET when it has none."""
    return request.lstrip(b"\r\n").partition(b" ")[0] or b"GET"


def encode_request(
    method: str,
    target: str,
    *headers: tuple[str, str],
    host: str | None = "h.test",
    body: bytes | None = None,
    chunks: tuple[bytes, ...] | None = None,
    script: str | None = None,
    version: str = "HTTP/1.1",
) -> bytes:
    """A request on the wire: `headers` in order after `host`; `script` names the upstream's answer.

    `body` is framed by content-length, `chunks` by chunked coding.
    """
    lines = [f"{method} {target} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    if script is not None:
        lines.append(f"x-script: {script}")
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    if chunks is not None:
        lines.append("Transfer-Encoding: chunked")
    wire = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    if body is not None:
        wire += body
    if chunks is not None:
        wire += b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    return wire
