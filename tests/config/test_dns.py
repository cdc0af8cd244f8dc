"""How clusters look names up: rates, resolvers, and both spellings of DNS clusters."""

import pytest

from fastproxy.upstream.settings import (
    ClusterSettings,
    DiscoveryType,
    DnsLookupFamily,
    DnsResolverSettings,
    DnsSettings,
)
from tests.config.support import load, problem, warnings

CARES = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
GETADDRINFO = (
    "type.googleapis.com/envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"
)
APPLE = "type.googleapis.com/envoy.extensions.network.dns_resolver.apple.v3.AppleDnsResolverConfig"
SERVER = "resolvers: [{socket_address: {address: 192.0.2.53, port_value: 53}}]"
DNS_CLUSTER = "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster"
ENDPOINTS = (
    "load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: "
    "{socket_address: {address: a.example, port_value: 80}}}}]}]}"
)


def text(more: str, top: str = "", kind: str = "type: STRICT_DNS") -> str:
    return f"{{{top}static_resources: {{clusters: [{{name: a, {kind}, {ENDPOINTS}{more}}}]}}}}"


def build(more: str, top: str = "", kind: str = "type: STRICT_DNS") -> ClusterSettings:
    return load(text(more, top, kind)).settings.clusters[0]


def cares(fields: str = "") -> str:
    return f"typed_dns_resolver_config: {{name: r, typed_config: {{'@type': {CARES}{fields}}}}}"


def test_defaults_are_the_systems_resolver_and_one_rate() -> None:
    """A file that says nothing about names gets what the machine has."""
    assert build("").dns == DnsSettings()


def test_rates_of_a_cluster() -> None:
    """What the refresh goes by."""
    found = build(
        ", dns_failure_refresh_rate: {base_interval: 2s}, dns_jitter: 3s, respect_dns_ttl: true"
    ).dns
    assert found == DnsSettings((2.0, 20.0), 3.0, respect_ttl=True, resolver=DnsResolverSettings())


def test_a_failure_rate_that_shrinks_is_refused() -> None:
    """As in Envoy."""
    more = ", dns_failure_refresh_rate: {base_interval: 2s, max_interval: 1s}"
    assert "max_interval" in problem(text(more)).problem


def test_name_servers_of_a_cluster() -> None:
    """They may answer differently from the system's, so they are asked and nobody else."""
    servers = (
        ", resolvers: [{socket_address: {address: 192.0.2.53, port_value: 5353}}, "
        "{socket_address: {address: '2001:db8::53', port_value: 53}}], query_timeout_seconds: 2, query_tries: 3, "
        "rotate_nameservers: true, use_resolvers_as_fallback: true, "
        "dns_resolver_options: {use_tcp_for_dns_lookups: true, no_default_search_domain: true}"
    )
    assert build(", " + cares(servers)).dns.resolver == DnsResolverSettings(
        ("192.0.2.53:5353", "[2001:db8::53]:53"),
        servers_are_fallback=True,
        over_tcp=True,
        search_domains=False,
        query_timeout_s=2.0,
        tries=3,
        rotate=True,
    )


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            "dns_resolvers: [{socket_address: {address: 192.0.2.53, port_value: 53}}]",
            DnsResolverSettings(("192.0.2.53:53",)),
        ),
        ("use_tcp_for_dns_lookups: true", DnsResolverSettings(over_tcp=True)),
        (
            f"dns_resolution_config: {{{SERVER}, dns_resolver_options: {{no_default_search_domain: true}}}}",
            DnsResolverSettings(("192.0.2.53:53",), search_domains=False),
        ),
        (f"typed_dns_resolver_config: {{name: r, typed_config: {{'@type': {GETADDRINFO}}}}}", None),
    ],
)
def test_older_spellings_and_the_systems_resolver(more: str, expected: DnsResolverSettings | None) -> None:
    """Files of any age."""
    assert build(", " + more).dns.resolver == expected


def test_a_cluster_without_a_resolver_has_the_bootstraps() -> None:
    """`Bootstrap.typed_dns_resolver_config` is the default, and a cluster may have another one."""
    server = ", resolvers: [{socket_address: {address: 192.0.2.53, port_value: 53}}]"
    top = cares(server) + ", "
    assert build("", top).dns.resolver == DnsResolverSettings(("192.0.2.53:53",))
    assert build(", " + cares(), top).dns.resolver == DnsResolverSettings()
    system = f", typed_dns_resolver_config: {{name: r, typed_config: {{'@type': {GETADDRINFO}}}}}"
    assert build(system, top).dns.resolver is None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("typed_dns_resolver_config: {name: r}", "the field is required"),
        (cares(", resolvers: [{pipe: {path: /run/dns}}]"), "name servers have addresses"),
        (
            cares(", resolvers: [{socket_address: {address: ns.example, port_value: 53}}]"),
            "malformed IP address",
        ),
        (
            f"typed_dns_resolver_config: {{name: r, typed_config: {{'@type': {APPLE}}}}}",
            "is not supported",
        ),
    ],
)
def test_resolvers_that_cannot_be_asked_are_refused(more: str, words: str) -> None:
    """Names must not be looked up somewhere else without anybody noticing."""
    assert words in problem(text(", " + more)).problem


def test_tuning_of_the_resolver_is_named_and_ignored() -> None:
    """c-ares is started anew for every lookup."""
    assert any("c-ares" in one for one in warnings(text(", " + cares(", udp_max_queries: 7"))))


@pytest.mark.parametrize(("single", "kind"), [("false", "STRICT_DNS"), ("true", "LOGICAL_DNS")])
def test_the_newer_spelling_of_dns_clusters(single: str, kind: str) -> None:
    """`cluster_type: envoy.cluster.dns` says everything that a cluster says about names."""
    extension = (
        f"cluster_type: {{name: envoy.cluster.dns, typed_config: {{'@type': {DNS_CLUSTER}, "
        f"all_addresses_in_single_endpoint: {single}, dns_refresh_rate: 9s, respect_dns_ttl: true, "
        "dns_lookup_family: V4_ONLY}}"
    )
    found = build("", kind=extension)
    assert found.discovery is DiscoveryType(kind)
    assert (found.dns_refresh_rate_s, found.dns_lookup_family) == (9.0, DnsLookupFamily.V4_ONLY)
    assert found.dns.respect_ttl
    assert any("the DnsCluster says it" in one for one in warnings(text(", dns_jitter: 1s", kind=extension)))


def test_other_kinds_of_clusters_are_refused() -> None:
    """Nobody would find their addresses."""
    kind = (
        "cluster_type: {name: x, typed_config: {'@type': "
        "type.googleapis.com/envoy.extensions.clusters.redis.v3.RedisClusterConfig, cluster_refresh_rate: 1s}}"
    )
    assert "this kind of cluster" in problem(text("", kind=kind)).problem
