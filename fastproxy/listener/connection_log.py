"""The log of a listener's connections (Envoy `Listener.access_log`): one line for each, at its end.

A connection that is to be logged carries a `ConnectionRecord` from `accept` on. Whoever has it in hand when it ends
calls `end_connection`: the way to the filter chain if it does not get that far, else what serves it. Connections above
a limit never begin one (as in Envoy). Listeners without such a log make no record, and nothing looks at one.
"""

from collections.abc import Sequence

from fastproxy import clock
from fastproxy.format.context import NO_LOG_TYPE
from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.messages import Request
from fastproxy.listener.access_log import AccessLog


class ConnectionLog:
    """The `access_log` entries of one listener."""

    __slots__ = ("_logs",)

    def __init__(self, logs: Sequence[AccessLog]) -> None:
        self._logs = tuple(logs)

    def begin(self, info: ConnectionInfo) -> None:
        """A connection was accepted; it is logged when it ends."""
        info.record = ConnectionRecord(self)

    def write(self, request: Request) -> None:
        """Write the lines; `request` stands for the connection."""
        now = clock.monotonic()
        for log in self._logs:
            log.write(request, now, NO_LOG_TYPE)


class ConnectionRecord:
    """What is noted of a connection until it is logged."""

    __slots__ = (
        "_log",
        "details",
        "flags",
        "received_bytes",
        "sent_bytes",
        "started_at",
        "started_unix",
        "version",
    )

    def __init__(self, log: ConnectionLog) -> None:
        self._log = log
        self.started_at = clock.monotonic()
        self.started_unix = clock.unix_time()
        self.received_bytes = 0
        """Without TLS, like `sent_bytes`."""
        self.sent_bytes = 0
        self.version = ""
        """Of HTTP, by the last request; empty: there was none."""
        self.flags = ""
        self.details = ""

    def end(self, info: ConnectionInfo, request: Request | None) -> None:
        """Write the lines; called once."""
        if request is None:
            request = Request(b"", b"", {}, info)
            request.version = self.version
            request.bytes_received, request.bytes_sent = self.received_bytes, self.sent_bytes
            request.flags, request.details = self.flags, self.details
        # From `accept` on, TLS and listener filters included.
        request.start_monotonic, request.start_unix = self.started_at, self.started_unix
        self._log.write(request)


def record_of(info: ConnectionInfo) -> ConnectionRecord | None:
    """The record of a connection that is to be logged."""
    record = info.record
    return record if isinstance(record, ConnectionRecord) else None


def end_connection(info: ConnectionInfo, request: Request | None = None) -> None:
    """The connection is over: log it, if that is asked for and has not happened.

    Args:
        info: of the connection.
        request: stands for it in formats, where more is known than its record says.
    """
    record = record_of(info)
    if record is not None:
        info.record = None
        record.end(info, request)


def end_unserved(info: ConnectionInfo, flags: str = "", details: str = "") -> None:
    """The connection ends before any filter chain was found for it: it never had a number (as in Envoy)."""
    record = record_of(info)
    if record is not None:
        info.number = 0
        record.flags, record.details = flags, details
        end_connection(info)


def note_protocol_error(info: ConnectionInfo) -> None:
    """What came over the connection is not HTTP, or not good HTTP."""
    record = record_of(info)
    if record is not None:
        record.flags = "DPE"
