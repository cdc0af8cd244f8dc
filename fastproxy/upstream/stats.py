"""Counters of a cluster and of its endpoints (spec/clusters.md section 9)."""

from collections import defaultdict

from fastproxy import clock
from fastproxy.stats import Histogram, StatsSink
from fastproxy.tls.stats import TlsStats

_CLUSTER_COUNTERS = (
    "upstream_cx_total",
    "upstream_cx_destroy",
    "upstream_cx_connect_fail",
    "upstream_cx_connect_timeout",
    "upstream_cx_connect_attempts_exceeded",
    "upstream_cx_idle_timeout",
    "upstream_cx_max_requests",
    "upstream_cx_max_duration_reached",
    "upstream_cx_http1_total",
    "upstream_cx_rx_bytes_total",
    "upstream_cx_tx_bytes_total",
    "upstream_cx_destroy_local",
    "upstream_cx_destroy_remote",
    "upstream_cx_destroy_with_active_rq",
    "upstream_cx_destroy_local_with_active_rq",
    "upstream_cx_destroy_remote_with_active_rq",
    "upstream_cx_close_notify",
    "upstream_cx_protocol_error",
    "upstream_flow_control_paused_reading_total",
    "upstream_flow_control_resumed_reading_total",
    "upstream_flow_control_backed_up_total",
    "upstream_flow_control_drained_total",
    "bind_errors",
    "upstream_cx_none_healthy",
    "upstream_cx_overflow",
    "upstream_cx_pool_overflow",
    "upstream_rq_timeout",
    "upstream_rq_cancelled",
    "upstream_rq_pending_total",
    "upstream_rq_pending_failure_eject",
    "upstream_rq_pending_overflow",
    "upstream_rq_active_overflow",
    "upstream_rq_rx_reset",
    "upstream_rq_max_duration_reached",
    "upstream_rq_per_try_timeout",
    "upstream_rq_per_try_idle_timeout",
    "upstream_rq_retry",
    "upstream_rq_retry_success",
    "upstream_rq_retry_overflow",
    "upstream_rq_retry_limit_exceeded",
    "upstream_rq_retry_backoff_exponential",
    "upstream_rq_retry_backoff_ratelimited",
    "retry_or_shadow_abandoned",
    "lb_healthy_panic",
    "lb_subsets_created",
    "lb_subsets_removed",
    "lb_subsets_selected",
    "lb_subsets_fallback",
    "lb_subsets_fallback_panic",
    "lb_subsets_single_host_per_subset_duplicate",
)

#: What dashboards ask for and cannot happen: HTTP/1.1 has no resets, and there is no maintenance mode.
_NEVER = ("upstream_rq_tx_reset", "upstream_rq_maintenance_mode")


