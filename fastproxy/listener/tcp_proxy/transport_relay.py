"""Both directions where TLS ends on one side or begins on the other: bytes go through the event loop's transports.

    MADE --open--> OPEN --one side has closed--> CLOSING: the other gets what is left --> ENDED
      any --a side fails--> BROKEN: the other is reset

A plain side may end for itself and still read, as between sockets. TLS knows that too, the event loop's TLS does not:
whoever ends a TLS session ends both directions, after what was under way to it has been sent. So the end of a plain
upstream closes the TLS session of the client, who may be waiting for it; the end of a plain client is not passed on to
a TLS upstream, whose answer would be lost: the connection ends when the upstream closes.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import termios

from fastproxy import clock
from fastproxy.listener.tcp_proxy.socket_relay import RelayOwner, set_reset

#: How long a side that is closed may take to say its own farewell, when it has nothing left to read.
_LINGER_S = 1.0


class TransportEnd:
    """One side; an `asyncio.Protocol` by shape only: uvloop wants the methods, not the base class."""

    __slots__ = ("_limit", "_relay", "active_at", "ended", "is_tls", "lost", "moved", "transport")

    def __init__(self, relay: "TransportRelay", *, limit_bytes: int) -> None:
        self._relay = relay
        self._limit = limit_bytes
        self.transport: asyncio.Transport | None = None
        self.is_tls = False
        self.ended = False
        """It has sent its last byte."""
        self.lost = False
        self.moved = 0
        """Bytes that it sent."""
        self.active_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Called by the event loop."""
        self.transport = transport
        self.is_tls = transport.get_extra_info("ssl_object") is not None
        transport.set_write_buffer_limits(high=self._limit)
        self._relay.on_made(self)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop. Hot path: once per read."""
        self.moved += len(data)
        self.active_at = clock.monotonic()
        self._relay.on_data(self, data)

    def eof_received(self) -> bool:
        """Called by the event loop; the answer keeps a plain transport open for writing."""
        self.ended = True
        self._relay.on_end(self)
        return not self.is_tls

    def connection_lost(self, exc: Exception | None) -> None:  # the event loop's signature
        """Called by the event loop."""
        self.lost = True
        self._relay.on_lost(self, failed=isinstance(exc, OSError))

    def pause_writing(self) -> None:
        """Called by the event loop: this side does not keep up."""
        self._relay.on_blocked(self)

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self.active_at = clock.monotonic()
        self._relay.on_drained(self)

    def pause(self) -> None:
        """Read no more for now."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Send, or buffer what cannot be sent at once."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def finish(self) -> None:
        """Say that nothing more comes, where this side can be told and still be heard."""
        transport = self.transport
        if transport is not None and not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()

    def close(self) -> None:
        """Close when everything is sent."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()

    def abort(self, *, reset: bool = False) -> None:
        """Close now; with `reset`, so that the peer does not take it for an end."""
        transport = self.transport
        if transport is None or self.lost:
            return
        sock = transport.get_extra_info("socket") if reset else None
        if sock is not None:
            # The option belongs to the connection, not to the descriptor through which it is set.
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as same:
                set_reset(same)
        transport.abort()


class TransportRelay:
    """Two sides, each with what it was sent and has not taken yet."""

    __slots__ = ("_closed", "_is_open", "_linger", "_loop", "_owner", "_paused", "downstream", "upstream")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        owner: RelayOwner,
        *,
        downstream_limit_bytes: int,
        upstream_limit_bytes: int,
    ) -> None:
        """Make both sides; each gets its transport later.

        Args:
            loop: serves both.
            owner: hears how it ends.
            downstream_limit_bytes: with so much waiting for the downstream the upstream is not read.
            upstream_limit_bytes: and the other way round.
        """
        self._loop = loop
        self._owner = owner
        self._is_open = False
        self._closed = False
        self._paused = 0
        self._linger: asyncio.TimerHandle | None = None
        self.downstream = TransportEnd(self, limit_bytes=downstream_limit_bytes)
        self.upstream = TransportEnd(self, limit_bytes=upstream_limit_bytes)

    def start(self) -> None:
        """Let bytes flow: both sides have their transports."""
        self._is_open = True
        for end in (self.downstream, self.upstream):
            if end.lost:
                # Gone while the other side was made.
                self._end_after(end)
                return
        self.downstream.resume()
        self.upstream.resume()

    @property
    def received_bytes(self) -> int:
        """From the downstream, so far."""
        return self.downstream.moved

    @property
    def sent_bytes(self) -> int:
        """Towards the downstream, so far."""
        return self.upstream.moved

    @property
    def waiting_bytes(self) -> tuple[int, int]:
        """Held for the upstream, and for the downstream, as far as the transports tell."""
        up, down = self.upstream.transport, self.downstream.transport
        return (
            0 if up is None or self.upstream.lost else up.get_write_buffer_size(),
            0 if down is None or self.downstream.lost else down.get_write_buffer_size(),
        )

    @property
    def active_at(self) -> float:
        """Monotonic seconds when a byte last moved; 0 if none ever did."""
        return max(self.downstream.active_at, self.upstream.active_at)

    def release_quiet_pipes(self) -> None:
        """There are none."""

    def close(self) -> None:
        """End both sides; who has not taken what was sent does not get it."""
        self._stop()
        self.downstream.abort()
        self.upstream.abort()

    def reset(self) -> None:
        """Reset both sides: neither may take what it got for everything."""
        self._stop()
        self.downstream.abort(reset=True)
        self.upstream.abort(reset=True)

    def _stop(self) -> None:
        self._closed = True
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    # -- for the sides -------------------------------------------------------------------------------------

    def on_made(self, end: TransportEnd) -> None:
        """A side has its transport: nothing is read until both have."""
        end.pause()

    def on_data(self, end: TransportEnd, data: bytes) -> None:
        """Pass bytes on. Hot path: once per read."""
        self._other(end).write(data)

    def on_end(self, end: TransportEnd) -> None:
        """A side has sent its last byte."""
        other = self._other(end)
        other.finish()
        if other.ended:
            # Both have: what is left is sent, then they close.
            end.close()
            other.close()
        elif other.is_tls and end is self.upstream:
            other.close()
            self._watch_end(other)

    def on_lost(self, end: TransportEnd, *, failed: bool) -> None:
        """A side is gone, by failure or because it was closed."""
        if self._closed or not self._is_open:
            return
        if failed:
            self.reset()
            self._owner.on_relay_broken(upstream=end is self.upstream)
        else:
            self._end_after(end)

    def on_blocked(self, end: TransportEnd) -> None:
        """A side does not keep up."""
        self._other(end).pause()
        self._paused += 1
        self._owner.on_flow_paused()

    def on_drained(self, end: TransportEnd) -> None:
        """It does again."""
        if self._paused:
            self._paused -= 1
            self._owner.on_flow_resumed()
        if self._is_open:
            self._other(end).resume()

    def _other(self, end: TransportEnd) -> TransportEnd:
        return self.upstream if end is self.downstream else self.downstream

    def _end_after(self, end: TransportEnd) -> None:
        """One side is gone: the other gets what is left."""
        other = self._other(end)
        if other.lost:
            self._stop()
            self._owner.on_relay_ended(upstream=end is self.upstream)
            return
        other.close()
        self._watch_end(other)

    def _watch_end(self, end: TransportEnd) -> None:
        """A side is being closed: see to it that it ends."""
        if self._linger is None:
            self._linger = self._loop.call_later(_LINGER_S, self._on_linger, end)

    def _on_linger(self, end: TransportEnd) -> None:
        """Cut a side that has everything and does not say farewell; one that still takes its time is left to it.

        Not for ever: the owner's idle timeout looks at both.
        """
        self._linger = None
        transport = end.transport
        if transport is None or end.lost:
            return
        if has_unsent(transport):
            self._watch_end(end)
        else:
            transport.abort()


def has_unsent(transport: asyncio.Transport) -> bool:
    """Whether the peer has yet to take something, in the transport or in the kernel.

    How much a TLS transport has buffered it does not tell; but as long as it has, the kernel's buffer is not empty.
    """
    if transport.get_write_buffer_size():
        return True
    sock = transport.get_extra_info("socket")
    try:
        return unsent_bytes(sock.fileno()) > 0
    except (AttributeError, OSError):
        return False


def unsent_bytes(fd: int) -> int:
    """Bytes in the kernel that the peer has not acknowledged yet.

    Raises:
        OSError: no such socket.
    """
    count: int = struct.unpack("=i", fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    return count
