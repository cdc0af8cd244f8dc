"""Clusters: which endpoint is next, and what happens when the list changes."""

import json
from collections import Counter
from random import Random

import pytest

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.messages import Request
from fastproxy.stats import StatsSink
from fastproxy.upstream.balancer.settings import (
    LoadBalancingSettings,
    MaglevSettings,
    Policy,
    RandomSettings,
    RingHashSettings,
    RoundRobinSettings,
    SubsetSelector,
    SubsetSettings,
    subset_match,
)
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    ConnectionSettings,
    DiscoveredEndpoint,
    DiscoveryType,
    EndpointTraits,
    HealthFlag,
    HealthStatus,
    UpstreamProxyProtocolSettings,
)
from tests.listener.support import FakeTransport, SteppedLoop

A, B, C = (Address(f"198.51.100.{n}", 80, "x") for n in (1, 2, 3))


def cluster(*addresses: Address, discovery: DiscoveryType = DiscoveryType.STRICT_DNS) -> Cluster:
    made = Cluster(ClusterSettings("c", discovery))
    made.update_endpoints(addresses)
    return made


def with_idle(made: Cluster) -> FakeTransport:
    pool = made.endpoints[0].pool
    connection = UpstreamConnection(pool)
    transport = FakeTransport(SteppedLoop(), connection)
    connection.connection_made(transport.as_transport())
    pool.release(connection)
    return transport


def test_endpoints_take_turns() -> None:
    """ROUND_ROBIN: each as often as the others."""
    made = cluster(A, B, C)
    taken = [made.select_endpoint() for _ in range(30)]
    assert Counter(one.text for one in taken if one) == dict.fromkeys(map(str, (A, B, C)), 10)
    assert taken[0] is taken[3]


def test_workers_start_at_different_endpoints() -> None:
    """Few requests over many workers would all go to the first one otherwise."""
    firsts = {one.text for _ in range(100) if (one := cluster(A, B, C).select_endpoint())}
    assert len(firsts) > 1


def test_without_endpoints_there_is_none() -> None:
    """503 UH."""
    assert cluster().select_endpoint() is None


def test_endpoints_that_stay_keep_their_connections() -> None:
    """A DNS refresh every few seconds must not close anything that is still good."""
    made = cluster(A, B)
    kept = made.endpoints[0]
    transport = with_idle(made)
    made.update_endpoints([B, A, B, C])
    assert kept in made.endpoints
    assert [one.text for one in made.endpoints] == [str(B), str(A), str(C)]
    assert not transport.is_closing()


def test_endpoints_that_leave_drain() -> None:
    """Idle connections are closed at once."""
    made = cluster(A)
    transport = with_idle(made)
    made.update_endpoints([B])
    assert transport.was_aborted()


def test_a_logical_endpoint_moves_and_keeps_its_connections() -> None:
    """LOGICAL_DNS: one endpoint whose new connections follow the name."""
    made = cluster(A, B, discovery=DiscoveryType.LOGICAL_DNS)
    endpoint = made.endpoints[0]
    transport = with_idle(made)
    made.update_endpoints([C])
    assert made.endpoints[0] is endpoint
    assert (endpoint.text, endpoint.pool.addresses) == (str(C), (C,))
    assert not transport.is_closing()


def test_a_host_with_more_addresses_is_one_endpoint() -> None:
    """Its new connections go to the first that answers; which ones there are may change while it stays."""
    made = cluster(discovery=DiscoveryType.STATIC)
    made.update_endpoints([DiscoveredEndpoint(A, additional=(B,))])
    (endpoint,) = made.endpoints
    assert endpoint.pool.addresses == (A, B)
    made.update_endpoints([DiscoveredEndpoint(A, additional=(C,))])
    assert made.endpoints == (endpoint,)
    assert endpoint.pool.addresses == endpoint.addresses == (A, C)


def request_of(info: ConnectionInfo) -> Request:
    request = Request(b"GET", b"/", {})
    request.connection = info
    return request


def announcing() -> Cluster:
    made = Cluster(ClusterSettings("c", proxy_protocol=UpstreamProxyProtocolSettings(2)))
    made.update_endpoints([A])
    return made


