"""What a cluster is, as the configuration fixes it. Built by `fastproxy.config`, never changed afterwards."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntFlag

from fastproxy.addresses import format_address, is_pipe
from fastproxy.http.name_case import KeptCaseSettings
from fastproxy.upstream.balancer.settings import LoadBalancingSettings
from fastproxy.upstream.health.settings import (
    NO_CHECKS,
    SAME_TARGET,
    CheckTarget,
    HealthSettings,
    OutlierSettings,
)

#: Envoy's number for a limit that is none.
NO_LIMIT = 4294967295
#: Numbers of each cluster that the workers share: connections, pending requests, requests and retries, once for each
#: of the two priorities.
SHARED_ROWS_PER_CLUSTER = 8


class DiscoveryType(Enum):
    """How a cluster finds its addresses (Envoy `Cluster.type`); EDS: in a file that is followed."""

    STATIC = "STATIC"
    STRICT_DNS = "STRICT_DNS"
    LOGICAL_DNS = "LOGICAL_DNS"
    EDS = "EDS"


class DnsLookupFamily(Enum):
    """Which address families a DNS cluster asks for (Envoy `Cluster.dns_lookup_family`)."""

    AUTO = "AUTO"
    V4_ONLY = "V4_ONLY"
    V6_ONLY = "V6_ONLY"
    V4_PREFERRED = "V4_PREFERRED"
    ALL = "ALL"


@dataclass(frozen=True, slots=True)
class DnsResolverSettings:
    """A resolver of our own, c-ares as in Envoy, instead of the system's (Envoy `CaresDnsResolverConfig`)."""

    servers: tuple[str, ...] = ()
    """`ip:port`, IPv6 in brackets; empty means those of the system."""
    servers_are_fallback: bool = False
    """Use `servers` only where the system names none (`use_resolvers_as_fallback`)."""
    over_tcp: bool = False
    search_domains: bool = True
    """Whether the system's search list applies to short names."""
    query_timeout_s: float = 5.0
    tries: int = 4
    rotate: bool = False
    """Spread queries over the servers, instead of asking the first one that answers."""


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """How a cluster looks names up, besides `dns_lookup_family` and `dns_refresh_rate`."""

    failure_refresh_s: tuple[float, float] | None = None
    """`dns_failure_refresh_rate`: the first and the longest pause after failures; None means the normal rate."""
    jitter_s: float = 0.0
    """`dns_jitter`: each pause is longer by a random part of this."""
    respect_ttl: bool = False
    """The pause is the lowest time to live of an answer that has one."""
    resolver: DnsResolverSettings | None = None
    """None means the system's resolver, which tells no times to live."""


@dataclass(frozen=True, slots=True)
class EdsSettings:
    """The file that has the endpoints of a cluster (Envoy `EdsClusterConfig`)."""

    path: str
    """`path_config_source.path`: a DiscoveryResponse with a ClusterLoadAssignment."""
    service_name: str
    """The `cluster_name` of the assignment: `service_name`, or else the name of the cluster."""
    initial_fetch_timeout_s: float = 15.0
    """How long the start waits for the file, if it is not there; 0: as long as it takes."""


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address and port, or a Unix domain socket, to connect to, and the name it came from."""

    host: str
    """IP literal; or the path of a socket, which begins with `/`, or with `@` in the abstract namespace."""
    port: int
    """0 for a Unix domain socket."""
    hostname: str = ""
    """The configured or resolved DNS name; `auto_host_rewrite` and TLS name checks use it."""

    @property
    def is_pipe(self) -> bool:
        """Whether it is a Unix domain socket."""
        return is_pipe(self.host)

    def __str__(self) -> str:
        """Envoy's `ip:port`, IPv6 in brackets; the path of a Unix domain socket."""
        return format_address(self.host, self.port)


class HealthStatus(Enum):
    """What the configuration or discovery says about an endpoint (Envoy `core.v3.HealthStatus`)."""

    UNKNOWN = "UNKNOWN"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    TIMEOUT = "TIMEOUT"
    DEGRADED = "DEGRADED"


class HealthFlag(IntFlag):
    """Why an endpoint is not simply healthy; each part of the runtime sets and clears its own.

    `/clusters` shows the names in this order, as Envoy does.
    """

    FAILED_ACTIVE_HC = 1
    FAILED_OUTLIER_CHECK = 2
    FAILED_EDS_HEALTH = 4
    DEGRADED_ACTIVE_HC = 8
    DEGRADED_EDS_HEALTH = 16
    PENDING_DYNAMIC_REMOVAL = 32
    PENDING_ACTIVE_HC = 64
    EXCLUDED_VIA_IMMEDIATE_HC_FAIL = 128
    ACTIVE_HC_TIMEOUT = 256
    EDS_STATUS_DRAINING = 512


