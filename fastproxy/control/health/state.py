"""What one health check knows about one endpoint, and what the next result makes of it. Decides; checks nothing.

    unchecked --first success--> healthy        unchecked --first failure--> failed
    healthy --a failure that says "down"--> failed
    healthy --`unhealthy_threshold` failures in a row that say "no answer"--> failed
    failed --`healthy_threshold` successes in a row--> healthy

"Down" is an answer that was understood and means no: a status that is neither expected nor retriable, a payload or
gRPC status that is wrong. "No answer" may be the network's fault: connect failure, reset, timeout, retriable status.
"""

from dataclasses import dataclass
from enum import Enum
from random import Random

from fastproxy.upstream.health.settings import CheckIntervals, HealthCheckSettings
from fastproxy.upstream.settings import HealthFlag


class FailureKind(Enum):
    """Why an endpoint failed (Envoy `HealthCheckFailureType`); the value is its name in the event log."""

    ACTIVE = "ACTIVE"
    """It answered, and the answer means no."""
    PASSIVE = "PASSIVE"
    """It said so itself, in the answer to a request (`x-envoy-immediate-health-check-fail`)."""
    NETWORK = "NETWORK"
    """It could not be connected, or broke the exchange off."""
    NETWORK_TIMEOUT = "NETWORK_TIMEOUT"
    """It took longer than `timeout`."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found."""

    failure: FailureKind | None = None
    """None: it passed."""
    retriable: bool = False
    """The failure counts as if there had been no answer."""
    degraded: bool = False
    """It passed, but asks for less (`x-envoy-degraded`)."""
    reason: str = ""
    """For logs; none of the peer's bytes."""
    status: int = 0
    """HTTP status, if there was one."""


class Change(Enum):
    """What a result has changed."""

    NONE = "none"
    PENDING = "pending"
    """Not yet, but the next ones may."""
    CHANGED = "changed"


#: All flags that one check can set.
_FLAGS = (
    HealthFlag.FAILED_ACTIVE_HC
    | HealthFlag.DEGRADED_ACTIVE_HC
    | HealthFlag.PENDING_ACTIVE_HC
    | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
    | HealthFlag.ACTIVE_HC_TIMEOUT
)


class CheckState:
    """One health check of one endpoint.

    Args:
        settings: of the check.
        flags: what an equal check found before, to go on from there; None: nothing is known yet.
        exclude_unchecked: whether the endpoint is not even counted until the first result.
    """

    def __init__(
        self,
        settings: HealthCheckSettings,
        flags: HealthFlag | None = None,
        *,
        exclude_unchecked: bool = False,
    ) -> None:
        self._settings = settings
        self.is_checked = flags is not None
        """Whether there was a result."""
        if flags is None:
            flags = HealthFlag.FAILED_ACTIVE_HC
            if exclude_unchecked:
                flags |= HealthFlag.PENDING_ACTIVE_HC
        self.flags = flags & _FLAGS
        self._successes = self._failures = 0

    @property
    def is_failed(self) -> bool:
        """Whether the endpoint must not be used for what this check found."""
        return HealthFlag.FAILED_ACTIVE_HC in self.flags

    def on_result(self, result: CheckResult) -> Change:
        """Take in what a check found; says what that changed."""
        before = self.flags
        change = self._on_success(result) if result.failure is None else self._on_failure(result)
        self.flags &= ~HealthFlag.PENDING_ACTIVE_HC
        self.is_checked = True
        return Change.CHANGED if self.flags != before else change

    def _on_success(self, result: CheckResult) -> Change:
        self._failures = 0
        if result.degraded:
            self.flags |= HealthFlag.DEGRADED_ACTIVE_HC
        else:
            self.flags &= ~HealthFlag.DEGRADED_ACTIVE_HC
        if not self.is_failed:
            return Change.NONE
        self._successes += 1
        if self.is_checked and self._successes < self._settings.healthy_threshold:
            return Change.PENDING
        self.flags &= ~(
            HealthFlag.FAILED_ACTIVE_HC
            | HealthFlag.ACTIVE_HC_TIMEOUT
            | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
        )
        return Change.CHANGED

    def _on_failure(self, result: CheckResult) -> Change:
        self._successes = 0
        no_answer = result.retriable or result.failure in (FailureKind.NETWORK, FailureKind.NETWORK_TIMEOUT)
        if self.is_failed:
            if result.failure is FailureKind.NETWORK_TIMEOUT:
                self.flags |= HealthFlag.ACTIVE_HC_TIMEOUT
            return Change.NONE
        self._failures += 1
        if no_answer and self._failures < self._settings.unhealthy_threshold:
            return Change.PENDING
        self.flags |= HealthFlag.FAILED_ACTIVE_HC
        if result.failure is FailureKind.NETWORK_TIMEOUT:
            self.flags |= HealthFlag.ACTIVE_HC_TIMEOUT
        if result.failure is FailureKind.PASSIVE:
            self.flags |= HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
        self._failures = 0
        return Change.CHANGED


def pause_s(
    intervals: CheckIntervals, result: CheckResult, change: Change, *, had_traffic: bool, random: Random
) -> float:
    """How long it is to the next check.

    Args:
        intervals: of the check.
        result: what the check found.
        change: what that changed.
        had_traffic: whether a request has ever gone to the cluster.
        random: for the jitter.
    """
    healthy = result.failure is None
    if not had_traffic:
        base = intervals.no_traffic_healthy_s if healthy else intervals.no_traffic_s
    elif healthy:
        base = intervals.healthy_edge_s if change is Change.PENDING else intervals.interval_s
    else:
        base = intervals.unhealthy_edge_s if change is Change.PENDING else intervals.unhealthy_s
    return base + random.random() * (intervals.jitter_s + base * intervals.jitter_percent / 100)
