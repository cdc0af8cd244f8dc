"""Counters of a listener and its connection manager (spec/http.md section 16)."""

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.messages import Request
from fastproxy.stats import Histogram, StatsSink

_COUNTERS = (
    "downstream_cx_total",
    "downstream_cx_ssl_total",
    "downstream_cx_destroy",
    "downstream_cx_destroy_local",
    "downstream_cx_destroy_remote",
    "downstream_cx_destroy_active_rq",
    "downstream_cx_destroy_local_active_rq",
    "downstream_cx_destroy_remote_active_rq",
    "downstream_cx_protocol_error",
    "downstream_cx_idle_timeout",
    "downstream_cx_delayed_close_timeout",
    "downstream_cx_drain_close",
    "downstream_cx_max_duration_reached",
    "downstream_cx_max_requests_reached",
    "downstream_cx_upgrades_total",
    "downstream_cx_rx_bytes_total",
    "downstream_cx_tx_bytes_total",
    "downstream_rq_total",
    "downstream_rq_rx_reset",
    "downstream_rq_tx_reset",
    "downstream_rq_timeout",
    "downstream_rq_header_timeout",
    "downstream_rq_idle_timeout",
    "downstream_rq_max_duration_reached",
    "downstream_rq_ws_on_non_ws_route",
    "downstream_rq_non_relative_path",
    "downstream_rq_failed_path_normalization",
    "downstream_rq_redirected_with_normalized_path",
    "downstream_rq_rejected_via_ip_detection",
    "downstream_rq_response_before_rq_complete",
    "downstream_flow_control_paused_reading_total",
    "downstream_flow_control_resumed_reading_total",
)


class LiveConnections:
    """What is open at the moment, looked at for one snapshot."""

    __slots__ = ("rx_buffered", "speaking", "ssl", "tx_buffered", "upgraded")

    def __init__(self) -> None:
        self.rx_buffered = 0
        self.tx_buffered = 0
        self.ssl = 0
        self.speaking = 0
        """Those over which anything has come: before that Envoy has no codec for them."""
        self.upgraded = 0

    def count(
        self, waiting_bytes: tuple[int, int], info: ConnectionInfo, has_spoken: bool, is_upgraded: bool
    ) -> None:
        """Count one connection; `waiting_bytes`: received, and to be sent."""
        self.rx_buffered += waiting_bytes[0]
        self.tx_buffered += waiting_bytes[1]
        self.ssl += info.tls is not None
        self.speaking += has_spoken
        self.upgraded += is_upgraded


