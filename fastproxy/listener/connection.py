"""One downstream HTTP/1.1 connection: requests in, one at a time served, answers back.

A request goes through, all transitions in this module:

    queued by RequestReader --> begun: prepared, routed, filtered
       --> local reply, or an exchange with the upstream --> response written --> finished

Always true: at most one request is begun; nothing of it goes upstream before its filters have let it pass; an exchange
exists only while its request is begun; a finished request without keep-alive closes the connection.
"""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from fastproxy import clock
from fastproxy.http.chunks import encode_chunks
from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.errors import ProtocolError
from fastproxy.http.headers import HeaderMap
from fastproxy.http.local_reply import begin_reply, finish_reply
from fastproxy.http.messages import LocalReply, Request
from fastproxy.listener.body_wait import BodyWait
from fastproxy.listener.request_reader import SLICE_BYTES, RequestReader
from fastproxy.listener.transport import PAUSED_BY_PIPELINE, PAUSED_BY_UPSTREAM
from fastproxy.router.forward import STREAM_IDLE_TIMEOUT, Exchange
from fastproxy.router.limits import StreamLimits
from fastproxy.tasks import spawn
from fastproxy.timers import LazyTimer

if TYPE_CHECKING:
    from fastproxy.listener.manager import HttpConnectionManager

_REJECTION_BODIES = {
    400: b"Bad Request",
    426: b"Upgrade Required",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
}
_STREAM_TIMEOUT = LocalReply(408, b"stream timeout", details="stream_idle_timeout", flag="SI", close=True)
_REQUEST_TIMEOUT = LocalReply(408, b"request timeout", details="request_overall_timeout", close=True)
_HEAD_TIMEOUT = LocalReply(408, b"request header timeout", details="request_header_timeout", close=True)
_MAX_DURATION = LocalReply(504, b"downstream duration timeout", details="max_duration_timeout")
_MAX_DURATION_OF_REQUEST = LocalReply(
    408, b"downstream duration timeout", details="max_duration_timeout", close=True
)
# How soon to look again at a connection that is too old in the middle of a head.
_AGE_STEP_S = 0.05
#: Ten years: off, for a connection.
NEVER_S = 10 * 365 * 86400.0


