"""Health checks as the configuration fixes them (Envoy `core.v3.HealthCheck`). Durations are seconds."""

from dataclasses import dataclass
from enum import Enum


class CheckerKind(Enum):
    """Envoy's name for a checker in the event log."""

    HTTP = "HTTP"
    TCP = "TCP"
    GRPC = "GRPC"


@dataclass(frozen=True, slots=True)
class StatusRange:
    """HTTP statuses from `start` up to, and without, `end` (Envoy `Int64Range`)."""

    start: int
    end: int

    def includes(self, status: int) -> bool:
        """Whether a status is in it."""
        return self.start <= status < self.end


@dataclass(frozen=True, slots=True)
class HttpCheckSettings:
    """`http_health_check`."""

    path: str
    host: str = ""
    """Empty: the endpoint's host name for health checks, or the name of the cluster."""
    method: str = "GET"
    send: bytes = b""
    """Body of the request."""
    receive: tuple[bytes, ...] = ()
    """These must be in the body, in this order."""
    response_buffer_bytes: int = 1024
    """How much of the body is searched."""
    headers_to_add: tuple[tuple[str, str], ...] = ()
    headers_to_remove: tuple[str, ...] = ()
    """Lower case."""
    expected: tuple[StatusRange, ...] = (StatusRange(200, 201),)
    retriable: tuple[StatusRange, ...] = ()
    """Statuses that count like a broken connection: a failure only after `unhealthy_threshold` of them."""


@dataclass(frozen=True, slots=True)
class TcpCheckSettings:
    """`tcp_health_check`; without anything to receive, to be connected to is enough."""

    send: bytes = b""
    receive: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class GrpcCheckSettings:
    """`grpc_health_check` (grpc.health.v1)."""

    service: str = ""
    authority: str = ""
    """Empty: the name of the cluster."""
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CheckIntervals:
    """How long it is from the end of one check to the next."""

    interval_s: float
    unhealthy_s: float
    healthy_edge_s: float
    """After a success of an endpoint that needs more of them to become healthy."""
    unhealthy_edge_s: float
    """After a failure of an endpoint that is healthy still."""
    no_traffic_s: float = 60.0
    """As long as no request went to the cluster."""
    no_traffic_healthy_s: float = 60.0
    initial_jitter_s: float = 0.0
    jitter_s: float = 0.0
    jitter_percent: int = 0


@dataclass(frozen=True, slots=True)
class HealthCheckSettings:
    """One entry of `health_checks`."""

    checker: HttpCheckSettings | TcpCheckSettings | GrpcCheckSettings
    timeout_s: float
    intervals: CheckIntervals
    unhealthy_threshold: int
    healthy_threshold: int
    reuse_connection: bool = True
    alt_port: int = 0
    """Checked instead of the endpoint's port; 0: none."""
    event_log_paths: tuple[str, ...] = ()
    always_log_failures: bool = False
    always_log_successes: bool = False
    alpn: tuple[str, ...] = ()
    """`tls_options.alpn_protocols`, or what the checker needs; empty: what the cluster's TLS says."""

    @property
    def kind(self) -> CheckerKind:
        """What is spoken."""
        if isinstance(self.checker, HttpCheckSettings):
            return CheckerKind.HTTP
        return CheckerKind.TCP if isinstance(self.checker, TcpCheckSettings) else CheckerKind.GRPC


@dataclass(frozen=True, slots=True)
class CheckTarget:
    """Where the checks of one endpoint go, if not to itself (`Endpoint.health_check_config`)."""

    host: str = ""
    """IP literal; empty: the endpoint's."""
    port: int = 0
    """0: the endpoint's."""
    hostname: str = ""
    """Value of `host`."""
    disabled: bool = False
    """It is not checked, and counts as healthy."""


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """Everything that a cluster says about active health checks."""

    checks: tuple[HealthCheckSettings, ...] = ()
    ignore_on_removal: bool = False
    """`ignore_health_on_host_removal`: an endpoint that discovery no longer names goes at once."""
    close_connections_on_failure: bool = False
    """`close_connections_on_host_health_failure`: of TCP proxies; those of pools are given up in any case."""
    exclude_unchecked: bool = False
    """`ignore_new_hosts_until_first_hc`: endpoints are not counted before their first check."""


