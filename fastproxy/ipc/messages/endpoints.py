"""Who is in a cluster, and in which health."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdditionalAddress:
    """Another address of the same endpoint."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class EndpointAddress:
    """One address of a cluster, resolved by the control plane, and what the configuration says about it."""

    host: str
    """IP literal, or the path of a Unix domain socket."""
    port: int
    hostname: str
    weight: int = 1
    priority: int = 0
    region: str = ""
    zone: str = ""
    sub_zone: str = ""
    locality_weight: int = 0
    health: str = "UNKNOWN"
    """Envoy's `health_status`, by name."""
    metadata: str = ""
    """`filter_metadata` as a JSON object; empty if there is none."""
    flags: int = 0
    """`HealthFlag`s that the control plane decides: active checks, ejections."""
    check_host: str = ""
    """Where it is checked, if not at its own address; workers do not look at this and what follows."""
    check_port: int = 0
    check_hostname: str = ""
    unchecked: bool = False
    """`disable_active_health_check`."""
    additional: tuple[AdditionalAddress, ...] = ()
    """The same host at other addresses."""


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """The flags of one endpoint that the control plane decides, all of them."""

    cluster: str
    address: str
    """`ip:port`, or the path of a socket."""
    flags: int


@dataclass(frozen=True, slots=True)
class ClusterUsed:
    """A worker has made its first connection to a cluster: its health checks go over to their usual interval."""

    cluster: str


@dataclass(frozen=True, slots=True)
class ImmediateFailure:
    """An endpoint asked to be taken out of use, in the answer to a request (`x-envoy-immediate-health-check-fail`).

    The worker has done so already; the answer is EndpointHealth to all workers.
    """

    cluster: str
    address: str


@dataclass(frozen=True, slots=True)
class EndpointOutlier:
    """An endpoint failed too often in a row in one worker; the answer is EndpointHealth to all workers."""

    cluster: str
    address: str
    kind: str
    """`OutlierKind`, by value."""
    enforced: bool
    """The enforcing percentage allows an ejection. The worker may have made it already."""


@dataclass(frozen=True, slots=True)
class TallyRequest:
    """Ask how requests to the endpoints of a cluster ended since the last time; the answer is OutlierTally."""

    cluster: str


@dataclass(frozen=True, slots=True)
class OutlierTally:
    """Answer to TallyRequest, unless there were no requests."""

    cluster: str
    hosts: dict[str, list[int]]
    """`ip:port` -> successes, failures, local successes, local failures."""


@dataclass(frozen=True, slots=True)
class ClusterEndpoints:
    """The complete current address list of a cluster; replaces what the worker had."""

    cluster: str
    endpoints: list[EndpointAddress]
    overprovisioning_factor: int = 0
    """`policy` of a ClusterLoadAssignment from a file; 0: as the cluster has it."""
    weighted_priority_health: bool = False
    """The same; of no meaning without a factor."""
