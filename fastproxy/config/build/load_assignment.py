"""`ClusterLoadAssignment` to endpoints: localities, priorities, weights, health and metadata (endpoint.v3)."""

from fastproxy.config.build.address import build_address
from fastproxy.config.build.filter_metadata import build_filter_metadata
from fastproxy.config.build.health_checks import build_check_target
from fastproxy.config.formats import is_host_name, is_ip
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.upstream.settings import (
    Address,
    DiscoveryType,
    EndpointSettings,
    EndpointTraits,
    HealthStatus,
    Locality,
)

_LOGICAL_DNS_SHAPE = "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint"
#: Envoy's, in percent.
DEFAULT_OVERPROVISIONING = 140
#: What looks no names up.
_BY_ADDRESS = (DiscoveryType.STATIC, DiscoveryType.EDS)
# Envoy adds weights in 32 bits.
_MAX_WEIGHTS = 2**32 - 1


def build_endpoints(cluster: View, discovery: DiscoveryType) -> tuple[EndpointSettings, ...]:
    """Every endpoint of the cluster's `load_assignment`, in the order of the file; those out of use, too."""
    assignment = cluster.child("load_assignment")
    if assignment is None:
        if discovery is DiscoveryType.LOGICAL_DNS:
            cluster.error(_LOGICAL_DNS_SHAPE)
        return ()
    assignment.accept("cluster_name")
    if discovery is DiscoveryType.EDS:
        cluster.error("a cluster of type EDS gets its endpoints from eds_config", field="load_assignment")
    count = sum(len(locality.children("lb_endpoints")) for locality in assignment.children("endpoints"))
    if discovery is DiscoveryType.LOGICAL_DNS and count != 1:
        assignment.error(
            f"{_LOGICAL_DNS_SHAPE}, not {count}", "Use STRICT_DNS for several endpoints", field="endpoints"
        )
    return build_assignment(assignment, discovery)


def build_assignment(assignment: View, discovery: DiscoveryType) -> tuple[EndpointSettings, ...]:
    """The endpoints of a `ClusterLoadAssignment`, in the order of the file; those out of use, too."""
    found: list[EndpointSettings] = []
    for locality in assignment.children("endpoints"):
        found += _build_locality(locality, locality.children("lb_endpoints"), discovery)
    return tuple(found)


def build_assignment_policy(assignment: View) -> tuple[int, bool]:
    """`policy`: the overprovisioning factor in percent, and whether weights count in the health of priorities."""
    policy = assignment.child("policy")
    if policy is None:
        return DEFAULT_OVERPROVISIONING, False
    factor = policy.integer_or("overprovisioning_factor", DEFAULT_OVERPROVISIONING)
    return factor, policy.flag("weighted_priority_health")


def _build_locality(locality: View, entries: list[View], discovery: DiscoveryType) -> list[EndpointSettings]:
    priority = locality.integer("priority")
    locality_weight = locality.integer_or("load_balancing_weight", 0)
    place = locality.child_or_empty("locality")
    where = Locality(place.text("region"), place.text("zone"), place.text("sub_zone"))
    found = []
    weights = 0
    for entry in entries:
        weight = entry.integer_or("load_balancing_weight", 1)
        weights += weight
        health = entry.choice("health_status")
        traits = EndpointTraits(
            weight,
            priority,
            where,
            locality_weight,
            HealthStatus(health) if health in HealthStatus.__members__ else HealthStatus.UNKNOWN,
            build_filter_metadata(entry),
        )
        endpoint = _build_endpoint(entry, discovery, traits)
        if endpoint is not None:
            found.append(endpoint)
    if weights > _MAX_WEIGHTS:
        locality.error(
            f"the sum of the endpoints' load_balancing_weight is above {_MAX_WEIGHTS}", field="lb_endpoints"
        )
    return found


def _build_endpoint(entry: View, discovery: DiscoveryType, traits: EndpointTraits) -> EndpointSettings | None:
    endpoint = entry.child("endpoint")
    if endpoint is None:
        return None
    hostname = endpoint.text("hostname")
    target = build_check_target(endpoint)
    found = _build_place(endpoint, discovery)
    additional = _build_additional(endpoint, discovery)
    if found is None:
        return None
    return EndpointSettings(found.host, found.port, hostname, traits, target, additional)


def _build_additional(endpoint: View, discovery: DiscoveryType) -> tuple[Address, ...]:
    if discovery not in _BY_ADDRESS:
        endpoint.without_effect(
            "additional_addresses",
            "a name has the addresses that DNS says, with dns_lookup_family: ALL of both kinds",
        )
        return ()
    places = []
    for one in endpoint.children("additional_addresses"):
        if not one.has("address"):
            one.error("the address is missing", field="address")
        places.append(_build_place(one, discovery))
    return tuple(one for one in places if one is not None)


def _build_place(owner: View, discovery: DiscoveryType) -> Address | None:
    """The `address` of a message; None if there is none that can be connected to (reported)."""
    holder = owner.child("address")
    if holder is not None and holder.selected("address") == "pipe":
        return _build_pipe(holder.child_or_empty("pipe"), discovery)
    address = build_address(owner)
    if address is None:
        return None
    host, port, socket = address
    if discovery in _BY_ADDRESS:
        if not is_ip(host):
            socket.error(
                f"malformed IP address: {quote(host)}",
                f"Clusters of type {discovery.value} take IP literals; for a name use type: STRICT_DNS",
                field="address",
            )
            return None
    elif not is_ip(host) and not _is_dns_name(host):
        socket.error(f"{quote(host)} is no host name", field="address")
        return None
    if port == 0 and socket.has("port_value"):
        socket.error("an upstream's port must not be 0", field="port_value")
    return Address(host, port)


def _build_pipe(pipe: View, discovery: DiscoveryType) -> Address | None:
    path = pipe.text("path")
    pipe.without_effect("mode", "whoever listens on the socket decides about it")
    if discovery not in _BY_ADDRESS:
        pipe.error("clusters that use DNS take host names and ports", "Use type: STATIC for a socket")
        return None
    if not path.startswith(("/", "@")):
        pipe.error(f"{quote(path)} is not an absolute path", "Write the whole path, or @name", field="path")
        return None
    return Address(path, 0)


def _is_dns_name(host: str) -> bool:
    # Names with underscores are no host names by RFC 1123, but they resolve, and Compose makes them.
    return is_host_name(host.replace("_", "-"))
