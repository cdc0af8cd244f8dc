"""Sums over workers that come and go."""

from fastproxy.control.totals import WorkerTotals
from fastproxy.ipc.messages import StatsSnapshot
from fastproxy.stats import Histogram, StatsSink


def snapshot(worker_id: int, total: int, active: int) -> StatsSnapshot:
    histogram = Histogram()
    for _ in range(total):
        histogram.record(3.0)
    return StatsSnapshot(
        worker_id,
        0,
        {"rq_total": total},
        {"rq_active": active},
        {"rq_time": histogram.encode()},
        {"c": {"127.0.0.1:80": {"rq_total": total, "rq_active": active}}},
    )


def test_counters_never_go_down_when_a_worker_is_replaced() -> None:
    """A falling counter looks like a restart to Prometheus, and `rate` then invents traffic."""
    totals = WorkerTotals()
    totals.on_snapshot(0, snapshot(0, 10, 1))
    totals.on_snapshot(1, snapshot(1, 5, 2))
    totals.on_worker_gone(0)
    after_death = totals.merge(StatsSink())
    totals.on_snapshot(0, snapshot(0, 1, 1))
    after_replacement = totals.merge(StatsSink())

    assert after_death.counters == {"rq_total": 15}
    assert after_replacement.counters == {"rq_total": 16}
    assert after_replacement.hosts["c"]["127.0.0.1:80"]["rq_total"] == 16
    assert after_replacement.histograms["rq_time"][-1] == 16


def test_gauges_of_a_dead_worker_are_gone() -> None:
    """Its connections ended with it."""
    totals = WorkerTotals()
    totals.on_snapshot(0, snapshot(0, 10, 7))
    totals.on_worker_gone(0)
    merged = totals.merge(StatsSink())

    assert "rq_active" not in merged.gauges
    assert "rq_active" not in merged.hosts["c"]["127.0.0.1:80"]


def test_own_numbers_are_part_of_the_sum() -> None:
    """The control plane and the workers may share a name; reading must not change what is kept."""
    totals, own = WorkerTotals(), StatsSink()
    totals.on_snapshot(0, snapshot(0, 1, 0))
    own.counter("rq_total", 100)

    assert totals.merge(own).counters == {"rq_total": 101}
    assert totals.merge(StatsSink()).counters == {"rq_total": 1}
    assert own.counters == {"rq_total": 100}
