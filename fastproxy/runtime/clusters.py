"""Clusters of one worker: made from settings, and told in its own words what the control plane says of endpoints."""

from collections.abc import Callable, Mapping
from functools import partial

from fastproxy.ipc.messages import EndpointAddress, EndpointOutlier, ImmediateFailure
from fastproxy.shared_counts import SharedCounts
from fastproxy.upstream.circuit_breaker import RowOf
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.health.events import EndpointEvent, OutlierDetected, report_to_nobody
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    DiscoveredEndpoint,
    EndpointTraits,
    HealthFlag,
    HealthStatus,
    Locality,
)

#: Tells the control plane what is noticed about endpoints.
TellOfEndpoint = Callable[[EndpointOutlier | ImmediateFailure], None]


class CountShares:
    """The part of a worker in what all workers count together."""

    def __init__(self, counts: SharedCounts, blocks: Mapping[str, int], worker_id: int) -> None:
        """Share `counts`, of which each cluster in `blocks` has the rows from there on."""
        self._counts = counts
        self._blocks = blocks
        self.worker_id = worker_id

    def of_cluster(self, name: str) -> RowOf | None:
        """The rows of a cluster; None: it has none, and counts alone."""
        first = self._blocks.get(name)
        return None if first is None else lambda index: self._counts.row(first + index)


def build_cluster(
    settings: ClusterSettings, shares: CountShares | None, tell: TellOfEndpoint | None
) -> Cluster:
    """Make a cluster without endpoints.

    Args:
        settings: its configuration.
        shares: what it counts together with the same cluster in other workers; None: there are none.
        tell: hears what is noticed about its endpoints.
    """
    report = report_to_nobody if tell is None else partial(_report, tell)
    if shares is None:
        return Cluster(settings, report=report)
    row_of = shares.of_cluster(settings.name)
    return Cluster(settings, row_of=row_of, worker_id=shares.worker_id, report=report)


def _report(tell: TellOfEndpoint, event: EndpointEvent) -> None:
    if isinstance(event, OutlierDetected):
        tell(EndpointOutlier(event.cluster, event.address, event.kind.value, event.enforced))
    else:
        tell(ImmediateFailure(event.cluster, event.address))


def read_endpoint(entry: EndpointAddress) -> DiscoveredEndpoint:
    """What the control plane has found, as clusters take it."""
    return DiscoveredEndpoint(
        Address(entry.host, entry.port, entry.hostname),
        EndpointTraits(
            entry.weight,
            entry.priority,
            Locality(entry.region, entry.zone, entry.sub_zone),
            entry.locality_weight,
            HealthStatus(entry.health),
            entry.metadata,
        ),
        HealthFlag(entry.flags),
        tuple(Address(one.host, one.port, entry.hostname) for one in entry.additional),
    )
