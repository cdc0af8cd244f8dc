"""The health_check filter beside Envoy's."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.pairs import running_pair
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import EVERYTHING_TO_ECHO, bootstrap, cluster, listener
from tests.e2e.support.wire import encode_request as req

_TYPE = "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck"
_PATH = [{"name": ":path", "string_match": {"exact": "/healthz"}}]
FILTERS: dict[str, dict[str, Any]] = {
    "plain": {"pass_through_mode": False, "headers": _PATH},
    "passed": {"pass_through_mode": True, "headers": _PATH},
    "kept": {"pass_through_mode": True, "headers": _PATH, "cache_time": "3600s"},
    "enough": {
        "pass_through_mode": False,
        "headers": _PATH,
        "cluster_min_healthy_percentages": {"echo": {"value": 100}},
    },
    "empty": {
        "pass_through_mode": False,
        "headers": _PATH,
        "cluster_min_healthy_percentages": {"none": {"value": 1}},
    },
    "zero": {
        "pass_through_mode": False,
        "headers": _PATH,
        "cluster_min_healthy_percentages": {"none": {"value": 0}},
    },
    "unknown": {
        "pass_through_mode": False,
        "headers": _PATH,
        "cluster_min_healthy_percentages": {"x": {"value": 1}},
    },
    "all": {"pass_through_mode": False},
}


def _fill(ports: Ports) -> Config:
    listeners = [
        listener(
            name,
            ports[name],
            EVERYTHING_TO_ECHO,
            filters=[{"name": "hc", "typed_config": {"@type": _TYPE, **settings}}],
        )
        for name, settings in FILTERS.items()
    ]
    none = {"name": "none", "load_assignment": {"cluster_name": "none"}}
    config = bootstrap(ports["admin"], listeners, [cluster("echo", ports["upstream"]), none])
    return {**config, "node": {"id": "i", "cluster": "edge"}}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies, one listener for each way to configure the filter."""
    with running_pair(_fill, tuple(FILTERS), tmp_path_factory.mktemp("health")) as running:
        yield running


_CHECK = req("GET", "/healthz")
_OTHER = req("GET", "/x")
CASES = [
    Case("check", (_CHECK, _CHECK), (200, 200), listener="plain", reaches_upstream=False),
    Case("other", (_OTHER,), (200,), listener="plain", reaches_upstream=True),
    Case("query", (req("GET", "/healthz?x"),), (200,), listener="plain", reaches_upstream=True),
    Case("body", (req("POST", "/healthz", body=b"abc"), _CHECK), (200, 200), listener="plain"),
    Case("passed", (_CHECK,), (200,), listener="passed", reaches_upstream=True),
    Case("kept", (_CHECK, _CHECK, _OTHER), (200, 200, 200), listener="kept"),
    Case("enough", (_CHECK,), (200,), listener="enough", reaches_upstream=False),
    Case("empty", (_CHECK,), (503,), listener="empty", reaches_upstream=False),
    Case("empty-other", (_OTHER,), (200,), listener="empty", reaches_upstream=True),
    Case("zero", (_CHECK,), (200,), listener="zero"),
    Case("unknown", (_CHECK,), (503,), listener="unknown", reaches_upstream=False),
    Case("no-conditions", (_OTHER,), (200,), listener="all", reaches_upstream=False),
]


@parametrize_cases(CASES)
def test_health_checks(pair: Pair, case: Case) -> None:
    """Status, headers, and whether the upstream was asked."""
    pair.check(case)


def test_after_healthcheck_fail_checks_and_responses_say_so(pair: Pair) -> None:
    """Both proxies are taken out of service; the last test of this file."""
    for proxy in (pair.envoy, pair.contender):
        assert proxy.admin("/healthcheck/fail", "POST")[0] == 200
    failing = Case("failing", (_CHECK,), (503,), listener="plain", reaches_upstream=False)
    while pair.observe(pair.contender, failing).statuses != (503,):
        # The word needs a moment from process to process.
        assert pair.contender.process.poll() is None
    for name in ("plain", "passed", "kept", "enough"):
        pair.check(Case(f"failing-{name}", (_CHECK,), (503,), listener=name))
        pair.check(Case(f"failing-other-{name}", (_OTHER,), (200,), listener=name))
    for name in ("request_total", "ok", "failed"):
        line = f"http.plain.health_check.{name}: "
        assert line in pair.contender.admin("/stats?filter=health_check")[1]
