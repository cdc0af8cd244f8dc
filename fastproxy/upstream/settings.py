"""What a cluster is, as the configuration fixes it. Built by `fastproxy.config`, never changed afterwards."""

import ssl
from dataclasses import dataclass, field
from enum import Enum


class DiscoveryType(Enum):
    """How a cluster finds its addresses (Envoy `Cluster.type`)."""

    STATIC = "STATIC"
    STRICT_DNS = "STRICT_DNS"
    LOGICAL_DNS = "LOGICAL_DNS"


class DnsLookupFamily(Enum):
    """Which address families a DNS cluster asks for (Envoy `Cluster.dns_lookup_family`)."""

    AUTO = "AUTO"
    V4_ONLY = "V4_ONLY"
    V6_ONLY = "V6_ONLY"
    V4_PREFERRED = "V4_PREFERRED"
    ALL = "ALL"


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address and port to connect to, and the name it came from."""

    host: str
    """IP literal."""
    port: int
    hostname: str = ""
    """The configured or resolved DNS name; `auto_host_rewrite` and TLS name checks use it."""

    def __str__(self) -> str:
        """Envoy's `ip:port`, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """One configured endpoint: an IP literal for STATIC, a DNS name otherwise (`LbEndpoint.endpoint`)."""

    host: str
    port: int
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class UpstreamTlsSettings:
    """TLS towards the endpoints of one cluster (Envoy `UpstreamTlsContext`)."""

    context: ssl.SSLContext
    """Ready to use, verification settings included."""
    sni: str = ""
    """Name to send and to verify; empty means the endpoint's host name."""
    verifies_name: bool = True


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
    tls: UpstreamTlsSettings | None = None
    buffer_limit_bytes: int = 1024 * 1024
    """`per_connection_buffer_limit_bytes`: high-water mark of the upstream write buffer."""
    idle_timeout_s: float = 3600.0
    """`common_http_protocol_options.idle_timeout`: an unused pooled connection is closed after it; 0 = never."""
    stat_name: str = field(default="")
    """`alt_stat_name`, or empty for `name`."""
    config_path: str = field(default="", compare=False, repr=False)
    """Where it stands in the configuration, for messages: `static_resources.listeners[0]`..."""
