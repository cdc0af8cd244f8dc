"""A cluster at run time: the choice among its endpoints, and what they share (spec/clusters.md sections 2, 3).

Who is in it, and in which health, is `members.py`.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from random import Random

from fastproxy import clock
from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.hosts import server_name_of
from fastproxy.http.messages import Request
from fastproxy.http.name_case import ProperCase
from fastproxy.stats import StatsSink
from fastproxy.tls.stats import TlsStats
from fastproxy.upstream.balancer.balancer import Balancer
from fastproxy.upstream.balancer.forecast import Forecast
from fastproxy.upstream.balancer.picker import Picker, Tools
from fastproxy.upstream.balancer.settings import SubsetMatch
from fastproxy.upstream.balancer.subset import SubsetPicker
from fastproxy.upstream.circuit_breaker import RowOf, build_breakers
from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.health.events import ReportEvent, report_to_nobody
from fastproxy.upstream.members import Members
from fastproxy.upstream.pool import ConnectionPool
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    DiscoveredEndpoint,
    HealthFlag,
    UpstreamTlsSettings,
)
from fastproxy.upstream.stats import ClusterStats
from fastproxy.upstream.tcp_connections import TcpConnections


class Cluster:
    """A named upstream service as one worker sees it.

    Args:
        settings: its configuration.
        random: for tests; otherwise seeded by the system. Chance spreads load here, it protects nothing.
        row_of: memory that the cluster shares with the same cluster in other workers; None if there are none.
        worker_id: which cell of each row is this worker's.
        report: tells the control plane what is noticed about endpoints.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        random: Random | None = None,
        *,
        row_of: RowOf | None = None,
        worker_id: int = 0,
        report: ReportEvent = report_to_nobody,
    ) -> None:
        self.settings = settings
        self.name, self.shown_name = settings.name, settings.stat_name or settings.name  # the latter in logs
        self.filter_metadata: Mapping[str, object] | None = (
            json.loads(settings.metadata) if settings.metadata else None
        )
        """All that its metadata says, for formats; None if it has none."""
        self.has_named_pools = (
            settings.proxy_protocol is not None
            or settings.connections.per_downstream
            or (settings.tls is not None and settings.tls.auto_sni)
        )
        """Whether `pool_for` has to be asked which connections a request may use."""
        self.name_case = ProperCase() if settings.proper_case_words else None
        """Writes the names of request headers; None leaves them in lower case."""
        self.notes_responses = self.keeps_case or self.passes_trailers
        """There is more about a response to keep than its head and its body."""
        self.stats = ClusterStats()
        if settings.tls is not None:
            self.stats.tls = TlsStats()
        self.breakers = build_breakers(settings.thresholds, row_of, worker_id)
        """Circuit breakers for routes of priority DEFAULT (0) and HIGH (1)."""
        # Whom a request that is not there yet goes to can be said only if nothing of it matters.
        self._predicts = (
            settings.preconnect.predictive > 1.0
            and not settings.load_balancing.uses_hash
            and settings.load_balancing.subsets is None
            and not self.has_named_pools
        )
        # A gauge is the sum of what the workers say: one has to speak for all of them.
        self._speaks = worker_id == 0 or row_of is None
        self._use_was_told = False
        self.tcp = TcpConnections(
            self.stats, self.breakers[0], ends_with_endpoint=settings.health.close_connections_on_failure
        )
        """Connections of TCP proxies."""
        balancing = self._balancing = settings.load_balancing
        tools = self._tools = Tools(Random() if random is None else random, clock.monotonic, self.stats)  # noqa: S311
        self._balancer = Balancer(balancing, tools)
        self._reduced: dict[frozenset[int], Balancer] = {}
        """For retries that leave out some priorities; made when one needs it, until endpoints or health change."""
        self._subsets = (
            None if balancing.subsets is None else SubsetPicker(balancing, balancing.subsets, tools)
        )
        self._members = Members(
            settings,
            self.stats,
            tools.random,
            report,
            on_changed=self.on_health_changed,
            on_failed=self.tcp.on_endpoint_failed,
        )

    @property
    def keeps_case(self) -> bool:
        """Whether names of response headers are passed on as the upstream wrote them."""
        return self.settings.kept_case is not None

    @property
    def passes_trailers(self) -> bool:
        """Whether trailers of requests go upstream, and those of responses are kept."""
        return self.settings.enable_trailers

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The current endpoints, in the order of the configuration."""
        return self._members.endpoints

    def pool_for(self, endpoint: Endpoint, request: Request) -> ConnectionPool:
        """The connections that a request may use.

        `auto_sni` keeps them apart by its host, a PROXY header by the downstream connection that it names: no request
        of another one may ever come over them. So does `connection_pool_per_downstream_connection`.
        """
        settings = self.settings
        owner: ConnectionInfo | None = None
        if settings.connections.per_downstream or (
            settings.proxy_protocol is not None and request.connection.is_announced
        ):
            owner = request.connection
        tls = settings.tls
        if tls is None or not tls.auto_sni:
            return endpoint.pool_of("", owner)
        name = b""
        if tls.auto_sni_header:
            found = request.headers.get(tls.auto_sni_header, b"")
            name = found if isinstance(found, bytes) else b""
        return endpoint.pool_of(server_name_of(name or request.authority), owner)

    @property
    def uses_hash(self) -> bool:
        """Whether the choice goes by the hash of the request; otherwise there is no need to compute one."""
        return self.settings.load_balancing.uses_hash

    def select_endpoint(
        self, hash_value: int | None = None, match: SubsetMatch | None = None
    ) -> Endpoint | None:
        """Choose the endpoint for a request. Hot path: once per request.

        Args:
            hash_value: the request's hash (`hash_policy`); None: it has none, so any endpoint will do.
            match: `metadata_match` of the route; only clusters with subsets look at it.

        Returns:
            An endpoint; None if there is none that may be used.
        """
        if self._subsets is None:
            return self._balancer.picker.select(hash_value, 0)
        return self._subsets.picker(match).select(hash_value, 0)

    def select_another(
        self,
        rejects: Callable[[Endpoint], bool],
        max_attempts: int,
        hash_value: int | None = None,
        match: SubsetMatch | None = None,
        without: frozenset[int] = frozenset(),
    ) -> Endpoint | None:
        """Choose an endpoint for a retry, another one than before if that is to be had (`retry_host_predicate`).

        Args:
            rejects: whether the request should not go to an endpoint.
            max_attempts: how often to choose anew (`host_selection_retry_max_attempts`); the last choice stands, also
                if it is rejected.
            hash_value: as for `select_endpoint`.
            match: as for `select_endpoint`.
            without: priorities to leave out, if others are left (`retry_priority`); a cluster with subsets leaves out
                none.

        Returns:
            An endpoint; None if there is none that may be used.
        """
        picker = self._picker(match) if not without else self._picker_without(without, match)
        chosen = picker.select(hash_value, 0)
        for attempt in range(1, max_attempts + 1):
            if chosen is None or not rejects(chosen):
                break
            chosen = picker.select(hash_value, attempt)
        return chosen

    def has_usable_besides(self, priorities: frozenset[int]) -> bool:
        """Whether an endpoint of another priority may be used."""
        return any(
            (endpoint.is_healthy or endpoint.is_degraded) and endpoint.priority not in priorities
            for endpoint in self._members.endpoints
        )

    def _picker_without(self, priorities: frozenset[int], match: SubsetMatch | None) -> Picker:
        if self._subsets is not None:
            return self._subsets.picker(match)
        balancer = self._reduced.get(priorities)
        if balancer is None:
            balancer = self._reduced[priorities] = Balancer(self._balancing, self._tools)
            balancer.update([one for one in self._members.endpoints if one.priority not in priorities])
        return balancer.picker

    def _picker(self, match: SubsetMatch | None) -> Picker:
        return self._balancer.picker if self._subsets is None else self._subsets.picker(match)

    def update_endpoints(self, endpoints: Iterable[DiscoveredEndpoint | Address]) -> None:
        """Replace the list; endpoints that stay keep connections, counters and health, the others drain.

        Args:
            endpoints: the complete list; of an address that occurs twice the first entry counts. An `Address` alone
                is an endpoint about which nothing else is said.
        """
        self._members.update(endpoints)

    def update_policy(self, overprovisioning_factor: int, *, weighted: bool) -> None:
        """The file that has the endpoints has another `policy`; `update_endpoints` follows, and puts it into effect.

        Args:
            overprovisioning_factor: in percent; 0: as the configuration has it.
            weighted: `weighted_priority_health`.
        """
        wanted = self.settings.load_balancing
        if overprovisioning_factor:
            wanted = replace(
                wanted, overprovisioning_factor=overprovisioning_factor, weighted_priority_health=weighted
            )
        if wanted == self._balancing:
            return
        self._balancing = wanted
        self._balancer = Balancer(wanted, self._tools)
        if wanted.subsets is not None:
            self._subsets = SubsetPicker(wanted, wanted.subsets, self._tools)

    def on_control_health(self, address: str, flags: HealthFlag) -> None:
        """The control plane has other flags for an endpoint.

        Args:
            address: `ip:port`, or the path of a socket.
            flags: all that are the control plane's to decide.
        """
        self._members.on_control_health(address, flags)

    def take_tally(self) -> dict[str, list[int]]:
        """For each endpoint what `EndpointMonitor.take_tally` says; endpoints without requests are left out."""
        return self._members.take_tally()

    def take_first_use(self) -> bool:
        """Whether it has been used for the first time since this was asked; the intervals of checks go by that."""
        if self._use_was_told or not self.stats.upstream_cx_total or not self.settings.health.checks:
            return False
        self._use_was_told = True
        return True

    def on_health_changed(self) -> None:
        """Choose among the endpoints anew: health flags of some have changed (`Endpoint.set_health`)."""
        self._reduced.clear()
        if self._subsets is None:
            self._balancer.update(self._members.endpoints)
            if self._predicts:
                self._balancer.picker = Forecast(
                    self._balancer.picker, len(self._members.endpoints), self._lacks_connections, self._warm
                )
        else:
            self._subsets.update(self._members.endpoints)

    def _lacks_connections(self) -> bool:
        """Whether there are fewer connections than `predictive_preconnect_ratio` for each request of this worker."""
        requests = connections = 0
        for breaker in self.breakers:
            requests += breaker.requests.used + breaker.pending.used
            connections += breaker.connections.used
        return (requests + 1) * self.settings.preconnect.predictive > connections

    def _warm(self, endpoint: Endpoint) -> bool:
        return endpoint.pool.warm_up(self.breakers[0], self.settings.preconnect.predictive)

    def replace_tls(self, tls: UpstreamTlsSettings) -> None:
        """Certificates or authorities have changed: new connections go by them, those that are open stay."""
        if self.settings.tls is not None:
            self.settings.tls.renew(tls)

    def close_idle(self, now: float) -> None:
        """Close pooled connections that were idle for too long; called every few seconds."""
        for endpoint in self._members.endpoints:
            endpoint.close_idle(now)

    def drain(self) -> None:
        """Close idle connections and take none back: the worker is about to end."""
        self._members.drain()

    def write_stats(self, sink: StatsSink) -> None:
        """Add this cluster's numbers to a snapshot."""
        prefix = f"cluster.{self.settings.stat_name or self.name}."
        self.stats.write(sink, prefix)
        for breaker, priority in zip(self.breakers, ("default", "high"), strict=True):
            breaker.write_stats(sink, f"{prefix}circuit_breakers.{priority}.")
        if self._speaks:
            for name, value in self.stats.lb_gauges.items():
                sink.gauge(prefix + name, value)
        sink.gauge(
            prefix + "upstream_rq_pending_active",
            sum(p.waiting_requests for e in self._members.endpoints for p in e.pools),
        )
        sink.gauge(prefix + "upstream_cx_active", sum(e.open_connections for e in self._members.endpoints))
        sink.hosts[self.name] = {e.text: e.stats.encode(e.open_connections) for e in self._members.endpoints}
