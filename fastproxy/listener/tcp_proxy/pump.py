"""One direction of a TCP connection, from one socket to the other.

    READING --sink is full--> WRITING --all is sent--> READING
       | source ended, and all is sent
       v
    FINISHED: the sink has been told that nothing more comes

Always true: while READING nothing is held, so there is never more in between than one read brought; reader and writer
are registered for READING and WRITING, and for neither afterwards. A reset of either socket goes to the owner, who
ends both directions.

Small reads are copied: two system calls, as cheap as it gets. A read that fills the buffer means that there is more
where it came from, and from then on bytes go through a pipe inside the kernel, until reads are small again.
bench/tcp_throughput.py has what each way costs.
"""

import asyncio
import os
import socket
from typing import Protocol

from fastproxy import clock
from fastproxy.listener.tcp_proxy.pipes import HAS_SPLICE, Pipe, PipePool

#: What is copied at most in one go. More pays only for large transfers, and those are not copied.
COPY_BYTES = 64 * 1024
#: A pipe that moves less per read than this is given back.
_WORTH_A_PIPE_BYTES = 32 * 1024
_FLAGS = (os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK) if HAS_SPLICE else 0


class PumpOwner(Protocol):
    """Who has two pumps, and the sockets between which they work."""

    def on_finished(self, pump: "Pump") -> None:
        """All that the source sent has been sent on, its end included."""

    def on_broken(self, pump: "Pump", *, source: bool) -> None:
        """A socket has failed, mostly by a reset: the source, or else the sink."""

    def on_blocked(self, pump: "Pump") -> None:
        """The sink takes no more for now, and the source is not read."""

    def on_drained(self, pump: "Pump") -> None:
        """The source is read again."""


class PumpTools:
    """What the pumps of a worker share."""

    __slots__ = ("buffer", "loop", "pipes")

    def __init__(self, loop: asyncio.AbstractEventLoop, pipes: PipePool) -> None:
        self.loop = loop
        self.pipes = pipes
        self.buffer = memoryview(bytearray(COPY_BYTES))
        """Lent to one pump at a time, within one call: nothing stays in it."""


class Pump:
    """Moves bytes from one non-blocking socket to another."""

    __slots__ = (
        "_buffer",
        "_in_pipe",
        "_is_reading",
        "_is_writing",
        "_limit",
        "_loop",
        "_owner",
        "_pipe",
        "_pipes",
        "_rest",
        "_sink",
        "_sink_fd",
        "_source",
        "_source_fd",
        "active_at",
        "moved",
    )

    def __init__(
        self,
        tools: PumpTools,
        source: socket.socket,
        sink: socket.socket,
        owner: PumpOwner,
        *,
        limit_bytes: int,
    ) -> None:
        """Make a pump; it works from `start` on.

        Args:
            tools: what all pumps use.
            source: is read.
            sink: is written to.
            owner: hears what happens.
            limit_bytes: no more than this is held in between (`per_connection_buffer_limit_bytes`).
        """
        self._loop = tools.loop
        self._source = source
        self._sink = sink
        # Numbers, not sockets: the event loop would count a socket object's users and put off its end.
        self._source_fd = source.fileno()
        self._sink_fd = sink.fileno()
        self._owner = owner
        self._pipes = tools.pipes
        self._limit = max(limit_bytes, 1)
        self._buffer = tools.buffer[: min(COPY_BYTES, self._limit)]
        self._pipe: Pipe | None = None
        self._in_pipe = 0
        self._rest = b""
        """Copied and not yet sent."""
        self._is_reading = False
        self._is_writing = False
        self.moved = 0
        """Bytes that were read."""
        self.active_at = 0.0
        """Monotonic seconds when a byte last moved."""

    @property
    def held_bytes(self) -> int:
        """Read and not yet sent."""
        return self._in_pipe + len(self._rest)

    @property
    def has_pipe(self) -> bool:
        """Whether bytes go through a pipe now."""
        return self._pipe is not None

    def start(self) -> None:
        """Begin to read."""
        self._is_reading = True
        self._loop.add_reader(self._source_fd, self._on_readable)

    def stop(self) -> None:
        """Let go of both sockets, before anybody closes them; what is held is lost."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._source_fd)
        if self._is_writing:
            self._is_writing = False
            self._loop.remove_writer(self._sink_fd)
        self._rest = b""
        self._drop_pipe()

    def release_quiet_pipe(self) -> None:
        """Give the pipe back if nothing is in it: it may never be needed again. Called about once a second."""
        if not self._in_pipe:
            self._drop_pipe()

    def _drop_pipe(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._pipes.give_back(pipe, is_empty=not self._in_pipe)
            self._in_pipe = 0

    def _on_readable(self) -> None:
        """Called by the event loop. Hot path: once per read."""
        pipe = self._pipe
        try:
            if pipe is None:
                size = self._source.recv_into(self._buffer)
            else:
                size = os.splice(
                    self._source_fd, pipe.write_fd, min(pipe.capacity, self._limit), flags=_FLAGS
                )
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._owner.on_broken(self, source=True)
            return
        if not size:
            self._finish()
            return
        self.moved += size
        self.active_at = clock.monotonic()
        if pipe is None:
            self._send_copy(size)
            return
        self._in_pipe = size
        if self._send_from_pipe(pipe):
            if size < _WORTH_A_PIPE_BYTES:
                self._drop_pipe()
        elif self._is_reading:
            self._block()

    def _send_copy(self, size: int) -> None:
        try:
            sent = self._sink.send(self._buffer[:size])
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._owner.on_broken(self, source=False)
            return
        if sent < size:
            self._rest = bytes(self._buffer[sent:size])
            self._block()
        elif size == COPY_BYTES:
            self._pipe = self._pipes.take()

    def _send_from_pipe(self, pipe: Pipe) -> bool:
        """Empty the pipe; False: the sink takes no more for now, or has failed and the pump is stopped."""
        while self._in_pipe:
            try:
                self._in_pipe -= os.splice(pipe.read_fd, self._sink_fd, self._in_pipe, flags=_FLAGS)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                self._owner.on_broken(self, source=False)
                return False
        return True

    def _block(self) -> None:
        self._is_reading = False
        self._loop.remove_reader(self._source_fd)
        self._is_writing = True
        self._loop.add_writer(self._sink_fd, self._on_writable)
        self._owner.on_blocked(self)

    def _on_writable(self) -> None:
        """Called by the event loop while something is held."""
        self.active_at = clock.monotonic()
        if self._rest:
            try:
                sent = self._sink.send(self._rest)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._owner.on_broken(self, source=False)
                return
            self._rest = self._rest[sent:]
        elif self._pipe is not None and not self._send_from_pipe(self._pipe):
            return
        if not self._rest:
            self._is_writing = False
            self._loop.remove_writer(self._sink_fd)
            self.start()
            self._owner.on_drained(self)

    def _finish(self) -> None:
        self.stop()
        try:
            self._sink.shutdown(socket.SHUT_WR)
        except OSError:
            # It has gone meanwhile.
            self._owner.on_broken(self, source=False)
            return
        self._owner.on_finished(self)
