"""How connections to upstreams are made, kept and reused (Envoy `HttpProtocolOptions` and neighbours)."""

from dataclasses import dataclass, field


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
