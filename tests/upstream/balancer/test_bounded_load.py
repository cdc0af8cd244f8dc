"""`hash_balance_factor`: no endpoint is overrun because its hashes are popular."""

from fastproxy.upstream.balancer.settings import (
    ConsistentHashing,
    LoadBalancingSettings,
    MaglevSettings,
    RingHashSettings,
)
from tests.upstream.balancer.support import choices, hashes, make_endpoints, make_picker, make_tools


def test_one_popular_hash_does_not_overrun_its_endpoint() -> None:
    """Every request has the same hash, none ends: nobody gets more than 150 percent of the average."""
    endpoints = make_endpoints(10)
    tools = make_tools()
    settings = LoadBalancingSettings(RingHashSettings(consistent=ConsistentHashing(balance_factor=150)))
    picker = make_picker(endpoints, settings, tools)
    (value,) = hashes(1)
    favourite = picker.select(value, 0)
    for total in range(1, 501):
        chosen = picker.select(value, 0)
        assert chosen is not None
        chosen.stats.rq_total += 1
        tools.stats.upstream_rq_total += 1
        assert max(one.active_requests for one in endpoints) <= -(-total * 150 // 100 // 10) + 1
    assert favourite is not None
    assert favourite.active_requests == max(one.active_requests for one in endpoints)


def test_while_there_is_room_the_hash_alone_decides() -> None:
    """Affinity is what the policy is for."""
    endpoints = make_endpoints(10)
    plain = make_picker(endpoints, LoadBalancingSettings(MaglevSettings(1009)))
    consistent = ConsistentHashing(balance_factor=150)
    bounded = make_picker(endpoints, LoadBalancingSettings(MaglevSettings(1009, consistent)))
    assert all(plain.select(value, 0) is bounded.select(value, 0) for value in hashes(300))
    assert set(choices(bounded, 300)) == set(endpoints)


def test_if_all_are_full_the_emptiest_is_taken() -> None:
    """A bound is no reason to refuse."""
    endpoints = make_endpoints(3)
    consistent = ConsistentHashing(balance_factor=101)
    picker = make_picker(endpoints, LoadBalancingSettings(MaglevSettings(1009, consistent)))
    for endpoint, active in zip(endpoints, (9, 4, 7), strict=True):
        endpoint.stats.rq_total = active
    assert {picker.select(value, 0) for value in hashes(50)} == {endpoints[1]}