class OutlierKind(Enum):
    """How an endpoint behaves badly; the value is its name in statistics."""

    CONSECUTIVE_5XX = "consecutive_5xx"
    CONSECUTIVE_GATEWAY_FAILURE = "consecutive_gateway_failure"
    CONSECUTIVE_LOCAL_ORIGIN_FAILURE = "consecutive_local_origin_failure"
    SUCCESS_RATE = "success_rate"
    LOCAL_ORIGIN_SUCCESS_RATE = "local_origin_success_rate"
    FAILURE_PERCENTAGE = "failure_percentage"
    LOCAL_ORIGIN_FAILURE_PERCENTAGE = "local_origin_failure_percentage"


@dataclass(frozen=True, slots=True)
class OutlierSettings:
    """`outlier_detection`. Percentages are whole."""

    consecutive_5xx: int = 5
    consecutive_gateway_failure: int = 5
    consecutive_local_origin_failure: int = 5
    enforcing_consecutive_5xx: int = 100
    enforcing_consecutive_gateway_failure: int = 0
    enforcing_consecutive_local_origin_failure: int = 100
    interval_s: float = 10.0
    base_ejection_time_s: float = 30.0
    max_ejection_time_s: float = 300.0
    max_ejection_time_jitter_s: float = 0.0
    max_ejection_percent: int = 10
    always_eject_one_host: bool = False
    success_rate_minimum_hosts: int = 5
    success_rate_request_volume: int = 100
    success_rate_stdev_factor: int = 1900
    enforcing_success_rate: int = 100
    enforcing_local_origin_success_rate: int = 100
    failure_percentage_threshold: int = 85
    failure_percentage_minimum_hosts: int = 5
    failure_percentage_request_volume: int = 50
    enforcing_failure_percentage: int = 0
    enforcing_failure_percentage_local_origin: int = 0
    split_local_origin: bool = False
    """`split_external_local_origin_errors`."""
    uneject_on_active_success: bool = True
    """`successful_active_health_check_uneject_host`."""
    event_log_path: str = ""
    """Of the cluster manager: one log for all clusters; empty: none."""

    def allows(self, ejected: int, total: int) -> bool:
        """Whether one more of `total` endpoints may be ejected, of which `ejected` are."""
        if self.always_eject_one_host and not ejected:
            return True
        return 100.0 * (ejected + 1) / max(total, 1) <= self.max_ejection_percent

    def enforcing(self, kind: OutlierKind) -> int:
        """In percent, how often a detection of that kind leads to an ejection."""
        return {
            OutlierKind.CONSECUTIVE_5XX: self.enforcing_consecutive_5xx,
            OutlierKind.CONSECUTIVE_GATEWAY_FAILURE: self.enforcing_consecutive_gateway_failure,
            OutlierKind.CONSECUTIVE_LOCAL_ORIGIN_FAILURE: self.enforcing_consecutive_local_origin_failure,
            OutlierKind.SUCCESS_RATE: self.enforcing_success_rate,
            OutlierKind.LOCAL_ORIGIN_SUCCESS_RATE: self.enforcing_local_origin_success_rate,
            OutlierKind.FAILURE_PERCENTAGE: self.enforcing_failure_percentage,
            OutlierKind.LOCAL_ORIGIN_FAILURE_PERCENTAGE: self.enforcing_failure_percentage_local_origin,
        }[kind]

    @property
    def fewest_rated_hosts(self) -> int:
        """With fewer endpoints than this nobody is judged by rates."""
        return min(self.success_rate_minimum_hosts, self.failure_percentage_minimum_hosts)


#: A cluster without active checks.
NO_CHECKS = HealthSettings()
#: Checks go to the endpoint itself.
SAME_TARGET = CheckTarget()
