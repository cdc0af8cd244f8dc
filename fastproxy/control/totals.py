"""Sums the workers' statistics so that a counter never goes down, also not when a worker is replaced.

Each worker reports totals since its own start. The last report of a worker that ended is kept as a past
total; its gauges end with it, for a dead worker has no connections.
"""

from dataclasses import dataclass, field

from fastproxy.ipc.messages import StatsSnapshot
from fastproxy.stats import StatsSink

_Hosts = dict[str, dict[str, dict[str, int]]]


@dataclass(slots=True)
class MergedStats:
    """Statistics of the whole proxy under Envoy's names."""

    counters: dict[str, int] = field(default_factory=dict)
    gauges: dict[str, int] = field(default_factory=dict)
    histograms: dict[str, list[float]] = field(default_factory=dict)
    hosts: _Hosts = field(default_factory=dict)
    """cluster -> `ip:port` -> name -> value; names that end in `_active` are gauges."""
    texts: dict[str, str] = field(default_factory=dict)
    """Text readouts, which have no numbers: versions of resources."""


class WorkerTotals:
    """The last reports of all workers, living and dead."""

    def __init__(self) -> None:
        self._living: dict[int, StatsSnapshot] = {}
        self._past = MergedStats()

    def on_snapshot(self, worker_id: int, snapshot: StatsSnapshot) -> None:
        """Take a worker's report; it replaces the one before."""
        self._living[worker_id] = snapshot

    def on_worker_gone(self, worker_id: int) -> None:
        """Keep what the worker counted; its successor starts at zero."""
        snapshot = self._living.pop(worker_id, None)
        if snapshot is None:
            return
        _add(self._past.counters, snapshot.counters)
        _add_histograms(self._past.histograms, snapshot.histograms)
        _add_hosts(self._past.hosts, snapshot.hosts, gauges=False)

    def merge(self, own: StatsSink) -> MergedStats:
        """Sum everything up, with the control plane's own numbers."""
        merged = MergedStats(dict(own.counters), dict(own.gauges), texts=dict(own.texts))
        _add_histograms(merged.histograms, own.histograms)
        parts: tuple[MergedStats | StatsSnapshot, ...] = (self._past, *self._living.values())
        for part in parts:
            _add(merged.counters, part.counters)
            _add(merged.gauges, part.gauges)
            _add_histograms(merged.histograms, part.histograms)
            _add_hosts(merged.hosts, part.hosts, gauges=True)
        return merged


def _add(totals: dict[str, int], more: dict[str, int]) -> None:
    for name, value in more.items():
        totals[name] = totals.get(name, 0) + value


def _add_histograms(totals: dict[str, list[float]], more: dict[str, list[float]]) -> None:
    for name, values in more.items():
        known = totals.get(name)
        totals[name] = list(values) if known is None else [a + b for a, b in zip(known, values, strict=True)]


def _add_hosts(totals: _Hosts, more: _Hosts, *, gauges: bool) -> None:
    for cluster, hosts in more.items():
        for address, numbers in hosts.items():
            kept = numbers if gauges else {n: v for n, v in numbers.items() if not n.endswith("_active")}
            _add(totals.setdefault(cluster, {}).setdefault(address, {}), kept)
