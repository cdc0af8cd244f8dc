"""The filter: answer the health checks of load balancers and orchestrators (spec/filters.md section 6).

A check is answered 200 as long as the proxy is in service (`/healthcheck/fail` takes it out) and the clusters that
matter have enough healthy endpoints. With pass-through the upstream is asked, and its answer kept for a while; each
worker asks for itself.
"""

from collections.abc import Callable
from typing import Final

from fastproxy import clock
from fastproxy.farewell import Farewell
from fastproxy.filters.base import Outcome
from fastproxy.filters.health_check.settings import HealthCheckRouteSettings, HealthCheckSettings
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import LocalReply, Request
from fastproxy.match.request import build_request_matcher
from fastproxy.match.settings import RequestConditions
from fastproxy.stats import StatsSink

#: Note of a request that is a health check: access logs may leave it out (`not_health_check_filter`).
HEALTH_CHECK_NOTE: Final = "fastproxy.health_check"
#: How many endpoints a cluster has, and how many of them are healthy or degraded; None: there is no such cluster.
Membership = Callable[[str], tuple[int, int] | None]

_MAX_BODY_BYTES: Final = 64 * 1024
_COUNTERS: Final = (
    "request_total",
    "ok",
    "failed",
    "cached_response",
    "failed_cluster_not_found",
    "failed_cluster_empty",
    "failed_cluster_unhealthy",
)


class HealthCheckFilter:
    """Compiled `HealthCheck`.

    Args:
        name: its name in `http_filters`, by which routes speak of it.
        settings: the filter.
        farewell: whether health checks are to fail.
        membership: how the clusters are.
    """

    __slots__ = (
        "_cached_status",
        "_cached_until",
        "_counts",
        "_farewell",
        "_is_check",
        "_membership",
        "_name",
        "_service_cluster",
        "_settings",
    )

    def __init__(
        self, name: str, settings: HealthCheckSettings, farewell: Farewell, membership: Membership
    ) -> None:
        self._name = name
        self._settings = settings
        self._farewell = farewell
        self._membership = membership
        self._is_check = build_request_matcher(RequestConditions(headers=settings.headers))
        self._service_cluster = settings.service_cluster.encode()
        self._counts = dict.fromkeys(_COUNTERS, 0)
        self._cached_status = 0
        self._cached_until = 0.0

    def on_request(self, request: Request) -> Outcome:
        """Answer a health check, or let it pass to the upstream. Hot path: once per request."""
        if self._is_check is not None and not self._is_check(request):
            return None
        if self._is_off(request):
            return None
        notes = request.filter_notes
        if notes is None:
            notes = request.filter_notes = {}
        notes[HEALTH_CHECK_NOTE] = True
        notes[self._name] = True
        settings = self._settings
        if settings.is_pass_through and not self._farewell.health_failed and not self._has_cached(request):
            return None
        if request.has_body and not request.body_complete:
            return self._answer_later(request)
        return self._answer(request)

    def on_response(self, request: Request, headers: HeaderMap) -> None:
        """Say who was checked, and that this proxy is to be left alone, if it is; remember an upstream's answer."""
        notes = request.filter_notes
        if notes is not None and self._name in notes:
            if self._settings.cache_time_s and notes[self._name] is True:
                self._cached_status = request.response_status
                self._cached_until = clock.monotonic() + self._settings.cache_time_s
            headers[b"x-envoy-upstream-healthchecked-cluster"] = self._service_cluster
        if self._farewell.health_failed:
            headers[b"x-envoy-immediate-health-check-fail"] = b"true"

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Add the checks, and how they were answered."""
        for name, value in self._counts.items():
            sink.counter(f"{prefix}health_check.{name}", value)

    def _is_off(self, request: Request) -> bool:
        configs = request.filter_configs
        config = None if configs is None else configs.get(self._name)
        if isinstance(config, HealthCheckRouteSettings):
            return config.is_off
        return self._settings.is_off_by_default

    def _has_cached(self, request: Request) -> bool:
        del request
        return self._cached_until > 0 and clock.monotonic() < self._cached_until

    async def _answer_later(self, request: Request) -> LocalReply | None:
        # A body that is read leaves the connection in order for the next check.
        source = request.body_source
        if source is not None:
            await source.collect_body(_MAX_BODY_BYTES)
        return self._answer(request)

    def _answer(self, request: Request) -> LocalReply:
        self._counts["request_total"] += 1
        status, details = self._judge(request)
        is_ok = 200 <= status < 300
        self._counts["ok" if is_ok else "failed"] += 1
        return LocalReply(status, details=details, flag="" if is_ok else "LH")

    def _judge(self, request: Request) -> tuple[int, str]:
        if self._farewell.health_failed:
            return 503, "health_check_failed"
        if self._settings.is_pass_through:
            self._counts["cached_response"] += 1
            # Not an answer to keep: the time runs from the upstream's own.
            assert request.filter_notes is not None
            request.filter_notes[self._name] = False
            return self._cached_status, "health_check_cached"
        for cluster, percentage in self._settings.min_healthy_percentages:
            failure = self._failure_of(cluster, percentage)
            if failure:
                return 503, failure
        if self._settings.min_healthy_percentages:
            return 200, "health_check_ok_cluster_healthy"
        return 200, "health_check_ok"

    def _failure_of(self, cluster: str, percentage: int) -> str:
        known = self._membership(cluster)
        if known is None:
            self._counts["failed_cluster_not_found"] += 1
            return "health_check_failed_no_cluster_found"
        total, healthy = known
        if not total and percentage:
            self._counts["failed_cluster_empty"] += 1
            return "health_check_failed_cluster_empty"
        if 100 * healthy < total * percentage:
            self._counts["failed_cluster_unhealthy"] += 1
            return "health_check_failed_cluster_unhealthy"
        return ""
