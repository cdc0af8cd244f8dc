"""`cluster.<name>.health_check.*` (spec/clusters.md section 4)."""

from collections.abc import Sequence

from fastproxy.control.health.state import CheckResult, FailureKind
from fastproxy.stats import StatsSink
from fastproxy.upstream.settings import HealthFlag


class HealthStats:
    """Counts what the checks of one cluster found."""

    def __init__(self) -> None:
        self.attempt = 0
        self.success = 0
        self.failure = 0
        self.passive_failure = 0
        self.network_failure = 0

    def count(self, result: CheckResult) -> None:
        """Count one result."""
        if result.failure is None:
            self.success += 1
            return
        self.failure += 1
        if result.failure is FailureKind.PASSIVE:
            self.passive_failure += 1
        elif result.failure is not FailureKind.ACTIVE:
            self.network_failure += 1

    def write(self, sink: StatsSink, prefix: str, flags: Sequence[HealthFlag]) -> None:
        """Write everything under `prefix`; `flags` are those of all endpoints of the cluster."""
        for name in ("attempt", "success", "failure", "passive_failure", "network_failure"):
            sink.counter(prefix + name, getattr(self, name))
        # `service_name_matcher` is not there, so nothing is ever verified.
        sink.counter(prefix + "verify_cluster", 0)
        sink.gauge(prefix + "healthy", sum(HealthFlag.FAILED_ACTIVE_HC not in one for one in flags))
        sink.gauge(prefix + "degraded", sum(HealthFlag.DEGRADED_ACTIVE_HC in one for one in flags))
