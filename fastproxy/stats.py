"""Counters, gauges and histograms as plain attributes of plain objects; a snapshot turns them into Envoy's names.

The worker adds to integers and nothing else; names are built only when somebody asks (`StatsSink`).
"""

from bisect import bisect_left

#: Upper bounds in milliseconds of histogram buckets, Envoy's (spec/http.md section 16); the last one is +Inf.
BUCKETS: tuple[float, ...] = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
)  # fmt: skip


class Histogram:
    """Distribution of a duration in milliseconds over `BUCKETS`."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def record(self, value_ms: float) -> None:
        """Count one value. Hot path: once per request."""
        # Most requests are over within a few milliseconds. bench/data_path.py: 0.2 us for the two of a request.
        if value_ms <= 0.5:
            self.counts[0] += 1
        elif value_ms <= 1:
            self.counts[1] += 1
        elif value_ms <= 5:
            self.counts[2] += 1
        else:
            self.counts[bisect_left(BUCKETS, value_ms)] += 1
        self.total += value_ms

    def encode(self) -> list[float]:
        """Cumulative bucket counts, then sum, then count: what `StatsSnapshot.histograms` holds."""
        cumulative: list[float] = []
        running = 0
        for count in self.counts:
            running += count
            cumulative.append(running)
        return [*cumulative, self.total, running]


class StatsSink:
    """Collects one snapshot: every part of the runtime writes its numbers into it under Envoy's names."""

    __slots__ = ("counters", "gauges", "histograms", "hosts", "texts", "worker_id")

    def __init__(self, worker_id: int = 0) -> None:
        """Begin with nothing; `worker_id` is who writes, for what is told of each worker by itself."""
        self.worker_id = worker_id
        self.counters: dict[str, int] = {}
        self.gauges: dict[str, int] = {}
        self.histograms: dict[str, list[float]] = {}
        self.hosts: dict[str, dict[str, dict[str, int]]] = {}
        self.texts: dict[str, str] = {}

    def text(self, name: str, value: str) -> None:
        """Set a text readout; only the control plane has any."""
        self.texts[name] = value

    def counter(self, name: str, value: int) -> None:
        """Add `value` to a counter; two parts may share a name."""
        self.counters[name] = self.counters.get(name, 0) + value

    def gauge(self, name: str, value: int) -> None:
        """Add `value` to a gauge."""
        self.gauges[name] = self.gauges.get(name, 0) + value

    def histogram(self, name: str, histogram: Histogram) -> None:
        """Add a histogram; equal names are summed bucket by bucket."""
        encoded = histogram.encode()
        known = self.histograms.get(name)
        self.histograms[name] = (
            encoded if known is None else [a + b for a, b in zip(known, encoded, strict=True)]
        )

    def add_past(self, part: "StatsSink", *, active: bool) -> None:
        """Add the counters and histograms of a part of the runtime that was replaced.

        `active`: it has connections or requests still, so its gauges of that name count, too. Its other gauges speak
        of what is no longer in force.
        """
        for name, value in part.counters.items():
            self.counter(name, value)
        for name, values in part.histograms.items():
            known = self.histograms.get(name)
            self.histograms[name] = (
                values if known is None else [a + b for a, b in zip(known, values, strict=True)]
            )
        if active:
            for name, value in part.gauges.items():
                if name.endswith("_active"):
                    self.gauge(name, value)
