"""The request that a downstream connection serves: prepared, routed, filtered, forwarded, accounted for.

A request goes through, all transitions in this module:

    begin(): prepared, routed, filtered --> local reply, or an exchange with the upstream --> end()

The answer of either is written by the stream's `ResponseWriter`, which calls `end()`; a downstream that leaves calls
`abandon()`. Always true: nothing of a request goes upstream before its filters have let it pass; an exchange exists
only while its request is begun.
"""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from fastproxy import clock
from fastproxy.filters.chain import FILTER_FAILED
from fastproxy.http.errors import ProtocolError
from fastproxy.http.messages import LocalReply, Request
from fastproxy.listener.body_wait import BodyWait
from fastproxy.listener.connection_log import note_protocol_error
from fastproxy.listener.preparation import NO_PATH
from fastproxy.listener.request_reader import RequestReader
from fastproxy.listener.response_writer import ResponseWriter
from fastproxy.listener.stream_deadlines import StreamDeadlines
from fastproxy.listener.transport import PAUSED_BY_UPSTREAM
from fastproxy.router.forward import Exchange
from fastproxy.tasks import spawn

if TYPE_CHECKING:
    from fastproxy.listener.manager import HttpConnectionManager

_REJECTION_BODIES = {
    400: b"Bad Request",
    426: b"Upgrade Required",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
}