class DownstreamConnection(RequestReader):
    """An `asyncio.Protocol` by shape only: uvloop wants the methods, not the base class."""

    __slots__ = (
        "_age_timer",
        "_begun_requests",
        "_body_wait",
        "_duration_timer",
        "_exchange",
        "_filter_task",
        "_idle_deadline",
        "_manager",
        "_request",
        "_response_chunked",
        "_response_started",
        "_serving",
        "_stream_idle_timeout_s",
        "_timer",
        "_write_blocked",
    )

    def __init__(self, manager: "HttpConnectionManager", info: ConnectionInfo | None = None) -> None:
        super().__init__(
            manager.loop,
            info,
            max_head_bytes=manager.max_request_headers_bytes,
            max_headers_count=manager.max_headers_count,
            flush_timeout_s=manager.stream_idle_timeout_s,
        )
        self._manager = manager
        self._request: Request | None = None
        self._exchange: Exchange | None = None
        self._filter_task: asyncio.Task[Any] | None = None
        self._body_wait: BodyWait | None = None
        """A filter waits for all of the body."""
        self._response_started = False
        self._response_chunked = False
        self._write_blocked = False
        self._serving = False
        self._timer = LazyTimer(manager.loop, self._on_timeout)
        """The route's timeout, or before the request is complete `request_timeout`."""
        self._duration_timer: LazyTimer | None = None
        """`max_stream_duration` of the route; made when a request first needs it."""
        self._stream_idle_timeout_s = manager.stream_idle_timeout_s
        """Of the request being served: its route may have its own."""
        self._age_timer: asyncio.TimerHandle | None = None
        """`max_connection_duration`."""
        self._begun_requests = 0
        """For `max_requests_per_connection`; counted only if there is a limit."""
        self._idle_deadline = 0.0
        """When `check_idle` ends the stream (`stream_idle_timeout`) or the connection (`idle_timeout`)."""

    # -- asyncio -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Called by the event loop."""
        self.attach(transport, buffer_limit_bytes=self._manager.buffer_limit_bytes)
        self._idle_deadline = clock.monotonic() + self._manager.idle_timeout_s
        self.info.filter_chain_name = self._manager.filter_chain_name
        max_age_s = self._manager.max_connection_duration_s
        if max_age_s:
            self._age_timer = self._manager.loop.call_later(max_age_s, self._on_max_age)
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
        if self._in_head and self._request is None and self._manager.request_headers_timeout_s:
            self._start_head_timeout()

    def eof_received(self) -> bool:
        """Called by the event loop: the downstream has gone, as Envoy reads it; the transport closes itself."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # the event loop's signature
        """Called by the event loop."""
        self.detach()
        self.stop_parsing()
        self._timer.close()
        if self._age_timer is not None:
            self._age_timer.cancel()
            self._age_timer = None
        if self._duration_timer is not None:
            self._duration_timer.close()
        if self._request is not None:
            self._abandon(self._request)
        self._manager.on_connection_closed(self)

    def pause_writing(self) -> None:
        """Called by the event loop: the downstream reads slower than the upstream sends."""
        self._write_blocked = True
        if self._exchange is not None:
            self._exchange.pause_response()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._write_blocked = False
        if self._exchange is not None:
            self._exchange.resume_response()
        else:
            self.serve()

    # -- the request ---------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Bring the connection forward as far as it goes without new bytes. Hot path: about once per read.

        A loop, for a reply given at once would otherwise recurse for every pipelined request. Stops while the
        downstream does not read: unread replies would pile up without bound.
        """
        if self._serving:
            return
        self._serving = True
        while not self.closing:
            request = self._request
            if request is not None:
                if request.has_body and not request.body_passed:
                    self._pass_body(request)
                if self._request is not None:
                    break
            elif self._queue and not self._write_blocked:
                self._begin(self._queue.popleft())
            elif self._queue:
                break
            elif self._fault is not None:
                self._reject(self._fault)
            elif self._unread:
                unread, self._unread = self._unread, b""
                self._serving = False
                self.read_slices(unread)
                self._serving = True
            else:
                break
        self._serving = False
        if self._paused and not self._queue and not self._unread:
            self.resume(PAUSED_BY_PIPELINE)

    def _pass_body(self, request: Request) -> None:
        """Pass on what the last read brought of the body, or hold it while the request has to wait."""
        if self._fault is not None and not request.body_complete:
            # The body of the request being served is broken.
            self._reject(self._fault)
            return
        exchange = self._exchange
        if exchange is None:
            if self._filter_task is not None and not self._collects(request) and request.waiting_body:
                self.pause(PAUSED_BY_UPSTREAM)
            return
        body = request.waiting_body
        if body or request.body_complete:
            request.waiting_body = []
            self._idle_deadline = clock.monotonic() + self._stream_idle_timeout_s
            request.body_passed = request.body_complete
            exchange.send_body(body, complete=request.body_complete)
            if request.body_complete and not exchange.is_done:
                self._start_response_timeout(exchange)

    def _collects(self, request: Request) -> bool:
        """Whether a filter wants more of the body before the request goes on."""
        wait = self._body_wait
        if wait is None:
            return False
        self._idle_deadline = clock.monotonic() + self._stream_idle_timeout_s
        return not wait.look(request)

    async def collect_body(self, limit_bytes: int) -> None:
        """`BodySource` of the request being served, for the filter that makes it wait."""
        request = self._request
        if request is None:
            return
        wait = BodyWait(limit_bytes)
        if wait.look(request):
            return
        self._body_wait = wait
        # What came before the filter's turn may have stopped the reading.
        self.resume(PAUSED_BY_UPSTREAM)
        try:
            await wait.end()
        finally:
            self._body_wait = None

    def _begin(self, request: Request) -> None:
        """Start serving a request: the connection is its own until it is finished. Hot path."""
        manager = self._manager
        if manager.successor is not None:
            manager = self.follow()
        manager.stats.downstream_rq_total += 1
        self._request = request
        self._response_started = False
        request.connection = self.info
        request.direct_remote_address = request.remote_address = self.peer
        request.downstream_local_address = self.local_address
        if self.info.tls is not None:
            request.scheme = b"https"
        self._stream_idle_timeout_s = manager.stream_idle_timeout_s
        self._idle_deadline = request.start_monotonic + manager.stream_idle_timeout_s
        if manager.request_timeout_s and not request.body_complete:
            self._timer.set(request.start_monotonic, manager.request_timeout_s)
        elif manager.request_headers_timeout_s:
            # It was for the head alone.
            self._timer.clear()
        if manager.has_limits:
            self._count_request(request)
        try:
            reply = manager.prepare(request)
        except ProtocolError as error:
            error.request = request
            _hide_query(request)
            self._reject(error)
            return
        if reply is not None:
            _hide_query(request)
            self._reply(reply)
            return
        if request.expects_continue and request.has_body:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        manager.select_first_route(request)
        filters = manager.filters
        if request.upgrade:
            chosen = manager.upgrades.select_filters(request)
            if isinstance(chosen, LocalReply):
                self._refuse_upgrade(request, chosen)
                return
            manager.stats.downstream_cx_upgrades_total += 1
            filters = chosen
        outcome = filters.on_request(request)
        if outcome is None:
            self._forward(request)
        elif isinstance(outcome, LocalReply):
            self._reply(outcome)
        else:
            request.body_source = self
            self._filter_task = spawn(self._wait_for_filters(request, outcome), name="filters")

    def _refuse_upgrade(self, request: Request, reply: LocalReply) -> None:
        """No filter sees a request that asks for a protocol which is not allowed."""
        self._manager.stats.downstream_rq_ws_on_non_ws_route += 1
        _hide_query(request)
        self._reply(reply)

    def _count_request(self, request: Request) -> None:
        """Close after the last request that the connection may bring, and start `max_stream_duration`."""
        manager = self._manager
        self._begun_requests += 1
        if self._begun_requests == manager.max_requests_per_connection:
            manager.stats.downstream_cx_max_requests_reached += 1
            request.keep_alive = False
        if manager.max_stream_duration_s:
            self._start_max_duration(request, manager.max_stream_duration_s)

    def _reject(self, error: ProtocolError) -> None:
        """Answer a message that cannot be served, and close: what follows it cannot be trusted."""
        if error.reply_flag == "DPE":
            self._manager.stats.downstream_cx_protocol_error += 1
        self.stop_parsing()
        self._cancel_filters()
        request = self._request
        if request is None:
            request = self._begin_unreadable(error.request)
        if self._exchange is not None:
            # The body of a request that is on its way upstream broke.
            exchange, self._exchange = self._exchange, None
            exchange.abort()
        if self._response_started:
            self.on_response_aborted(error.reply_code, error.reply_flag)
            return
        body = error.reply_body
        if body is None:
            body = _REJECTION_BODIES.get(error.reply_status, b"Bad Request")
        request.version = "1.1"
        self._reply(
            LocalReply(error.reply_status, body, details=error.reply_code, flag=error.reply_flag, close=True)
        )

    def _begin_unreadable(self, request: Request | None) -> Request:
        """Account for a message that was rejected before it could begin."""
        if request is None:
            request = Request(b"", b"", {})
            request.start_monotonic = clock.monotonic()
            request.start_unix = clock.unix_time()
        _hide_query(request)
        request.connection = self.info
        request.direct_remote_address = request.remote_address = self.peer
        request.downstream_local_address = self.local_address
        if self.info.tls is not None:
            request.scheme = b"https"
        self._manager.stats.downstream_rq_total += 1
        self._request = request
        self._response_started = False
        return request

    async def _wait_for_filters(self, request: Request, outcome: Awaitable[LocalReply | None]) -> None:
        reply = await outcome
        self._filter_task = None
        if self._request is not request or self.closing:
            return
        self.resume(PAUSED_BY_UPSTREAM)
        if reply is not None:
            self._reply(reply)
        else:
            self._forward(request)

    def _forward(self, request: Request) -> None:
        """Hand the request to the router, with the part of its body that is already here. Hot path."""
        outcome = self._manager.router.forward(request, self)
        if isinstance(outcome, LocalReply):
            self._reply(outcome)
            return
        self._exchange = outcome
        if outcome.limits is not None:
            self._limit_stream(request, outcome.limits)
        if self._write_blocked:
            outcome.pause_response()
        if not request.has_body:
            outcome.start([], complete=True)
            if not outcome.is_done:
                self._start_response_timeout(outcome)
            return
        body, request.waiting_body = request.waiting_body, []
        request.body_passed = request.body_complete
        outcome.start(body, complete=request.body_complete)
        if request.body_complete and not outcome.is_done:
            self._start_response_timeout(outcome)

    def _limit_stream(self, request: Request, limits: StreamLimits) -> None:
        """Apply what the route says about the stream's duration."""
        idle_timeout_s = limits.idle_timeout_s
        if idle_timeout_s is not None:
            self._stream_idle_timeout_s = idle_timeout_s or NEVER_S
            self._idle_deadline = clock.monotonic() + self._stream_idle_timeout_s
        duration_s = limits.duration_s(request)
        if duration_s:
            self._start_max_duration(request, duration_s)
        elif duration_s is not None and self._duration_timer is not None:
            # The route switches the listener's off.
            self._duration_timer.clear()

    def _start_max_duration(self, request: Request, duration_s: float) -> None:
        timer = self._duration_timer
        if timer is None:
            timer = self._duration_timer = LazyTimer(self._manager.loop, self._on_max_duration)
        # Not from the start: a timer that is overdue would be called back with the exchange not yet started.
        timer.set(clock.monotonic(), max(request.start_monotonic + duration_s - clock.monotonic(), 0.0))

    def _start_response_timeout(self, exchange: Exchange) -> None:
        if exchange.timeout_s:
            self._timer.set(clock.monotonic(), exchange.timeout_s)
        else:
            self._timer.clear()

    # -- the response (Downstream of an exchange) ----------------------------------------------------------

    def on_response_head(self, status: int, headers: HeaderMap, body: list[bytes], *, complete: bool) -> None:
        """Write an upstream's response head and what came with it. Hot path: once per request."""
        request = self._request
        if request is None:
            return
        if request.response_rules is not None:
            request.response_status = status
            request.response_rules(request, headers)
        on_response = self._manager.on_response
        if request.upgrade:
            on_response = self._manager.upgrades.response_filters(request)
        if on_response is not None:
            request.response_status = status
            request.response_has_body = not complete or bool(body)
            if not on_response(request, headers):
                self._fail_response()
                return
            if request.body_transform is not None:
                body = request.body_transform.transform(body, complete=complete)
        chunked = self._manager.responses.frame(request, status, headers)
        if not request.body_complete:
            # Answered before the request was complete: the rest of it is not worth reading.
            self._manager.stats.downstream_rq_response_before_rq_complete += 1
            request.keep_alive = False
        if not complete:
            self._idle_deadline = clock.monotonic() + self._stream_idle_timeout_s
        head = self._encode_head(request, status, headers)
        self._response_chunked = chunked
        self._write_body(request, body, head, complete=complete)

    def on_response_body(self, body: list[bytes], *, complete: bool) -> None:
        """Write more of an upstream's response body."""
        request = self._request
        if request is not None:
            self._idle_deadline = clock.monotonic() + self._stream_idle_timeout_s
            if request.body_transform is not None:
                body = request.body_transform.transform(body, complete=complete)
            self._write_body(request, body, b"", complete=complete)

    def _write_body(self, request: Request, body: list[bytes], head: bytes, *, complete: bool) -> None:
        """Write head, body and the body's end in one go. Hot path: once per request."""
        for piece in body:
            request.bytes_sent += len(piece)
        if self._response_chunked:
            body = encode_chunks(body, last=complete)
        data = b"".join((head, *body)) if head or len(body) != 1 else body[0]
        if data:
            self.write(data)
        if complete:
            self._exchange = None
            self._finish(request)

    def on_switched(self, status: int, headers: HeaderMap, early: list[bytes]) -> None:
        """The upstream speaks what was asked for: HTTP is over on this connection, and bytes pass as they are."""
        request = self._request
        if request is None:
            return
        manager = self._manager
        if request.response_rules is not None:
            request.response_status = status
            request.response_rules(request, headers)
        on_response = manager.upgrades.response_filters(request)
        if on_response is not None:
            request.response_status = status
            if not on_response(request, headers):
                self._fail_response()
                return
        headers.pop(b"keep-alive", None)
        headers.pop(b"proxy-connection", None)
        self._timer.clear()
        self._idle_deadline = clock.monotonic() + self._stream_idle_timeout_s
        self._response_started = True
        self._response_chunked = False
        request.response_status = status
        request.response_headers = headers
        # Its `connection` is the new protocol's. The connection ends with it, but that is not said here.
        request.keep_alive = True
        head = manager.responses.encode(request, status, headers)
        request.keep_alive = False
        self.start_tunnel(request)
        self._write_body(request, early, head, complete=False)
        self.serve()

    def on_tunnel_closed(self, details: str, flag: str) -> None:
        """The upstream has closed: close when the downstream has everything."""
        self._exchange = None
        request = self._request
        if request is not None:
            request.details, request.flags = details, flag
            self._close_request(request)
        self._close()

    @property
    def is_upgraded(self) -> bool:
        """Whether the request being served asks, or has asked, for another protocol."""
        return self._request is not None and bool(self._request.upgrade)

    def on_local_reply(self, reply: LocalReply) -> None:
        """Answer instead of the upstream."""
        self._exchange = None
        self._reply(reply)

    def on_response_aborted(self, details: str, flag: str) -> None:
        """Cut the connection: a response that broke off must not look complete."""
        self._exchange = None
        request = self._request
        if request is not None:
            request.details, request.flags = details, flag
            self._close_request(request)
        self.abort()

    def _fail_response(self) -> None:
        """A filter failed over the response: what it was to keep back must not leave (S56)."""
        if self._exchange is not None:
            self._exchange.abort()
        self.on_response_aborted("filter_failed", "")

    def pause_request(self) -> None:
        """The upstream cannot take more of the request body."""
        if not self._paused & PAUSED_BY_UPSTREAM:
            self._manager.stats.downstream_flow_control_paused_reading_total += 1
            self.pause(PAUSED_BY_UPSTREAM)

    def resume_request(self) -> None:
        """The upstream takes more again."""
        if self._paused & PAUSED_BY_UPSTREAM:
            self._manager.stats.downstream_flow_control_resumed_reading_total += 1
            self.resume(PAUSED_BY_UPSTREAM)

    def _reply(self, reply: LocalReply) -> None:
        """Answer the current request locally."""
        request = self._request
        if request is None:
            return
        # Envoy: a protocol error is a flag for the log alone, the rules for local replies do not see it.
        request.details, request.flags = reply.details, "" if reply.flag == "DPE" else reply.flag
        if reply.close or not request.body_complete:
            request.keep_alive = False
        draft = begin_reply(reply, request)
        local_replies = self._manager.local_replies
        if local_replies is not None:
            local_replies.apply(draft, request, clock.monotonic())
        request.flags = reply.flag
        status, headers, body = finish_reply(draft, request)
        on_response = self._manager.on_response
        if request.upgrade:
            on_response = self._manager.upgrades.response_filters(request)
        if on_response is not None:
            request.response_status = status
            request.response_has_body = bool(body) and not request.is_head
            if not on_response(request, headers):
                self._fail_response()
                return
            if request.body_transform is not None:
                pieces = request.body_transform.transform([body], complete=True)
                self._response_chunked = self._manager.responses.frame(request, status, headers)
                self._write_body(request, pieces, self._encode_head(request, status, headers), complete=True)
                return
        data = self._encode_head(request, status, headers)
        if body and not request.is_head:
            request.bytes_sent += len(body)
            data += body
        self.write(data)
        self._finish(request)

    def _encode_head(self, request: Request, status: int, headers: HeaderMap) -> bytes:
        """Settle what the head says about the connection, and encode it. Hot path: once per request."""
        manager = self._manager
        self._response_started = True
        if manager.draining and request.keep_alive:
            manager.stats.downstream_cx_drain_close += 1
            request.keep_alive = False
        request.response_status = status
        request.response_headers = headers
        return manager.responses.encode(request, status, headers)

    # -- the end of a request ------------------------------------------------------------------------------

    def _finish(self, request: Request) -> None:
        """The response is written: serve the next request, or close. Hot path: once per request."""
        self._close_request(request)
        if not request.keep_alive:
            self._close()
        elif self._queue or self._unread or self._fault is not None:
            self.serve()
        elif self._in_head and self._manager.request_headers_timeout_s:
            # The begin of the next head came while this request was served.
            self._start_head_timeout()

    def _close_request(self, request: Request) -> None:
        """Account for a request that ended, one way or the other. Hot path: once per request."""
        self._request = None
        self._timer.clear()
        if self._duration_timer is not None:
            self._duration_timer.clear()
        if self._paused & PAUSED_BY_UPSTREAM:
            # The upstream answered before it had taken the whole body: nobody else will go on reading.
            self.resume_request()
        manager = self._manager
        now = clock.monotonic()
        self._idle_deadline = now + manager.idle_timeout_s
        stats = manager.stats
        stats.downstream_rq_completed += 1
        stats.downstream_cx_tx_bytes_total += request.bytes_sent
        stats.classes[request.response_status // 100] += 1
        stats.rq_time.record((now - request.start_monotonic) * 1000)
        if manager.access_logs:
            manager.log_access(request, now)

    def _abandon(self, request: Request) -> None:
        """The downstream went away before its request was finished."""
        self._cancel_filters()
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.abort()
        self._manager.stats.downstream_cx_destroy_active_rq += 1
        self._manager.stats.downstream_rq_rx_reset += 1
        request.details, request.flags = "downstream_remote_disconnect", "DC"
        self._close_request(request)

    def _cancel_filters(self) -> None:
        if self._filter_task is not None:
            # Not at once: a task that is cancelled before its first step leaves coroutines that nobody awaits.
            self._filter_task.get_loop().call_soon(self._filter_task.cancel)
            self._filter_task = None

    # -- time ----------------------------------------------------------------------------------------------

    def _on_timeout(self) -> None:
        request = self._request
        stats = self._manager.stats
        if request is None:
            if self._in_head:
                stats.downstream_rq_header_timeout += 1
                self.stop_parsing()
                self._begin_unreadable(None)
                self._reply(_HEAD_TIMEOUT)
            return
        if request.body_complete and self._exchange is None:
            # The whole request is here, it is a filter that takes its time: `request_timeout` no longer applies.
            return
        stats.downstream_rq_timeout += 1
        if request.body_complete and self._exchange is not None:
            self._exchange.on_timeout()
        else:
            self._end_early(_REQUEST_TIMEOUT)

    def _on_max_duration(self) -> None:
        """`max_stream_duration` has passed."""
        request = self._request
        if request is not None:
            self._manager.stats.downstream_rq_max_duration_reached += 1
            self._end_early(_MAX_DURATION if request.body_complete else _MAX_DURATION_OF_REQUEST)

    def check_idle(self, now: float) -> None:
        """End the stream, or the connection between two, if nothing moved for too long. Called every second."""
        request = self._request
        if request is None:
            self.check_flush(now)
        if now < self._idle_deadline or self.closing:
            return
        stats = self._manager.stats
        if request is None:
            stats.downstream_cx_idle_timeout += 1
            self._close()
            return
        stats.downstream_rq_idle_timeout += 1
        if self._exchange is not None and request.body_complete:
            self._exchange.on_timeout(STREAM_IDLE_TIMEOUT)
        else:
            self._end_early(_STREAM_TIMEOUT)

    def _start_head_timeout(self) -> None:
        """A head has begun and is not complete (`request_headers_timeout`); its later bytes change nothing."""
        if not self._timer.is_set:
            self._timer.set(clock.monotonic(), self._manager.request_headers_timeout_s)

    def _end_early(self, reply: LocalReply) -> None:
        """End a request that takes too long."""
        self._cancel_filters()
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.abort()
        if self._response_started:
            self.on_response_aborted(reply.details, reply.flag)
        else:
            self._reply(reply)

    def _on_max_age(self) -> None:
        """`max_connection_duration` has passed: what is being served is the last of this connection."""
        self._age_timer = None
        request = self._request
        if request is None and (self._in_head or self._queue):
            # It has begun: its request is to be the last.
            self._age_timer = self._manager.loop.call_later(_AGE_STEP_S, self._on_max_age)
            return
        self._manager.stats.downstream_cx_max_duration_reached += 1
        if request is not None:
            request.keep_alive = False
        elif not self.closing:
            self._close()

    # -- closing -------------------------------------------------------------------------------------------

    def follow(self) -> "HttpConnectionManager":
        """Go over to the manager's successor, unless a request is being served; returns the manager in charge.

        What was parsed so far stays: only limits of what is read from now on change.
        """
        old = self._manager
        if self._request is not None or old.successor is None or self.closing:
            return old
        new = self._manager = old.on_connection_moved(self)
        self._idle_deadline += new.idle_timeout_s - old.idle_timeout_s
        self.set_limits(
            max_head_bytes=new.max_request_headers_bytes,
            max_headers_count=new.max_headers_count,
            flush_timeout_s=new.stream_idle_timeout_s,
            buffer_limit_bytes=new.buffer_limit_bytes,
        )
        return new

    def drain(self, now: float, idle_grace_s: float) -> None:
        """Close when idle for `idle_grace_s`; a request is answered with `connection: close` (`_encode_head`)."""
        if self._request is None and not self._queue and not self._in_head and not self.closing:
            idle_since = self._idle_deadline - self._manager.idle_timeout_s
            if now - idle_since >= idle_grace_s:
                self._close()
            else:
                self._idle_deadline = min(self._idle_deadline, idle_since + idle_grace_s)

    def _close(self) -> None:
        """End the connection when the last answer has left."""
        self.stop_parsing()
        self._timer.close()
        if self._duration_timer is not None:
            self._duration_timer.close()
        self.close_after_flush()


def _hide_query(request: Request) -> None:
    """Log a request that no filter has seen without its query: there may be a token in it (S53)."""
    request.log_target = request.target.partition(b"?")[0]
