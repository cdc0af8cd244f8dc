"""Both directions between two plain sockets, and how they end.

    OPEN --one side ends--> HALF OPEN --the other ends, too--> ENDED: both sockets closed
      any --a socket fails--> BROKEN: both sockets reset

Each side may end for itself, as long as it likes before the other (RFC 9293 section 3.6).
"""

import contextlib
import socket
import struct
from typing import Protocol

from fastproxy.listener.tcp_proxy.pump import Pump, PumpTools

#: SO_LINGER on, for no time: `close` resets the connection, and what was not sent is dropped.
_RESET = struct.pack("ii", 1, 0)


class RelayOwner(Protocol):
    """Hears how a relay ends; exactly one of the two comes, once, and never after `close` or `reset`."""

    def on_relay_ended(self, *, upstream: bool) -> None:
        """Both sides have ended, and got everything; `upstream`: that one was the last."""

    def on_relay_broken(self, *, upstream: bool) -> None:
        """One side has failed, the upstream or else the downstream; the other was reset."""

    def on_flow_paused(self) -> None:
        """One side does not keep up, and the other is not read."""

    def on_flow_resumed(self) -> None:
        """The other side is read again."""


class SocketRelay:
    """Two pumps; the sockets belong to it."""

    __slots__ = ("_closed", "_down", "_downstream", "_finished", "_owner", "_up", "_upstream")

    def __init__(
        self,
        tools: PumpTools,
        downstream: socket.socket,
        upstream: socket.socket,
        owner: RelayOwner,
        *,
        downstream_limit_bytes: int,
        upstream_limit_bytes: int,
    ) -> None:
        """Make a relay; it works from `start` on.

        Args:
            tools: for the pumps.
            downstream: not blocking.
            upstream: not blocking.
            owner: hears how it ends.
            downstream_limit_bytes: held for the downstream at most.
            upstream_limit_bytes: held for the upstream at most.
        """
        self._downstream = downstream
        self._upstream = upstream
        self._owner = owner
        self._up = Pump(tools, downstream, upstream, self, limit_bytes=upstream_limit_bytes)
        self._down = Pump(tools, upstream, downstream, self, limit_bytes=downstream_limit_bytes)
        self._finished = 0
        self._closed = False

    def start(self) -> None:
        """Let bytes flow."""
        self._up.start()
        self._down.start()

    @property
    def received_bytes(self) -> int:
        """From the downstream, so far."""
        return self._up.moved

    @property
    def sent_bytes(self) -> int:
        """Towards the downstream, so far."""
        return self._down.moved

    @property
    def waiting_bytes(self) -> tuple[int, int]:
        """Held for the upstream, and for the downstream."""
        return self._up.held_bytes, self._down.held_bytes

    @property
    def active_at(self) -> float:
        """Monotonic seconds when a byte last moved; 0 if none ever did."""
        return max(self._up.active_at, self._down.active_at)

    def release_quiet_pipes(self) -> None:
        """Give back pipes with nothing in them."""
        self._up.release_quiet_pipe()
        self._down.release_quiet_pipe()

    def close(self) -> None:
        """End both sides; what is held is lost."""
        if not self._closed:
            self._closed = True
            self._up.stop()
            self._down.stop()
            self._downstream.close()
            self._upstream.close()

    def reset(self) -> None:
        """Reset both sides: neither may take what it got for everything."""
        if not self._closed:
            set_reset(self._downstream)
            set_reset(self._upstream)
            self.close()

    # -- for the pumps -------------------------------------------------------------------------------------

    def on_finished(self, pump: Pump) -> None:
        """One direction has come to its end."""
        self._finished += 1
        if self._finished == 2 and not self._closed:
            self.close()
            self._owner.on_relay_ended(upstream=pump is self._down)

    def on_broken(self, pump: Pump, *, source: bool) -> None:
        """A socket has failed."""
        if not self._closed:
            self.reset()
            self._owner.on_relay_broken(upstream=(pump is self._down) is source)

    def on_blocked(self, pump: Pump) -> None:
        """One side does not keep up."""
        self._owner.on_flow_paused()

    def on_drained(self, pump: Pump) -> None:
        """It does again."""
        self._owner.on_flow_resumed()


def set_reset(sock: socket.socket) -> None:
    """Let the socket's `close` reset its connection."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
