"""The channel between `main` and one worker: framed messages over a Unix stream socket.

A frame is a 4-byte big-endian length and that many bytes of JSON (`fastproxy.ipc.codec`). Either side learns
of the other's death by end of file, which is why nobody else may hold the descriptors.
"""

import asyncio
import socket
import struct
from typing import Final

from fastproxy.ipc.codec import ChannelError, decode_message, encode_message
from fastproxy.ipc.messages import Message

__all__ = ["MAX_BUFFERED_BYTES", "MAX_FRAME_BYTES", "Channel", "ChannelError"]

#: The largest messages are the Bootstrap (base64) and a statistics snapshot: some MiB for thousands of
#: clusters.
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
#: A peer that leaves this much unread hangs; going on would only grow our memory.
MAX_BUFFERED_BYTES: Final = 2 * MAX_FRAME_BYTES
_LENGTH: Final = struct.Struct("!I")


class Channel:
    """One end of a channel. One task receives; anybody in the same loop may send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, sock: socket.socket) -> "Channel":
        """Take over `sock`, a connected AF_UNIX stream socket, and close it with the channel."""
        sock.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        return cls(reader, writer)

    def send(self, message: Message) -> None:
        """Queue a message; never waits. After the peer is gone it does nothing: `receive` reports the end.

        Raises:
            ChannelError: the message is too large, cannot be encoded, or the peer does not read any more.
        """
        if self._writer.is_closing():
            return
        frame = encode_message(message)
        if len(frame) > MAX_FRAME_BYTES:
            raise ChannelError(
                f"{type(message).__name__} of {len(frame)} bytes is above the limit of a frame"
            )
        if self._writer.transport.get_write_buffer_size() > MAX_BUFFERED_BYTES:
            raise ChannelError("the peer does not read its messages")
        self._writer.write(_LENGTH.pack(len(frame)) + frame)

    async def receive(self) -> Message | None:
        """Wait for the next message; None means that the peer is gone (also in the middle of a frame).

        Raises:
            ChannelError: the peer broke the framing or sent something that is not a message.
        """
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > MAX_FRAME_BYTES:
                raise ChannelError(f"a frame of {length} bytes is above the limit")
            frame = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return decode_message(frame)

    async def drain(self) -> None:
        """Wait until what was sent fits the socket's buffer again; returns at once if the peer is gone."""
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    def close(self) -> None:
        """Close our end once what was sent has left; the peer then receives None. May be called twice."""
        self._writer.close()
