"""The transport of a downstream connection: reading that can pause for several reasons, and an end that is heard.

States: OPEN --close_after_flush()--> LINGERING --peer closed, or time over--> CLOSED; abort() goes there at once.
`closing` is set from the first step on; from then nothing that arrives is looked at.
"""

import asyncio
import fcntl
import socket
import struct
import termios

from fastproxy import clock
from fastproxy.addresses import ends_of
from fastproxy.http.connection_info import NO_CONNECTION, ConnectionInfo

#: How soon to look again at a peer that is still taking the last answer.
_STEP_S = 1.0

# Why reading is paused; several reasons may hold at once.
PAUSED_BY_PIPELINE = 1
PAUSED_BY_UPSTREAM = 2


class DownstreamTransport:
    """Owns the event loop's transport of one connection."""

    __slots__ = (
        "_flush_deadline",
        "_flush_timeout_s",
        "_linger",
        "_linger_s",
        "_loop",
        "_transport",
        "_unsent",
        "closing",
        "info",
        "paused",
        "write_blocked",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        info: ConnectionInfo | None = None,
        *,
        flush_timeout_s: float,
        linger_s: float,
    ) -> None:
        """Make the part of a connection that meets the event loop.

        Args:
            loop: serves the connection.
            info: what is known about the connection; None: no more than its transport says.
            flush_timeout_s: how long a peer may take nothing of the last answer before the connection is cut.
            linger_s: how long a closed connection stays open for the peer to read the last answer, and to close
                first (Envoy `delayed_close_timeout`); 0: no longer than it takes to hand the answer to the kernel.
        """
        self._loop = loop
        self._flush_timeout_s = flush_timeout_s
        self._linger_s = linger_s
        self._transport: asyncio.Transport | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._unsent = 0
        """Of the last answer, when `_on_linger` last looked."""
        self._flush_deadline = 0.0
        self.closing = False
        self.paused = 0
        """Why reading is paused, `PAUSED_BY_` bits; 0: it is not."""
        self.write_blocked = False
        """More is buffered for the peer than it may be."""
        self.info = info or NO_CONNECTION

    def attach(self, transport: asyncio.Transport, *, buffer_limit_bytes: int) -> None:
        """Take over the transport of a connection that was made."""
        self._transport = transport
        transport.set_write_buffer_limits(high=buffer_limit_bytes)
        if self.info is NO_CONNECTION:
            self.info = ConnectionInfo(
                *ends_of(transport.get_extra_info("peername"), transport.get_extra_info("sockname"))
            )

    def detach(self) -> None:
        """The connection is lost."""
        self.closing = True
        self._transport = None
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def pause(self, reason: int) -> None:
        """Stop reading for one more reason."""
        if not self.paused and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        self.paused |= reason

    def resume(self, reason: int) -> None:
        """Drop a reason; reading goes on when none is left."""
        if self.paused & reason:
            self.paused &= ~reason
            if not self.paused and self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Send, or buffer what cannot be sent at once. Hot path: once per response."""
        transport = self._transport
        if transport is not None:
            try:
                transport.write(data)
            except RuntimeError:
                # uvloop's answer on a transport that is closing; connection_lost follows.
                return

    def close_after_flush(self) -> None:
        """Say that nothing more will come, and leave the peer a moment to read it.

        Closing a socket with unread bytes resets it, and the reset can overtake the answer.
        """
        self.closing = True
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self.paused:
            self.paused = 0
            transport.resume_reading()
        self._flush_deadline = clock.monotonic() + self._flush_timeout_s
        if transport.can_write_eof():
            if self._linger_s:
                transport.write_eof()
            else:
                transport.close()
            # What has just been written may be in the event loop still: only what is there later waits for the peer.
            self._unsent = 0
            self._linger = self._loop.call_later(self._linger_s or _STEP_S, self._on_linger)
        else:
            # TLS: what is buffered, then the alert that ends the session, then the peer's answer to it.
            transport.close()
            self._linger = self._loop.call_later(self._linger_s, self._on_tls_linger)

    def on_close_timeout(self) -> None:
        """The peer did not close a connection that was closed here, and is cut off. For counting."""

    def abort(self) -> None:
        """Cut the connection now."""
        self.closing = True
        if self._transport is not None:
            self._transport.abort()

    def check_flush(self, now: float) -> None:
        """Cut a connection between two requests whose peer does not take the answer. Called about once a second."""
        transport = self._transport
        if transport is None or self.closing:
            return
        unsent = transport.get_write_buffer_size()
        if not unsent:
            self._unsent = 0
        elif not self._unsent or unsent < self._unsent:
            self._unsent = unsent
            self._flush_deadline = now + self._flush_timeout_s
        elif now >= self._flush_deadline:
            self.abort()

    def _on_tls_linger(self) -> None:
        """Like `_on_linger`; how much a TLS transport has buffered only the kernel's counters tell."""
        transport = self._transport
        if transport is None:
            return
        acknowledged, unsent = send_progress(transport)
        now = clock.monotonic()
        if acknowledged > self._unsent:
            self._unsent = acknowledged
            self._flush_deadline = now + self._flush_timeout_s
        if not unsent or now >= self._flush_deadline:
            self.on_close_timeout()
            transport.abort()
        else:
            self._linger = self._loop.call_later(_STEP_S, self._on_tls_linger)

    def _on_linger(self) -> None:
        """Cut the connection, unless the peer is still taking the last answer.

        What is buffered may be a megabyte, and the peer slow: as long as it takes some of it in time it gets the rest.
        """
        transport = self._transport
        if transport is None:
            return
        before, self._unsent = self._unsent, transport.get_write_buffer_size()
        now = clock.monotonic()
        if self._unsent < before:
            self._flush_deadline = now + self._flush_timeout_s
        if not (before or self._unsent) or now >= self._flush_deadline:
            self.on_close_timeout()
            transport.abort()
        else:
            self._linger = self._loop.call_later(self._linger_s or _STEP_S, self._on_linger)


#: Where `tcpi_bytes_acked` stands in Linux's `struct tcp_info`.
_BYTES_ACKED_AT = 120
#: More than a socket ever holds.
_MUCH = 1 << 40


def send_progress(transport: asyncio.Transport) -> tuple[int, int]:
    """Bytes that the peer has acknowledged so far, and bytes that wait in the kernel for it; (0, 0): unknown.

    As long as the process has something buffered for a socket the kernel's part is not empty either. A Unix domain
    socket does not count what was taken; the number then is one that grows when less waits.
    """
    sock = transport.get_extra_info("socket")
    try:
        waiting = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        unsent: int = struct.unpack("=i", waiting)[0]
        if sock.family == socket.AF_UNIX:
            return _MUCH - unsent, unsent
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except (AttributeError, OSError, ValueError):
        return 0, 0
    if len(info) < _BYTES_ACKED_AT + 8:
        return 0, 0
    acknowledged: int = struct.unpack_from("=Q", info, _BYTES_ACKED_AT)[0]
    return acknowledged, unsent
