"""RANDOM: all alike, weights or not."""

from fastproxy.upstream.balancer.random_choice import RandomChoice
from tests.upstream.balancer.support import choices, make_tools, weighted


def test_everybody_has_the_same_chance_whatever_the_weight() -> None:
    """As in Envoy; six standard deviations."""
    endpoints = weighted(1, 1, 100, 1)
    taken = choices(RandomChoice(endpoints, make_tools()), 40_000)
    for endpoint in endpoints:
        assert abs(taken[endpoint] - 10_000) < 6 * (40_000 * 0.25 * 0.75) ** 0.5
