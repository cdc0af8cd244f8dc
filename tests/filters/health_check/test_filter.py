"""What the health_check filter answers, and when it asks the upstream."""

import pytest

from fastproxy.farewell import Farewell
from fastproxy.filters.health_check.filter import HEALTH_CHECK_NOTE, HealthCheckFilter
from fastproxy.filters.health_check.settings import HealthCheckRouteSettings, HealthCheckSettings
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import LocalReply, Request
from fastproxy.match.settings import HeaderMatch, StringKind, StringMatch
from fastproxy.stats import StatsSink

_PATH = HeaderMatch(":path", StringMatch(StringKind.EXACT, "/healthz"))
_CLUSTERS = {"good": (4, 4), "half": (4, 2), "empty": (0, 0)}


class Bench:
    def __init__(self, **settings: object) -> None:
        self.farewell = Farewell()
        made = HealthCheckSettings(headers=(_PATH,), service_cluster="edge", **settings)  # type: ignore[arg-type]  # of the test
        self.filter = HealthCheckFilter("h", made, self.farewell, _CLUSTERS.get)

    def fail(self) -> None:
        self.farewell.say(health_failed=True, drain_from=-1.0, drain_s=0.0)

    def ask(self, path: bytes = b"/healthz", **attributes: object) -> tuple[LocalReply | None, Request]:
        request = Request(b"GET", path, {})
        for name, value in attributes.items():
            setattr(request, name, value)
        reply = self.filter.on_request(request)
        assert reply is None or isinstance(reply, LocalReply)
        return reply, request

    def details(self, path: bytes = b"/healthz") -> tuple[int, str, str]:
        reply, _ = self.ask(path)
        assert reply is not None
        return reply.status, reply.details, reply.flag

    def headers(self, request: Request, status: int = 200) -> HeaderMap:
        request.response_status = status
        found: HeaderMap = {}
        self.filter.on_response(request, found)
        return found

    def counts(self) -> dict[str, int]:
        sink = StatsSink()
        self.filter.write_stats(sink, "p.")
        return {name.removeprefix("p.health_check."): value for name, value in sink.counters.items() if value}


def test_a_check_is_answered_and_named() -> None:
    """Access logs may leave it out, and the answer says whose health it is."""
    bench = Bench()
    assert bench.details() == (200, "health_check_ok", "")
    _, request = bench.ask()
    assert request.filter_notes is not None
    assert HEALTH_CHECK_NOTE in request.filter_notes
    assert bench.headers(request) == {b"x-envoy-upstream-healthchecked-cluster": b"edge"}
    assert bench.counts() == {"request_total": 2, "ok": 2}


@pytest.mark.parametrize("path", [b"/healthz?x", b"/healthz/", b"/"])
def test_another_request_passes(path: bytes) -> None:
    """`:path` is with its query."""
    reply, request = Bench().ask(path)
    assert reply is None
    assert request.filter_notes is None


def test_checks_fail_while_the_operator_says_so_and_every_response_tells() -> None:
    """`/healthcheck/fail`: checkers in the traffic learn it without a check of their own."""
    bench = Bench()
    bench.fail()
    assert bench.details() == (503, "health_check_failed", "LH")
    _, other = bench.ask(b"/other")
    assert bench.headers(other) == {b"x-envoy-immediate-health-check-fail": b"true"}
    _, check = bench.ask()
    assert set(bench.headers(check)) == {
        b"x-envoy-upstream-healthchecked-cluster",
        b"x-envoy-immediate-health-check-fail",
    }


@pytest.mark.parametrize(
    ("percentages", "expected"),
    [
        ((("good", 100),), (200, "health_check_ok_cluster_healthy", "")),
        ((("half", 50),), (200, "health_check_ok_cluster_healthy", "")),
        ((("good", 100), ("half", 51)), (503, "health_check_failed_cluster_unhealthy", "LH")),
        ((("empty", 1),), (503, "health_check_failed_cluster_empty", "LH")),
        ((("empty", 0),), (200, "health_check_ok_cluster_healthy", "")),
        ((("none", 0),), (503, "health_check_failed_no_cluster_found", "LH")),
    ],
)
def test_clusters_that_matter_must_be_healthy_enough(
    percentages: tuple[tuple[str, int], ...], expected: tuple[int, str, str]
) -> None:
    """A proxy without a living upstream is of no use to a balancer."""
    assert Bench(min_healthy_percentages=percentages).details() == expected


def test_with_pass_through_the_upstream_is_asked_unless_checks_fail() -> None:
    """Its answer is marked, too."""
    bench = Bench(is_pass_through=True)
    reply, request = bench.ask()
    assert reply is None
    assert b"x-envoy-upstream-healthchecked-cluster" in bench.headers(request)
    bench.fail()
    assert bench.details() == (503, "health_check_failed", "LH")


def test_the_upstreams_answer_is_kept_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred checkers are one; a kept answer does not prolong itself."""
    now = 100.0
    monkeypatch.setattr("fastproxy.clock.monotonic", lambda: now)
    bench = Bench(is_pass_through=True, cache_time_s=2.0)
    reply, request = bench.ask()
    assert reply is None
    bench.headers(request, 503)
    now = 101.0
    reply, request = bench.ask()
    assert reply is not None
    assert (reply.status, reply.details, reply.flag) == (503, "health_check_cached", "LH")
    bench.headers(request, 503)
    now = 102.5
    assert bench.ask()[0] is None
    assert bench.counts() == {"request_total": 1, "failed": 1, "cached_response": 1}


def test_a_route_can_switch_it_off() -> None:
    """And on, where it is off for all others."""
    off = {"h": HealthCheckRouteSettings(is_off=True)}
    assert Bench().ask(filter_configs=off)[0] is None
    bench = Bench(is_off_by_default=True)
    assert bench.ask()[0] is None
    assert bench.ask(filter_configs={"h": HealthCheckRouteSettings()})[0] is not None
