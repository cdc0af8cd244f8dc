"""How long a request may take on its connection, and what happens when that time is over.

Four clocks, of which the first two share a timer, for one begins where the other ends:

    `request_timeout`, until the request is complete -- the route's `timeout`, until its response is
    `request_headers_timeout`, of a head that has begun (the request is not there yet)
    `max_stream_duration`, of the whole
    `stream_idle_timeout`, since anything moved; between two requests `idle_timeout`, since the last one ended

The last is no timer: moving it costs one assignment, and a sweep looks at it about once a second.
"""

from typing import TYPE_CHECKING

from fastproxy import clock
from fastproxy.format.context import REQUEST_PERIODIC
from fastproxy.http.messages import LocalReply, Request
from fastproxy.router.forward import Exchange
from fastproxy.router.limits import StreamLimits
from fastproxy.timers import LazyTimer

if TYPE_CHECKING:
    from fastproxy.listener.stream import Stream

_STREAM_TIMEOUT = LocalReply(504, b"stream timeout", details="stream_idle_timeout", flag="SI")
_STREAM_TIMEOUT_OF_REQUEST = LocalReply(
    408, b"stream timeout", details="stream_idle_timeout", flag="SI", close=True
)
_REQUEST_TIMEOUT = LocalReply(408, b"request timeout", details="request_overall_timeout", close=True)
_HEAD_TIMEOUT = LocalReply(408, b"request header timeout", details="request_header_timeout", close=True)
_MAX_DURATION = LocalReply(504, b"downstream duration timeout", details="max_duration_timeout")
_MAX_DURATION_OF_REQUEST = LocalReply(
    408, b"downstream duration timeout", details="max_duration_timeout", close=True
)
#: Ten years: off, for a connection.
NEVER_S = 10 * 365 * 86400.0