class HttpStats:
    """Numbers of one connection manager in one worker; plain integers, added to in place."""

    __slots__ = (
        *_COUNTERS,
        "_spoken",
        "classes",
        "cx_length",
        "downstream_cx_active",
        "downstream_rq_completed",
        "dropped_headers_with_underscores",
        "requests_rejected_with_underscores_in_headers",
        "rq_time",
    )

    def __init__(self) -> None:
        self.downstream_cx_total = 0
        self.downstream_cx_ssl_total = 0
        self.downstream_cx_destroy = 0
        self.downstream_cx_destroy_local = 0
        """Ended here, whoever closed first after that."""
        self.downstream_cx_destroy_remote = 0
        self.downstream_cx_destroy_active_rq = 0
        self.downstream_cx_destroy_local_active_rq = 0
        self.downstream_cx_destroy_remote_active_rq = 0
        self.downstream_cx_protocol_error = 0
        self.downstream_cx_idle_timeout = 0
        self.downstream_cx_delayed_close_timeout = 0
        """Ended here, and the downstream did not close in time."""
        self.downstream_cx_drain_close = 0
        self.downstream_cx_max_duration_reached = 0
        self.downstream_cx_max_requests_reached = 0
        self.downstream_cx_rx_bytes_total = 0
        self.downstream_cx_tx_bytes_total = 0
        self.downstream_rq_total = 0
        self.downstream_rq_completed = 0
        """Ended; those without any response are no completed ones for Envoy, and `write` leaves them out."""
        self.downstream_rq_rx_reset = 0
        """Ended before everything of them was read, or of their response written; by whom does not matter."""
        self.downstream_rq_tx_reset = 0
        """Their response broke off."""
        self.downstream_rq_timeout = 0
        self.downstream_rq_header_timeout = 0
        self.downstream_rq_idle_timeout = 0
        self.downstream_rq_max_duration_reached = 0
        self.downstream_cx_upgrades_total = 0
        self.downstream_rq_ws_on_non_ws_route = 0
        self.downstream_rq_non_relative_path = 0
        self.downstream_rq_failed_path_normalization = 0
        self.downstream_rq_redirected_with_normalized_path = 0
        self.downstream_rq_rejected_via_ip_detection = 0
        self.downstream_rq_response_before_rq_complete = 0
        self.downstream_flow_control_paused_reading_total = 0
        self.downstream_flow_control_resumed_reading_total = 0
        self.dropped_headers_with_underscores = 0
        self.requests_rejected_with_underscores_in_headers = 0
        self.downstream_cx_active = 0
        self._spoken = 0
        """Connections that have ended after they had sent something."""
        self.classes = [0] * 10
        """Responses by status // 100."""
        self.rq_time = Histogram()
        self.cx_length = Histogram()

    def count_closed(self, length_ms: float, *, local: bool, in_request: bool, has_spoken: bool) -> None:
        """Count a connection that has ended.

        Args:
            length_ms: how long it was open.
            local: it was ended here.
            in_request: a request was being served, or its head being read.
            has_spoken: the downstream had sent something.
        """
        self.downstream_cx_active -= 1
        self.downstream_cx_destroy += 1
        self.downstream_cx_destroy_local += local
        self.downstream_cx_destroy_remote += not local
        if in_request:
            self.downstream_cx_destroy_active_rq += 1
            self.downstream_cx_destroy_local_active_rq += local
            self.downstream_cx_destroy_remote_active_rq += not local
        self._spoken += has_spoken
        self.cx_length.record(length_ms)

    def count_broken_head(self) -> None:
        """Count a request whose head has begun and never came to its end."""
        self.downstream_rq_total += 1
        self.downstream_rq_completed += 1
        self.downstream_rq_rx_reset += 1
        self.classes[0] += 1

    def count_endless(self, request: Request) -> None:
        """Count an answer to a request for another protocol: the end of that could not have come before it (Envoy)."""
        if request.body_complete:
            self.downstream_rq_response_before_rq_complete += 1
            self.downstream_rq_rx_reset += 1

    def write(self, sink: StatsSink, prefix: str, listener_prefix: str, live: LiveConnections) -> None:
        """Write everything under "http.STAT_PREFIX." and "listener.ADDRESS."; `live`: what is open."""
        for name in _COUNTERS:
            sink.counter(prefix + name, getattr(self, name))
        sink.counter(prefix + "downstream_cx_http1_total", self._spoken + live.speaking)
        sink.counter(prefix + "downstream_rq_http1_total", self.downstream_rq_total)
        for scope in (prefix, listener_prefix + prefix):
            for status_class in range(1, 6):
                sink.counter(f"{scope}downstream_rq_{status_class}xx", self.classes[status_class])
            sink.counter(f"{scope}downstream_rq_completed", self.downstream_rq_completed - self.classes[0])
        sink.gauge(prefix + "downstream_cx_http1_active", live.speaking)
        sink.gauge(prefix + "downstream_cx_ssl_active", live.ssl)
        sink.gauge(prefix + "downstream_cx_upgrades_active", live.upgraded)
        sink.gauge(prefix + "downstream_cx_rx_bytes_buffered", live.rx_buffered)
        sink.gauge(prefix + "downstream_cx_tx_bytes_buffered", live.tx_buffered)
        sink.gauge(prefix + "downstream_cx_active", self.downstream_cx_active)
        sink.gauge(prefix + "downstream_rq_active", self.downstream_rq_total - self.downstream_rq_completed)
        sink.histogram(prefix + "downstream_rq_time", self.rq_time)
        sink.histogram(prefix + "downstream_cx_length_ms", self.cx_length)
        sink.counter("http1.dropped_headers_with_underscores", self.dropped_headers_with_underscores)
        sink.counter(
            "http1.requests_rejected_with_underscores_in_headers",
            self.requests_rejected_with_underscores_in_headers,
        )
        write_connections(
            sink,
            listener_prefix,
            (self.downstream_cx_total, self.downstream_cx_destroy, self.downstream_cx_active),
            self.cx_length,
        )


