"""What a cluster is, as the configuration fixes it. Built by `fastproxy.config`, never changed afterwards."""

from fastproxy.upstream.settings.address import Address
from fastproxy.upstream.settings.circuit_breakers import (
    NO_LIMIT,
    SHARED_ROWS_PER_CLUSTER,
    RetryBudgetSettings,
    ThresholdSettings,
)
from fastproxy.upstream.settings.cluster import ClusterSettings
from fastproxy.upstream.settings.connections import (
    ConnectionSettings,
    HappyEyeballsSettings,
    PreconnectSettings,
    TcpKeepaliveSettings,
    UpstreamProxyProtocolSettings,
)
from fastproxy.upstream.settings.discovery import (
    DiscoveryType,
    DnsLookupFamily,
    DnsResolverSettings,
    DnsSettings,
    EdsSettings,
)
from fastproxy.upstream.settings.endpoint import (
    DiscoveredEndpoint,
    EndpointSettings,
    EndpointTraits,
    Locality,
)
from fastproxy.upstream.settings.health_flags import (
    CONTROL_FLAGS,
    DEGRADED_FLAGS,
    EDS_FLAGS,
    EXCLUDED_FLAGS,
    UNHEALTHY_FLAGS,
    HealthFlag,
    HealthStatus,
    describe_health,
    eds_flags,
)
from fastproxy.upstream.settings.tls import UpstreamTlsSettings

__all__ = [
    "CONTROL_FLAGS",
    "DEGRADED_FLAGS",
    "EDS_FLAGS",
    "EXCLUDED_FLAGS",
    "NO_LIMIT",
    "SHARED_ROWS_PER_CLUSTER",
    "UNHEALTHY_FLAGS",
    "Address",
    "ClusterSettings",
    "ConnectionSettings",
    "DiscoveredEndpoint",
    "DiscoveryType",
    "DnsLookupFamily",
    "DnsResolverSettings",
    "DnsSettings",
    "EdsSettings",
    "EndpointSettings",
    "EndpointTraits",
    "HappyEyeballsSettings",
    "HealthFlag",
    "HealthStatus",
    "Locality",
    "PreconnectSettings",
    "RetryBudgetSettings",
    "TcpKeepaliveSettings",
    "ThresholdSettings",
    "UpstreamProxyProtocolSettings",
    "UpstreamTlsSettings",
    "describe_health",
    "eds_flags",
]