def test_with_a_proxy_header_no_connection_serves_two_downstreams() -> None:
    """Each connection says whose it is; also a later downstream with the same addresses is another one."""
    made = announcing()
    assert made.has_named_pools
    ends = (("192.0.2.1", 4711), ("198.51.100.1", 443))
    first, again = ConnectionInfo(*ends), ConnectionInfo(*ends)
    (endpoint,) = made.endpoints
    pool = made.pool_for(endpoint, request_of(first))
    assert made.pool_for(endpoint, request_of(first)) is pool
    assert made.pool_for(endpoint, request_of(again)) is not pool
    assert endpoint.pool not in (pool, made.pool_for(endpoint, request_of(again)))


def test_connections_of_a_downstream_that_is_gone_are_closed() -> None:
    """Nobody may use them again, and they count in the cluster's limits."""
    made = announcing()
    (endpoint,) = made.endpoints
    info = ConnectionInfo(("192.0.2.1", 4711), ("198.51.100.1", 443))
    pool = made.pool_for(endpoint, request_of(info))
    connection = UpstreamConnection(pool)
    transport = FakeTransport(SteppedLoop(), connection)
    connection.connection_made(transport.as_transport())
    pool.release(connection)
    made.close_idle(now=0.0)
    assert not transport.is_closing()
    info.is_closed = True
    made.close_idle(now=0.0)
    assert transport.is_closing()
    transport.lose(None)
    made.close_idle(now=0.0)
    assert endpoint.pools == [endpoint.pool]


def test_connections_can_be_kept_apart_by_downstream_without_a_header() -> None:
    """`connection_pool_per_downstream_connection`: for upstreams that know a connection by who logged in on it."""
    made = Cluster(ClusterSettings("c", connections=ConnectionSettings(per_downstream=True)))
    made.update_endpoints([A])
    (endpoint,) = made.endpoints
    first, second = (ConnectionInfo(("192.0.2.1", port), ("198.51.100.1", 443)) for port in (1, 2))
    pools = [made.pool_for(endpoint, request_of(one)) for one in (first, second, first)]
    assert made.has_named_pools
    assert pools[0] is pools[2]
    assert pools[1] not in (pools[0], endpoint.pool)


@pytest.mark.parametrize(("closes", "update"), [(True, [A, B]), (True, [B]), (False, [A, B]), (True, [A])])
def test_connections_can_be_given_up_when_endpoints_change(closes: bool, update: list[Address]) -> None:
    """`close_connections_on_host_set_change`: so that load spreads anew. What changes nothing closes nothing."""
    made = Cluster(ClusterSettings("c", connections=ConnectionSettings(close_on_set_change=closes)))
    made.update_endpoints([A])
    transport = with_idle(made)
    made.update_endpoints(update)
    assert transport.is_closing() == (closes and update != [A])


def test_downstreams_that_are_not_announced_share_connections() -> None:
    """`add_proxy_protocol_connection_state: false`: the header is the proxy's own."""
    made = announcing()
    info = ConnectionInfo(("192.0.2.1", 4711), ("198.51.100.1", 443))
    info.is_announced = False
    assert made.pool_for(made.endpoints[0], request_of(info)) is made.endpoints[0].pool


def test_a_logical_cluster_has_one_endpoint_from_the_start() -> None:
    """Envoy uses the first address alone; more than one would be STRICT_DNS."""
    assert len(cluster(A, B, discovery=DiscoveryType.LOGICAL_DNS).endpoints) == 1


def test_addresses_are_written_as_envoy_writes_them() -> None:
    """IPv6 in brackets."""
    assert str(Address("2001:db8::1", 443)) == "[2001:db8::1]:443"
    assert str(A) == "198.51.100.1:80"


def test_numbers_under_envoys_names() -> None:
    """`/stats` and `/clusters` are made of these."""
    made = cluster(A)
    made.stats.statuses[200] += 1
    made.stats.statuses[503] += 1
    sink = StatsSink()
    made.write_stats(sink)
    assert sink.counters["cluster.c.upstream_rq_200"] == 1
    assert sink.counters["cluster.c.upstream_rq_5xx"] == 1
    assert sink.counters["cluster.c.upstream_rq_completed"] == 2
    assert sink.gauges["cluster.c.upstream_cx_active"] == 0
    assert set(sink.hosts["c"]) == {str(A)}


