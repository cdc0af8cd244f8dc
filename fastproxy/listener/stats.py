"""Counters of a listener and its connection manager (spec/http.md section 16)."""

from fastproxy.stats import Histogram, StatsSink

_COUNTERS = (
    "downstream_cx_total",
    "downstream_cx_destroy",
    "downstream_cx_destroy_active_rq",
    "downstream_cx_protocol_error",
    "downstream_cx_idle_timeout",
    "downstream_cx_drain_close",
    "downstream_cx_max_duration_reached",
    "downstream_cx_max_requests_reached",
    "downstream_cx_upgrades_total",
    "downstream_cx_rx_bytes_total",
    "downstream_cx_tx_bytes_total",
    "downstream_rq_total",
    "downstream_rq_completed",
    "downstream_rq_rx_reset",
    "downstream_rq_timeout",
    "downstream_rq_header_timeout",
    "downstream_rq_idle_timeout",
    "downstream_rq_max_duration_reached",
    "downstream_rq_ws_on_non_ws_route",
    "downstream_rq_non_relative_path",
    "downstream_rq_response_before_rq_complete",
    "downstream_flow_control_paused_reading_total",
    "downstream_flow_control_resumed_reading_total",
)


class HttpStats:
    """Numbers of one connection manager in one worker; plain integers, added to in place."""

    __slots__ = (*_COUNTERS, "classes", "downstream_cx_active", "rq_time")

    def __init__(self) -> None:
        self.downstream_cx_total = 0
        self.downstream_cx_destroy = 0
        self.downstream_cx_destroy_active_rq = 0
        self.downstream_cx_protocol_error = 0
        self.downstream_cx_idle_timeout = 0
        self.downstream_cx_drain_close = 0
        self.downstream_cx_max_duration_reached = 0
        self.downstream_cx_max_requests_reached = 0
        self.downstream_cx_rx_bytes_total = 0
        self.downstream_cx_tx_bytes_total = 0
        self.downstream_rq_total = 0
        self.downstream_rq_completed = 0
        self.downstream_rq_rx_reset = 0
        self.downstream_rq_timeout = 0
        self.downstream_rq_header_timeout = 0
        self.downstream_rq_idle_timeout = 0
        self.downstream_rq_max_duration_reached = 0
        self.downstream_cx_upgrades_total = 0
        self.downstream_rq_ws_on_non_ws_route = 0
        self.downstream_rq_non_relative_path = 0
        self.downstream_rq_response_before_rq_complete = 0
        self.downstream_flow_control_paused_reading_total = 0
        self.downstream_flow_control_resumed_reading_total = 0
        self.downstream_cx_active = 0
        self.classes = [0] * 10
        """Responses by status // 100."""
        self.rq_time = Histogram()

    def write(self, sink: StatsSink, prefix: str, listener_prefix: str) -> None:
        """Write everything under "http.STAT_PREFIX." and "listener.ADDRESS."."""
        for name in _COUNTERS:
            sink.counter(prefix + name, getattr(self, name))
        sink.counter(prefix + "downstream_cx_http1_total", self.downstream_cx_total)
        sink.counter(prefix + "downstream_rq_http1_total", self.downstream_rq_total)
        for status_class in range(1, 6):
            sink.counter(f"{prefix}downstream_rq_{status_class}xx", self.classes[status_class])
            sink.counter(
                f"{listener_prefix}{prefix}downstream_rq_{status_class}xx", self.classes[status_class]
            )
        sink.counter(f"{listener_prefix}{prefix}downstream_rq_completed", self.downstream_rq_completed)
        sink.gauge(prefix + "downstream_cx_http1_active", self.downstream_cx_active)
        sink.gauge(prefix + "downstream_cx_active", self.downstream_cx_active)
        sink.gauge(prefix + "downstream_rq_active", self.downstream_rq_total - self.downstream_rq_completed)
        sink.histogram(prefix + "downstream_rq_time", self.rq_time)
        sink.counter(listener_prefix + "downstream_cx_total", self.downstream_cx_total)
        sink.counter(listener_prefix + "downstream_cx_destroy", self.downstream_cx_destroy)
        sink.gauge(listener_prefix + "downstream_cx_active", self.downstream_cx_active)


_INSPECTOR_COUNTERS = (
    "tls_found",
    "tls_not_found",
    "sni_found",
    "sni_not_found",
    "alpn_found",
    "alpn_not_found",
    "client_hello_malformed",
)


class TlsInspectorStats:
    """Numbers of the `tls_inspector` of one listener."""

    __slots__ = _INSPECTOR_COUNTERS

    def __init__(self) -> None:
        self.tls_found = 0
        self.tls_not_found = 0
        self.sni_found = 0
        self.sni_not_found = 0
        self.alpn_found = 0
        self.alpn_not_found = 0
        self.client_hello_malformed = 0

    def write(self, sink: StatsSink) -> None:
        """Write everything under "tls_inspector."."""
        for name in _INSPECTOR_COUNTERS:
            sink.counter(f"tls_inspector.{name}", getattr(self, name))


_LISTENER_COUNTERS = (
    "downstream_cx_overflow",
    "downstream_global_cx_overflow",
    "downstream_pre_cx_timeout",
    "downstream_listener_filter_error",
    "no_filter_chain_match",
)


class ListenerStats:
    """Numbers of one listener in one worker, of connections that no filter chain counts."""

    __slots__ = (*_LISTENER_COUNTERS, "proxy_protocol", "tls_inspector")

    def __init__(self) -> None:
        self.downstream_cx_overflow = 0
        """Cut because the listener's own limit was reached."""
        self.downstream_global_cx_overflow = 0
        self.downstream_pre_cx_timeout = 0
        self.downstream_listener_filter_error = 0
        """Cut by a listener filter: no PROXY header where one must be."""
        self.no_filter_chain_match = 0
        self.proxy_protocol: dict[str, int] = {}
        self.tls_inspector = TlsInspectorStats()

    def count_proxy_protocol(self, name: str) -> None:
        """Count one connection that the `proxy_protocol` filter has judged."""
        self.proxy_protocol[name] = self.proxy_protocol.get(name, 0) + 1

    def write(self, sink: StatsSink, prefix: str, openings: int) -> None:
        """Write everything under "listener.ADDRESS."; `openings`: connections that wait for a filter chain."""
        for name in _LISTENER_COUNTERS:
            sink.counter(prefix + name, getattr(self, name))
        sink.gauge(prefix + "downstream_pre_cx_active", openings)
        for name, value in self.proxy_protocol.items():
            sink.counter(f"proxy_proto.{name}", value)
        self.tls_inspector.write(sink)
