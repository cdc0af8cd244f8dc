"""Counters, gauges and histograms, and how snapshots are collected."""

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.stats import BUCKETS, Histogram, StatsSink


def test_a_value_counts_in_its_bucket_and_in_all_above() -> None:
    """Prometheus buckets are cumulative, with inclusive upper bounds."""
    histogram = Histogram()
    for value in (0.1, 0.5, 0.6, 4_000_000):
        histogram.record(value)
    encoded = histogram.encode()
    assert encoded[:2] == [2, 3]
    assert encoded[len(BUCKETS) - 1] == 3
    assert encoded[len(BUCKETS)] == 4
    assert encoded[-2:] == [4_000_001.2, 4]
    assert len(encoded) == len(BUCKETS) + 3


@given(st.lists(st.floats(0, 1e7)))
def test_histograms_add_up(values: list[float]) -> None:
    """Every bucket equals a count by hand."""
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    encoded = histogram.encode()
    assert encoded[: len(BUCKETS)] == [sum(value <= bound for value in values) for bound in BUCKETS]
    assert encoded[-1] == len(values)


def test_parts_that_share_a_name_are_summed() -> None:
    """Two listeners with one `stat_prefix`."""
    sink = StatsSink()
    histogram = Histogram()
    histogram.record(1)
    for _ in range(2):
        sink.counter("c", 2)
        sink.gauge("g", 3)
        sink.histogram("h", histogram)
    assert (sink.counters, sink.gauges) == ({"c": 4}, {"g": 6})
    assert sink.histograms["h"] == [2 * number for number in histogram.encode()]
