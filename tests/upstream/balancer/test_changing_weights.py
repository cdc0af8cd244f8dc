"""Weights that change: active requests, and slow start."""

import pytest

from fastproxy.upstream.balancer.changing_weights import ChangingRotation, slow_start_factor
from fastproxy.upstream.balancer.settings import (
    LeastRequestSettings,
    LoadBalancingSettings,
    RoundRobinSettings,
    SlowStartSettings,
)
from tests.upstream.balancer.support import (
    Clock,
    choices,
    make_endpoint,
    make_picker,
    make_tools,
    weighted,
)


@pytest.mark.parametrize(("bias", "expected"), [(0.0, 750), (1.0, 600), (2.0, 429)])
def test_active_requests_take_from_the_weight(bias: float, expected: int) -> None:
    """Envoy: weight / (active + 1) ** active_request_bias. Here 3 / 2 ** bias against 1."""
    heavy, light = weighted(3, 1)
    heavy.stats.rq_total = 1
    taken = choices(ChangingRotation([heavy, light], make_tools(), bias=bias), 1000)
    assert abs(taken[heavy] - expected) <= 2


def test_a_change_counts_from_the_next_turn_on() -> None:
    """Nobody has to build the schedule anew when a request begins or ends."""
    heavy, light = weighted(3, 1)
    picker = ChangingRotation([heavy, light], make_tools(), bias=1.0)
    assert abs(choices(picker, 400)[heavy] - 300) <= 2
    heavy.stats.rq_total = 8
    assert abs(choices(picker, 400)[heavy] - 100) <= 4


@pytest.mark.parametrize(
    ("age_s", "aggression", "expected"),
    [
        (0.0, 1.0, 0.1),
        (5.0, 1.0, 0.1),
        (50.0, 1.0, 0.5),
        (99.9, 1.0, 0.999),
        (100.0, 1.0, 1.0),
        (1e6, 1.0, 1.0),
        (25.0, 2.0, 0.5),
        (50.0, 0.5, 0.25),
    ],
)
def test_slow_start_grows_as_envoy_says(age_s: float, aggression: float, expected: float) -> None:
    """max(min_weight_percent, (age / window) ** (1 / aggression))."""
    found = slow_start_factor(SlowStartSettings(100.0, aggression, 10.0), age_s)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("policy", [RoundRobinSettings, LeastRequestSettings])
def test_a_new_endpoint_takes_its_share_little_by_little(
    policy: type[RoundRobinSettings] | type[LeastRequestSettings],
) -> None:
    """A cold cache or an interpreter that has not warmed up is not hit with everything at once."""
    clock = Clock()
    settings = LoadBalancingSettings(policy(slow_start=SlowStartSettings(100.0)))
    old, new = make_endpoint(1, now=0.0), make_endpoint(2, now=clock.now)
    picker = make_picker([old, new], settings, make_tools(now=clock))
    assert abs(choices(picker, 1100)[new] - 100) <= 3
    clock.now += 50
    assert abs(choices(picker, 1500)[new] - 500) <= 10
    clock.now += 50
    assert 400 < choices(picker, 1000)[new] < 600


def test_who_is_healthy_again_starts_slowly_too() -> None:
    """As a new one; the policy is plain only when nobody is in slow start."""
    from tests.upstream.balancer.support import DOWN

    clock = Clock()
    settings = LoadBalancingSettings(RoundRobinSettings(SlowStartSettings(100.0)))
    old, back = make_endpoint(1, now=0.0), make_endpoint(2, now=0.0)
    assert abs(choices(make_picker([old, back], settings, make_tools(now=clock)), 1000)[back] - 500) <= 1
    back.set_health(DOWN, on=True, now=clock.now)
    back.set_health(DOWN, on=False, now=clock.now)
    assert abs(choices(make_picker([old, back], settings, make_tools(now=clock)), 1100)[back] - 100) <= 3
