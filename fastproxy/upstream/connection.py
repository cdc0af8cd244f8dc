"""One HTTP/1.1 connection to an endpoint: bytes of a request out, callbacks for its response in.

States, all transitions are in this module:

    IDLE --start()--> BUSY --response complete--> IDLE (given back to the pool)
    BUSY --101 that was asked for, or start_raw()--> SWITCHED (HTTP is over; never given back)
      any --close, error, end of stream--> CLOSED

Always true: a handler is set exactly while BUSY; a connection in the pool is IDLE and has no unread bytes; a response
that cannot be followed by another (close-delimited, `connection: close`, early, or to HEAD with surplus bytes) closes.
"""

import asyncio
import ssl
from typing import TYPE_CHECKING

import httptools

from fastproxy import clock
from fastproxy.http.byte_counts import ByteCounts
from fastproxy.http.connection_info import UpstreamLink
from fastproxy.http.headers import HeaderMap
from fastproxy.http.name_case import KeptCase
from fastproxy.timers import LazyTimer
from fastproxy.upstream.circuit_breaker import CircuitBreaker
from fastproxy.upstream.dialing import set_keepalive
from fastproxy.upstream.errors import StreamTooLong, UpstreamInvalidResponse, UpstreamReset
from fastproxy.upstream.kept_trailers import build_reader
from fastproxy.upstream.response_handler import ResponseHandler, SwitchHandler
from fastproxy.upstream.response_reader import MAX_UNPRODUCTIVE_BYTES

if TYPE_CHECKING:
    from fastproxy.upstream.pool import ConnectionPool


