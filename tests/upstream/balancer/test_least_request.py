"""LEAST_REQUEST: requests go where few are."""

from collections import Counter

import pytest

from fastproxy.upstream.balancer.least_request import LeastOfAll, LeastOfSome
from tests.upstream.balancer.support import choices, make_endpoints, make_tools


def test_the_less_busy_of_two_is_taken() -> None:
    """With two endpoints and two choices the busy one is taken only if both choices fall on it: a quarter."""
    idle, busy = make_endpoints(2)
    busy.stats.rq_total = 5
    taken = choices(LeastOfSome([idle, busy], make_tools(), 2), 10_000)
    assert 2300 < taken[busy] < 2700


@pytest.mark.parametrize(("choice_count", "share"), [(2, 1 / 4), (3, 1 / 8), (5, 1 / 32)])
def test_more_choices_spare_busy_endpoints_more(choice_count: int, share: float) -> None:
    """(busy part) ** choice_count; the bound is six standard deviations."""
    endpoints = make_endpoints(10)
    for endpoint in endpoints[:5]:
        endpoint.stats.rq_total = 3
    picker = LeastOfSome(endpoints, make_tools(), choice_count)
    taken = choices(picker, 10_000)
    on_busy = sum(taken[endpoint] for endpoint in endpoints[:5])
    assert abs(on_busy - 10_000 * share) < 6 * (10_000 * share * (1 - share)) ** 0.5


def test_queues_stay_short_where_chance_alone_makes_long_ones() -> None:
    """The power of two choices: as many requests as endpoints, none of which ends."""

    def longest(choice_count: int) -> int:
        endpoints = make_endpoints(1000)
        picker = LeastOfSome(endpoints, make_tools(), choice_count)
        for _ in range(1000):
            chosen = picker.select(None, 0)
            assert chosen is not None
            chosen.stats.rq_total += 1
        return max(endpoint.active_requests for endpoint in endpoints)

    # log log 1000 / log 2 is 2.8; one choice gives log 1000 / log log 1000, 3.6, and in practice 5 to 7.
    assert longest(2) <= 4 < longest(1)


def test_a_full_scan_finds_the_least_busy_of_all() -> None:
    """And among equals chance decides, or the first would get everything."""
    endpoints = make_endpoints(20)
    for endpoint in endpoints[2:]:
        endpoint.stats.rq_total = 1
    taken = choices(LeastOfAll(endpoints, make_tools()), 1000)
    assert set(taken) == set(endpoints[:2])
    assert min(taken.values()) > 400
    endpoints[0].stats.rq_ended -= 1
    assert choices(LeastOfAll(endpoints, make_tools()), 10) == Counter({endpoints[1]: 10})
