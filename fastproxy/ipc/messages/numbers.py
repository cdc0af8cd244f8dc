"""Statistics."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StatsRequest:
    """Ask for a snapshot; the answer carries the same `request_id`."""

    request_id: int


@dataclass(frozen=True, slots=True)
class StatsSnapshot:
    """Totals since the worker started. `request_id` 0: sent unasked, every few seconds."""

    worker_id: int
    request_id: int
    counters: dict[str, int]
    gauges: dict[str, int]
    histograms: dict[str, list[float]]
    """Name -> cumulative bucket counts (see fastproxy.stats.BUCKETS), then sum, then count."""
    hosts: dict[str, dict[str, dict[str, int]]]
    """cluster -> `ip:port` -> cx_active, cx_total, rq_total, rq_success, rq_error... for /clusters."""
