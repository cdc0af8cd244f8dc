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
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from itertools import chain as chained

from fastproxy.config import ConfigError, rebuild_tls
from fastproxy.config.settings import ProxySettings
from fastproxy.filters.base import HttpFilter
from fastproxy.filters.build import build_filter
from fastproxy.filters.chain import FilterChain
from fastproxy.filters.jwt_authn.filter import JwtAuthnFilter
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.filters.jwt_authn.settings import JwtAuthnSettings
from fastproxy.ipc.messages import (
    ClusterEndpoints,
    EndpointAddress,
    EndpointHealth,
    EndpointOutlier,
    ImmediateFailure,
    JwksFetchFailed,
    JwksUpdate,
    TlsFilesUpdate,
)
from fastproxy.listener.acceptor import Listener
from fastproxy.listener.access_log import AccessLog, AccessLogFile
from fastproxy.listener.addresses.settings import Place, place_of
from fastproxy.listener.connection_limit import ConnectionLimit, raise_file_limit, share_of
from fastproxy.listener.manager import HttpConnectionManager
from fastproxy.listener.network_filter import NetworkFilter
from fastproxy.listener.settings import (
    HttpConnectionManagerSettings,
    HttpFilterSettings,
    ListenerSettings,
    NetworkFilterSettings,
)
from fastproxy.listener.tcp_proxy.pipes import PipePool
from fastproxy.listener.tcp_proxy.proxy import TcpProxy
from fastproxy.listener.tcp_proxy.pump import PumpTools
from fastproxy.listener.tcp_proxy.settings import TcpProxySettings
from fastproxy.router.router import Router
from fastproxy.shared_counts import SharedCounts
from fastproxy.stats import StatsSink
from fastproxy.upstream.circuit_breaker import RowOf
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.health.events import EndpointEvent, OutlierDetected, ReportEvent, report_to_nobody
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    DiscoveredEndpoint,
    EndpointTraits,
    HealthFlag,
    HealthStatus,
    Locality,
)

_log = logging.getLogger("fastproxy.worker")