#: Any of these takes an endpoint out of use.
UNHEALTHY_FLAGS = (
    HealthFlag.FAILED_ACTIVE_HC
    | HealthFlag.FAILED_OUTLIER_CHECK
    | HealthFlag.FAILED_EDS_HEALTH
    | HealthFlag.EDS_STATUS_DRAINING
)
#: One of these, and none of the above: used for what the healthy endpoints cannot take.
DEGRADED_FLAGS = HealthFlag.DEGRADED_ACTIVE_HC | HealthFlag.DEGRADED_EDS_HEALTH
#: Not counted at all when shares and panic are computed: nothing is known about these yet, or they are leaving.
EXCLUDED_FLAGS = (
    HealthFlag.PENDING_ACTIVE_HC | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL | HealthFlag.EDS_STATUS_DRAINING
)
#: The flags that `health_status` decides.
EDS_FLAGS = HealthFlag.FAILED_EDS_HEALTH | HealthFlag.DEGRADED_EDS_HEALTH | HealthFlag.EDS_STATUS_DRAINING

#: The flags that the control plane decides: active checks, ejections, endpoints on their way out.
CONTROL_FLAGS = (
    HealthFlag.FAILED_ACTIVE_HC
    | HealthFlag.FAILED_OUTLIER_CHECK
    | HealthFlag.DEGRADED_ACTIVE_HC
    | HealthFlag.PENDING_DYNAMIC_REMOVAL
    | HealthFlag.PENDING_ACTIVE_HC
    | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
    | HealthFlag.ACTIVE_HC_TIMEOUT
)

_EDS_FLAGS_OF = {
    HealthStatus.UNHEALTHY: HealthFlag.FAILED_EDS_HEALTH,
    HealthStatus.TIMEOUT: HealthFlag.FAILED_EDS_HEALTH,
    HealthStatus.DRAINING: HealthFlag.EDS_STATUS_DRAINING,
    HealthStatus.DEGRADED: HealthFlag.DEGRADED_EDS_HEALTH,
}


def eds_flags(status: HealthStatus) -> HealthFlag:
    """The health flags that follow from a `health_status`."""
    return _EDS_FLAGS_OF.get(status, HealthFlag(0))


def describe_health(flags: HealthFlag) -> str:
    """Flags as `/clusters` shows them: `healthy`, or `/failed_active_hc/failed_outlier_check`."""
    return "".join(f"/{flag.name.lower()}" for flag in HealthFlag if flag in flags and flag.name) or "healthy"


@dataclass(frozen=True, slots=True)
class Locality:
    """Where an endpoint is (Envoy `core.v3.Locality`)."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


@dataclass(frozen=True, slots=True)
class EndpointTraits:
    """What is said about an endpoint besides its address (`LbEndpoint`, `LocalityLbEndpoints`)."""

    weight: int = 1
    """`load_balancing_weight` of the endpoint."""
    priority: int = 0
    """Of its locality; 0 is the highest."""
    locality: Locality = field(default_factory=Locality)
    locality_weight: int = 0
    """`load_balancing_weight` of its locality; 0 if it has none."""
    health: HealthStatus = HealthStatus.UNKNOWN
    metadata: str = ""
    """`filter_metadata` as a JSON object, keys sorted; empty if there is none."""


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """One configured endpoint (`LbEndpoint.endpoint`): IP literal or socket for STATIC, otherwise a name."""

    host: str
    port: int
    hostname: str = ""
    traits: EndpointTraits = field(default_factory=EndpointTraits)
    check_target: CheckTarget = SAME_TARGET
    """Where its health checks go."""
    additional: tuple[Address, ...] = ()
    """`additional_addresses`: the same host at other addresses. Not of names, which have as many as DNS says."""


@dataclass(frozen=True, slots=True)
class DiscoveredEndpoint:
    """One endpoint as the control plane found it: an address, and what is said about it."""

    address: Address
    traits: EndpointTraits = field(default_factory=EndpointTraits)
    health: HealthFlag | None = None
    """What the control plane's checks and ejections found, without those of `traits.health`; None: no word of it."""
    additional: tuple[Address, ...] = ()
    """The same host at other addresses: connections go to whichever answers first."""


@dataclass(frozen=True, slots=True)
class TcpKeepaliveSettings:
    """`upstream_connection_options.tcp_keepalive`; 0: what the system has."""

    probes: int = 0
    time_s: int = 0
    interval_s: int = 0