class StreamDeadlines:
    """The deadlines of the requests of one connection, one request at a time."""

    __slots__ = (
        "_duration_timer",
        "_log_timer",
        "_logged",
        "_stream",
        "_timer",
        "idle_at",
        "stream_idle_timeout_s",
    )

    def __init__(self, stream: "Stream") -> None:
        manager = stream.manager
        self._stream = stream
        self._timer = LazyTimer(manager.loop, self._on_timeout)
        """The route's timeout, or before the request is complete `request_timeout`, or that of a head."""
        self._duration_timer: LazyTimer | None = None
        """`max_stream_duration`; made when a request first needs it."""
        self._log_timer: LazyTimer | None = None
        """`access_log_flush_interval`, likewise."""
        self._logged: Request | None = None
        """What that timer was set for; it is not cleared when the request ends, and finds another one or none."""
        self.stream_idle_timeout_s = manager.stream_idle_timeout_s
        """Of the request being served: its route may have its own."""
        self.idle_at = clock.monotonic() + manager.idle_timeout_s
        """When nothing has moved for too long, in monotonic seconds."""

    # -- set by what happens -------------------------------------------------------------------------------

    def start_request_timeout(self, request: Request) -> None:
        """A request is going to be served, where there is a limit on its arrival."""
        manager = self._stream.manager
        if manager.request_timeout_s and not request.body_complete:
            self._timer.set(request.start_monotonic, manager.request_timeout_s)
        elif manager.request_headers_timeout_s:
            # It was for the head alone.
            self._timer.clear()

    def on_end(self, now: float) -> None:
        """The request has ended, and the connection waits for the next. Hot path: once per request."""
        self.idle_at = now + self._stream.manager.idle_timeout_s
        # What `clear` does, without the call.
        self._timer.deadline = 0.0
        if self._duration_timer is not None:
            self._duration_timer.clear()

    def on_movement(self) -> None:
        """Something of the request or of its response has come."""
        self.idle_at = clock.monotonic() + self.stream_idle_timeout_s

    def start_head_timeout(self) -> None:
        """A head has begun and is not complete (`request_headers_timeout`); its later bytes change nothing."""
        if not self._timer.is_set:
            self._timer.set(clock.monotonic(), self._stream.manager.request_headers_timeout_s)

    def start_response_timeout(self, exchange: Exchange) -> None:
        """The request is complete: from now on the route's timeout counts. Hot path: once per request."""
        if exchange.timeout_s:
            # Where it did not have to wait for a connection it has been sent just now.
            self._timer.set(exchange.request.sent_monotonic or clock.monotonic(), exchange.timeout_s)
        else:
            self._timer.clear()

    def stop_timeout(self) -> None:
        """The response is there, or what comes now has no end that could be waited for."""
        self._timer.clear()

    def start_max_duration(self, request: Request, duration_s: float) -> None:
        """Let the request take so long in all, from its first byte."""
        timer = self._duration_timer
        if timer is None:
            timer = self._duration_timer = LazyTimer(self._stream.manager.loop, self._on_max_duration)
        # Not from the start: a timer that is overdue would be called back with the exchange not yet started.
        timer.set(clock.monotonic(), max(request.start_monotonic + duration_s - clock.monotonic(), 0.0))

    def start_log_interval(self, request: Request) -> None:
        """Log the request every so often while it is served."""
        manager = self._stream.manager
        timer = self._log_timer
        if timer is None:
            timer = self._log_timer = LazyTimer(manager.loop, self._on_log_interval)
        self._logged = request
        timer.set(clock.monotonic(), manager.log_moments.interval_s)

    def apply_limits(self, request: Request, limits: StreamLimits) -> None:
        """Apply what the route says about the stream's duration."""
        idle_timeout_s = limits.idle_timeout_s
        if idle_timeout_s is not None:
            self.stream_idle_timeout_s = idle_timeout_s or NEVER_S
            self.on_movement()
        duration_s = limits.duration_s(request)
        if duration_s:
            self.start_max_duration(request, duration_s)
        elif duration_s is not None and self._duration_timer is not None:
            # The route switches the listener's off.
            self._duration_timer.clear()

    def close(self) -> None:
        """Release the loop's timers: the connection serves no further request."""
        self._timer.close()
        if self._duration_timer is not None:
            self._duration_timer.close()
        if self._log_timer is not None:
            self._log_timer.close()
            self._logged = None

    # -- over ----------------------------------------------------------------------------------------------

    def on_idle(self, request: Request) -> None:
        """Nothing of the request being served has moved for too long."""
        stream = self._stream
        stream.manager.stats.downstream_rq_idle_timeout += 1
        stream.end_early(_STREAM_TIMEOUT if _is_complete(request) else _STREAM_TIMEOUT_OF_REQUEST)

    def _on_timeout(self) -> None:
        stream = self._stream
        request, exchange = stream.request, stream.exchange
        stats = stream.manager.stats
        if request is None:
            if stream.connection.in_head:
                stats.downstream_rq_header_timeout += 1
                stream.connection.stop_parsing()
                stream.begin_unreadable(None)
                stream.response.reply(_HEAD_TIMEOUT)
            return
        if request.body_complete and exchange is None:
            # The whole request is here, it is a filter that takes its time: `request_timeout` no longer applies.
            return
        if request.body_complete and exchange is not None:
            # The cluster counts it.
            exchange.on_timeout()
        else:
            stats.downstream_rq_timeout += 1
            stream.end_early(_REQUEST_TIMEOUT)

    def _on_log_interval(self) -> None:
        request, manager = self._stream.request, self._stream.manager
        if request is None or request is not self._logged:
            self._logged = None
            return
        manager.log_access(request, clock.monotonic(), REQUEST_PERIODIC)
        if manager.log_moments.interval_s:
            self.start_log_interval(request)

    def _on_max_duration(self) -> None:
        stream = self._stream
        request = stream.request
        if request is not None:
            stream.manager.stats.downstream_rq_max_duration_reached += 1
            stream.end_early(_MAX_DURATION if _is_complete(request) else _MAX_DURATION_OF_REQUEST)


def _is_complete(request: Request) -> bool:
    """Whether nothing more of a request can come: one for another protocol has no end (Envoy)."""
    return request.body_complete and not request.upgrade
