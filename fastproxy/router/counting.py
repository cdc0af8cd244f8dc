"""Statistics of virtual clusters and of routes with a `stat_prefix` (Envoy `VirtualCluster`, `Route.stat_prefix`).

What becomes of a request is counted where it leaves: a `CountingDownstream` stands between its exchange and the
connection, and sees the one answer that every exchange gives. Routes that are not counted have none of this.
"""

from collections.abc import Sequence

from fastproxy import clock
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import LocalReply, Request
from fastproxy.match.request import RequestMatcher, build_request_matcher
from fastproxy.match.settings import RequestConditions
from fastproxy.router.downstream import UpgradableDownstream
from fastproxy.router.settings import VirtualClusterSettings
from fastproxy.stats import Histogram, StatsSink

_COUNTERS = (
    "upstream_rq_retry",
    "upstream_rq_retry_limit_exceeded",
    "upstream_rq_retry_overflow",
    "upstream_rq_retry_success",
    "upstream_rq_timeout",
    "upstream_rq_total",
)
#: Requests that are for no virtual cluster; they have no name in logs (Envoy).
_OTHER = "other"


class GroupStats:
    """Numbers of one virtual cluster, or of one route, in one worker."""

    __slots__ = (*_COUNTERS, "_prefix", "_rq_time", "_statuses")

    def __init__(self, prefix: str) -> None:
        """Begin at nothing; `prefix` begins the names, as in "vhost.NAME.vcluster.NAME."."""
        self._prefix = prefix
        self.upstream_rq_retry = 0
        self.upstream_rq_retry_limit_exceeded = 0
        self.upstream_rq_retry_overflow = 0
        self.upstream_rq_retry_success = 0
        self.upstream_rq_timeout = 0
        self.upstream_rq_total = 0
        self._statuses: dict[int, int] = {}
        self._rq_time = Histogram()

    def count_answer(self, status: int, retries: int, flags: str, *, for_want_of_retries: bool) -> None:
        """Count the answer to a request.

        Args:
            status: of the answer.
            retries: how often the request was tried again.
            flags: of the access log.
            for_want_of_retries: it would have been tried again, if there were not so many retries already.
        """
        self._statuses[status] = self._statuses.get(status, 0) + 1
        self.upstream_rq_retry += retries
        if for_want_of_retries:
            self.upstream_rq_retry_overflow += 1
        elif "URX" in flags:
            self.upstream_rq_retry_limit_exceeded += 1
        elif retries:
            self.upstream_rq_retry_success += 1

    def count_time(self, milliseconds: float) -> None:
        """Count how long an answer of the upstream took."""
        self._rq_time.record(milliseconds)

    def write(self, sink: StatsSink) -> None:
        """Add everything to a snapshot."""
        prefix = self._prefix
        for name in _COUNTERS:
            sink.counter(prefix + name, getattr(self, name))
        for status, count in self._statuses.items():
            sink.counter(f"{prefix}upstream_rq_{status}", count)
            sink.counter(f"{prefix}upstream_rq_{status // 100}xx", count)
        if self._statuses:
            sink.counter(prefix + "upstream_rq_completed", sum(self._statuses.values()))
        if any(self._rq_time.counts):
            sink.histogram(prefix + "upstream_rq_time", self._rq_time)


class VirtualClusters:
    """The virtual clusters of one virtual host; the first whose conditions hold counts a request."""

    __slots__ = ("_entries", "_other", "stats")

    def __init__(self, host: str, settings: Sequence[VirtualClusterSettings]) -> None:
        """Compile them.

        Raises:
            ValueError: a regular expression is invalid (the configuration has checked this before).
        """
        self._entries: tuple[tuple[str, RequestMatcher | None, GroupStats], ...] = tuple(
            (
                one.name,
                build_request_matcher(RequestConditions(headers=one.headers)),
                GroupStats(f"vhost.{host}.vcluster.{one.name}."),
            )
            for one in settings
        )
        self._other = GroupStats(f"vhost.{host}.vcluster.{_OTHER}.")
        self.stats = (*(stats for _, _, stats in self._entries), self._other)

    def select(self, request: Request) -> tuple[str, GroupStats]:
        """The name and the numbers of a request's virtual cluster; the name is empty if it is for none."""
        for name, matches, stats in self._entries:
            if matches is None or matches(request):
                return name, stats
        return "", self._other


