"""Histograms on /stats in the forms of Envoy's `?histogram_buckets`, from the bucket counts that workers report.

Envoy shows two numbers for everything, of the last flush interval and of all time. There is no flush interval here:
what belongs to one is `nan`, null, 0 or empty, as in an Envoy that has not flushed yet.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final

from fastproxy.control.admin.quantiles import QUANTILES, estimate_quantiles
from fastproxy.stats import BUCKETS

_NO_INTERVAL: Final = "nan"
_NOTHING: Final = "No recorded values"


class BucketMode(Enum):
    """How histograms are shown; the values are those of the parameter."""

    SUMMARY = "summary"
    """Quantiles."""
    CUMULATIVE = "cumulative"
    """For each bound how many values are not above it."""
    DISJOINT = "disjoint"
    """For each bound how many values are between the one before and it."""
    DETAILED = "detailed"
    """The buckets that are not empty, and the quantiles."""


def text_histogram(encoded: list[float], mode: BucketMode) -> str:
    """One histogram as /stats has it behind the colon.

    Args:
        encoded: cumulative bucket counts, then sum, then count, as in `StatsSnapshot.histograms`.
        mode: the form.
    """
    quantiles = estimate_quantiles(encoded)
    if quantiles is None:
        return f" {_NOTHING}"
    if mode in (BucketMode.CUMULATIVE, BucketMode.DISJOINT):
        pairs = _bounded(encoded, mode)
        return " " + " ".join(f"B{bound:g}(0,{count})" for bound, count in pairs)
    summary = " ".join(
        f"P{percent:g}({_NO_INTERVAL},{value:g})" for percent, value in zip(QUANTILES, quantiles, strict=True)
    )
    if mode is BucketMode.SUMMARY:
        return f" {summary}"
    totals = ", ".join(f"{low:g},{width:g}:{count}" for low, width, count in _filled(encoded))
    return f"\n  totals={totals}\n  intervals=\n  summary={summary}"


def json_histograms(histograms: Mapping[str, list[float]], mode: BucketMode) -> object:
    """All histograms as the member `histograms` of /stats?format=json."""
    entries = sorted(histograms.items())
    if mode in (BucketMode.CUMULATIVE, BucketMode.DISJOINT):
        return [{"name": name, "buckets": _json_buckets(encoded, mode)} for name, encoded in entries]
    if mode is BucketMode.SUMMARY:
        return {
            "supported_quantiles": list(QUANTILES),
            "computed_quantiles": [
                {"name": name, "values": _json_quantiles(encoded)} for name, encoded in entries
            ],
        }
    return {
        "supported_percentiles": list(QUANTILES),
        "details": [
            {
                "name": name,
                "totals": [
                    {"lower_bound": low, "width": width, "count": count}
                    for low, width, count in _filled(encoded)
                ],
                "intervals": [],
                "percentiles": _json_quantiles(encoded),
            }
            for name, encoded in entries
        ],
    }


def _json_buckets(encoded: list[float], mode: BucketMode) -> list[dict[str, Any]]:
    if not encoded[-1]:
        return []
    return [
        {"upper_bound": bound, "interval": 0, "cumulative": count} for bound, count in _bounded(encoded, mode)
    ]


def _json_quantiles(encoded: list[float]) -> list[dict[str, Any]]:
    values: list[float] | tuple[None, ...] = estimate_quantiles(encoded) or (None,) * len(QUANTILES)
    return [{"cumulative": value, "interval": None} for value in values]


def _bounded(encoded: list[float], mode: BucketMode) -> Iterator[tuple[float, int]]:
    """Bounds and counts; as in Envoy without what lies above the last bound."""
    below = 0
    for bound, reached in zip(BUCKETS, encoded, strict=False):
        yield bound, int(reached) - below
        if mode is BucketMode.DISJOINT:
            below = int(reached)


def _filled(encoded: list[float]) -> Iterator[tuple[float, float, int]]:
    """Lower bound, width and count of every bucket with something in it; the last one has no width."""
    below = 0
    for index, reached in enumerate(encoded[: len(BUCKETS) + 1]):
        low = BUCKETS[index - 1] if index else 0.0
        high = BUCKETS[index] if index < len(BUCKETS) else low
        if reached > below:
            yield low, high - low, int(reached) - below
        below = int(reached)
