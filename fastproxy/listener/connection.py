"""One downstream HTTP/1.1 connection: requests in, one at a time served, answers back.

    queued by RequestReader --> begun by the Stream --> its response written by the ResponseWriter --> go_on()

Always true: at most one request is begun; a finished request without keep-alive closes the connection.
"""

import asyncio
from typing import TYPE_CHECKING

from fastproxy import clock
from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.messages import Request
from fastproxy.listener.request_reader import SLICE_BYTES, RequestReader
from fastproxy.listener.stream import Stream
from fastproxy.listener.transport import PAUSED_BY_PIPELINE

if TYPE_CHECKING:
    from fastproxy.listener.manager import HttpConnectionManager


class DownstreamConnection(RequestReader):
    """An `asyncio.Protocol` by shape only: uvloop wants the methods, not the base class."""

    __slots__ = ("_end_timer", "_is_draining", "_made_at", "_manager", "_serving", "_stream")

    def __init__(self, manager: "HttpConnectionManager", info: ConnectionInfo | None = None) -> None:
        super().__init__(
            manager.loop,
            info,
            max_head_bytes=manager.max_request_headers_bytes,
            max_headers_count=manager.max_headers_count,
            flush_timeout_s=manager.stream_idle_timeout_s,
            linger_s=manager.delayed_close_timeout_s,
        )
        if manager.allows_custom_methods:
            self.allow_custom_methods()
        if manager.allows_chunked_length:
            self.allow_chunked_length()
        self._manager = manager
        self._stream = Stream(self, manager)
        self._serving = False
        self._made_at = 0.0
        self._end_timer: asyncio.TimerHandle | None = None
        """`max_connection_duration`, then `drain_timeout`."""
        self._is_draining = False
        """Its time is over: the next request, if one comes within `drain_timeout`, is its last."""

    # -- asyncio -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Called by the event loop."""
        self.attach(transport, buffer_limit_bytes=self._manager.buffer_limit_bytes)
        self._made_at = clock.monotonic()
        self._stream.deadlines.on_end(self._made_at)
        self.info.filter_chain_name = self._manager.filter_chain_name
        self.info.is_announced = self._manager.announces_connections
        metadata = self._manager.metadata
        if metadata is not None:
            self.info.listener_metadata, self.info.chain_metadata = metadata
        max_age_s = self._manager.max_connection_duration_s
        if max_age_s:
            self._end_timer = self._manager.loop.call_later(max_age_s, self._on_max_age)
        self._manager.on_connection(self)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop. Hot path: about once per request."""
        if self.closing:
            return
        size = len(data)
        self._manager.stats.downstream_cx_rx_bytes_total += size
        if self._unread:
            # Reading is paused; what was already under way joins the rest.
            self._unread += data
        elif size > SLICE_BYTES:
            self.read_slices(data)
        else:
            self.parse(data)
            self.serve()
            if self._queue:
                self.pause(PAUSED_BY_PIPELINE)
        if self.in_head and self._stream.request is None and self._manager.request_headers_timeout_s:
            self._stream.deadlines.start_head_timeout()

    def eof_received(self) -> bool:
        """Called by the event loop: the downstream has gone, as Envoy reads it; the transport closes itself."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # the event loop's signature
        """Called by the event loop."""
        stream = self._stream
        stats = self._manager.stats
        local = self.closing
        if self.in_head and stream.request is None:
            stats.count_broken_head()
        in_request = self.in_head or stream.request is not None
        self.detach()
        self.info.is_closed = True
        self.stop_parsing()
        stream.deadlines.close()
        if self._end_timer is not None:
            self._end_timer.cancel()
            self._end_timer = None
        if stream.request is not None:
            stream.abandon(stream.request)
        length_ms = (clock.monotonic() - self._made_at) * 1000
        stats.count_closed(length_ms, local=local, in_request=in_request, has_spoken=self.has_spoken)
        self._manager.on_connection_closed(self)

    def pause_writing(self) -> None:
        """Called by the event loop: the downstream reads slower than the upstream sends."""
        self.write_blocked = True
        exchange = self._stream.exchange
        if exchange is not None:
            exchange.pause_response()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self.write_blocked = False
        exchange = self._stream.exchange
        if exchange is not None:
            exchange.resume_response()
        else:
            self.serve()

    # -- serving -------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Bring the connection forward as far as it goes without new bytes. Hot path: about once per read.

        A loop, for a reply given at once would otherwise recurse for every pipelined request. Stops while the
        downstream does not read: unread replies would pile up without bound.
        """
        if self._serving:
            return
        self._serving = True
        stream = self._stream
        while not self.closing:
            request = stream.request
            if request is not None:
                if request.has_body and not request.body_passed:
                    self._pass_body(request)
                if stream.request is not None:
                    break
            elif self._queue and not self.write_blocked:
                if self._manager.successor is not None:
                    self.follow()
                stream.begin(self._queue.popleft())
            elif self._queue:
                break
            elif self._fault is not None:
                stream.reject(self._fault)
            elif self._unread:
                unread, self._unread = self._unread, b""
                self._serving = False
                self.read_slices(unread)
                self._serving = True
            else:
                break
        self._serving = False
        if self.paused and not self._queue and not self._unread:
            self.resume(PAUSED_BY_PIPELINE)

    def _pass_body(self, request: Request) -> None:
        fault = self._fault
        if fault is not None and not request.body_complete:
            # The body of the request being served is broken.
            self._stream.reject(fault)
        else:
            self._stream.pass_body(request)

    def go_on(self, request: Request) -> None:
        """The response to `request` is written: serve the next one, or close. Hot path: once per request."""
        if not request.keep_alive:
            self.end()
        elif self._queue or self._unread or self._fault is not None:
            self.serve()
        elif self.in_head and self._manager.request_headers_timeout_s:
            # The begin of the next head came while this request was served.
            self._stream.deadlines.start_head_timeout()

    @property
    def is_upgraded(self) -> bool:
        """Whether the request being served asks, or has asked, for another protocol."""
        request = self._stream.request
        return request is not None and bool(request.upgrade)

    def follow(self) -> "HttpConnectionManager":
        """Go over to the manager's successor, unless a request is being served; returns the manager in charge.

        What was parsed so far stays: only limits of what is read from now on change.
        """
        old = self._manager
        if self._stream.request is not None or old.successor is None or self.closing:
            return old
        new = self._manager = self._stream.manager = old.on_connection_moved(self)
        self._stream.deadlines.idle_at += new.idle_timeout_s - old.idle_timeout_s
        self.set_limits(
            max_head_bytes=new.max_request_headers_bytes,
            max_headers_count=new.max_headers_count,
            flush_timeout_s=new.stream_idle_timeout_s,
            linger_s=new.delayed_close_timeout_s,
            buffer_limit_bytes=new.buffer_limit_bytes,
        )
        return new

    # -- closing -------------------------------------------------------------------------------------------

    def end(self) -> None:
        """End the connection when the last answer has left."""
        self.stop_parsing()
        self._stream.deadlines.close()
        self.close_after_flush()

    def on_close_timeout(self) -> None:
        """The downstream did not close, and is cut off."""
        self._manager.stats.downstream_cx_delayed_close_timeout += 1

    def check_idle(self, now: float) -> None:
        """End the stream, or the connection between two, if nothing moved for too long. Called every second."""
        request = self._stream.request
        if request is None:
            self.check_flush(now)
        deadlines = self._stream.deadlines
        if now < deadlines.idle_at or self.closing:
            return
        if request is not None:
            deadlines.on_idle(request)
            return
        self._manager.stats.downstream_cx_idle_timeout += 1
        self._end_soon()

    def drain(self, now: float, idle_grace_s: float) -> None:
        """Close when idle for `idle_grace_s`; a request is answered with `connection: close` (`ResponseWriter`)."""
        if self._is_idle and not self.closing:
            deadlines = self._stream.deadlines
            idle_since = deadlines.idle_at - self._manager.idle_timeout_s
            if now - idle_since >= idle_grace_s:
                self.end()
            else:
                deadlines.idle_at = min(deadlines.idle_at, idle_since + idle_grace_s)

    def _on_max_age(self) -> None:
        """`max_connection_duration` has passed: what is being served is the last of this connection."""
        self._end_timer = None
        self._manager.stats.downstream_cx_max_duration_reached += 1
        if not self.closing and not self._is_draining:
            self._end_soon()

    def _end_soon(self) -> None:
        """End the connection with its next answer, or when `drain_timeout` has passed without a request.

        A request may be on its way already: closed at once, the connection would lose it.
        """
        self._is_draining = True
        drain_s = self._manager.drain_timeout_s
        if not self._is_idle or (drain_s and self.has_spoken):
            self.serve_last()
            request = self._stream.request
            if request is not None:
                request.keep_alive = False
            for waiting in self._queue:
                waiting.keep_alive = False
            if self._end_timer is not None:
                self._end_timer.cancel()
            self._end_timer = self._manager.loop.call_later(drain_s, self._on_drained)
            self._stream.deadlines.idle_at += self._manager.idle_timeout_s
        else:
            self.end()

    def _on_drained(self) -> None:
        """`drain_timeout` has passed. What has begun by now is answered, and its answer ends the connection."""
        self._end_timer = None
        if self._is_idle and not self.closing:
            self.end()

    @property
    def _is_idle(self) -> bool:
        """No request is being served, waits, or has begun to arrive."""
        return self._stream.request is None and not self._queue and not self.in_head
