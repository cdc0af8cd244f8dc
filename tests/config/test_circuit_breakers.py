"""`circuit_breakers` of a cluster."""

import pytest

from fastproxy.upstream.settings import NO_LIMIT, ClusterSettings, RetryBudgetSettings, ThresholdSettings
from tests.config.support import cluster, load, minimal, problem, warnings


def build(text: str) -> ClusterSettings:
    return load(minimal(clusters=cluster(f"circuit_breakers: {text}"))).settings.clusters[0]


def test_without_circuit_breakers_envoys_defaults_apply() -> None:
    """1024, 1024, 1024 and 3 for both priorities."""
    assert build("{}").thresholds == (ThresholdSettings(), ThresholdSettings())
    assert build("{}").max_connections_per_endpoint == NO_LIMIT


def test_thresholds_of_both_priorities() -> None:
    """Each with every limit; what is not said is Envoy's default."""
    default, high = build(
        "{thresholds: [{priority: HIGH, max_requests: 7, track_remaining: true}, "
        "{max_connections: 1, max_pending_requests: 2, max_requests: 0, max_retries: 4, max_connection_pools: 5}]}"
    ).thresholds
    assert default == ThresholdSettings(1, 2, 0, 4, max_connection_pools=5)
    assert high == ThresholdSettings(max_requests=7, track_remaining=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", RetryBudgetSettings(20.0, 3)),
        ("{budget_percent: {value: 25.5}, min_retry_concurrency: 0}", RetryBudgetSettings(25.5, 0)),
    ],
)
def test_a_retry_budget_takes_the_place_of_max_retries(text: str, expected: RetryBudgetSettings) -> None:
    """And both together are worth a warning."""
    both = f"{{thresholds: [{{max_retries: 5, retry_budget: {text}}}]}}"
    assert build(both).thresholds[0].retry_budget == expected
    told = warnings(minimal(clusters=cluster(f"circuit_breakers: {both}")))
    assert any("max_retries: has no effect" in entry for entry in told)


def test_of_two_entries_for_one_priority_the_first_counts() -> None:
    """As in Envoy."""
    assert build("{thresholds: [{max_requests: 1}, {max_requests: 2}]}").thresholds[0].max_requests == 1


def test_limits_of_single_endpoints() -> None:
    """Only connections; anything else would promise what nobody checks."""
    assert build("{per_host_thresholds: [{max_connections: 3}]}").max_connections_per_endpoint == 3
    for limit in ("max_requests: 1", "max_pending_requests: 1", "retry_budget: {}", "priority: HIGH"):
        text = minimal(clusters=cluster(f"circuit_breakers: {{per_host_thresholds: [{{{limit}}}]}}"))
        assert problem(text).path.endswith(limit.partition(":")[0])
