"""Tables that take a while to build: requests go on meanwhile, and never to an endpoint that is gone."""

import asyncio

from fastproxy.upstream.balancer.balancer import Balancer, Interim
from fastproxy.upstream.balancer.picker import NOWHERE
from fastproxy.upstream.balancer.settings import LoadBalancingSettings, MaglevSettings, RingHashSettings
from tests.upstream.balancer.support import (
    Clock,
    hashes,
    make_endpoints,
    make_picker,
    make_tools,
    set_down,
)


class TickingClock(Clock):
    """Every look at it is a millisecond later, so that slices end."""

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


LARGE = LoadBalancingSettings(RingHashSettings(minimum_ring_size=20_000))


async def settled(balancer: Balancer) -> int:
    """Let the build run to its end; the number of turns of the loop that it took."""
    turns = 0
    while isinstance(balancer.picker, Interim):
        turns += 1
        assert turns < 10_000
        await asyncio.sleep(0)
    return turns


def make_balancer(settings: LoadBalancingSettings = LARGE) -> Balancer:
    return Balancer(settings, make_tools(now=TickingClock()))


async def test_the_first_table_is_there_at_once() -> None:
    """Before it there is nothing to serve with."""
    balancer = make_balancer()
    endpoints = make_endpoints(10)
    balancer.update(endpoints)
    expected = make_picker(endpoints, LARGE)
    assert all(balancer.picker.select(value, 0) is expected.select(value, 0) for value in hashes(100))


async def test_a_new_table_is_built_between_requests() -> None:
    """The old one goes on serving; what it says about endpoints that left does not count any more."""
    balancer = make_balancer()
    endpoints = make_endpoints(10)
    balancer.update(endpoints)
    old = balancer.picker
    left, stayed = endpoints[0], endpoints[1:]
    balancer.update(stayed)
    for value in hashes(500):
        chosen, before = balancer.picker.select(value, 0), old.select(value, 0)
        assert chosen is before if before is not left else chosen in stayed
        assert chosen is balancer.picker.select(value, 0)
    assert await settled(balancer) > 2
    expected = make_picker(stayed, LARGE)
    assert all(balancer.picker.select(value, 0) is expected.select(value, 0) for value in hashes(100))


async def test_changes_during_a_build_are_taken_up_after_it() -> None:
    """And count at once for who must not be used."""
    balancer = make_balancer()
    endpoints = make_endpoints(10)
    balancer.update(endpoints)
    balancer.update(endpoints[1:])
    await asyncio.sleep(0)
    set_down(endpoints[1:3])
    balancer.update(endpoints[1:])
    assert {balancer.picker.select(value, 0) for value in hashes(500)} == set(endpoints[3:])
    await settled(balancer)
    expected = make_picker(endpoints[1:], LARGE)
    assert all(balancer.picker.select(value, 0) is expected.select(value, 0) for value in hashes(100))


async def test_if_all_go_during_a_build_there_is_nobody_left() -> None:
    """Not even for the length of a build."""
    balancer = make_balancer()
    endpoints = make_endpoints(10)
    balancer.update(endpoints)
    balancer.update(endpoints[1:])
    balancer.update([])
    assert balancer.picker is NOWHERE
    while balancer._layout is not None:
        await asyncio.sleep(0)
    assert balancer.picker.select(1, 0) is None


def test_without_an_event_loop_nobody_waits_so_tables_are_built_at_once() -> None:
    """Tools and tests."""
    balancer = make_balancer(LoadBalancingSettings(MaglevSettings()))
    balancer.update(make_endpoints(10))
    balancer.update(make_endpoints(9))
    assert not isinstance(balancer.picker, Interim)


async def test_what_is_quick_to_make_is_there_at_once() -> None:
    """Round robin has no table."""
    balancer = make_balancer(LoadBalancingSettings())
    for count in (3, 2):
        endpoints = make_endpoints(count)
        balancer.update(endpoints)
        assert {balancer.picker.select(None, 0) for _ in range(9)} == set(endpoints)
