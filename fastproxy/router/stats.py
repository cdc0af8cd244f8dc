"""Counters of the router filter (spec/http.md section 16)."""

from fastproxy.stats import StatsSink

_COUNTERS = ("no_cluster", "no_route", "rq_direct_response", "rq_redirect", "rq_total")


class RouterStats:
    """Numbers of one router in one worker."""

    __slots__ = _COUNTERS

    def __init__(self) -> None:
        self.no_route = 0
        self.no_cluster = 0
        self.rq_total = 0
        self.rq_redirect = 0
        self.rq_direct_response = 0

    def write(self, sink: StatsSink, prefix: str) -> None:
        """Write everything under `prefix` ("http.STAT_PREFIX.")."""
        for name in _COUNTERS:
            sink.counter(prefix + name, getattr(self, name))