class RouteCounting:
    """What requests of one route are counted by."""

    __slots__ = ("_own", "_virtual_clusters")

    def __init__(self, virtual_clusters: VirtualClusters | None, own: GroupStats | None) -> None:
        self._virtual_clusters = virtual_clusters
        self._own = own

    def begin(self, request: Request, downstream: UpgradableDownstream) -> "CountingDownstream":
        """Begin to count a request, before anything of it is changed for the upstream."""
        groups: list[GroupStats] = []
        name = ""
        if self._virtual_clusters is not None:
            name, stats = self._virtual_clusters.select(request)
            groups.append(stats)
        if self._own is not None:
            groups.append(self._own)
        counting = CountingDownstream(request, downstream, groups, name)
        request.counting = counting
        return counting


class CountingDownstream:
    """Counts what its exchange says, and passes it on. `UpgradableDownstream`."""

    __slots__ = ("_downstream", "_groups", "_request", "virtual_cluster")

    def __init__(
        self,
        request: Request,
        downstream: UpgradableDownstream,
        groups: Sequence[GroupStats],
        virtual_cluster: str,
    ) -> None:
        self._request = request
        self._downstream = downstream
        self._groups = groups
        self.virtual_cluster = virtual_cluster
        """Its name; empty if the request is for none."""

    def pause_request(self) -> None:
        """The upstream cannot take more of the body."""
        self._downstream.pause_request()

    def hold_request(self) -> None:
        """There is no connection for the body yet."""
        self._downstream.hold_request()

    def resume_request(self) -> None:
        """The upstream takes more again."""
        self._downstream.resume_request()

    def on_sent(self) -> None:
        """The request has a connection to an upstream, for this try."""
        for one in self._groups:
            one.upstream_rq_total += 1

    def on_interim(self, headers: HeaderMap) -> None:
        """An answer before the answer, which is not counted."""
        self._downstream.on_interim(headers)

    def on_response_head(self, status: int, headers: HeaderMap, body: list[bytes], *, complete: bool) -> None:
        """An upstream's answer."""
        flags = self._request.flags
        self._count(status, flags, for_want_of_retries="UO" in flags)
        if complete:
            self._count_time()
        self._downstream.on_response_head(status, headers, body, complete=complete)

    def on_response_body(self, body: list[bytes], *, complete: bool) -> None:
        """More of it."""
        if complete:
            self._count_time()
        self._downstream.on_response_body(body, complete=complete)

    def on_local_reply(self, reply: LocalReply) -> None:
        """There was none."""
        # A request that no connection or no place was for has the same flag, and says so.
        wanted_retry = "UO" in reply.flag and "{overflow" not in reply.details
        self._count(reply.status, reply.flag, for_want_of_retries=wanted_retry)
        if reply.details == "response_timeout":
            for one in self._groups:
                one.upstream_rq_timeout += 1
        self._downstream.on_local_reply(reply)

    def on_response_aborted(self, details: str, flag: str) -> None:
        """It broke off."""
        self._downstream.on_response_aborted(details, flag)

    def on_switched(self, status: int, headers: HeaderMap, early: list[bytes]) -> None:
        """The upstream speaks another protocol from now on."""
        self._count(status, "", for_want_of_retries=False)
        self._downstream.on_switched(status, headers, early)

    def on_tunnel_closed(self, details: str, flag: str) -> None:
        """It has closed."""
        self._downstream.on_tunnel_closed(details, flag)

    def _count(self, status: int, flags: str, *, for_want_of_retries: bool) -> None:
        for one in self._groups:
            one.count_answer(status, self._request.retries, flags, for_want_of_retries=for_want_of_retries)

    def _count_time(self) -> None:
        sent = self._request.sent_monotonic
        if sent:
            milliseconds = (clock.monotonic() - sent) * 1000
            for one in self._groups:
                one.count_time(milliseconds)
