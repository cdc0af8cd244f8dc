"""Shares of priorities, against numbers worked out from Envoy's documentation of priority levels."""

import pytest

from fastproxy.upstream.balancer.loads import PriorityHealth, PriorityLoad, share_load
from fastproxy.upstream.settings import HealthFlag
from tests.upstream.balancer.support import make_endpoint, make_endpoints, set_down

DEGRADED = HealthFlag.DEGRADED_ACTIVE_HC


def level(healthy: int, degraded: int = 0, unhealthy: int = 0) -> PriorityHealth:
    endpoints = make_endpoints(healthy + degraded + unhealthy)
    set_down(endpoints[healthy : healthy + degraded], DEGRADED)
    set_down(endpoints[healthy + degraded :])
    return PriorityHealth(endpoints)


def loads(*levels: PriorityHealth, threshold: float = 50.0, factor: int = 140) -> list[PriorityLoad]:
    return share_load(levels, overprovisioning_factor=factor, panic_threshold=threshold, weighted=False)


@pytest.mark.parametrize(
    ("healthy", "shares"),
    [
        # Envoy, "Priority levels": the table of two levels, in percent of healthy endpoints.
        ((100, 100), (100, 0)),
        ((72, 100), (100, 0)),
        ((71, 100), (99, 1)),
        ((50, 100), (70, 30)),
        ((25, 100), (35, 65)),
        ((0, 100), (0, 100)),
        # "If all are not enough, shares are normalised".
        ((25, 25), (50, 50)),
        ((5, 0), (100, 0)),
        # Three levels.
        ((100, 100, 100), (100, 0, 0)),
        ((72, 72, 100), (100, 0, 0)),
        ((71, 71, 100), (99, 1, 0)),
        ((50, 60, 100), (70, 30, 0)),
        ((50, 20, 100), (70, 28, 2)),
        ((20, 20, 10), (40, 40, 20)),
    ],
)
def test_healthy_shares_are_envoys(healthy: tuple[int, ...], shares: tuple[int, ...]) -> None:
    """An overprovisioning factor of 1.4, whole percents, what rounding loses goes to the first."""
    found = loads(*(level(n, unhealthy=100 - n) for n in healthy), threshold=0)
    assert tuple(one.healthy for one in found) == shares


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        # Two of three healthy, the third degraded: 93 and 7.
        ([(2, 1, 0)], [(93, 7)]),
        ([(0, 3, 0)], [(0, 100)]),
        # What the healthy of all priorities cannot take goes to the degraded, highest first.
        ([(1, 1, 0), (0, 2, 0)], [(70, 30), (0, 0)]),
        ([(1, 1, 2), (1, 0, 3)], [(35, 30), (35, 0)]),
    ],
)
def test_degraded_endpoints_take_what_the_healthy_cannot(
    levels: list[tuple[int, int, int]], expected: list[tuple[int, int]]
) -> None:
    """Healthy ones of a lower priority come before degraded ones of a higher (Envoy)."""
    found = loads(*(level(*one) for one in levels), threshold=0)
    assert [(one.healthy, one.degraded) for one in found] == expected


@pytest.mark.parametrize(
    ("healthy", "panic"), [((49, 0), (True, True)), ((50, 0), (False, True)), ((100, 0), (False, False))]
)
def test_panic_is_below_half_and_only_if_all_together_are_not_enough(
    healthy: tuple[int, ...], panic: tuple[bool, ...]
) -> None:
    """Exactly half is no panic."""
    found = loads(*(level(n, unhealthy=100 - n) for n in healthy))
    assert tuple(one.panic for one in found) == panic


def test_if_all_priorities_panic_each_gets_as_much_as_it_has_endpoints() -> None:
    """Health says nothing any more."""
    found = loads(level(0, unhealthy=30), level(0, unhealthy=10))
    assert [(one.healthy, one.degraded, one.panic) for one in found] == [(75, 0, True), (25, 0, True)]


def test_a_threshold_of_zero_never_panics() -> None:
    """Somebody must have the 100 percent; there is nobody there, so requests are refused."""
    assert loads(level(0, unhealthy=3), level(0, unhealthy=3), threshold=0) == [
        PriorityLoad(100, 0, panic=False),
        PriorityLoad(0, 0, panic=False),
    ]


def test_excluded_endpoints_count_for_nothing() -> None:
    """One of two that count is healthy: half. Were the draining ones counted, it would be panic."""
    endpoints = make_endpoints(4)
    set_down(endpoints[1:2])
    set_down(endpoints[2:], HealthFlag.EDS_STATUS_DRAINING)
    (found,) = loads(PriorityHealth(endpoints))
    assert not found.panic


def test_weighted_priority_health_counts_weights() -> None:
    """The one that is down had three quarters of the weight: 25 % times 1.4."""
    up, down = make_endpoint(1, weight=1), make_endpoint(2, weight=3)
    set_down([down])
    levels = [PriorityHealth([up, down]), PriorityHealth([make_endpoint(3, priority=1)])]
    found = share_load(levels, overprovisioning_factor=140, panic_threshold=50, weighted=True)
    assert [one.healthy for one in found] == [35, 65]


def test_an_empty_priority_gets_nothing() -> None:
    """Gaps in the numbering."""
    assert [one.healthy for one in loads(level(0), level(2))] == [0, 100]
