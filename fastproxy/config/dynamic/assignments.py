"""Endpoints in a file (EDS): ClusterLoadAssignments to what discovery needs of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from envoy.config.endpoint.v3 import endpoint_pb2

from fastproxy.config.build.load_assignment import build_assignment, build_assignment_policy
from fastproxy.config.decode import Decoder
from fastproxy.config.dynamic.response import Resource, UnreadableFile, parse_response, read_resource_file
from fastproxy.config.locate import locate
from fastproxy.config.problems import ConfigError, ConfigProblem, Place, ProblemLog, quote
from fastproxy.config.rules import check_rules, unpack
from fastproxy.config.schema import ANY, find_message
from fastproxy.config.view import View
from fastproxy.upstream.settings import ClusterSettings, DiscoveryType, EndpointSettings

_ASSIGNMENT = endpoint_pb2.ClusterLoadAssignment.DESCRIPTOR.full_name


@dataclass(frozen=True, slots=True)
class Assignments:
    """What a file says about the endpoints of clusters."""

    version: str
    """`version_info`."""
    by_name: Mapping[str, tuple[EndpointSettings, ...]] = field(default_factory=dict)
    """Endpoints by `cluster_name`."""
    policies: Mapping[str, tuple[int, bool]] = field(default_factory=dict)
    """`overprovisioning_factor` and `weighted_priority_health` by `cluster_name`."""
    problems: tuple[ConfigProblem, ...] = ()
    """Why nothing of it may be used; empty if it may."""
    warnings: tuple[ConfigProblem, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing about anybody, so that everything stays as it is."""
        return not self.by_name and not self.problems


def read_assignments(path: str, content: bytes) -> Assignments:
    """Read a whole file; one mistake in it makes all of it unusable.

    Args:
        path: its name; the suffix says whether it is YAML or JSON.
        content: what it holds.

    Raises:
        ConfigError: it is no DiscoveryResponse.
    """
    log = ProblemLog()
    response = parse_response(path, content, log)
    log.raise_if_failed()
    assert response is not None
    found: dict[str, tuple[EndpointSettings, ...]] = {}
    policies: dict[str, tuple[int, bool]] = {}
    try:
        for resource in response.resources:
            _add(path, resource, found, policies, log)
        log.raise_if_failed()
    except ConfigError as error:
        return Assignments(response.version, problems=error.problems)
    return Assignments(response.version, found, policies, warnings=log.warnings)


def check_endpoint_files(clusters: Iterable[ClusterSettings], places: Place, log: ProblemLog) -> None:
    """Look at the files of EDS clusters, which are not part of the configuration.

    What is wrong in one is an error, for the proxy would not use it. A file or an assignment that is missing may come
    later, and is a warning.

    Args:
        clusters: all clusters.
        places: of the whole configuration.
        log: takes the problems.
    """
    known: dict[str, Assignments | None] = {}
    for cluster in clusters:
        if cluster.eds is None:
            continue
        path, name = cluster.eds.path, cluster.eds.service_name
        if path not in known:
            known[path] = _try(path, log)
        found = known[path]
        position = locate(places, f"{cluster.config_path}.eds_cluster_config")
        place = Place(position.file, position.line)
        if found is None:
            why = f"{quote(path)} cannot be read, and the cluster {quote(cluster.name)} has no endpoints until it can"
            log.warning(place, cluster.config_path, why)
        elif not found.problems and name not in found.by_name:
            why = f"{quote(path)} has no assignment for {quote(name)}, and the cluster has no endpoints"
            log.warning(place, cluster.config_path, why)


def _try(path: str, log: ProblemLog) -> Assignments | None:
    try:
        found = read_assignments(path, read_resource_file(path))
    except UnreadableFile:
        return None
    except ConfigError as error:
        found = Assignments("", problems=error.problems)
    log.include(found.problems, found.warnings)
    return found


def _add(
    path: str,
    resource: Resource,
    found: dict[str, tuple[EndpointSettings, ...]],
    policies: dict[str, tuple[int, bool]],
    log: ProblemLog,
) -> None:
    where = f"resources[{resource.index}]"
    place = Place(path, resource.node.line)
    if resource.type_name != _ASSIGNMENT:
        log.error(place, where, f"expected {_ASSIGNMENT}, found {quote(resource.type_name)}")
        return
    any_class = find_message(ANY)
    assert any_class is not None
    packed = any_class()
    place = Decoder(log, path).message(resource.node, packed, where)
    log.end_phase()
    message = unpack(packed)
    if message is None:
        return
    check_rules(message, place, where, log)
    log.end_phase()
    view = View(message, place, where, log)
    name = view.text("cluster_name")
    if name in found:
        view.error(f"there are two assignments for {quote(name)}", "Join them", field="cluster_name")
    found[name] = build_assignment(view, DiscoveryType.EDS)
    policies[name] = build_assignment_policy(view)
    view.sweep()
