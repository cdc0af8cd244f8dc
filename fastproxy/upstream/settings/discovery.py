"""How the endpoints of a cluster are found (Envoy `Cluster.type`, `EdsClusterConfig`, DNS)."""

from dataclasses import dataclass
from enum import Enum


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
