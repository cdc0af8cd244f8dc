"""What a route says about the endpoint: `hash_policy` and `metadata_match` reach the cluster."""

import json

from fastproxy.http.messages import Request
from fastproxy.match.settings import PathKind, PathMatch
from fastproxy.router.route import Route
from fastproxy.router.settings import (
    ForwardAction,
    HashPolicy,
    HeaderHash,
    RouteSettings,
    WeightedCluster,
    WeightedClusters,
)
from fastproxy.upstream.balancer.settings import (
    LoadBalancingSettings,
    RingHashSettings,
    SubsetMatch,
    SubsetSelector,
    SubsetSettings,
    subset_match,
)
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.hashing import xxh64
from fastproxy.upstream.settings import Address, ClusterSettings, DiscoveredEndpoint, EndpointTraits
from tests.router.test_hash_policy import request

BY_USER = (HashPolicy(HeaderHash("x-user")),)


def make_route(action: ForwardAction) -> Route:
    return Route(RouteSettings(PathMatch(PathKind.PREFIX, "/"), action))


def make_cluster(settings: LoadBalancingSettings) -> Cluster:
    cluster = Cluster(ClusterSettings("c", load_balancing=settings))
    cluster.update_endpoints(
        DiscoveredEndpoint(
            Address(f"198.51.100.{n}", 80), EndpointTraits(metadata=json.dumps({"envoy.lb": {"n": n}}))
        )
        for n in range(8)
    )
    return cluster


def chosen(route: Route, cluster: Cluster, asked: Request) -> str:
    endpoint = route.select_endpoint(cluster, asked)
    assert endpoint is not None
    return endpoint.text


def test_the_hash_of_the_request_chooses_the_endpoint() -> None:
    """The same user, the same endpoint; others elsewhere."""
    route, cluster = (
        make_route(ForwardAction("c", hash_policy=BY_USER)),
        make_cluster(LoadBalancingSettings(RingHashSettings())),
    )
    assert route.is_choosy
    users = [b"user-%d" % n for n in range(50)]
    for user in users:
        expected = cluster.select_endpoint(xxh64(user))
        assert expected is not None
        assert chosen(route, cluster, request((b"x-user", user))) == expected.text
    assert len({chosen(route, cluster, request((b"x-user", user))) for user in users}) > 3


def test_metadata_of_the_route_chooses_the_subset() -> None:
    """One endpoint has it."""
    route = make_route(ForwardAction("c", subset=subset_match({"n": 5})))
    cluster = make_cluster(LoadBalancingSettings(subsets=SubsetSettings((SubsetSelector(("n",)),))))
    assert {chosen(route, cluster, request()) for _ in range(20)} == {"198.51.100.5:80"}


def test_metadata_of_a_weighted_cluster_overrides_the_routes_key_by_key() -> None:
    """As in Envoy: a union in which the entry counts."""

    def subset_of(entry: SubsetMatch | None, of_route: SubsetMatch | None) -> SubsetMatch | None:
        clusters = WeightedClusters((WeightedCluster("c", 1, subset=entry),))
        route = make_route(ForwardAction(weighted_clusters=clusters, subset=of_route))
        assert route.choose is not None
        return route.choose(request()).subset

    one, other = subset_match({"a": 1, "b": 1}), subset_match({"b": 2, "c": 2})
    assert subset_of(other, one) == subset_match({"a": 1, "b": 2, "c": 2})
    assert subset_of(other, None) == other
    assert subset_of(None, one) == one
    assert subset_of(None, None) is None


def test_routes_that_ask_for_nothing_leave_the_choice_to_the_cluster() -> None:
    """They do not pay for what they do not use."""
    assert not make_route(ForwardAction("c")).is_choosy
