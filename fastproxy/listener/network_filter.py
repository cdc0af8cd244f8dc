"""What a filter chain ends in: something that serves whole connections (Envoy: a terminal network filter)."""

import asyncio
from typing import Protocol

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.stats import StatsSink


class ConnectionProtocol(Protocol):
    """An `asyncio.Protocol` by shape: the methods that uvloop calls."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """The connection is there: accepted, and its TLS handshake done."""
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


class NetworkFilter(Protocol):
    """Serves the connections of one filter chain in one worker."""

    def __call__(self, info: ConnectionInfo | None = None) -> ConnectionProtocol:
        """Make the protocol of a new connection; without `info` its transport says what there is to know."""
        ...

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        ...

    @property
    def is_idle(self) -> bool:
        """No connection is open, and nothing goes on behind one that has ended: the filter may be forgotten."""
        ...

    def on_handshake_failed(self, length_ms: float) -> None:
        """A connection that was to be served here ended before its TLS handshake did, after so long: count it."""
        ...

    def check_idle(self, now: float) -> None:
        """End what did not move for too long; called about once a second."""
        ...

    def hand_over(self, successor: "NetworkFilter") -> bool:
        """Another configuration has replaced this one: let `successor` serve the open connections from now on.

        A request that is being served is finished here, its connection follows then.

        Returns:
            False if `successor` is of another kind: nothing has changed, and the connections must be drained.
        """
        ...

    def follow_farewell(self) -> None:
        """The operator has said something about the end of the proxy (`fastproxy.farewell`)."""
        ...

    def announce_drain(self) -> None:
        """The listening sockets are about to close: from now on no answer may promise to keep its connection."""
        ...

    def drain(self, idle_grace_s: float = 0.0) -> None:
        """Close what has been idle for `idle_grace_s`, or will have been; let the rest finish."""
        ...

    async def wait_until_empty(self, timeout_s: float) -> None:
        """After `drain`: return when the last connection has ended, or after `timeout_s`."""
        ...

    def abort(self) -> None:
        """Cut every connection that is left."""
        ...

    def write_stats(self, sink: StatsSink) -> None:
        """Add this filter's numbers to a snapshot."""
        ...
