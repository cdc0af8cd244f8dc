"""Everything that one configuration became in one worker: listeners, filters, routes, clusters, keys.

A reload builds a second runtime beside the one that serves, takes into it what has not changed, and then lets it take
over. The life of a runtime:

    built --take_over--> serves --retire--> finishes what it has begun --> is_idle: forgotten

What always holds: a request belongs to one runtime from its beginning to its end; clusters with equal settings are one
object in both runtimes, with their endpoints, connections and counters; a token cache passes on only where neither the
provider nor its key source has changed (S29, S58).
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Collection, Iterator

from fastproxy.config import ConfigError, rebuild_tls
from fastproxy.config.settings import ProxySettings
from fastproxy.farewell import Farewell
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.ipc.messages import (
    ClusterEndpoints,
    EndpointHealth,
    JwksFetchFailed,
    JwksUpdate,
    TlsFilesUpdate,
)
from fastproxy.listener.acceptor import Listener
from fastproxy.listener.connection_limit import ConnectionLimit, raise_file_limit, share_of
from fastproxy.listener.network_filter import NetworkFilter
from fastproxy.listener.settings import ListenerSettings, Place, place_of
from fastproxy.listener.tcp_proxy.pipes import PipePool
from fastproxy.listener.tcp_proxy.pump import PumpTools
from fastproxy.runtime.clusters import CountShares, TellOfEndpoint, build_cluster, read_endpoint
from fastproxy.runtime.log_files import AccessLogFiles
from fastproxy.runtime.networks import NetworkBuilder
from fastproxy.stats import StatsSink
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.settings import HealthFlag

_log = logging.getLogger("fastproxy.worker")


class Runtime:
    """One configuration at work.

    Args:
        generation: which configuration this is.
        settings: the configuration.
        bootstrap: the same, serialised.
        concurrency: number of workers, which share out the limits on connections.
        log_files: the worker's access log files.
        ask: tells the control plane that a request needs fresher keys of a source.
        shares: what clusters count together with those of other workers; None if there are none.
        previous: the runtime that this one may replace.
        kept_sources: key sources whose keys, and the verdicts made by them, stay in force.
        farewell: what the operator has said about the end of the proxy.
        tell: tells the control plane what is noticed about endpoints.

    Raises:
        OSError: an access log cannot be opened.
    """

    def __init__(
        self,
        generation: int,
        settings: ProxySettings,
        *,
        bootstrap: bytes = b"",
        concurrency: int = 1,
        log_files: AccessLogFiles,
        ask: Callable[[str], None],
        shares: CountShares | None = None,
        previous: "Runtime | None" = None,
        kept_sources: Collection[str] = (),
        farewell: Farewell | None = None,
        tell: TellOfEndpoint | None = None,
    ) -> None:
        self.generation = generation
        self._bootstrap = bootstrap
        self._concurrency = concurrency
        self._loop = asyncio.get_running_loop()
        known: dict[str, Cluster] = {} if previous is None else previous.clusters
        self.clusters: dict[str, Cluster] = {
            one.name: known[one.name]
            if one.name in known and known[one.name].settings == one
            else build_cluster(one, shares, tell)
            for one in settings.clusters
        }
        self.pump_tools: PumpTools = (
            PumpTools(self._loop, PipePool()) if previous is None else previous.pump_tools
        )
        # Both live no longer than this call: what is passed on is kept by who uses it now, and nothing else of the
        # previous runtime must be.
        earlier: dict[tuple[bool, Place], Listener] = {}
        inherited: dict[str, list[Provider]] = {}
        if previous is not None:
            earlier = {_place(one.settings): one for one in previous.listeners}
            inherited = {source_id: previous.providers.get(source_id, []) for source_id in kept_sources}
        builder = NetworkBuilder(
            self.clusters,
            inherited,
            log_files=log_files,
            ask=ask,
            tools=self.pump_tools,
            loop=self._loop,
            farewell=farewell or Farewell(),
        )
        self.listeners: tuple[Listener, ...] = tuple(
            self._build_listener(one, builder, earlier.get(_place(one))) for one in settings.listeners
        )
        self.providers: dict[str, list[Provider]] = builder.providers
        """By key source; those of one source get the same keys."""
        self.log_paths: set[str] = builder.log_paths
        raise_file_limit()
        self._connection_limit = ConnectionLimit(
            share_of(settings.max_downstream_connections, concurrency), self._count_connections
        )
        for one in self.listeners:
            if one.settings.counts_globally:
                one.limit_by(self._connection_limit)
        self._orphans: tuple[NetworkFilter, ...] = ()
        self.follow_farewell()

    def _build_listener(
        self, listener: ListenerSettings, builder: NetworkBuilder, previous: Listener | None
    ) -> Listener:
        chains = [builder.build(listener, chain.network) for chain in listener.chains()]
        return Listener(
            listener,
            chains,
            self._loop,
            previous=previous,
            max_connections=share_of(listener.max_connections, self._concurrency),
            connection_log=builder.build_connection_log(listener),
        )

    def _count_connections(self) -> int:
        return sum(one.open_connections for one in self.listeners if one.settings.counts_globally)

    # -- what the control plane says -----------------------------------------------------------------------

    def on_endpoints(self, message: ClusterEndpoints) -> None:
        """A cluster has other endpoints."""
        cluster = self.clusters.get(message.cluster)
        if cluster is not None:
            cluster.update_policy(message.overprovisioning_factor, weighted=message.weighted_priority_health)
            cluster.update_endpoints([read_endpoint(entry) for entry in message.endpoints])

    def on_health(self, message: EndpointHealth) -> None:
        """An endpoint has another health."""
        cluster = self.clusters.get(message.cluster)
        if cluster is not None:
            cluster.on_control_health(message.address, HealthFlag(message.flags))

    def take_tally(self, cluster: str) -> dict[str, list[int]]:
        """How requests to the endpoints of a cluster ended since this was asked (`Cluster.take_tally`)."""
        found = self.clusters.get(cluster)
        return {} if found is None else found.take_tally()

    def take_first_uses(self) -> list[str]:
        """Names of clusters with health checks that were used for the first time since this was asked."""
        return [name for name, cluster in self.clusters.items() if cluster.take_first_use()]

    def on_keys(self, message: JwksUpdate) -> None:
        """A key source has other keys, or what it has is current."""
        for provider in self.providers.get(message.source_id, ()):
            provider.keys.on_update(message.epoch, message.jwks.encode(), fetched=message.fetched)

    def on_keys_failed(self, message: JwksFetchFailed) -> None:
        """No new keys for now."""
        for provider in self.providers.get(message.source_id, ()):
            provider.keys.on_fetch_failed()

    def on_tls_files(self, message: TlsFilesUpdate) -> None:
        """Files that certificates are made from hold something else; the control plane has tried it."""
        files = {name: base64.b64decode(content) for name, content in message.files.items()}
        try:
            update = rebuild_tls(self._bootstrap, files)
            for (position, chain), tls in update.chains.items():
                self.listeners[position].replace_tls(chain, tls)
            for name, upstream in update.clusters.items():
                self.clusters[name].replace_tls(upstream)
        except (ConfigError, OSError, ValueError) as error:
            _log.error("certificates of epoch %d cannot be used: %s", message.epoch, type(error).__name__)

    def follow_farewell(self) -> None:
        """The operator has said something about the end of the proxy."""
        for listener in self.listeners:
            listener.follow_farewell()

    # -- serving and ending --------------------------------------------------------------------------------

    def check_idle(self, now: float) -> None:
        """End what did not move for too long; called about once a second. `now` is monotonic seconds."""
        for listener in self.listeners:
            listener.check_idle(now)
        for cluster in self.clusters.values():
            cluster.close_idle(now)

    def retire(self, successor: "Runtime", *, idle_grace_s: float) -> None:
        """Another runtime accepts already: stop accepting, pass the connections on, drain those nobody serves."""
        heirs = {_place(listener.settings): listener for listener in successor.listeners}
        orphans: list[NetworkFilter] = []
        for listener in self.listeners:
            orphans += listener.hand_over(heirs.get(_place(listener.settings)))
        for chain in orphans:
            chain.drain(idle_grace_s)
        self._orphans = tuple(orphans)
        for cluster in self._own_clusters(successor):
            cluster.drain()

    def redirect(self, successor: "Runtime") -> None:
        """After `retire`: a later runtime has taken over, and what is still served here goes to that one next.

        Without it a request that outlives many reloads would keep all the runtimes between in memory.
        """
        heirs = {_place(listener.settings): listener for listener in successor.listeners}
        for listener in self.listeners:
            heir = heirs.get(_place(listener.settings))
            if heir is not None:
                listener.hand_over(heir)

    async def end_orphans(self, drain_time_s: float) -> None:
        """After `retire`: wait for the connections that nobody took over, and cut what is left."""
        await asyncio.gather(*(chain.wait_until_empty(drain_time_s) for chain in self._orphans))
        for chain in self._orphans:
            chain.abort()

    @property
    def is_idle(self) -> bool:
        """Nothing is served by this runtime any more."""
        return all(listener.is_idle for listener in self.listeners)

    async def drain(self, drain_time_s: float, *, idle_grace_s: float) -> None:
        """Stop accepting and finish what is in flight: the worker ends."""
        for listener in self.listeners:
            # Before any socket closes: an answer sent after that must not promise to keep the connection.
            listener.announce_drain()
        await asyncio.gather(*(listener.drain(drain_time_s, idle_grace_s) for listener in self.listeners))
        for cluster in self.clusters.values():
            cluster.drain()

    def write_stats(self, sink: StatsSink, successor: "Runtime | None" = None) -> None:
        """Add this runtime's numbers to a snapshot, without the clusters that `successor` has too."""
        for listener in self.listeners:
            listener.write_stats(sink)
        self._connection_limit.write_stats(sink)
        sink.gauge("server.total_connections", sum(one.open_connections for one in self.listeners))
        for cluster in self._own_clusters(successor):
            cluster.write_stats(sink)

    def _own_clusters(self, successor: "Runtime | None") -> Iterator[Cluster]:
        shared: dict[str, Cluster] = {} if successor is None else successor.clusters
        for name, cluster in self.clusters.items():
            if shared.get(name) is not cluster:
                yield cluster


def _place(listener: ListenerSettings) -> tuple[bool, Place]:
    """What tells a listener in two configurations that follow each other: its first address, and whether it binds."""
    return listener.binds, place_of(listener.name, listener.addresses()[0])
