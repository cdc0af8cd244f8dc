"""A downstream connection that notes more than it needs to serve.

How the downstream writes header names (Envoy `preserve_case` of a listener), how many bytes go over the wire
(`%DOWNSTREAM_WIRE_BYTES_...%`), what comes behind a body (`enable_trailers`), what the log of connections says of it
(Envoy `Listener.access_log`). A class of its own, so that other listeners pay nothing for it.
"""

from typing import TYPE_CHECKING

from fastproxy.http.byte_counts import ByteCounts
from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.errors import ProtocolError
from fastproxy.http.messages import Request
from fastproxy.http.name_case import KeptCase, KeptCaseSettings, MessageNames
from fastproxy.listener.connection import DownstreamConnection
from fastproxy.listener.connection_log import end_connection, record_of
from fastproxy.tls.failure import tls_failure

if TYPE_CHECKING:
    from fastproxy.listener.manager import HttpConnectionManager


class ObservedConnection(DownstreamConnection):
    """Tells each request how its names were written, counts its bytes, keeps its trailers, is logged itself..."""

    __slots__ = ("_counts", "_kept", "_kept_case", "_record")

    def __init__(
        self,
        manager: "HttpConnectionManager",
        info: ConnectionInfo | None,
        *,
        kept_case: KeptCaseSettings | None,
        counts_bytes: bool,
    ) -> None:
        super().__init__(manager, info)
        self._kept_case = kept_case
        self._kept = None if kept_case is None else KeptCase(kept_case)
        self._counts = ByteCounts() if counts_bytes else None
        self._record = record_of(self.info)

    # -- bytes ---------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._counts is not None:
            self._counts.received += len(data)
        if self._record is not None:
            self._record.received_bytes += len(data)
        super().data_received(data)

    def write(self, data: bytes) -> None:
        """Send, or buffer what cannot be sent at once."""
        if self._counts is not None:
            self._counts.sent += len(data)
        if self._record is not None:
            self._record.sent_bytes += len(data)
        super().write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # the event loop's signature
        """Called by the event loop. The request that was being served is logged first."""
        if self._record is not None and self.in_head:
            # As good as a request, as Envoy sees it.
            self._record.version = self._record.version or "1.1"
        super().connection_lost(exc)
        if self._record is not None:
            if exc is not None:
                self.info.transport_failure = tls_failure(exc)
            end_connection(self.info)

    def serve(self) -> None:
        """Bring the connection forward as far as it goes without new bytes."""
        if self._counts is not None and self._stream.request is not None:
            self._counts.is_followed = self._has_more()
        super().serve()

    def on_begin(self, request: Request) -> None:
        """The request is about to be served."""
        if self._counts is not None:
            self._counts.begin(request)
            self._counts.is_followed = self._has_more()
            request.byte_counts = self._counts

    def _has_more(self) -> bool:
        return self.in_head or bool(self._queue) or bool(self._unread)

    def go_on(self, request: Request) -> None:
        """The response to `request` is written."""
        if self._counts is not None:
            # As it was when the request was logged: nothing has been read since.
            self._counts.end(request)
        super().go_on(request)

    # -- httptools -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self._kept_case is not None:
            self._kept = KeptCase(self._kept_case)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser; what comes behind the head are trailers."""
        if self._kept is not None and self.in_head:
            self._kept.keep(name)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        before = len(self._queue)
        super().on_headers_complete()
        if len(self._queue) == before:
            return
        if self._kept is not None:
            self._queue[-1].names = MessageNames(self._kept)
        if self._record is not None:
            self._record.version = self._queue[-1].version
        # From now on it counts trailers.
        self._repeated = 0

    def on_message_complete(self) -> None:
        """Called by the parser."""
        request, rules = self._parsing, self._manager.trailer_rules
        if rules is not None and request is not None and request.content_length is None:
            max_bytes, max_count = self._max_head_bytes, self._max_headers_count
            try:
                rules.keep(request, self._headers, self._repeated, max_bytes=max_bytes, max_count=max_count)
            except ProtocolError as error:
                # Its body is broken: it must not look complete, and nothing of what follows is read.
                self._fault = error
                self._parsing = None
                return
        super().on_message_complete()
