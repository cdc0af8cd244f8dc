"""Counters of a TCP proxy (spec/filters.md section 10)."""

from fastproxy.listener.stats import write_connections
from fastproxy.stats import Histogram, StatsSink

_COUNTERS = (
    "downstream_cx_total",
    "downstream_cx_no_route",
    "downstream_cx_rx_bytes_total",
    "downstream_cx_tx_bytes_total",
    "downstream_flow_control_paused_reading_total",
    "downstream_flow_control_resumed_reading_total",
    "idle_timeout",
    "max_downstream_connection_duration",
    "upstream_flush_total",
)


class TcpStats:
    """Numbers of one TCP proxy in one worker; plain integers, added to in place."""

    __slots__ = (
        *_COUNTERS,
        "cx_length",
        "downstream_cx_active",
        "downstream_cx_destroy",
        "upstream_flush_active",
    )

    def __init__(self) -> None:
        self.downstream_cx_total = 0
        self.downstream_cx_destroy = 0
        self.downstream_cx_active = 0
        self.downstream_cx_no_route = 0
        self.downstream_cx_rx_bytes_total = 0
        """Of connections that have ended; `write` adds those that are open."""
        self.downstream_cx_tx_bytes_total = 0
        self.downstream_flow_control_paused_reading_total = 0
        self.downstream_flow_control_resumed_reading_total = 0
        self.idle_timeout = 0
        self.max_downstream_connection_duration = 0
        self.upstream_flush_total = 0
        """The downstream had sent its last byte while the upstream had yet to take some."""
        self.upstream_flush_active = 0
        self.cx_length = Histogram()

    def count_closed(self, length_ms: float) -> None:
        """Count a connection that has ended."""
        self.downstream_cx_destroy += 1
        self.downstream_cx_active -= 1
        self.cx_length.record(length_ms)

    def write(
        self,
        sink: StatsSink,
        prefix: str,
        listener_prefix: str,
        open_bytes: tuple[int, int],
        waiting: tuple[int, int],
    ) -> None:
        """Write everything under "tcp.STAT_PREFIX." and "listener.ADDRESS.".

        Args:
            sink: takes the numbers.
            prefix: "tcp.STAT_PREFIX.".
            listener_prefix: "listener.ADDRESS.".
            open_bytes: received from and sent to the downstreams of the connections that are open.
            waiting: bytes that wait for upstreams, and for downstreams.
        """
        for name in _COUNTERS:
            sink.counter(prefix + name, getattr(self, name))
        sink.counter(prefix + "downstream_cx_rx_bytes_total", open_bytes[0])
        sink.counter(prefix + "downstream_cx_tx_bytes_total", open_bytes[1])
        sink.gauge(prefix + "downstream_cx_rx_bytes_buffered", waiting[0])
        sink.gauge(prefix + "downstream_cx_tx_bytes_buffered", waiting[1])
        sink.gauge(prefix + "upstream_flush_active", self.upstream_flush_active)
        write_connections(
            sink,
            listener_prefix,
            (self.downstream_cx_total, self.downstream_cx_destroy, self.downstream_cx_active),
            self.cx_length,
        )
