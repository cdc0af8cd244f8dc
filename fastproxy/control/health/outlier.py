"""Outlier detection: which endpoints of a cluster are taken out of use for how they answer requests, and how long.

Workers watch the answers and tell of failures in a row at once; every interval they are asked how many requests went
well. What follows is decided here, for only here all workers are seen, and a cluster must not lose more endpoints than
`max_ejection_percent`. Times are monotonic seconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from random import Random

from fastproxy.stats import StatsSink
from fastproxy.upstream.health.settings import OutlierKind, OutlierSettings

_LOCAL_KINDS = (OutlierKind.LOCAL_ORIGIN_SUCCESS_RATE, OutlierKind.LOCAL_ORIGIN_FAILURE_PERCENTAGE)


@dataclass(slots=True)
class Ejection:
    """What outlier detection knows about one endpoint."""

    is_ejected: bool = False
    ejected_at: float = 0.0
    unejected_at: float | None = None
    """When its last ejection ended; None: it has had none."""
    ejections: int = 0
    """How often it was ejected."""
    backoff: int = 0
    """How many times the base time the next ejection takes: one more with each, one less with each good interval."""
    jitter_s: float = 0.0
    successes: int = 0
    failures: int = 0
    local_successes: int = 0
    local_failures: int = 0
    success_rate: float = -1.0
    """Percent, of the last interval; -1 if there were too few requests."""
    local_success_rate: float = -1.0


@dataclass(slots=True)
class RateSummary:
    """The success rates of a cluster in the last interval; -1 if too few endpoints had enough requests."""

    average: float = -1.0
    threshold: float = -1.0


@dataclass(frozen=True, slots=True)
class OutlierEvent:
    """What is written down about an endpoint."""

    one: Ejection
    kind: OutlierKind | None
    """Why it is ejected; None: it is brought back."""
    enforced: bool
    """False: it was to be ejected, but `enforcing_...` has spared it, or it is brought back."""
    since_last_s: float | None
    """Since it was brought back, or ejected; None: neither has happened before."""
    rate: float
    """Its own success rate that was judged, in percent."""
    summary: RateSummary
    """And that of all."""


def _tell_nobody(_event: OutlierEvent) -> None:
    """For clusters without an event log."""


class OutlierDetector:
    """Decides for one cluster.

    Args:
        settings: of the cluster.
        random: for the enforcing percentages and the jitter.
        on_event: is told of ejections, and of their ends.
    """

    def __init__(
        self,
        settings: OutlierSettings,
        random: Random,
        on_event: Callable[[OutlierEvent], None] = _tell_nobody,
    ) -> None:
        self.settings = settings
        self._random = random
        self._on_event = on_event
        self._detected = dict.fromkeys(OutlierKind, 0)
        self._enforced = dict.fromkeys(OutlierKind, 0)
        self._overflow = 0
        self.rates = RateSummary()
        self.local_rates = RateSummary()

    def on_detection(
        self,
        one: Ejection,
        everybody: Sequence[Ejection],
        kind: OutlierKind,
        *,
        enforced: bool,
        now: float,
        rate: float = -1.0,
    ) -> bool:
        """An endpoint behaves badly.

        Args:
            one: the endpoint.
            everybody: all endpoints of the cluster.
            kind: how it behaves.
            enforced: whether the enforcing percentage allows an ejection this time.
            now: monotonic seconds.
            rate: its success rate in percent, if it is judged by that.

        Returns:
            Whether it is ejected now, and was not before.
        """
        if one.is_ejected:
            return False
        self._detected[kind] += 1
        if not self.settings.allows(sum(other.is_ejected for other in everybody), len(everybody)):
            self._overflow += 1
            return False
        if not enforced:
            self._tell(one, kind, now, rate, enforced=False)
            return False
        self._enforced[kind] += 1
        settings = self.settings
        one.is_ejected, one.ejected_at = True, now
        one.ejections += 1
        one.backoff += settings.base_ejection_time_s * one.backoff < settings.max_ejection_time_s
        one.jitter_s = self._random.random() * settings.max_ejection_time_jitter_s
        self._tell(one, kind, now, rate, enforced=True)
        return True

    def uneject(self, one: Ejection, now: float) -> bool:
        """Bring an endpoint back; whether it was ejected."""
        if not one.is_ejected:
            return False
        one.is_ejected, one.unejected_at = False, now
        self._on_event(OutlierEvent(one, None, False, now - one.ejected_at, -1.0, self.rates))
        return True

    def _tell(self, one: Ejection, kind: OutlierKind, now: float, rate: float, *, enforced: bool) -> None:
        since_s = None if one.unejected_at is None else now - one.unejected_at
        summary = self.local_rates if kind in _LOCAL_KINDS else self.rates
        self._on_event(OutlierEvent(one, kind, enforced, since_s, rate, summary))

    def on_interval(self, everybody: Sequence[Ejection], now: float) -> list[Ejection]:
        """An interval has passed: bring back, and judge by rates.

        Returns:
            Endpoints that are ejected now and were not, or the other way round.
        """
        changed = [one for one in everybody if self._check_end(one, now)]
        changed += self._judge_rates(everybody, now, local=False)
        if self.settings.split_local_origin:
            changed += self._judge_rates(everybody, now, local=True)
        for one in everybody:
            one.successes = one.failures = one.local_successes = one.local_failures = 0
        return changed

    def _check_end(self, one: Ejection, now: float) -> bool:
        if not one.is_ejected:
            one.backoff = max(0, one.backoff - 1)
            return False
        settings = self.settings
        time_s = min(settings.base_ejection_time_s * one.backoff, settings.max_ejection_time_s)
        return now - one.ejected_at >= time_s + one.jitter_s and self.uneject(one, now)

    def _judge_rates(self, everybody: Sequence[Ejection], now: float, *, local: bool) -> list[Ejection]:
        settings = self.settings
        counted: list[tuple[Ejection, int, float]] = []
        for one in everybody:
            good, bad = (one.local_successes, one.local_failures) if local else (one.successes, one.failures)
            rate = 100.0 * good / (good + bad) if good + bad else -1.0
            enough = rate >= 0 and good + bad >= settings.success_rate_request_volume and not one.is_ejected
            if local:
                one.local_success_rate = rate if enough else -1.0
            else:
                one.success_rate = rate if enough else -1.0
            if rate >= 0 and not one.is_ejected:
                counted.append((one, good + bad, rate))
        summary, bad_ones = self._below_average(counted)
        if local:
            self.local_rates = summary
        else:
            self.rates = summary
        kind = OutlierKind.LOCAL_ORIGIN_SUCCESS_RATE if local else OutlierKind.SUCCESS_RATE
        changed = self._eject(bad_ones, everybody, kind, now)
        kind = OutlierKind.LOCAL_ORIGIN_FAILURE_PERCENTAGE if local else OutlierKind.FAILURE_PERCENTAGE
        return changed + self._eject(self._above_percentage(counted), everybody, kind, now)

    def _below_average(
        self, counted: list[tuple[Ejection, int, float]]
    ) -> tuple[RateSummary, list[tuple[Ejection, float]]]:
        settings = self.settings
        rated = [(one, rate) for one, count, rate in counted if count >= settings.success_rate_request_volume]
        if not rated or len(rated) < settings.success_rate_minimum_hosts:
            return RateSummary(), []
        mean = sum(rate for _, rate in rated) / len(rated)
        deviation = sqrt(sum((rate - mean) ** 2 for _, rate in rated) / len(rated))
        threshold = mean - deviation * settings.success_rate_stdev_factor / 1000
        return RateSummary(mean, threshold), [(one, rate) for one, rate in rated if rate < threshold]

    def _above_percentage(self, counted: list[tuple[Ejection, int, float]]) -> list[tuple[Ejection, float]]:
        settings = self.settings
        rated = [
            (one, rate) for one, count, rate in counted if count >= settings.failure_percentage_request_volume
        ]
        if not rated or len(rated) < settings.failure_percentage_minimum_hosts:
            return []
        return [(one, rate) for one, rate in rated if 100.0 - rate >= settings.failure_percentage_threshold]

    def _eject(
        self,
        found: list[tuple[Ejection, float]],
        everybody: Sequence[Ejection],
        kind: OutlierKind,
        now: float,
    ) -> list[Ejection]:
        chance, ejected = self.settings.enforcing(kind), []
        for one, rate in found:
            if one.is_ejected:
                # For its other rate, a moment ago. Envoy ejects it once more, and twice as long; seen is enough.
                self._detected[kind] += 1
                continue
            enforced = self._random.random() * 100 < chance
            if self.on_detection(one, everybody, kind, enforced=enforced, now=now, rate=rate):
                ejected.append(one)
        return ejected

    def write_stats(self, sink: StatsSink, prefix: str, everybody: Sequence[Ejection]) -> None:
        """Write everything under `prefix` ("cluster.NAME.outlier_detection.")."""
        sink.gauge(prefix + "ejections_active", sum(one.is_ejected for one in everybody))
        total = sum(self._enforced.values())
        sink.counter(prefix + "ejections_enforced_total", total)
        sink.counter(prefix + "ejections_overflow", self._overflow)
        for kind in OutlierKind:
            sink.counter(f"{prefix}ejections_detected_{kind.value}", self._detected[kind])
            sink.counter(f"{prefix}ejections_enforced_{kind.value}", self._enforced[kind])
        # Envoy's older names.
        sink.counter(prefix + "ejections_total", total)
        sink.counter(prefix + "ejections_consecutive_5xx", self._enforced[OutlierKind.CONSECUTIVE_5XX])
        sink.counter(prefix + "ejections_success_rate", self._enforced[OutlierKind.SUCCESS_RATE])
