"""`Cluster` to settings (envoy.config.cluster.v3)."""

from fastproxy.config.build.circuit_breakers import build_endpoint_limit, build_thresholds
from fastproxy.config.build.config_source import find_source_file
from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.dns import build_dns, build_family
from fastproxy.config.build.filter_metadata import build_filter_metadata
from fastproxy.config.build.health_checks import build_health, find_check_alpn
from fastproxy.config.build.lb_policy import build_load_balancing
from fastproxy.config.build.load_assignment import build_endpoints
from fastproxy.config.build.outlier_detection import build_outlier_detection
from fastproxy.config.build.upstream_http import NameOptions, build_upstream_http
from fastproxy.config.build.upstream_proxy_protocol import unwrap_proxy_protocol
from fastproxy.config.build.upstream_tls import (
    RAW_BUFFER,
    UPSTREAM_TLS,
    CheckAlpn,
    build_upstream_tls,
    default_tls,
)
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.upstream.settings import (
    ClusterSettings,
    DiscoveryType,
    EdsSettings,
    PreconnectSettings,
    UpstreamTlsSettings,
)

_TLS_NAMES = frozenset({"envoy.transport_sockets.tls", "tls"})
_RAW_NAMES = frozenset({"envoy.transport_sockets.raw_buffer", "raw_buffer"})
_DNS_CLUSTER = "envoy.extensions.clusters.dns.v3.DnsCluster"
_DNS_FIELDS = (
    "dns_refresh_rate",
    "dns_failure_refresh_rate",
    "respect_dns_ttl",
    "dns_jitter",
    "dns_lookup_family",
    "dns_resolvers",
    "dns_resolution_config",
    "typed_dns_resolver_config",
    "use_tcp_for_dns_lookups",
)
_DEFAULT_BUFFER_BYTES = 1024 * 1024
#: Envoy's.
_DEFAULT_FETCH_TIMEOUT_S = 15.0


def build_cluster(cluster: View, context: BuildContext) -> ClusterSettings:
    """Build one cluster; whatever is wrong with it is reported."""
    discovery, names = _build_discovery(cluster)
    load_balancing = build_load_balancing(cluster)
    if discovery is DiscoveryType.STATIC and load_balancing.hashes_hostnames:
        # Without host names all endpoints would have the same place.
        cluster.error(
            "Cannot use hostname for consistent hashing loadbalancing for cluster of type STATIC",
            "Use type: STRICT_DNS, or hash_key in the metadata of the endpoints",
        )
    http = build_upstream_http(cluster)
    proxy_protocol, below = unwrap_proxy_protocol(cluster)
    return ClusterSettings(
        name=cluster.text("name"),
        discovery=discovery,
        endpoints=build_endpoints(cluster, discovery),
        connect_timeout_s=cluster.duration_s("connect_timeout", 5.0),
        dns_lookup_family=build_family(names),
        dns_refresh_rate_s=names.duration_s("dns_refresh_rate", 5.0),
        dns=build_dns(names, context.dns_resolver),
        tls=_build_transport(below, context, http.names, find_check_alpn(cluster)),
        proxy_protocol=proxy_protocol,
        buffer_limit_bytes=cluster.system_integer_or(
            "per_connection_buffer_limit_bytes", _DEFAULT_BUFFER_BYTES
        ),
        idle_timeout_s=http.idle_timeout_s,
        proper_case_words=http.case.proper_case_words,
        kept_case=http.case.kept,
        enable_trailers=http.enable_trailers,
        connections=http.connections,
        preconnect=_build_preconnect(cluster),
        stat_name=cluster.text("alt_stat_name"),
        load_balancing=load_balancing,
        thresholds=build_thresholds(cluster),
        max_connections_per_endpoint=build_endpoint_limit(cluster),
        health=build_health(cluster),
        outliers=build_outlier_detection(cluster, context.outlier_log),
        eds=_build_eds(cluster) if discovery is DiscoveryType.EDS else None,
        metadata=build_filter_metadata(cluster),
        config_path=cluster.path,
    )


def _build_eds(cluster: View) -> EdsSettings | None:
    """`eds_cluster_config`; None when it names no file (reported)."""
    config = cluster.child("eds_cluster_config")
    source = None if config is None else config.child("eds_config")
    if config is None or source is None:
        cluster.error(
            "cannot create an EDS cluster without an EDS config",
            "Add eds_cluster_config: {eds_config: {path_config_source: {path: FILE}}}",
        )
        return None
    timeout_s = source.duration_s("initial_fetch_timeout", _DEFAULT_FETCH_TIMEOUT_S)
    service = config.text("service_name") or cluster.text("name")
    found = find_source_file(source)
    return None if found is None else EdsSettings(found[1], service, timeout_s)


def _build_discovery(cluster: View) -> tuple[DiscoveryType, View]:
    """How addresses are found, and the message that says how names are looked up."""
    if cluster.selected("cluster_discovery_type") == "cluster_type":
        return _build_extension(cluster)
    known = tuple(kind.value for kind in DiscoveryType)
    kind = cluster.only("type", known)
    return DiscoveryType(kind) if kind in known else DiscoveryType.STATIC, cluster


def _build_extension(cluster: View) -> tuple[DiscoveryType, View]:
    """`cluster_type: {name: envoy.cluster.dns}`, the newer spelling of both DNS types."""
    extension = cluster.child_or_empty("cluster_type")
    extension.accept("name")
    config = extension.typed("typed_config")
    if config is None or config.type_name != _DNS_CLUSTER:
        if config is not None:
            config.accept(*(field.name for field, _ in config.message.ListFields()))
        extension.error("this kind of cluster is not supported", f"FastProxy has {_DNS_CLUSTER}")
        # Whose endpoints may have names or addresses, so that nothing else is reported about them.
        return DiscoveryType.STRICT_DNS, cluster
    for name in _DNS_FIELDS:
        cluster.without_effect(name, "the DnsCluster says it")
    logical = config.flag("all_addresses_in_single_endpoint")
    return DiscoveryType.LOGICAL_DNS if logical else DiscoveryType.STRICT_DNS, config


def _build_preconnect(cluster: View) -> PreconnectSettings:
    policy = cluster.child_or_empty("preconnect_policy")
    own, predictive = (
        policy.child(name) for name in ("per_upstream_preconnect_ratio", "predictive_preconnect_ratio")
    )
    return PreconnectSettings(
        1.0 if own is None else own.number("value"), 1.0 if predictive is None else predictive.number("value")
    )


def _build_transport(
    owner: View, context: BuildContext, names: NameOptions, check_alpn: CheckAlpn
) -> UpstreamTlsSettings | None:
    socket = owner.child("transport_socket")
    if socket is None:
        return None
    name = socket.text("name")
    config = socket.typed("typed_config")
    if config is not None:
        if config.type_name == UPSTREAM_TLS:
            return build_upstream_tls(config, context, names, check_alpn)
        if config.type_name != RAW_BUFFER:
            fix = f"FastProxy has {UPSTREAM_TLS} and {RAW_BUFFER}"
            socket.error(
                f"the transport socket {config.type_name} is not supported", fix, field="typed_config"
            )
        return None
    if socket.has("typed_config") or name in _RAW_NAMES:
        return None
    if name in _TLS_NAMES:
        return default_tls(context, names, check_alpn)
    socket.error(
        f"the transport socket {quote(name)} has no typed_config",
        f'Add typed_config: {{"@type": type.googleapis.com/{UPSTREAM_TLS}}} for TLS',
    )
    return None
