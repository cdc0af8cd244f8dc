"""A cluster at run time: its endpoints, which change, and the choice among them (spec/clusters.md sections 2, 3)."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from random import Random
from typing import Protocol

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
from fastproxy.upstream.errors import ConnectTimeout, UpstreamError
from fastproxy.upstream.health.events import FailedImmediately, OutlierDetected, ReportEvent, report_to_nobody
from fastproxy.upstream.health.settings import OutlierKind
from fastproxy.upstream.monitor import EndpointMonitor
from fastproxy.upstream.pool import ConnectionPool
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    DiscoveredEndpoint,
    DiscoveryType,
    HealthFlag,
    UpstreamTlsSettings,
)
from fastproxy.upstream.stats import ClusterStats

#: What takes an endpoint out of use that was in use before.
_FAILED = HealthFlag.FAILED_ACTIVE_HC | HealthFlag.FAILED_OUTLIER_CHECK


class TcpSession(Protocol):
    """A connection of a TCP proxy."""

    def on_endpoint_failed(self) -> None:
        """End it: its endpoint is out of use, and the cluster wants no connection to such a one."""


class Cluster:
    """A named upstream service as one worker sees it."""

    def __init__(
        self,
        settings: ClusterSettings,
        random: Random | None = None,
        *,
        row_of: RowOf | None = None,
        worker_id: int = 0,
        report: ReportEvent = report_to_nobody,
    ) -> None:
        """Make a cluster without endpoints.

        Args:
            settings: its configuration.
            random: for tests; otherwise seeded by the system. Chance spreads load here, it protects nothing.
            row_of: memory that the cluster shares with the same cluster in other workers; None if there are none.
            worker_id: which cell of each row is this worker's.
            report: tells the control plane what is noticed about endpoints.
        """
        self.settings = settings
        self.name = settings.name
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
        self.keeps_case = settings.kept_case is not None
        """Names of response headers are passed on as the upstream wrote them."""
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
        self._report = report
        self._use_was_told = False
        self._endpoints: tuple[Endpoint, ...] = ()
        self._tcp_sessions: dict[Endpoint, set[TcpSession]] = {}
        """Those that end when their endpoint fails (`close_connections_on_host_health_failure`)."""
        balancing = self._balancing = settings.load_balancing
        tools = self._tools = Tools(Random() if random is None else random, clock.monotonic, self.stats)  # noqa: S311
        self._balancer = Balancer(balancing, tools)
        self._reduced: dict[frozenset[int], Balancer] = {}
        """For retries that leave out some priorities; made when one needs it, until endpoints or health change."""
        self._subsets = (
            None if balancing.subsets is None else SubsetPicker(balancing, balancing.subsets, tools)
        )

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The current endpoints, in the order of the configuration."""
        return self._endpoints

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
            for endpoint in self._endpoints
        )

    def _picker_without(self, priorities: frozenset[int], match: SubsetMatch | None) -> Picker:
        if self._subsets is not None:
            return self._subsets.picker(match)
        balancer = self._reduced.get(priorities)
        if balancer is None:
            balancer = self._reduced[priorities] = Balancer(self._balancing, self._tools)
            balancer.update([one for one in self._endpoints if one.priority not in priorities])
        return balancer.picker

    def _picker(self, match: SubsetMatch | None) -> Picker:
        return self._balancer.picker if self._subsets is None else self._subsets.picker(match)

    def update_endpoints(self, endpoints: Iterable[DiscoveredEndpoint | Address]) -> None:
        """Replace the list; endpoints that stay keep connections, counters and health, the others drain.

        Args:
            endpoints: the complete list; of an address that occurs twice the first entry counts. An `Address` alone
                is an endpoint about which nothing else is said.
        """
        wanted: dict[Address, DiscoveredEndpoint] = {}
        for entry in endpoints:
            found = DiscoveredEndpoint(entry) if isinstance(entry, Address) else entry
            wanted.setdefault(found.address, found)
        now = clock.monotonic()
        if self.settings.discovery is DiscoveryType.LOGICAL_DNS and wanted:
            self._update_logical(next(iter(wanted.values())), now)
        else:
            before = {endpoint.address for endpoint in self._endpoints}
            self._update_all(wanted, now)
            if self.settings.connections.close_on_set_change and before and before != wanted.keys():
                for endpoint in self._endpoints:
                    for pool in endpoint.pools:
                        pool.renew()
        self.on_health_changed()

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
        now = clock.monotonic()
        logical = self.settings.discovery is DiscoveryType.LOGICAL_DNS
        changed = False
        for endpoint in self._endpoints:
            if logical or endpoint.text == address:
                changed |= self._take_over_health(endpoint, flags, now)
        if changed:
            self.on_health_changed()

    def on_immediate_failure(self, endpoint: Endpoint) -> None:
        """The endpoint asked to be taken out of use: do so now, and let the control plane tell the other workers."""
        flags = HealthFlag.FAILED_ACTIVE_HC | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
        if HealthFlag.FAILED_ACTIVE_HC in endpoint.health:
            return
        self._take_over_health(endpoint, endpoint.health | flags, clock.monotonic())
        self.on_health_changed()
        self._report(FailedImmediately(self.name, endpoint.text))

    def on_outlier(self, endpoint: Endpoint, kind: OutlierKind) -> None:
        """The endpoint failed too often in a row: eject it here and now, and let the control plane decide for all."""
        settings, ejected = self.settings.outliers, HealthFlag.FAILED_OUTLIER_CHECK
        if settings is None or ejected in endpoint.health:
            return
        enforced = self._tools.random.random() * 100 < settings.enforcing(kind)
        active = sum(ejected in one.health for one in self._endpoints)
        if enforced and settings.allows(active, len(self._endpoints)):
            endpoint.set_health(ejected, on=True, now=clock.monotonic())
            self._on_failed(endpoint)
            self.on_health_changed()
        self._report(OutlierDetected(self.name, endpoint.text, kind, enforced))

    def take_tally(self) -> dict[str, list[int]]:
        """For each endpoint what `EndpointMonitor.take_tally` says; endpoints without requests are left out."""
        found = {}
        for endpoint in self._endpoints:
            if endpoint.monitor is not None:
                tally = endpoint.monitor.take_tally()
                if any(tally):
                    found[endpoint.text] = tally
        return found

    def take_first_use(self) -> bool:
        """Whether it has been used for the first time since this was asked; the intervals of checks go by that."""
        if self._use_was_told or not self.stats.upstream_cx_total or not self.settings.health.checks:
            return False
        self._use_was_told = True
        return True

    def _take_over_health(self, endpoint: Endpoint, flags: HealthFlag | None, now: float) -> bool:
        if flags is None:
            return False
        failed_before = endpoint.health & _FAILED
        was_ejected = HealthFlag.FAILED_OUTLIER_CHECK in endpoint.health
        changed = endpoint.take_over_health(flags, now)
        if was_ejected and endpoint.monitor is not None and HealthFlag.FAILED_OUTLIER_CHECK not in flags:
            endpoint.monitor.on_uneject()
        if endpoint.health & _FAILED & ~failed_before:
            self._on_failed(endpoint)
        return changed

    def _on_failed(self, endpoint: Endpoint) -> None:
        """Checks, or how it answers, have taken an endpoint out of use: it is not asked over what is there any more.

        Other connections may do better if it is needed all the same; requests that are under way end as they may.
        """
        for pool in endpoint.pools:
            pool.renew()
        for session in tuple(self._tcp_sessions.get(endpoint, ())):
            session.on_endpoint_failed()

    def on_health_changed(self) -> None:
        """Choose among the endpoints anew: health flags of some have changed (`Endpoint.set_health`)."""
        self._reduced.clear()
        if self._subsets is None:
            self._balancer.update(self._endpoints)
            if self._predicts:
                self._balancer.picker = Forecast(
                    self._balancer.picker, len(self._endpoints), self._lacks_connections, self._warm
                )
        else:
            self._subsets.update(self._endpoints)

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

    def _update_logical(self, found: DiscoveredEndpoint, now: float) -> None:
        """LOGICAL_DNS is one endpoint, whose address is the first of the answer."""
        if self._endpoints:
            self._endpoints[0].move(found.address, found.additional)
            self._endpoints[0].describe_as(found.traits, now)
            self._take_over_health(self._endpoints[0], found.health, now)
        else:
            self._update_all({found.address: found}, now)

    def _update_all(self, wanted: dict[Address, DiscoveredEndpoint], now: float) -> None:
        leaving = {endpoint.address: endpoint for endpoint in self._endpoints}
        updated: list[Endpoint] = []
        for address, found in wanted.items():
            endpoint = leaving.pop(address, None)
            if endpoint is None:
                endpoint = self._new_endpoint(found, now)
            else:
                endpoint.move(address, found.additional)
                endpoint.describe_as(found.traits, now)
            self._take_over_health(endpoint, found.health, now)
            updated.append(endpoint)
        self._endpoints = tuple(updated)
        for endpoint in leaving.values():
            for pool in endpoint.pools:
                pool.drain()

    def _new_endpoint(self, found: DiscoveredEndpoint, now: float) -> Endpoint:
        endpoint = Endpoint(
            found.address, self.settings, self.stats, found.traits, now=now, additional=found.additional
        )
        has_checks, outliers = bool(self.settings.health.checks), self.settings.outliers
        if has_checks or outliers is not None:
            endpoint.watch(EndpointMonitor(endpoint, self, has_checks=has_checks, outliers=outliers))
        return endpoint

    def admit_tcp(self) -> bool:
        """Let a TCP proxy make a connection; False: `max_connections` is reached. Else one of these follows.

        `on_tcp_connect_failed`, `on_tcp_given_up` and `on_tcp_closed` give its place back.
        """
        if self.breakers[0].connections.acquire():
            return True
        self.stats.upstream_cx_overflow += 1
        return False

    def on_tcp_opened(self, endpoint: Endpoint, session: TcpSession) -> None:
        """A connection that no pool manages is there; `on_tcp_closed` follows. It counts as a request, too (Envoy)."""
        if self.settings.health.close_connections_on_failure:
            self._tcp_sessions.setdefault(endpoint, set()).add(session)
        self.stats.upstream_cx_total += 1
        self.stats.upstream_rq_total += 1
        self.stats.upstream_rq_pending_total += 1
        endpoint.stats.cx_total += 1
        endpoint.stats.rq_total += 1
        endpoint.stats.tcp_open += 1
        if endpoint.monitor is not None:
            # All that can be said about it, as in Envoy.
            endpoint.monitor.on_response(200, {})

    def on_tcp_closed(self, endpoint: Endpoint, session: TcpSession, *, began: float, local: bool) -> None:
        """Such a connection has ended, here or by the upstream; `began` is monotonic seconds."""
        sessions = self._tcp_sessions.get(endpoint)
        if sessions is not None:
            sessions.discard(session)
            if not sessions:
                del self._tcp_sessions[endpoint]
        self.breakers[0].connections.release()
        stats = self.stats
        stats.count_closed(began, local=local)
        # It was its own request, from its begin to its end.
        stats.upstream_cx_destroy_with_active_rq += 1
        stats.upstream_cx_destroy_local_with_active_rq += local
        stats.upstream_cx_destroy_remote_with_active_rq += not local
        stats.upstream_rq_ended += 1
        endpoint.stats.rq_ended += 1
        endpoint.stats.tcp_open -= 1

    def on_tcp_connect_failed(self, endpoint: Endpoint, error: UpstreamError) -> None:
        """Such a connection could not be made."""
        self.breakers[0].connections.release()
        stats, is_timeout = self.stats, isinstance(error, ConnectTimeout)
        stats.upstream_cx_total += 1
        stats.upstream_cx_destroy += 1
        if is_timeout:
            stats.upstream_cx_destroy_local += 1
        else:
            stats.upstream_cx_destroy_remote += 1
        stats.upstream_cx_connect_fail += 1
        endpoint.stats.cx_total += 1
        endpoint.stats.cx_connect_fail += 1
        if endpoint.monitor is not None:
            endpoint.monitor.on_no_response()
        if is_timeout:
            stats.upstream_cx_connect_timeout += 1

    def on_tcp_given_up(self) -> None:
        """Nobody wants such a connection any more, and it is not there yet."""
        self.breakers[0].connections.release()

    def close_idle(self, now: float) -> None:
        """Close pooled connections that were idle for too long; called every few seconds."""
        for endpoint in self._endpoints:
            endpoint.close_idle(now)

    def drain(self) -> None:
        """Close idle connections and take none back: the worker is about to end."""
        for endpoint in self._endpoints:
            for pool in endpoint.pools:
                pool.drain()

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
            sum(p.waiting_requests for e in self._endpoints for p in e.pools),
        )
        sink.gauge(prefix + "upstream_cx_active", sum(e.open_connections for e in self._endpoints))
        sink.hosts[self.name] = {e.text: e.stats.encode(e.open_connections) for e in self._endpoints}
