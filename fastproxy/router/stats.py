"""Counters of the router filter (spec/http.md section 16)."""

from fastproxy.stats import StatsSink


class RouterStats:
    """Numbers of one router in one worker."""

    __slots__ = ("no_cluster", "no_route", "rq_direct_response", "rq_redirect", "rq_total")

    def __init__(self) -> None:
        self.no_route = 0
        self.no_cluster = 0
        self.rq_total = 0
        """Those that were forwarded; `write` adds the others."""
        self.rq_redirect = 0
        self.rq_direct_response = 0

    def write(self, sink: StatsSink, prefix: str) -> None:
        """Write everything under `prefix` ("http.STAT_PREFIX.")."""
        sink.counter(prefix + "no_cluster", self.no_cluster)
        sink.counter(prefix + "no_route", self.no_route)
        sink.counter(prefix + "rq_redirect", self.rq_redirect)
        # A redirect is an answer of the route's own, too.
        direct = self.rq_direct_response + self.rq_redirect
        sink.counter(prefix + "rq_direct_response", direct)
        sink.counter(prefix + "rq_total", self.rq_total + direct + self.no_cluster + self.no_route)
