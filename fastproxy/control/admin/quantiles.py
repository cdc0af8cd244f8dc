"""Quantiles from histogram buckets, for /stats: estimates within a bucket, for exact values are not kept."""

from typing import Final

from fastproxy.stats import BUCKETS

#: Envoy's quantiles, in percent.
QUANTILES: Final[tuple[float, ...]] = (0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100)


def estimate_quantiles(encoded: list[float]) -> list[float] | None:
    """Estimate `QUANTILES` by linear interpolation inside the bucket each falls into.

    Args:
        encoded: cumulative bucket counts, then sum, then count, as in `StatsSnapshot.histograms`.

    Returns:
        Milliseconds for each quantile; None if nothing was recorded. What lies above the last bound counts as
        it.
    """
    cumulative, count = encoded[: len(BUCKETS) + 1], encoded[-1]
    if not count:
        return None
    return [_estimate(cumulative, count * percent / 100) for percent in QUANTILES]


def _estimate(cumulative: list[float], rank: float) -> float:
    below = 0.0
    for index, reached in enumerate(cumulative):
        if reached and reached >= rank and reached > below:
            if index == len(BUCKETS):
                return BUCKETS[-1]
            low = BUCKETS[index - 1] if index else 0.0
            share = max(rank - below, 0.0) / (reached - below)
            return round(low + (BUCKETS[index] - low) * share, 3)
        below = reached
    return BUCKETS[-1]
