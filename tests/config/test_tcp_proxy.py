"""`TcpProxy` and `ProxyProtocolUpstreamTransport`: every field that is understood, and words for those that are not."""

import pytest

from fastproxy.listener.settings import TcpBackoff, TcpCluster, TcpProxySettings
from fastproxy.upstream.balancer.settings import subset_match
from fastproxy.upstream.settings import ClusterSettings, UpstreamProxyProtocolSettings
from tests.config.support import load, problems

_TCP = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_PROXY = (
    "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
)
_RAW = "{name: envoy.transport_sockets.raw_buffer}"


def text(fields: str, cluster: str = "") -> str:
    return f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config: {{"@type": {_TCP}, stat_prefix: t, {fields}}}
  clusters:
  - {{name: a, type: STATIC, {cluster}}}
  - {{name: b, type: STATIC}}
"""


def build(fields: str) -> TcpProxySettings:
    (listener,) = load(text(fields)).settings.listeners
    assert listener.http_managers() == ()
    (found,) = listener.tcp_proxies()
    return found


def test_defaults_are_envoys() -> None:
    """One attempt, an hour of idleness."""
    assert build("cluster: a") == TcpProxySettings("t", (TcpCluster("a"),), idle_timeout_s=3600.0)


def test_every_field_arrives() -> None:
    """As the runtime wants it."""
    found = build(
        "weighted_clusters: {clusters: [{name: a, weight: 3}, {name: b, weight: 1}]}, idle_timeout: 0s, "
        "max_connect_attempts: 3, backoff_options: {base_interval: 0.1s}, "
        "max_downstream_connection_duration: 60s, "
        "max_downstream_connection_duration_jitter_percentage: {value: 25}, hash_policy: [{source_ip: {}}], "
        "access_log_options: {access_log_flush_interval: 5s, flush_access_log_on_connected: true}"
    )
    assert found == TcpProxySettings(
        "t",
        (TcpCluster("a", 3), TcpCluster("b", 1)),
        idle_timeout_s=0.0,
        max_connect_attempts=3,
        backoff=TcpBackoff(0.1, 1.0),
        max_connection_duration_s=60.0,
        max_connection_duration_jitter=0.25,
        hashes_source_ip=True,
        access_log_interval_s=5.0,
        logs_connected=True,
    )


def test_metadata_of_a_cluster_goes_over_that_of_all() -> None:
    """`metadata_match`: both together, and the nearer one counts."""
    found = build(
        "metadata_match: {filter_metadata: {envoy.lb: {stage: prod, zone: 1}}}, "
        "weighted_clusters: {clusters: [{name: a, weight: 1, metadata_match: {filter_metadata: {envoy.lb: "
        "{stage: canary}}}}, {name: b, weight: 1}]}"
    )
    assert found.clusters[0].subset == subset_match({"stage": "canary", "zone": 1})
    assert found.clusters[1].subset == subset_match({"stage": "prod", "zone": 1})


def test_the_old_places_of_log_options_still_count() -> None:
    """Deprecated, and warned about."""
    found = build("cluster: a, access_log_flush_interval: 2s, flush_access_log_on_connected: true")
    assert (found.access_log_interval_s, found.logs_connected) == (2.0, True)


def test_an_unknown_cluster_is_a_warning() -> None:
    """Envoy loads such a file, and so do we; but somebody should hear of it."""
    (warning,) = load(text("cluster: nowhere")).warnings
    assert "no cluster" in warning.problem
    assert warning.path.endswith("typed_config.cluster")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("cluster: a, tunneling_config: {hostname: 'x:1'}", "not in an HTTP tunnel"),
        ("on_demand: {}, cluster: a", "not discovered on demand"),
        ("cluster: a, hash_policy: [{filter_state: {key: x}}]", "only source_ip"),
        ("cluster: a, backoff_options: {base_interval: 1s, max_interval: 0.5s}", "below base_interval"),
        ("cluster: a, flush_access_log_on_connected: true, access_log_options: {}", "both set"),
        ("cluster: a, upstream_connect_mode: ON_DOWNSTREAM_DATA, max_early_data_bytes: 1", "not supported"),
        ("cluster: a, proxy_protocol_tlvs: [{type: 1, value: eA==}]", "not supported"),
    ],
)
def test_what_cannot_be_done_is_said(fields: str, words: str) -> None:
    """With the field's place, as everywhere."""
    assert any(words in entry.problem for entry in problems(text(fields)))


def cluster(config: str, inner: str = _RAW) -> ClusterSettings:
    socket = f"transport_socket: {{name: p, typed_config: {{'@type': {_PROXY}, {config} transport_socket: {inner}}}}}"
    return load(text("cluster: a", socket)).settings.clusters[0]


def test_the_proxy_header_wraps_another_transport_socket() -> None:
    """Version 1 unless said otherwise; below it plain or TLS."""
    assert cluster("").proxy_protocol == UpstreamProxyProtocolSettings(1)
    assert cluster("").tls is None
    found = cluster("config: {version: V2, added_tlvs: [{type: 224, value: eA==}]},")
    assert found.proxy_protocol == UpstreamProxyProtocolSettings(2, ((224, b"x"),))
    tls = "{name: envoy.transport_sockets.tls}"
    found = cluster("config: {version: V1},", tls)
    assert found.tls is not None
    assert found.proxy_protocol is not None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("config: {version: V1, added_tlvs: [{type: 1, value: eA==}]}, transport_socket: " + _RAW, "no TLVs"),
        (
            "config: {version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}}, transport_socket: " + _RAW,
            "not passed on",
        ),
        (
            "config: {version: V2, added_tlvs: [{type: 300, value: eA==}]}, transport_socket: " + _RAW,
            "",
        ),
        ("config: {version: V2}", ""),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(config: str, words: str) -> None:
    """Rather than sent otherwise than was meant."""
    socket = f"transport_socket: {{name: p, typed_config: {{'@type': {_PROXY}, {config}}}}}"
    assert any(words in entry.problem for entry in problems(text("cluster: a", socket)))
