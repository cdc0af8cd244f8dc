"""The connections of the admin interface, counted as those of a listener are (`listener.admin.*`, `http.admin.*`)."""

import asyncio
from collections.abc import Callable

from fastproxy import clock
from fastproxy.stats import Histogram, StatsSink


class AdminConnections:
    """Counts connections, and what is asked over them."""

    def __init__(self) -> None:
        self.total = 0
        self.active = 0
        self.destroyed_local = 0
        self.rx_bytes = 0
        self.requests = 0
        self.completed = 0
        self.classes = [0] * 6
        """Answers by status // 100."""
        self.length = Histogram()
        self.request_time = Histogram()

    def count_answer(self, status: int, began: float) -> None:
        """Count an answer to a request that came at `began`, in monotonic seconds."""
        self.completed += 1
        self.classes[status // 100] += 1
        self.request_time.record((clock.monotonic() - began) * 1000)

    def write(self, sink: StatsSink) -> None:
        """Write everything under "listener.admin." and "http.admin."."""
        for prefix in ("listener.admin.", "http.admin.", "listener.admin.main_thread."):
            sink.counter(prefix + "downstream_cx_total", self.total)
            sink.gauge(prefix + "downstream_cx_active", self.active)
        for prefix in ("listener.admin.", "http.admin."):
            sink.counter(prefix + "downstream_cx_destroy", self.total - self.active)
            sink.histogram(prefix + "downstream_cx_length_ms", self.length)
        for name in _LISTENER_NEVER:
            sink.counter("listener.admin." + name, 0)
        sink.gauge("listener.admin.downstream_pre_cx_active", 0)
        for prefix in ("http.admin.", "listener.admin.http.admin."):
            sink.counter(prefix + "downstream_rq_completed", self.completed)
            for status_class in range(1, 6):
                sink.counter(f"{prefix}downstream_rq_{status_class}xx", self.classes[status_class])
        prefix = "http.admin."
        sink.counter(prefix + "downstream_cx_http1_total", self.total)
        sink.gauge(prefix + "downstream_cx_http1_active", self.active)
        sink.counter(prefix + "downstream_cx_destroy_local", self.destroyed_local)
        sink.counter(prefix + "downstream_cx_destroy_remote", self.total - self.active - self.destroyed_local)
        sink.counter(prefix + "downstream_cx_rx_bytes_total", self.rx_bytes)
        sink.counter(prefix + "downstream_rq_total", self.requests)
        sink.counter(prefix + "downstream_rq_http1_total", self.requests)
        sink.gauge(prefix + "downstream_rq_active", self.requests - self.completed)
        sink.histogram(prefix + "downstream_rq_time", self.request_time)


_LISTENER_NEVER = (
    "downstream_cx_overflow",
    "downstream_cx_overload_reject",
    "downstream_cx_transport_socket_connect_timeout",
    "downstream_global_cx_overflow",
    "downstream_listener_filter_error",
    "downstream_listener_filter_remote_close",
    "downstream_pre_cx_timeout",
    "no_filter_chain_match",
)


class CountedProtocol(asyncio.Protocol):
    """Stands between the event loop and the server's protocol of one connection."""

    def __init__(self, counts: AdminConnections, inner: asyncio.Protocol) -> None:
        self._counts = counts
        self._inner = inner
        self._began = 0.0
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._began = clock.monotonic()
        self._transport = transport
        self._counts.total += 1
        self._counts.active += 1
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._counts.rx_bytes += len(data)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Called by the event loop: the peer has closed first."""
        self._transport = None
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._counts.active -= 1
        self._counts.length.record((clock.monotonic() - self._began) * 1000)
        if exc is None and self._transport is not None:
            self._counts.destroyed_local += 1
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._inner.resume_writing()


def counted(
    counts: AdminConnections, factory: Callable[[], asyncio.Protocol]
) -> Callable[[], CountedProtocol]:
    """A server's factory whose connections are counted."""
    return lambda: CountedProtocol(counts, factory())
