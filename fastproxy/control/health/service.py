"""The health of all clusters of one configuration, and what of it another configuration takes over.

It stands between discovery and the workers: what discovery finds comes in here, and goes on with flags.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from fastproxy.control.health.cluster import ClusterHealth
from fastproxy.control.health.tools import HealthListener, HealthTools
from fastproxy.ipc.messages import (
    ClusterEndpoints,
    ClusterUsed,
    EndpointAddress,
    EndpointOutlier,
    ImmediateFailure,
    OutlierTally,
)
from fastproxy.upstream.settings import ClusterSettings

#: What a worker says about endpoints.
HealthMessage = ClusterUsed | ImmediateFailure | EndpointOutlier | OutlierTally


class HealthService:
    """Endpoints and their health.

    Args:
        clusters: all clusters.
        listener: is told of changes in the configuration in force.
        tools: for tests.
        previous: the service of the configuration in force. Clusters with equal settings are shared with it.
    """

    def __init__(
        self,
        clusters: tuple[ClusterSettings, ...],
        listener: HealthListener,
        tools: HealthTools | None = None,
        *,
        previous: "HealthService | None" = None,
    ) -> None:
        self._listener = listener
        tools = HealthTools() if tools is None else tools
        known: dict[str, ClusterHealth] = {} if previous is None else previous.clusters
        self.clusters: dict[str, ClusterHealth] = {}
        """By name."""
        self._owned: dict[str, ClusterHealth] = {}
        """Those that end with this service."""
        for settings in clusters:
            same = known.get(settings.name)
            if same is None or same.settings != settings:
                same = ClusterHealth(settings, listener, tools, same)
                same.is_live = previous is None
                self._owned[settings.name] = same
            self.clusters[settings.name] = same

    def on_discovered(self, message: ClusterEndpoints) -> None:
        """Discovery has another list for a cluster."""
        cluster = self.clusters[message.cluster]
        cluster.policy = message.overprovisioning_factor, message.weighted_priority_health
        cluster.on_endpoints(message.endpoints)
        if cluster.is_live:
            self._listener.on_endpoints(cluster.message())

    def start(self, discovered: Callable[[str], Sequence[EndpointAddress]]) -> None:
        """Take in what discovery has found so far, in clusters that it has not told of, too (STATIC)."""
        for name, cluster in self._owned.items():
            cluster.on_endpoints(discovered(name))

    async def wait_first_round(self, timeout_s: float) -> bool:
        """Wait until every endpoint has been checked once, at most so long; whether it was."""
        try:
            async with asyncio.timeout(timeout_s):
                for cluster in self._owned.values():
                    await cluster.first_round.wait()
        except TimeoutError:
            return False
        return True

    def take_over(self, previous: "HealthService") -> list[ClusterHealth]:
        """Become the service in force; returns clusters of `previous` that are gone or were replaced."""
        dropped = [one for name, one in previous.clusters.items() if self.clusters.get(name) is not one]
        for one in dropped:
            one.is_live = False
        for one in self.clusters.values():
            one.is_live = True
            one.forget_previous()
        previous.release(self.clusters.values())
        self._owned = dict(self.clusters)
        return dropped

    def release(self, clusters: Iterable[ClusterHealth]) -> None:
        """Another service cares for these from now on, and `stop` no longer ends them."""
        released = list(clusters)
        self._owned = {name: one for name, one in self._owned.items() if one not in released}

    def endpoints(self, cluster: str) -> tuple[EndpointAddress, ...]:
        """Current endpoints of a cluster with their flags; empty if there are none or no such cluster."""
        found = self.clusters.get(cluster)
        return () if found is None else found.endpoints

    def snapshot(self) -> list[ClusterEndpoints]:
        """The current list of every cluster, for a worker that starts."""
        return [cluster.message() for cluster in self.clusters.values()]

    def on_worker_message(self, message: HealthMessage) -> None:
        """A worker noticed something about an endpoint."""
        cluster = self.clusters.get(message.cluster)
        if cluster is None:
            return
        if isinstance(message, ClusterUsed):
            cluster.had_traffic = True
        elif isinstance(message, EndpointOutlier):
            cluster.on_outlier(message)
        elif isinstance(message, OutlierTally):
            cluster.on_tally(message)
        else:
            cluster.fail_immediately(message.address)

    async def stop(self) -> None:
        """Check no longer; clusters that another service has taken over go on."""
        await asyncio.gather(*(cluster.stop() for cluster in self._owned.values()))
