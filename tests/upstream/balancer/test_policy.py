"""Policy, localities and priorities together."""

import math

import pytest

from fastproxy.upstream.balancer.picker import NOWHERE
from fastproxy.upstream.balancer.settings import (
    LeastRequestSettings,
    LoadBalancingSettings,
    MaglevSettings,
    Policy,
    RandomSettings,
    RingHashSettings,
    RoundRobinSettings,
)
from fastproxy.upstream.settings import HealthFlag
from tests.upstream.balancer.support import (
    choices,
    hashes,
    make_endpoints,
    make_picker,
    make_tools,
    set_down,
)

POLICIES: list[Policy] = [
    RoundRobinSettings(),
    LeastRequestSettings(),
    LeastRequestSettings(full_scan=True),
    RandomSettings(),
    RingHashSettings(),
    MaglevSettings(1009),
]
ALL = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)


def within(found: int, expected: float, of: int) -> bool:
    """Six standard deviations of a binomial distribution."""
    part = expected / of
    return abs(found - expected) <= 6 * math.sqrt(of * part * (1 - part))


@ALL
def test_unhealthy_endpoints_get_nothing(policy: Policy) -> None:
    """Whatever the policy."""
    endpoints = make_endpoints(5)
    set_down(endpoints[:2])
    assert set(choices(make_picker(endpoints, LoadBalancingSettings(policy)), 500)) == set(endpoints[2:])


@ALL
def test_without_endpoints_there_is_no_choice(policy: Policy) -> None:
    """503 UH."""
    assert make_picker([], LoadBalancingSettings(policy)) is NOWHERE


@ALL
def test_half_of_the_first_priority_down_sends_three_in_ten_to_the_second(policy: Policy) -> None:
    """Envoy's 70 to 30; six standard deviations."""
    first, second = make_endpoints(10), make_endpoints(10, priority=1)
    set_down(first[:5])
    taken = choices(make_picker([*first, *second], LoadBalancingSettings(policy)), 10_000)
    assert within(sum(taken[one] for one in second), 3000, 10_000)
    assert not any(taken[one] for one in first[:5])


@pytest.mark.parametrize("policy", [RingHashSettings(), MaglevSettings(1009)], ids=["ring", "maglev"])
def test_with_a_hash_the_priority_goes_by_the_hash_too(policy: Policy) -> None:
    """Equal requests stay together, also across priorities."""
    first, second = make_endpoints(10), make_endpoints(10, priority=1)
    set_down(first[:5])
    picker = make_picker([*first, *second], LoadBalancingSettings(policy))
    for value in hashes(200):
        assert len({picker.select(value, 0) for _ in range(5)}) == 1


def test_a_hash_does_not_bind_policies_that_do_not_go_by_it() -> None:
    """`hash_policy` with ROUND_ROBIN: all requests of one user would go to one priority otherwise."""
    first, second = make_endpoints(2), make_endpoints(2, priority=1)
    set_down(first[:1])
    picker = make_picker([*first, *second], LoadBalancingSettings())
    assert len({picker.select(5, 0) for _ in range(200)}) == 3


@ALL
def test_in_panic_everybody_gets_requests_and_each_is_counted(policy: Policy) -> None:
    """One of three healthy is below half."""
    endpoints = make_endpoints(3)
    set_down(endpoints[1:])
    tools = make_tools()
    picker = make_picker(endpoints, LoadBalancingSettings(policy), tools)
    assert set(choices(picker, 300)) == set(endpoints)
    assert tools.stats.lb_healthy_panic == 300


@ALL
def test_two_of_four_is_no_panic(policy: Policy) -> None:
    """Exactly half: the unhealthy get nothing."""
    endpoints = make_endpoints(4)
    set_down(endpoints[:2])
    tools = make_tools()
    assert set(choices(make_picker(endpoints, LoadBalancingSettings(policy), tools), 300)) == set(
        endpoints[2:]
    )
    assert tools.stats.lb_healthy_panic == 0


@ALL
def test_without_panic_nobody_healthy_means_nobody(policy: Policy) -> None:
    """`healthy_panic_threshold: 0`: 503 UH."""
    endpoints = make_endpoints(3)
    set_down(endpoints)
    picker = make_picker(endpoints, LoadBalancingSettings(policy, panic_threshold=0))
    assert set(choices(picker, 20)) == {None}


@ALL
def test_traffic_fails_on_panic_if_asked_to(policy: Policy) -> None:
    """`fail_traffic_on_panic`."""
    endpoints = make_endpoints(3)
    set_down(endpoints[1:])
    tools = make_tools()
    picker = make_picker(endpoints, LoadBalancingSettings(policy, fail_traffic_on_panic=True), tools)
    assert set(choices(picker, 20)) == {None}
    assert tools.stats.lb_healthy_panic == 20


@ALL
def test_degraded_endpoints_take_only_what_is_left(policy: Policy) -> None:
    """Two of three healthy: 93 to 7."""
    endpoints = make_endpoints(3)
    set_down(endpoints[2:], HealthFlag.DEGRADED_EDS_HEALTH)
    taken = choices(make_picker(endpoints, LoadBalancingSettings(policy)), 10_000)
    assert within(taken[endpoints[2]], 700, 10_000)


def test_weights_are_ignored_by_none_but_random() -> None:
    """One to nine."""
    heavy, light = make_endpoints(1, weight=9)[0], make_endpoints(2)[1]
    for policy in POLICIES:
        taken = choices(make_picker([heavy, light], LoadBalancingSettings(policy)), 5000)
        expected = 2500 if isinstance(policy, RandomSettings) else 4500
        assert within(taken[heavy], expected, 5000) or isinstance(policy, RingHashSettings)
        assert taken[heavy] > 2200
