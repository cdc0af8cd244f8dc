"""One endpoint, as it is configured and as it is found (Envoy `LbEndpoint`, `LocalityLbEndpoints`)."""

from dataclasses import dataclass, field

from fastproxy.upstream.health.settings import SAME_TARGET, CheckTarget
from fastproxy.upstream.settings.address import Address
from fastproxy.upstream.settings.health_flags import HealthFlag, HealthStatus


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