class UpstreamConnection:
    """An `asyncio.Protocol` by shape only: uvloop and httptools want the methods, not the base class."""

    __slots__ = (
        "_blocked",
        "_closed",
        "_closed_busy",
        "_closed_here",
        "_handler",
        "_pool",
        "_reader",
        "_reading_paused",
        "_stats",
        "_stream_timer",
        "_switch_handler",
        "_transport",
        "charged_to",
        "counts",
        "epoch",
        "idle_since",
        "is_usable",
        "link",
        "opened_at",
        "request_sent",
        "served",
    )

    def __init__(self, pool: "ConnectionPool") -> None:
        self._pool = pool
        self._stats = pool.stats
        self._transport: asyncio.Transport | None = None
        self._reader = build_reader(
            pool.max_head_bytes, pool.max_headers, pool.kept_case, keeps_trailers=pool.keeps_trailers
        )
        self._reader.interim_counts = pool.stats.statuses
        self._handler: ResponseHandler | None = None
        self._switch_handler: SwitchHandler | None = None
        """The handler, if its request asks to leave HTTP."""
        self.request_sent = False
        """All of the request under way was written, says its sender; only then may the connection be used again."""
        self._stream_timer: LazyTimer | None = None
        """`max_stream_duration`; made when a request first needs it."""
        self.is_usable = False
        """A request can be started: it is open, and not being closed by either side."""
        self._closed = False
        self._closed_here = False
        """It was closed by us, not by the upstream."""
        self._closed_busy = False
        """And a request was on it then."""
        self._blocked = False
        self._reading_paused = False
        self.served = 0
        """Responses completed so far; above 0 the upstream's idle timer may close it under us."""
        self.idle_since = 0.0
        self.opened_at = 0.0
        """Monotonic seconds."""
        self.link: UpstreamLink | None = None
        """Both ends; None until the connection is there."""
        self.counts: ByteCounts | None = None
        """Of the request under way, if somebody asks for them."""
        self.charged_to: CircuitBreaker | None = None
        """Whose connections it counts among; None if it counts no more. The pool's affair."""
        self.epoch = 0
        """The pool's: connections of earlier ones are not used again."""

    # -- for the exchange that uses it ---------------------------------------------------------------------

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """Its TLS, once the handshake is done; None without."""
        found: ssl.SSLObject | None = None
        if self._transport is not None:
            found = self._transport.get_extra_info("ssl_object")
        return found

    @property
    def names(self) -> KeptCase | None:
        """How the upstream wrote the header names of its response; None if that is not kept."""
        return self._reader.names

    @property
    def trailers(self) -> HeaderMap | None:
        """What comes behind the body of the response, in it when that is complete; None if it is not kept."""
        return self._reader.trailers

    @property
    def is_blocked(self) -> bool:
        """Whether the write buffer is above its high-water mark."""
        return self._blocked

    def start(self, handler: ResponseHandler, *, head_only: bool) -> None:
        """Take the connection for one request. `head_only`: the request is HEAD, its response has no body."""
        self._handler = handler
        self.request_sent = False
        self.counts = None
        reader = self._reader
        reader.head_only = head_only
        reader.close_delimited = False
        reader.unproductive_bytes = 0
        if self._pool.max_stream_s:
            self._limit_stream()

    def expect_switch(self, handler: SwitchHandler) -> None:
        """The request that `handler` is about to send asks to leave HTTP: its connection serves no other one."""
        self._switch_handler = handler
        self._reader.expects_switch = self._reader.surplus = True

    def start_raw(self, handler: ResponseHandler) -> None:
        """Take a fresh connection for bytes that are no HTTP."""
        self._handler = handler
        self._reader.start_raw()
        if self._pool.max_stream_s:
            self._limit_stream()

    def close_after_flush(self) -> None:
        """Close without telling the handler, when everything that was written has left."""
        self._closed_busy = self._handler is not None
        self._handler = None
        if not self._closed:
            self.is_usable = False
            self._closed = self._closed_here = True
            if self._transport is not None:
                self._transport.close()

    def write(self, data: bytes) -> bool:
        """Send request bytes; what cannot be sent at once is buffered, and `on_upstream_blocked` says so.

        Returns:
            False: not a byte of `data` was or will be sent, for the connection is closing.
        """
        transport = self._transport
        if transport is None:
            return False
        try:
            transport.write(data)
        except RuntimeError:
            # uvloop's answer on a transport that is closing; connection_lost will tell the handler.
            return False
        self._stats.upstream_cx_tx_bytes_total += len(data)
        if self.counts is not None:
            self.counts.upstream_sent += len(data)
        return True

    def count_into(self, counts: ByteCounts) -> None:
        """Count the bytes of the exchange that has begun."""
        self.counts = counts
        self._reader.interim_bytes = 0

    def pause_reading(self) -> None:
        """Stop reading the response: the downstream is slower."""
        if self._transport is not None and not self._transport.is_closing() and not self._reading_paused:
            self._reading_paused = True
            self._pool.stats.upstream_flow_control_paused_reading_total += 1
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading the response."""
        if self._transport is not None and not self._transport.is_closing() and self._reading_paused:
            self._reading_paused = False
            self._pool.stats.upstream_flow_control_resumed_reading_total += 1
            self._transport.resume_reading()

    def close(self) -> None:
        """Close without telling the handler; unsent bytes are dropped."""
        busy, self._handler = self._handler is not None, None
        self._discard(busy=busy)

    # -- asyncio -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Called by the event loop."""
        transport.set_write_buffer_limits(high=self._pool.buffer_limit_bytes)
        self._transport = transport
        self.is_usable = not self._closed
        keepalive = self._pool.keepalive
        if keepalive is not None:
            set_keepalive(transport.get_extra_info("socket"), keepalive)
        self.link = UpstreamLink(
            _address_of(transport.get_extra_info("sockname")),
            _address_of(transport.get_extra_info("peername")),
        )
        self._pool.on_opened(self)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop. Hot path: about once per request."""
        handler = self._handler
        if handler is None:
            # Nobody asked: a response to nothing, or bytes behind one. Such a connection is never reused.
            self._pool.stats.upstream_cx_protocol_error += 1
            self._discard(busy=False)
            return
        reader = self._reader
        size = len(data)
        reader.unproductive_bytes += size
        self._stats.upstream_cx_rx_bytes_total += size
        try:
            reader.feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            reader.on_stop(error, data)
        if self.counts is not None:
            self.counts.add_response(size, reader.headers if reader.status else None)
            if reader.interim_bytes:
                self.counts.upstream_header_received += reader.interim_bytes
                reader.interim_bytes = 0
        if reader.fault or reader.unproductive_bytes > MAX_UNPRODUCTIVE_BYTES:
            self._fail(handler)
            return
        interim = reader.interim
        if interim is not None:
            reader.interim = None
            handler.on_interim(interim)
        complete = reader.done
        if complete:
            # Before the handler hears of it, for it may want a connection for its next request.
            self._finish()
        status, body = reader.status, reader.body
        if body:
            reader.body = []
        if status:
            reader.status = 0
            if status == 101:
                self._on_switched(reader.headers, body)
            else:
                handler.on_response_head(status, reader.headers, body, complete=complete)
        elif body or complete:
            handler.on_response_body(body, complete=complete)

    def eof_received(self) -> bool:
        """Called by the event loop: the upstream will send no more; the transport closes itself."""
        if self._handler is None:
            # Must not be taken from the pool in the moment until connection_lost is called.
            self._closed = True
            self.is_usable = False
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        handler, self._handler = self._handler, None
        was_closed, self._closed = self._closed_here, True
        self.is_usable = False
        self._transport = None
        if self._stream_timer is not None:
            self._stream_timer.close()
        self._pool.on_closed(self, busy=handler is not None or self._closed_busy, local=was_closed)
        if handler is None:
            return
        reader = self._reader
        if reader.close_delimited and exc is None:
            handler.on_response_body([], complete=True)
        elif reader.is_in_head and exc is None:
            # Part of a head, then the end: what was sent is no response.
            self._pool.stats.upstream_cx_protocol_error += 1
            handler.on_upstream_error(UpstreamInvalidResponse())
        else:
            # A first byte of an answer shows that it was not the idle timer.
            reused = self.served > 0 and not reader.unproductive_bytes
            handler.on_upstream_error(UpstreamReset(reused=reused, at_end=exc is None))

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._blocked = True
        self._pool.stats.upstream_flow_control_backed_up_total += 1
        if self._handler is not None:
            self._handler.on_upstream_blocked()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._blocked = False
        self._pool.stats.upstream_flow_control_drained_total += 1
        if self._handler is not None:
            self._handler.on_upstream_drained()

    # -- transitions ---------------------------------------------------------------------------------------

    def _on_switched(self, headers: HeaderMap, early: list[bytes]) -> None:
        handler, self._switch_handler = self._switch_handler, None
        if handler is not None:
            handler.on_switched(101, headers, early)

    def _finish(self) -> None:
        """The response has ended: back to the pool, or close. Hot path: once per response."""
        reader = self._reader
        self._handler = None
        reader.done = False
        self.served += 1
        if self._reading_paused:
            self.resume_reading()
        usable = reader.keep_alive and self.request_sent and not reader.surplus and not self._closed
        # Blocked: the upstream answered without reading the request; nobody knows whether it ever will.
        if usable and not self._blocked:
            self._pool.release(self)
        else:
            if not reader.keep_alive:
                self._pool.stats.upstream_cx_close_notify += 1
            # A request that was not sent whole is given up with it.
            self._discard(busy=not self.request_sent)

    def _fail(self, handler: ResponseHandler) -> None:
        """What was read is no response, or no longer one."""
        self._pool.stats.upstream_cx_protocol_error += 1
        self._discard(busy=True)
        reader = self._reader
        if reader.status:
            # The head was good; it is the body behind it that broke.
            status, reader.status = reader.status, 0
            reader.body = []
            handler.on_response_head(status, reader.headers, [], complete=False)
            if self._handler is None:
                # The head was enough for it to give this connection up, and to try again elsewhere.
                return
        self._handler = None
        handler.on_upstream_error(UpstreamInvalidResponse())

    def _limit_stream(self) -> None:
        timer = self._stream_timer
        if timer is None:
            timer = self._stream_timer = LazyTimer(asyncio.get_running_loop(), self._on_stream_too_long)
        timer.set(clock.monotonic(), self._pool.max_stream_s)

    def _on_stream_too_long(self) -> None:
        handler, self._handler = self._handler, None
        if handler is not None:
            self._pool.stats.upstream_rq_max_duration_reached += 1
            self._discard(busy=True)
            handler.on_upstream_error(StreamTooLong())

    def _discard(self, *, busy: bool) -> None:
        if not self._closed:
            self.is_usable = False
            self._closed = self._closed_here = True
            self._closed_busy = busy
            if self._transport is not None:
                self._transport.abort()


def _address_of(name: object) -> tuple[str, int]:
    """A socket's name: host and port, or the path of a Unix domain socket."""
    if isinstance(name, tuple) and len(name) >= 2:
        return str(name[0]), int(name[1])
    if isinstance(name, bytes):
        return name.decode("utf-8", "backslashreplace"), 0
    return (name, 0) if isinstance(name, str) else ("", 0)