class ClusterStats:
    """Numbers of one cluster in one worker; plain integers, added to in place."""

    __slots__ = (
        *_CLUSTER_COUNTERS,
        "canary_statuses",
        "internal_statuses",
        "lb_gauges",
        "retried_statuses",
        "rq_time",
        "statuses",
        "tls",
        "upstream_cx_connect_ms",
        "upstream_cx_length_ms",
        "upstream_rq_ended",
        "upstream_rq_per_cx",
        "upstream_rq_total",
        "upstream_rq_unsent",
        "upstream_rq_waiting",
    )

    def __init__(self) -> None:
        self.upstream_cx_total = self.upstream_cx_destroy = 0
        self.upstream_cx_connect_fail = self.upstream_cx_connect_timeout = 0
        # TCP proxies have given up.
        self.upstream_cx_connect_attempts_exceeded = 0
        self.upstream_cx_idle_timeout = self.upstream_cx_max_requests = 0
        self.upstream_cx_max_duration_reached = 0
        self.upstream_cx_http1_total = 0
        self.upstream_cx_rx_bytes_total = self.upstream_cx_tx_bytes_total = 0
        self.upstream_cx_destroy_local = self.upstream_cx_destroy_remote = 0
        self.upstream_cx_destroy_with_active_rq = 0
        self.upstream_cx_destroy_local_with_active_rq = self.upstream_cx_destroy_remote_with_active_rq = 0
        self.upstream_cx_close_notify = self.upstream_cx_protocol_error = 0
        # Reading a response paused because the downstream is slower, and writing a request because the upstream is.
        self.upstream_flow_control_paused_reading_total = self.upstream_flow_control_resumed_reading_total = 0
        self.upstream_flow_control_backed_up_total = self.upstream_flow_control_drained_total = 0
        self.bind_errors = 0
        self.upstream_cx_none_healthy = 0
        self.upstream_cx_overflow = 0
        self.upstream_cx_pool_overflow = 0
        # Begun; without a connection yet; ended without ever having had one. As in Envoy, what is shown as the total
        # are those that got a connection: the first without the other two.
        self.upstream_rq_total = self.upstream_rq_waiting = self.upstream_rq_unsent = 0
        self.upstream_rq_timeout = 0
        self.upstream_rq_cancelled = 0
        self.upstream_rq_pending_total = 0
        self.upstream_rq_pending_failure_eject = self.upstream_rq_pending_overflow = 0
        self.upstream_rq_active_overflow = 0
        self.upstream_rq_rx_reset = 0
        self.upstream_rq_max_duration_reached = 0
        self.upstream_rq_per_try_timeout = self.upstream_rq_per_try_idle_timeout = 0
        self.upstream_rq_retry = self.upstream_rq_retry_success = 0
        self.upstream_rq_retry_overflow = self.upstream_rq_retry_limit_exceeded = 0
        self.upstream_rq_retry_backoff_exponential = self.upstream_rq_retry_backoff_ratelimited = 0
        self.retry_or_shadow_abandoned = 0
        self.lb_healthy_panic = 0
        self.lb_subsets_created = self.lb_subsets_removed = self.lb_subsets_selected = 0
        self.lb_subsets_fallback = self.lb_subsets_fallback_panic = 0
        self.lb_subsets_single_host_per_subset_duplicate = 0
        self.upstream_rq_ended = 0
        self.statuses: defaultdict[int, int] = defaultdict(int)
        """Of responses, local ones on behalf of the cluster included."""
        self.retried_statuses: defaultdict[int, int] = defaultdict(int)
        """Of responses that no downstream saw, for the request was tried again."""
        # Those of requests from inside, all others being from outside; and those of endpoints that are canaries.
        self.internal_statuses: defaultdict[int, int] = defaultdict(int)
        self.canary_statuses: defaultdict[int, int] = defaultdict(int)
        # What the load balancing policy says about its tables; the same in every worker.
        self.lb_gauges: dict[str, int] = {}
        self.rq_time = Histogram()
        self.upstream_cx_connect_ms = Histogram()
        self.upstream_cx_length_ms = Histogram()
        self.upstream_rq_per_cx = Histogram()
        self.tls: TlsStats | None = None
        """Of its handshakes; None without TLS."""

    def count_closed(self, began: float, *, local: bool) -> None:
        """Count a connection that has ended, or was never made.

        Args:
            began: when it was made, or the attempt begun, in monotonic seconds.
            local: it was ended here.
        """
        self.upstream_cx_destroy += 1
        if local:
            self.upstream_cx_destroy_local += 1
        else:
            self.upstream_cx_destroy_remote += 1
        self.upstream_cx_length_ms.record((clock.monotonic() - began) * 1000)

    def write(self, sink: StatsSink, prefix: str) -> None:
        """Write everything under `prefix` ("cluster.NAME.")."""
        for name in _CLUSTER_COUNTERS:
            sink.counter(prefix + name, getattr(self, name))
        for name in _NEVER:
            sink.counter(prefix + name, 0)
        begun = self.upstream_rq_total - self.upstream_rq_waiting
        sink.counter(prefix + "upstream_rq_total", begun - self.upstream_rq_unsent)
        _write_statuses(sink, prefix, self.statuses)
        external = {
            status: count - self.internal_statuses.get(status, 0) for status, count in self.statuses.items()
        }
        for name, statuses in (
            ("retry.", self.retried_statuses),
            ("internal.", self.internal_statuses),
            ("external.", external),
            ("canary.", self.canary_statuses),
        ):
            if any(statuses.values()):
                _write_statuses(sink, prefix + name, statuses)
        sink.gauge(prefix + "upstream_rq_active", begun - self.upstream_rq_ended)
        sink.gauge(prefix + "lb_subsets_active", self.lb_subsets_created - self.lb_subsets_removed)
        sink.histogram(prefix + "upstream_rq_time", self.rq_time)
        sink.histogram(prefix + "upstream_cx_connect_ms", self.upstream_cx_connect_ms)
        sink.histogram(prefix + "upstream_cx_length_ms", self.upstream_cx_length_ms)
        sink.histogram(prefix + "upstream_rq_per_cx", self.upstream_rq_per_cx)
        if self.tls is not None:
            self.tls.write(sink, prefix + "ssl.")


def _write_statuses(sink: StatsSink, prefix: str, statuses: dict[int, int]) -> None:
    unknown = 0
    for status, count in statuses.items():
        if status < 600:
            sink.counter(f"{prefix}upstream_rq_{status}", count)
            sink.counter(f"{prefix}upstream_rq_{status // 100}xx", count)
        else:
            unknown += count
    if unknown:
        sink.counter(f"{prefix}upstream_rq_unknown", unknown)
    sink.counter(prefix + "upstream_rq_completed", sum(statuses.values()))


class EndpointStats:
    """Numbers of one endpoint in one worker, for `/clusters`."""

    __slots__ = (
        "cx_connect_fail",
        "cx_total",
        "rq_ended",
        "rq_error",
        "rq_success",
        "rq_timeout",
        "rq_total",
        "rq_unsent",
        "rq_waiting",
        "tcp_open",
    )

    def __init__(self) -> None:
        self.cx_total = 0
        self.cx_connect_fail = 0
        self.rq_total = 0
        """Begun; see `ClusterStats`."""
        self.rq_waiting = 0
        self.rq_unsent = 0
        self.rq_ended = 0
        self.rq_success = 0
        self.rq_error = 0
        self.rq_timeout = 0
        self.tcp_open = 0
        """Connections of TCP proxies that are open now."""

    def encode(self, open_connections: int) -> dict[str, int]:
        """The numbers by Envoy's `/clusters` names."""
        begun = self.rq_total - self.rq_waiting
        return {
            "cx_active": open_connections,
            "cx_connect_fail": self.cx_connect_fail,
            "cx_total": self.cx_total,
            "rq_active": begun - self.rq_ended,
            "rq_error": self.rq_error,
            "rq_pending_active": self.rq_waiting,
            "rq_success": self.rq_success,
            "rq_timeout": self.rq_timeout,
            "rq_total": begun - self.rq_unsent,
        }