def test_close_idle_and_drain_reach_every_endpoint() -> None:
    """The worker's sweep and its end."""
    made = Cluster(ClusterSettings("c", idle_timeout_s=1))
    made.update_endpoints([A])
    transport = with_idle(made)
    made.close_idle(1e12)
    assert transport.was_aborted()
    transport = with_idle(made)
    made.drain()
    assert transport.was_aborted()


def test_the_choice_follows_the_configured_policy() -> None:
    """Consistent hashing: equal hashes, equal endpoints; without one, chance."""
    made = Cluster(ClusterSettings("c", load_balancing=LoadBalancingSettings(MaglevSettings(101))))
    made.update_endpoints([A, B, C])
    assert made.uses_hash
    for value in range(50):
        assert made.select_endpoint(value) is made.select_endpoint(value)
    assert {one.text for _ in range(100) if (one := made.select_endpoint())} == {str(A), str(B), str(C)}


@pytest.mark.parametrize(
    "policy", [RoundRobinSettings(), RandomSettings(), RingHashSettings(), MaglevSettings(101)]
)
def test_a_retry_goes_to_an_endpoint_that_was_not_tried(policy: Policy) -> None:
    """`previous_hosts` with enough attempts; also where the hash alone would always choose the same one."""
    made = Cluster(ClusterSettings("c", load_balancing=LoadBalancingSettings(policy)), Random(1))
    made.update_endpoints([A, B, C])
    for value in (5, 1 << 40, 1 << 63):
        tried = {made.endpoints[0], made.endpoints[1]}
        assert made.select_another(tried.__contains__, 500, value) is made.endpoints[2]


def test_if_everything_was_tried_a_retry_goes_somewhere_all_the_same() -> None:
    """The number of attempts bounds the search (`host_selection_retry_max_attempts`)."""
    made = cluster(A)
    assert made.select_another(lambda _one: True, 3) is made.endpoints[0]
    assert cluster().select_another(lambda _one: False, 3) is None


def test_subsets_are_chosen_by_the_metadata_of_the_route() -> None:
    """And change with the endpoints and their health."""
    subsets = SubsetSettings((SubsetSelector(("stage",)),))
    made = Cluster(
        ClusterSettings("c", load_balancing=LoadBalancingSettings(subsets=subsets, panic_threshold=0))
    )
    traits = [EndpointTraits(metadata=json.dumps({"envoy.lb": {"stage": stage}})) for stage in "xy"]
    made.update_endpoints([DiscoveredEndpoint(A, traits[0]), DiscoveredEndpoint(B, traits[1])])
    wanted = subset_match({"stage": "y"})
    chosen = made.select_endpoint(None, wanted)
    assert chosen is made.endpoints[1]
    assert made.select_another(lambda _one: False, 1, None, wanted) is chosen
    assert made.select_endpoint() is None
    chosen.set_health(HealthFlag.FAILED_ACTIVE_HC, on=True, now=0.0)
    made.on_health_changed()
    assert made.select_endpoint(None, wanted) is None


def test_the_policy_of_a_file_replaces_that_of_the_configuration_and_goes_with_it() -> None:
    """Half of priority 0 healthy: with 140 % it keeps 70 % of the requests, with 200 % all of them."""
    made = Cluster(ClusterSettings("c"), Random(1))

    def entry(port: int, priority: int, health: HealthStatus) -> DiscoveredEndpoint:
        return DiscoveredEndpoint(
            Address("127.0.0.1", port), EndpointTraits(priority=priority, health=health)
        )

    endpoints = [
        entry(1, 0, HealthStatus.HEALTHY),
        entry(2, 0, HealthStatus.UNHEALTHY),
        entry(3, 1, HealthStatus.HEALTHY),
    ]

    def ports() -> set[int]:
        return {one.address.port for one in (made.select_endpoint() for _ in range(200)) if one is not None}

    made.update_endpoints(endpoints)
    assert ports() == {1, 3}
    made.update_policy(200, weighted=False)
    made.update_endpoints(endpoints)
    assert ports() == {1}
    made.update_policy(0, weighted=False)
    made.update_endpoints(endpoints)
    assert ports() == {1, 3}
