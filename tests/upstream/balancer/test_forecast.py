"""Choosing ahead: the same choices in the same order, and connections to whoever comes next."""

import asyncio
from collections import Counter
from random import Random

import pytest

from fastproxy.upstream.balancer.balancer import Balancer
from fastproxy.upstream.balancer.forecast import MAX_AT_ONCE, Forecast
from fastproxy.upstream.balancer.picker import NOWHERE, Picker, Tools
from fastproxy.upstream.balancer.settings import (
    LeastRequestSettings,
    LoadBalancingSettings,
    MaglevSettings,
    Policy,
    RandomSettings,
    RoundRobinSettings,
)
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.settings import Address, ClusterSettings, DiscoveredEndpoint, PreconnectSettings
from fastproxy.upstream.stats import ClusterStats
from tests.listener.support import catch_connects

ADDRESSES = [Address(f"198.51.100.{n}", 80) for n in range(1, 5)]


def in_turn() -> tuple[Picker, tuple[Endpoint, ...]]:
    """A picker, and whom it will choose, one after the other."""
    made = Cluster(ClusterSettings("c"))
    made.update_endpoints([DiscoveredEndpoint(one) for one in ADDRESSES])
    balancer = Balancer(LoadBalancingSettings(), Tools(Random(), lambda: 0.0, ClusterStats()))
    balancer.update(made.endpoints)
    expected = [balancer.picker.select(None, 0) for _ in ADDRESSES]
    return balancer.picker, tuple(one for one in expected if one)


async def never(*_: object, **__: object) -> None:
    """An attempt to connect."""
    await asyncio.get_running_loop().create_future()


class Wanting:
    """Wants connections as long as it has fewer than it should."""

    def __init__(self, wanted: int, *, refuses: bool = False) -> None:
        self.wanted = wanted
        self.warmed: list[Endpoint] = []
        self._refuses = refuses

    def wants(self) -> bool:
        return len(self.warmed) < self.wanted

    def warm(self, endpoint: Endpoint) -> bool:
        self.warmed.append(endpoint)
        return not self._refuses


def test_what_was_chosen_ahead_is_what_requests_get() -> None:
    """Otherwise the connections would be with the wrong endpoints."""
    picker, expected = in_turn()
    cluster = Wanting(3)
    forecast = Forecast(picker, 4, cluster.wants, cluster.warm)
    got = [forecast.select(None, 0) for _ in range(6)]
    assert cluster.warmed == got[:3]
    assert got == [expected[n % 4] for n in range(6)]


def test_no_more_is_chosen_ahead_than_there_are_endpoints() -> None:
    """Nor more at once than a few: a cluster that comes back gets its connections little by little."""
    picker, expected = in_turn()
    cluster = Wanting(100)
    forecast = Forecast(picker, 4, cluster.wants, cluster.warm)
    forecast.select(None, 0)
    assert cluster.warmed == list(expected[:MAX_AT_ONCE])
    for request in range(1, 5):
        forecast.select(None, 0)
        assert len(cluster.warmed) <= request + 4


def test_looking_ahead_ends_where_no_connection_is_to_be_had() -> None:
    """The limit will be the same for the next one."""
    cluster = Wanting(100, refuses=True)
    forecast = Forecast(in_turn()[0], 4, cluster.wants, cluster.warm)
    forecast.select(None, 0)
    assert len(cluster.warmed) == 1


def test_without_endpoints_there_is_nothing_to_foresee() -> None:
    """503 UH."""
    cluster = Wanting(100)
    assert Forecast(NOWHERE, 0, cluster.wants, cluster.warm).select(None, 0) is None
    assert Forecast(NOWHERE, 1, cluster.wants, cluster.warm).select(None, 0) is None
    assert cluster.warmed == []


def predicting(policy: Policy) -> Cluster:
    made = Cluster(
        ClusterSettings(
            "c",
            load_balancing=LoadBalancingSettings(policy),
            preconnect=PreconnectSettings(predictive=2.0),
        ),
        Random(1),
    )
    made.update_endpoints([DiscoveredEndpoint(one) for one in ADDRESSES])
    return made


async def test_a_cluster_makes_connections_to_whom_the_next_requests_go() -> None:
    """`predictive_preconnect_ratio`: two connections for each request, the one that is coming included."""
    catch_connects(never)
    made = predicting(RoundRobinSettings())
    first = made.select_endpoint()
    warm = [one for one in made.endpoints if not one.pool.is_empty]
    assert len(warm) == 2
    assert first in warm
    assert made.select_endpoint() in warm


@pytest.mark.parametrize("policy", [RoundRobinSettings(), RandomSettings(), LeastRequestSettings()])
async def test_shares_stay_what_the_policy_says(policy: Policy) -> None:
    """Looking ahead changes when an endpoint is chosen, not how often."""
    catch_connects(never)
    made = predicting(policy)
    taken = Counter(one.text for _ in range(4000) if (one := made.select_endpoint()))
    assert all(850 < taken[str(one)] < 1150 for one in ADDRESSES)


async def test_a_policy_that_looks_at_the_request_is_not_asked_ahead_of_it() -> None:
    """As in Envoy: nobody knows the hash of a request that has not come."""
    made = predicting(MaglevSettings())
    made.select_endpoint(1)
    assert all(one.pool.is_empty for one in made.endpoints)
