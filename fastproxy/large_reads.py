"""What TLS connections need of memory, kept small.

uvloop gives every TLS connection a buffer of 256 KiB, and reads for an ordinary protocol by allocating 256 KiB more and
giving back what was not needed. Of each only the first page is ever touched, if it is memory of its own; but both
come from the heap once the C library has learned that such sizes are common, and then they lie on pages that something
else has used before: 50 KiB for an idle connection instead of 27 (`bench/idle_memory.py`). So
`keep_large_buffers_apart` has the buffers mapped, and `SharedBufferProtocol` avoids the allocation for each read,
which would have to be mapped, too.
"""

import asyncio
import ctypes
from typing import Protocol

#: uvloop's buffer is this large (SSL_READ_MAX_SIZE). Its reads without TLS, 256,000 bytes, stay below and in the heap.
_MAPPED_FROM_BYTES = 256 * 1024
#: `M_MMAP_THRESHOLD` of the GNU C library's malloc.h. Setting it also ends its learning.
_MMAP_THRESHOLD = -3
#: Room for a few TLS records of 16 KiB; what does not fit is handed over in the next turn of the event loop.
_READ_BUFFER_BYTES = 64 * 1024
#: Filled and copied from in one synchronous step, so all connections of the process share it.
_read_buffer = memoryview(bytearray(_READ_BUFFER_BYTES))


def keep_large_buffers_apart() -> bool:
    """Have the C library map every allocation of 256 KiB or more; call it once, early in a process.

    Returns:
        False if the C library has no such setting (musl maps from 128 KiB by itself).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, _MAPPED_FROM_BYTES))


class Receiver(Protocol):
    """An `asyncio.Protocol` by shape: the methods that uvloop calls."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """The connection is there."""
        ...

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        ...

    def eof_received(self) -> bool:
        """The peer sends no more; True keeps the transport open for writing."""
        ...

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        ...

    def pause_writing(self) -> None:
        """The write buffer is above its high-water mark."""
        ...

    def resume_writing(self) -> None:
        """The write buffer has drained."""
        ...


class SharedBufferProtocol:
    """An `asyncio.BufferedProtocol` by shape: reads into one buffer of the process, for an ordinary protocol."""

    __slots__ = ("_receiver",)

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Called by the event loop."""
        self._receiver.connection_made(transport)

    def get_buffer(self, _size: int) -> memoryview:
        """Called by the event loop: where to put what came. Hot path: once per read."""
        return _read_buffer

    def buffer_updated(self, size: int) -> None:
        """Called by the event loop: so much is there. Hot path: once per read."""
        self._receiver.data_received(bytes(_read_buffer[:size]))

    def data_received(self, data: bytes) -> None:
        """Called by asyncio's own event loop, which knows buffered protocols by their base class only."""
        self._receiver.data_received(data)

    def eof_received(self) -> bool:
        """Called by the event loop."""
        return self._receiver.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._receiver.connection_lost(exc)

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._receiver.resume_writing()