@dataclass(frozen=True, slots=True)
class HappyEyeballsSettings:
    """`upstream_connection_options.happy_eyeballs_config`: in which order the addresses of one host are tried."""

    begins_with_v6: bool | None = None
    """`first_address_family_version`; None: with the family of the first address."""
    first_count: int = 1
    """`first_address_family_count`: so many of the first family before one of the other."""


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How connections are made and how long they are used (Envoy `HttpProtocolOptions` and neighbours)."""

    max_requests: int = 0
    """`max_requests_per_connection`; 0 is no limit."""
    max_duration_s: float = 0.0
    """`max_connection_duration`: a connection is not used again after it; 0 is no limit."""
    max_stream_s: float = 0.0
    """`max_stream_duration`: how long one try of a request may last, the whole response included; 0 is no limit."""
    max_response_headers: int = 100
    """`max_headers_count`."""
    max_response_head_bytes: int = 0
    """`max_response_headers_kb`, in bytes; 0 means that of every connection."""
    keepalive: TcpKeepaliveSettings | None = None
    sources: tuple[tuple[str, int], ...] = ()
    """`upstream_bind_config`: addresses to connect from, one of each family; port 0 is any."""
    happy_eyeballs: HappyEyeballsSettings = field(default_factory=HappyEyeballsSettings)
    per_downstream: bool = False
    """`connection_pool_per_downstream_connection`: one serves the requests of one downstream connection only."""
    close_on_set_change: bool = False
    """`close_connections_on_host_set_change`: give all of them up when endpoints come or go."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class UpstreamTlsSettings:
    """TLS towards the endpoints of one cluster (Envoy `UpstreamTlsContext`)."""

    context: ssl.SSLContext = field(compare=False)
    """Ready to use, verification settings included."""
    sni: str = ""
    """Name to send and to verify; empty means the endpoint's host name."""
    verifies_name: bool = True
    """Only certificates of this upstream are accepted, not any of its authority."""
    verifies_peer: bool = True
    """False: anybody's certificate is accepted (`ACCEPT_UNTRUSTED`)."""
    host_sni: bool = False
    """`auto_host_sni`: the endpoint's host name is sent instead of `sni`, if it has one."""
    auto_sni: bool = False
    """The name is the host of each request, and connections are kept apart by it."""
    auto_sni_header: bytes = b""
    """`override_auto_sni_header`, lower case: this header of the request comes before its host."""
    check_contexts: Mapping[tuple[str, ...], ssl.SSLContext] = field(
        default_factory=dict, compare=False, repr=False
    )
    """The same, offering other protocols (ALPN), for health checks that need that."""
    own_chain: bytes = field(default=b"", compare=False, repr=False)
    """The client certificate with its chain, PEM; for /certs, `context` has it, too."""
    own_origin: str = field(default="", compare=False)
    """Where that came from."""
    trusted_ca: bytes | None = field(default=None, compare=False, repr=False)
    """The authorities of servers, PEM; for /certs as well. None: the system's, or nobody's."""
    fingerprint: str = ""
    """Stands for `context` in comparisons: contexts cannot be compared, and a reload keeps clusters that are equal."""

    def context_for(self, alpn: tuple[str, ...]) -> ssl.SSLContext:
        """The context that offers these protocols; empty: what the cluster offers.

        Raises:
            KeyError: the configuration has no health check that offers them.
        """
        return self.check_contexts[alpn] if alpn else self.context

    def renew(self, changed: "UpstreamTlsSettings") -> None:
        """Certificates or authorities have changed: whoever holds these settings uses those contexts from now on.

        The one thing here that changes, so that nobody who has got hold of the settings can go on with old trust.
        """
        object.__setattr__(self, "context", changed.context)
        object.__setattr__(self, "check_contexts", changed.check_contexts)

    def server_name(self, address: Address) -> str:
        """The name to send to an address, and to verify if one is."""
        if self.host_sni and address.hostname:
            return address.hostname
        return self.sni or address.hostname or address.host


@dataclass(frozen=True, slots=True)
class RetryBudgetSettings:
    """`retry_budget`: retries as a share of the requests of the moment, instead of `max_retries`."""

    percent: float = 20.0
    """Of the requests under way and waiting."""
    min_concurrency: int = 3
    """So many are allowed in any case."""


@dataclass(frozen=True, slots=True)
class ThresholdSettings:
    """What a cluster may be burdened with by routes of one priority (Envoy `CircuitBreakers.Thresholds`)."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    """Requests that wait for a connection."""
    max_requests: int = 1024
    """Requests under way."""
    max_retries: int = 3
    """Retries under way, those that wait for their turn included."""
    retry_budget: RetryBudgetSettings | None = None
    max_connection_pools: int = NO_LIMIT
    """Endpoints that one worker has connections to at a time."""
    track_remaining: bool = False
    """Show what is left of each limit as a gauge."""


@dataclass(frozen=True, slots=True)
class PreconnectSettings:
    """`preconnect_policy`: how many connections there are for each request under way or waiting; 1 is no more."""

    per_upstream: float = 1.0
    """`per_upstream_preconnect_ratio`: to the endpoint that has the request."""
    predictive: float = 1.0
    """`predictive_preconnect_ratio`: of the cluster, to those endpoints that will get the next requests."""


@dataclass(frozen=True, slots=True)
class UpstreamProxyProtocolSettings:
    """The PROXY header in front of every connection (Envoy `ProxyProtocolUpstreamTransport`)."""

    version: int = 1
    tlvs: tuple[tuple[int, bytes], ...] = ()
    """`added_tlvs`: types and values, version 2 only."""


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