class AccessLogFiles:
    """The access log files of a worker, one object for each path, whatever the number of runtimes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._files: dict[str, AccessLogFile] = {}

    def open(self, path: str) -> AccessLogFile:
        """Return the file of a path.

        Raises:
            OSError: it cannot be opened.
        """
        if path not in self._files:
            self._files[path] = AccessLogFile(path, self._loop)
        return self._files[path]

    def reopen(self) -> None:
        """After a rotation the paths name new files."""
        for file in self._files.values():
            file.reopen()

    def retain(self, paths: Collection[str]) -> None:
        """Close the files that no runtime writes to any more."""
        for path in self._files.keys() - set(paths):
            self._files.pop(path).close()


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


def _build_cluster(settings: ClusterSettings, shares: CountShares | None, report: ReportEvent) -> Cluster:
    if shares is None:
        return Cluster(settings, report=report)
    row_of = shares.of_cluster(settings.name)
    return Cluster(settings, row_of=row_of, worker_id=shares.worker_id, report=report)


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
        shares: "CountShares | None" = None,
        previous: "Runtime | None" = None,
        kept_sources: Collection[str] = (),
        tell: Callable[[EndpointOutlier | ImmediateFailure], None] | None = None,
    ) -> None:
        self.generation = generation
        self._bootstrap = bootstrap
        self._concurrency = concurrency
        self._loop = asyncio.get_running_loop()
        self._log_files = log_files
        self._ask = ask
        self._inherited: dict[str, list[Provider]] = {}
        if previous is not None:
            for source_id in kept_sources:
                self._inherited[source_id] = list(previous.providers.get(source_id, ()))
        self.providers: dict[str, list[Provider]] = {}
        """By key source; those of one source get the same keys."""
        self.log_paths: set[str] = set()
        known: dict[str, Cluster] = {} if previous is None else previous.clusters
        self.clusters: dict[str, Cluster] = {
            one.name: known[one.name]
            if one.name in known and known[one.name].settings == one
            else _build_cluster(one, shares, report_to_nobody if tell is None else partial(_report, tell))
            for one in settings.clusters
        }
        self.pump_tools: PumpTools = (
            PumpTools(self._loop, PipePool()) if previous is None else previous.pump_tools
        )
        earlier: tuple[Listener, ...] = () if previous is None else previous.listeners
        self._earlier = {_place(one.settings): one for one in earlier}
        self.listeners: tuple[Listener, ...] = tuple(self._build_listener(one) for one in settings.listeners)
        raise_file_limit()
        self._connection_limit = ConnectionLimit(
            share_of(settings.max_downstream_connections, concurrency), self._count_connections
        )
        for one in self.listeners:
            if one.settings.counts_globally:
                one.limit_by(self._connection_limit)
        self._orphans: tuple[NetworkFilter, ...] = ()
        # What was passed on is kept by who uses it now; nothing else of the previous runtime must be.
        self._inherited.clear()
        self._earlier.clear()

    # -- building ------------------------------------------------------------------------------------------

    def _build_listener(self, listener: ListenerSettings) -> Listener:
        chains = [self._build_network(listener, chain.network) for chain in listener.chains()]
        return Listener(
            listener,
            chains,
            self._loop,
            previous=self._earlier.get(_place(listener)),
            max_connections=share_of(listener.max_connections, self._concurrency),
        )

    def _count_connections(self) -> int:
        return sum(one.open_connections for one in self.listeners if one.settings.counts_globally)

    def _build_network(self, listener: ListenerSettings, network: NetworkFilterSettings) -> NetworkFilter:
        if isinstance(network, TcpProxySettings):
            return TcpProxy(
                listener,
                network,
                clusters=self.clusters,
                access_logs=[AccessLog(one, self._log_file(one.path)) for one in network.access_logs],
                tools=self.pump_tools,
            )
        return self._build_manager(listener, network)

    def _build_manager(
        self, listener: ListenerSettings, http: HttpConnectionManagerSettings
    ) -> HttpConnectionManager:
        filters = [self._build_filter(one) for one in http.http_filters]
        upgrade_filters = {
            upgrade.type.encode(): [self._build_filter(one) for one in upgrade.filters]
            for upgrade in http.upgrades
            if upgrade.filters is not None
        }
        token_headers: frozenset[bytes] = frozenset()
        identity_headers: frozenset[bytes] = frozenset()
        for one in (*filters, *chained.from_iterable(upgrade_filters.values())):
            if isinstance(one, JwtAuthnFilter):
                token_headers |= one.token_headers
                identity_headers |= one.identity_headers
        router = Router(
            http.route_config,
            self.clusters,
            suppress_envoy_headers=http.suppress_envoy_headers,
            identity_headers=identity_headers,
            loop=self._loop,
            buffer_limit_bytes=listener.buffer_limit_bytes,
        )
        return HttpConnectionManager(
            listener,
            http,
            router=router,
            filters=FilterChain(filters, router.select_route),
            access_logs=[
                AccessLog(one, self._log_file(one.path), secret_headers=token_headers)
                for one in http.access_logs
            ],
            loop=self._loop,
            upgrade_filters={
                kind: FilterChain(own, router.select_route) for kind, own in upgrade_filters.items()
            },
            identity_headers=identity_headers,
        )

    def _build_filter(self, settings: HttpFilterSettings) -> HttpFilter:
        if not isinstance(settings.config, JwtAuthnSettings):
            return build_filter(settings.name, settings.config)
        jwt_authn = JwtAuthnFilter(settings.config, ask=self._ask)
        for provider in jwt_authn.providers.values():
            self._inherit(provider)
            self.providers.setdefault(provider.keys.source_id, []).append(provider)
        return jwt_authn

    def _log_file(self, path: str) -> AccessLogFile:
        self.log_paths.add(path)
        return self._log_files.open(path)

    def _inherit(self, provider: Provider) -> None:
        """Give a provider the keys and verdicts of an equal one; each is passed on once."""
        candidates = self._inherited.get(provider.keys.source_id, [])
        for position, known in enumerate(candidates):
            if known.settings == provider.settings:
                provider.inherit(candidates.pop(position))
                return

    # -- what the control plane says -----------------------------------------------------------------------

    def on_endpoints(self, message: ClusterEndpoints) -> None:
        """A cluster has other endpoints."""
        cluster = self.clusters.get(message.cluster)
        if cluster is not None:
            cluster.update_endpoints([_endpoint(entry) for entry in message.endpoints])

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
        for cluster in self._own_clusters(successor):
            cluster.write_stats(sink)

    def _own_clusters(self, successor: "Runtime | None") -> Iterator[Cluster]:
        shared: dict[str, Cluster] = {} if successor is None else successor.clusters
        for name, cluster in self.clusters.items():
            if shared.get(name) is not cluster:
                yield cluster


def _report(tell: Callable[[EndpointOutlier | ImmediateFailure], None], event: EndpointEvent) -> None:
    if isinstance(event, OutlierDetected):
        tell(EndpointOutlier(event.cluster, event.address, event.kind.value, event.enforced))
    else:
        tell(ImmediateFailure(event.cluster, event.address))


def _place(listener: ListenerSettings) -> tuple[bool, Place]:
    """What tells a listener in two configurations that follow each other: its first address, and whether it binds."""
    return listener.binds, place_of(listener.name, listener.addresses()[0])


def _endpoint(entry: EndpointAddress) -> DiscoveredEndpoint:
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
