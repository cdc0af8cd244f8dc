"""A cluster as a whole (Envoy `config.cluster.v3.Cluster`)."""

from dataclasses import dataclass, field

from fastproxy.http.name_case import KeptCaseSettings
from fastproxy.upstream.balancer.settings import LoadBalancingSettings
from fastproxy.upstream.health.settings import NO_CHECKS, HealthSettings, OutlierSettings
from fastproxy.upstream.settings.circuit_breakers import NO_LIMIT, ThresholdSettings
from fastproxy.upstream.settings.connections import (
    ConnectionSettings,
    PreconnectSettings,
    UpstreamProxyProtocolSettings,
)
from fastproxy.upstream.settings.discovery import DiscoveryType, DnsLookupFamily, DnsSettings, EdsSettings
from fastproxy.upstream.settings.endpoint import EndpointSettings
from fastproxy.upstream.settings.tls import UpstreamTlsSettings


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """One cluster (Envoy `config.cluster.v3.Cluster`). Durations are seconds."""

    name: str
    discovery: DiscoveryType = DiscoveryType.STATIC
    endpoints: tuple[EndpointSettings, ...] = ()
    connect_timeout_s: float = 5.0
    """Covers TCP connect and TLS handshake."""
    dns_lookup_family: DnsLookupFamily = DnsLookupFamily.AUTO
    dns_refresh_rate_s: float = 5.0
    dns: DnsSettings = field(default_factory=DnsSettings)
    tls: UpstreamTlsSettings | None = None
    proxy_protocol: UpstreamProxyProtocolSettings | None = None
    """Connections say on whose behalf they are made, and serve no other downstream connection."""
    buffer_limit_bytes: int = 1024 * 1024
    """`per_connection_buffer_limit_bytes`: high-water mark of the upstream write buffer."""
    idle_timeout_s: float = 3600.0
    """`common_http_protocol_options.idle_timeout`: an unused pooled connection is closed after it; 0 = never."""
    connections: ConnectionSettings = field(default_factory=ConnectionSettings)
    preconnect: PreconnectSettings = field(default_factory=PreconnectSettings)
    proper_case_words: bool = False
    """`header_key_format`: names of request headers are written like `Content-Type`."""
    kept_case: KeptCaseSettings | None = None
    """`header_key_format`: names of response headers are passed on as the upstream writes them."""
    enable_trailers: bool = False
    """`http_protocol_options.enable_trailers`: trailers of requests go upstream, and those of responses are kept."""
    stat_name: str = field(default="")
    """`alt_stat_name`, or empty for `name`."""
    load_balancing: LoadBalancingSettings = field(default_factory=LoadBalancingSettings)
    thresholds: tuple[ThresholdSettings, ThresholdSettings] = (ThresholdSettings(), ThresholdSettings())
    """Circuit breakers for routes of priority DEFAULT, and of priority HIGH."""
    max_connections_per_endpoint: int = NO_LIMIT
    """`per_host_thresholds`: connections to one endpoint, per worker."""
    health: HealthSettings = NO_CHECKS
    """Active health checks."""
    outliers: OutlierSettings | None = None
    """`outlier_detection`; None: endpoints are not judged by their answers."""
    metadata: str = ""
    """`filter_metadata` as a JSON object, for formats; empty if there is none."""
    eds: EdsSettings | None = None
    """Where its endpoints are found, if `discovery` is EDS; `endpoints` is empty then."""
    config_path: str = field(default="", compare=False, repr=False)
    """Where it stands in the configuration, for messages: `static_resources.listeners[0]`..."""