def write_connections(
    sink: StatsSink, listener_prefix: str, connections: tuple[int, int, int], length: Histogram
) -> None:
    """Write what a filter chain has served under "listener.ADDRESS.", and as this worker's part of it.

    Args:
        sink: takes the numbers.
        listener_prefix: "listener.ADDRESS.".
        connections: how many there were, how many have ended, how many are open.
        length: how long those were open that have ended.
    """
    total, destroyed, active = connections
    sink.counter(listener_prefix + "downstream_cx_total", total)
    sink.counter(listener_prefix + "downstream_cx_destroy", destroyed)
    sink.histogram(listener_prefix + "downstream_cx_length_ms", length)
    sink.counter(f"{listener_prefix}worker_{sink.worker_id}.downstream_cx_total", total)

    sink.gauge(listener_prefix + "downstream_cx_active", active)
    sink.gauge(f"{listener_prefix}worker_{sink.worker_id}.downstream_cx_active", active)


_INSPECTOR_COUNTERS = (
    "tls_found",
    "tls_not_found",
    "sni_found",
    "sni_not_found",
    "alpn_found",
    "alpn_not_found",
    "client_hello_malformed",
    "client_hello_too_large",
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
        self.client_hello_too_large = 0

    def write(self, sink: StatsSink) -> None:
        """Write everything under "tls_inspector."."""
        for name in _INSPECTOR_COUNTERS:
            sink.counter(f"tls_inspector.{name}", getattr(self, name))


_LISTENER_COUNTERS = (
    "downstream_cx_overflow",
    "downstream_global_cx_overflow",
    "downstream_pre_cx_timeout",
    "downstream_listener_filter_error",
    "downstream_listener_filter_remote_close",
    "no_filter_chain_match",
)


_PROXY_PROTOCOL = (
    "not_found_allowed",
    "not_found_disallowed",
    *(f"versions.v{version}.{what}" for version in (1, 2) for what in ("disallowed", "error", "found")),
)


class ListenerStats:
    """Numbers of one listener in one worker, of connections that no filter chain counts."""

    __slots__ = (*_LISTENER_COUNTERS, "proxy_protocol", "proxy_protocol_errors", "tls_inspector")

    def __init__(self, *, takes_proxy_headers: bool = False) -> None:
        """Begin at nothing; `takes_proxy_headers`: there is a `proxy_protocol` filter."""
        self.downstream_cx_overflow = 0
        """Cut because the listener's own limit was reached."""
        self.downstream_global_cx_overflow = 0
        self.downstream_pre_cx_timeout = 0
        self.downstream_listener_filter_error = 0
        """A listener filter could not read. A bad PROXY header is told of under "proxy_proto."."""
        self.downstream_listener_filter_remote_close = 0
        """Ended by the peer before a listener filter had seen enough."""
        self.no_filter_chain_match = 0
        self.proxy_protocol: dict[str, int] = dict.fromkeys(_PROXY_PROTOCOL, 0) if takes_proxy_headers else {}
        self.proxy_protocol_errors = 0
        self.tls_inspector = TlsInspectorStats()

    def count_proxy_protocol(self, name: str) -> None:
        """Count one connection that the `proxy_protocol` filter has judged."""
        self.proxy_protocol[name] = self.proxy_protocol.get(name, 0) + 1

    def write(self, sink: StatsSink, prefix: str, openings: int) -> None:
        """Write everything under "listener.ADDRESS."; `openings`: connections that wait for a filter chain."""
        for name in _LISTENER_COUNTERS:
            sink.counter(prefix + name, getattr(self, name))
        sink.gauge(prefix + "downstream_pre_cx_active", openings)
        if self.proxy_protocol:
            sink.counter("downstream_cx_proxy_proto_error", self.proxy_protocol_errors)
        for name, value in self.proxy_protocol.items():
            sink.counter(f"proxy_proto.{name}", value)
        self.tls_inspector.write(sink)