class Stream:
    """Serves the requests of one connection, one at a time (Envoy `ActiveStream`).

    One object for all of them, so that a request costs none. Who holds it may look at `request` and `exchange`; they
    are set here alone, but for the writer that ends an exchange.
    """

    __slots__ = (
        "_begun_requests",
        "_body_wait",
        "_filter_task",
        "connection",
        "deadlines",
        "exchange",
        "manager",
        "request",
        "response",
    )

    def __init__(self, connection: RequestReader, manager: "HttpConnectionManager") -> None:
        self.connection = connection
        self.manager = manager
        """The connection's: another one only between two requests."""
        self.request: Request | None = None
        """The one that is being served."""
        self.exchange: Exchange | None = None
        """With the upstream, once the request was forwarded."""
        self.response = ResponseWriter(self)
        self.deadlines = StreamDeadlines(self)
        self._filter_task: asyncio.Task[Any] | None = None
        self._body_wait: BodyWait | None = None
        """A filter waits for all of the body."""
        self._begun_requests = 0
        """For `max_requests_per_connection`; counted only if there is a limit."""

    # -- the begin -----------------------------------------------------------------------------------------

    def begin(self, request: Request) -> None:
        """Start serving a request: the connection is its own until it is finished. Hot path."""
        manager = self.manager
        manager.stats.downstream_rq_total += 1
        self.request = request
        self.response.started = False
        deadlines = self.deadlines
        deadlines.stream_idle_timeout_s = manager.stream_idle_timeout_s
        deadlines.idle_at = request.start_monotonic + manager.stream_idle_timeout_s
        if manager.limits_arrival:
            deadlines.start_request_timeout(request)
        if manager.has_limits:
            self._count_request(request)
        try:
            reply = manager.prepare(request)
        except ProtocolError as error:
            error.request = request
            _hide_query(request)
            self.reject(error)
            return
        if reply is not None:
            manager.stats.downstream_rq_non_relative_path += reply is NO_PATH
            manager.stats.downstream_rq_redirected_with_normalized_path += reply.status == _PATH_REDIRECT
            _hide_query(request)
            self.response.reply(reply)
            return
        if request.expects_continue:
            self._arrange_continue(request)
        manager.select_first_route(request)
        filters = manager.filters
        if request.upgrade:
            chosen = manager.upgrades.select_filters(request)
            if isinstance(chosen, LocalReply):
                self._refuse_upgrade(request, chosen)
                return
            if chosen is not None:
                manager.stats.downstream_cx_upgrades_total += 1
                filters = chosen
        outcome = filters.on_request(request)
        if outcome is None:
            self._forward(request)
        elif isinstance(outcome, LocalReply):
            self.response.reply(outcome)
        else:
            request.body_source = self
            self._filter_task = spawn(self._wait_for_filters(request, outcome), name="filters")

    def _arrange_continue(self, request: Request) -> None:
        """Ask for the body, or leave that to the upstream (`proxy_100_continue`)."""
        if self.manager.proxies_continue:
            request.headers[b"expect"] = b"100-continue"
        elif request.has_body:
            self.response.write_interim({})

    def _refuse_upgrade(self, request: Request, reply: LocalReply) -> None:
        """No filter sees a request that asks for a protocol which is not allowed."""
        self.manager.stats.downstream_rq_ws_on_non_ws_route += 1
        # What it asked for would have gone on after its head (and so Envoy counts it).
        request.body_complete = False
        # No router has seen it, and so nobody applies the rules of its route (Envoy).
        request.response_rules = None
        _hide_query(request)
        self.response.reply(reply)

    def _count_request(self, request: Request) -> None:
        """Close after the last request that the connection may bring, start `max_stream_duration`, count bytes..."""
        manager = self.manager
        self.connection.on_begin(request)
        self._begun_requests += 1
        if self._begun_requests == manager.max_requests_per_connection:
            manager.stats.downstream_cx_max_requests_reached += 1
            request.keep_alive = False
        if manager.log_moments.interval_s:
            self.deadlines.start_log_interval(request)
        if manager.max_stream_duration_s:
            self.deadlines.start_max_duration(request, manager.max_stream_duration_s)

    def reject(self, error: ProtocolError) -> None:
        """Answer a message that cannot be served, and close: what follows it cannot be trusted."""
        stats = self.manager.stats
        self.connection.stop_parsing()
        self._cancel_filters()
        request = self.request
        if request is None:
            request = self.begin_unreadable(error.request)
        if error.reply_flag == "DPE":
            stats.downstream_cx_protocol_error += 1
            note_protocol_error(self.connection.info)
            if error.request is not None:
                # Nothing counts that stands in a broken head: it is answered in plain HTTP, gRPC or not (Envoy).
                error.request.headers.clear()
            # Nobody knows where such a message ends.
            request.body_complete = False
        stats.downstream_rq_failed_path_normalization += error.reply_code == "path_normalization_failed"
        # Of a request that is on its way upstream the body broke.
        self._abort_exchange()
        if self.response.started:
            self.response.on_response_aborted(error.reply_code, error.reply_flag)
            return
        body = error.reply_body
        if body is None:
            body = _REJECTION_BODIES.get(error.reply_status, b"Bad Request")
        request.version = "1.1"
        self.response.reply(
            LocalReply(error.reply_status, body, details=error.reply_code, flag=error.reply_flag, close=True)
        )

    def begin_unreadable(self, request: Request | None) -> Request:
        """Account for a message that is rejected before it could begin; None: not even its head could be read."""
        if request is None:
            request = Request(b"", b"", {}, self.connection.info)
            request.start_monotonic = clock.monotonic()
            request.start_unix = clock.unix_time()
        _hide_query(request)
        self.manager.stats.downstream_rq_total += 1
        self.request = request
        self.response.started = False
        if self.manager.has_limits:
            self.connection.on_begin(request)
        return request

    # -- its way upstream ----------------------------------------------------------------------------------

    async def _wait_for_filters(self, request: Request, outcome: Awaitable[LocalReply | None]) -> None:
        reply = await outcome
        if self.request is not request or self.connection.closing:
            # Its time was over while it waited, and the next request may have a task of its own by now.
            return
        self._filter_task = None
        self.connection.resume(PAUSED_BY_UPSTREAM)
        if reply is not None:
            self.response.reply(reply)
        else:
            self._forward(request)

    def _forward(self, request: Request) -> None:
        """Hand the request to the router, with the part of its body that is already here. Hot path."""
        outcome = self.manager.router.forward(request, self.response)
        if isinstance(outcome, LocalReply):
            self.response.reply(outcome)
            return
        self.exchange = outcome
        if outcome.limits is not None:
            self.deadlines.apply_limits(request, outcome.limits)
        if self.connection.write_blocked:
            outcome.pause_response()
        if not request.has_body:
            outcome.start([], complete=True)
            if not outcome.is_done:
                self.deadlines.start_response_timeout(outcome)
            return
        if request.trailers is not None and not self._pass_trailers(request):
            return
        body, request.waiting_body = request.waiting_body, []
        request.body_passed = request.body_complete
        outcome.start(body, complete=request.body_complete)
        if request.body_complete and not outcome.is_done:
            self.deadlines.start_response_timeout(outcome)

    def pass_body(self, request: Request) -> None:
        """Pass on what the last read brought of the body, or hold it while the request has to wait."""
        exchange = self.exchange
        if exchange is None:
            if self._filter_task is not None and not self._collects(request) and request.waiting_body:
                self.connection.pause(PAUSED_BY_UPSTREAM)
            return
        body = request.waiting_body
        if body or request.body_complete:
            request.waiting_body = []
            self.deadlines.on_movement()
            request.body_passed = request.body_complete
            if request.body_complete and request.trailers is not None and not self._pass_trailers(request):
                return
            exchange.send_body(body, complete=request.body_complete)
            if request.body_complete and not exchange.is_done:
                self.deadlines.start_response_timeout(exchange)

    def _pass_trailers(self, request: Request) -> bool:
        """Run what came behind a complete body through the filters; False: the request has ended (S56)."""
        trailers = request.trailers
        # An upstream that answered early may have brought trailers of its own before those of the request.
        if trailers is None or trailers.request is None:
            return True
        if request.byte_counts is not None:
            request.byte_counts.add_request_trailers(trailers.request)
        if self.manager.filters.on_request_trailers(request, trailers.request):
            return True
        self.end_early(FILTER_FAILED)
        return False

    def _collects(self, request: Request) -> bool:
        """Whether a filter wants more of the body before the request goes on."""
        wait = self._body_wait
        if wait is None:
            return False
        self.deadlines.on_movement()
        return not wait.look(request)

    async def collect_body(self, limit_bytes: int) -> None:
        """`BodySource` of the request being served, for the filter that makes it wait."""
        request = self.request
        if request is None:
            return
        wait = BodyWait(limit_bytes)
        if wait.look(request):
            return
        if request.expects_continue and self.manager.proxies_continue and not request.response_status:
            # The upstream, which was to ask for it, will not hear of the request before it is here.
            request.response_status = 100
            self.response.write_interim({})
        self._body_wait = wait
        # What came before the filter's turn may have stopped the reading.
        self.connection.resume(PAUSED_BY_UPSTREAM)
        try:
            await wait.end()
        finally:
            self._body_wait = None

    # -- the end -------------------------------------------------------------------------------------------

    def end(self, request: Request) -> None:
        """Account for a request that ended, one way or the other. Hot path: once per request."""
        self.request = None
        now = clock.monotonic()
        self.deadlines.on_end(now)
        if self.connection.paused & PAUSED_BY_UPSTREAM:
            # The upstream answered before it had taken the whole body: nobody else will go on reading.
            self.response.resume_request()
        manager = self.manager
        stats = manager.stats
        if not request.body_complete:
            # Nobody reads the rest of it.
            stats.downstream_rq_rx_reset += 1
        stats.downstream_rq_completed += 1
        stats.classes[request.response_status // 100] += 1
        stats.rq_time.record((now - request.start_monotonic) * 1000)
        if manager.access_logs:
            manager.log_access(request, now)

    def end_early(self, reply: LocalReply) -> None:
        """End a request that takes too long."""
        self._cancel_filters()
        self._abort_exchange()
        if self.response.started:
            self.response.on_response_aborted(reply.details, reply.flag)
        else:
            self.response.reply(reply)

    def abandon(self, request: Request) -> None:
        """The downstream went away before its request was finished."""
        self._cancel_filters()
        self._abort_exchange()
        # Of others `end` counts it.
        self.manager.stats.downstream_rq_rx_reset += request.body_complete
        request.details, request.flags = "downstream_remote_disconnect", "DC"
        self.end(request)

    def _abort_exchange(self) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.abort()

    def _cancel_filters(self) -> None:
        if self._filter_task is not None:
            # Not at once: a task that is cancelled before its first step leaves coroutines that nobody awaits.
            self._filter_task.get_loop().call_soon(self._filter_task.cancel)
            self._filter_task = None


#: Of a request whose path is to be asked for in another form.
_PATH_REDIRECT = 307


def _hide_query(request: Request) -> None:
    """Log a request that no filter has seen without its query: there may be a token in it (S53)."""
    request.log_target = request.target.partition(b"?")[0]
