"""Localities: flat by default, by weight if asked."""

import pytest

from fastproxy.upstream.balancer.settings import (
    LoadBalancingSettings,
    MaglevSettings,
    Policy,
    RoundRobinSettings,
)
from fastproxy.upstream.endpoint import Endpoint
from tests.upstream.balancer.support import choices, make_endpoint, make_picker, set_down


def zones(
    near: int, far: int, near_weight: int = 3, far_weight: int = 1
) -> tuple[list[Endpoint], list[Endpoint]]:
    return (
        [make_endpoint(n, zone="near", zone_weight=near_weight) for n in range(near)],
        [make_endpoint(100 + n, zone="far", zone_weight=far_weight) for n in range(far)],
    )


def share_of(endpoints: list[Endpoint], everybody: list[Endpoint], settings: LoadBalancingSettings) -> float:
    taken = choices(make_picker(everybody, settings), 4000)
    return sum(taken[one] for one in endpoints) / 4000


def test_locality_weights_mean_nothing_unless_asked_for() -> None:
    """As in Envoy: hosts are pooled flat."""
    near, far = zones(2, 2)
    assert share_of(near, [*near, *far], LoadBalancingSettings()) == 0.5


@pytest.mark.parametrize("policy", [RoundRobinSettings(), MaglevSettings(1009)], ids=["rotation", "table"])
def test_requests_are_spread_by_locality_weight_whatever_the_number_of_endpoints(policy: Policy) -> None:
    """Three to one, though the far zone has more endpoints."""
    near, far = zones(2, 6)
    settings = LoadBalancingSettings(policy, locality_weighted=True)
    assert share_of(near, [*near, *far], settings) == pytest.approx(0.75, abs=0.03)


def test_a_locality_keeps_its_weight_while_enough_of_it_is_healthy() -> None:
    """Overprovisioning: three of four healthy are still enough, one of four is 35 % of the weight."""
    settings = LoadBalancingSettings(locality_weighted=True)
    near, far = zones(4, 4, 1, 1)
    set_down(near[:1])
    assert share_of(near, [*near, *far], settings) == pytest.approx(0.5, abs=0.001)
    set_down(near[1:3])
    assert share_of(near, [*near, *far], settings) == pytest.approx(0.35 / 1.35, abs=0.001)


def test_a_locality_without_a_weight_gets_nothing() -> None:
    """Envoy's rule, and how a zone is taken out of use."""
    near, far = zones(2, 2, 1, 0)
    assert share_of(near, [*near, *far], LoadBalancingSettings(locality_weighted=True)) == 1.0
    assert set(choices(make_picker(far, LoadBalancingSettings(locality_weighted=True)), 9)) == {None}
