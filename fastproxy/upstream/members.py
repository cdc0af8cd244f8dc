"""Who is in a cluster, and in which health, as one worker sees it (spec/clusters.md sections 2, 4).

Endpoints come from discovery, their health from the control plane, from discovery, and from what this worker notices.
"""

from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import final

from fastproxy import clock
from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.health.events import FailedImmediately, OutlierDetected, ReportEvent
from fastproxy.upstream.health.settings import OutlierKind
from fastproxy.upstream.monitor import EndpointMonitor
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    DiscoveredEndpoint,
    DiscoveryType,
    HealthFlag,
)
from fastproxy.upstream.stats import ClusterStats

#: What takes an endpoint out of use that was in use before.
_FAILED = HealthFlag.FAILED_ACTIVE_HC | HealthFlag.FAILED_OUTLIER_CHECK


@final
class Members:
    """The endpoints of one cluster.

    Args:
        settings: the cluster's.
        stats: the cluster's.
        random: decides how often an outlier is ejected.
        report: tells the control plane what is noticed about endpoints.
        on_changed: endpoints or their health are others now, and are chosen among anew.
        on_failed: checks, or how it answers, have taken an endpoint out of use.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        stats: ClusterStats,
        random: Random,
        report: ReportEvent,
        *,
        on_changed: Callable[[], None],
        on_failed: Callable[[Endpoint], None],
    ) -> None:
        self._settings = settings
        self._stats = stats
        self._random = random
        self._report = report
        self._on_changed = on_changed
        self._on_failed = on_failed
        self._is_logical = settings.discovery is DiscoveryType.LOGICAL_DNS
        self.endpoints: tuple[Endpoint, ...] = ()
        """In the order of the configuration."""

    # -- who is in it --------------------------------------------------------------------------------------

    def update(self, endpoints: Iterable[DiscoveredEndpoint | Address]) -> None:
        """Replace the list; endpoints that stay keep connections, counters and health, the others drain.

        Args:
            endpoints: as `Cluster.update_endpoints` says.
        """
        wanted: dict[Address, DiscoveredEndpoint] = {}
        for entry in endpoints:
            found = DiscoveredEndpoint(entry) if isinstance(entry, Address) else entry
            wanted.setdefault(found.address, found)
        now = clock.monotonic()
        if self._is_logical and wanted:
            self._update_logical(next(iter(wanted.values())), now)
        else:
            before = {endpoint.address for endpoint in self.endpoints}
            self._update_all(wanted, now)
            if self._settings.connections.close_on_set_change and before and before != wanted.keys():
                for endpoint in self.endpoints:
                    for pool in endpoint.pools:
                        pool.renew()
        self._on_changed()

    def _update_logical(self, found: DiscoveredEndpoint, now: float) -> None:
        """LOGICAL_DNS is one endpoint, whose address is the first of the answer."""
        if self.endpoints:
            self.endpoints[0].move(found.address, found.additional)
            self.endpoints[0].describe_as(found.traits, now)
            self._take_over_health(self.endpoints[0], found.health, now)
        else:
            self._update_all({found.address: found}, now)

    def _update_all(self, wanted: dict[Address, DiscoveredEndpoint], now: float) -> None:
        leaving = {endpoint.address: endpoint for endpoint in self.endpoints}
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
        self.endpoints = tuple(updated)
        for endpoint in leaving.values():
            for pool in endpoint.pools:
                pool.drain()

    def _new_endpoint(self, found: DiscoveredEndpoint, now: float) -> Endpoint:
        endpoint = Endpoint(
            found.address, self._settings, self._stats, found.traits, now=now, additional=found.additional
        )
        has_checks, outliers = bool(self._settings.health.checks), self._settings.outliers
        if has_checks or outliers is not None:
            fail = partial(self._on_immediate_failure, endpoint) if has_checks else None
            endpoint.watch(EndpointMonitor(fail, partial(self._on_outlier, endpoint), outliers))
        return endpoint

    def drain(self) -> None:
        """Close idle connections and take none back: the worker is about to end."""
        for endpoint in self.endpoints:
            for pool in endpoint.pools:
                pool.drain()

    # -- in which health -----------------------------------------------------------------------------------

    def on_control_health(self, address: str, flags: HealthFlag) -> None:
        """The control plane has other flags for an endpoint.

        Args:
            address: `ip:port`, or the path of a socket.
            flags: all that are the control plane's to decide.
        """
        now = clock.monotonic()
        changed = False
        for endpoint in self.endpoints:
            if self._is_logical or endpoint.text == address:
                changed |= self._take_over_health(endpoint, flags, now)
        if changed:
            self._on_changed()

    def _on_immediate_failure(self, endpoint: Endpoint) -> None:
        """The endpoint asked to be taken out of use: do so now, and let the control plane tell the other workers."""
        flags = HealthFlag.FAILED_ACTIVE_HC | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
        if HealthFlag.FAILED_ACTIVE_HC in endpoint.health:
            return
        self._take_over_health(endpoint, endpoint.health | flags, clock.monotonic())
        self._on_changed()
        self._report(FailedImmediately(self._settings.name, endpoint.text))

    def _on_outlier(self, endpoint: Endpoint, kind: OutlierKind) -> None:
        """The endpoint failed too often in a row: eject it here and now, and let the control plane decide for all."""
        settings, ejected = self._settings.outliers, HealthFlag.FAILED_OUTLIER_CHECK
        if settings is None or ejected in endpoint.health:
            return
        enforced = self._random.random() * 100 < settings.enforcing(kind)
        active = sum(ejected in one.health for one in self.endpoints)
        if enforced and settings.allows(active, len(self.endpoints)):
            endpoint.set_health(ejected, on=True, now=clock.monotonic())
            self._fail(endpoint)
            self._on_changed()
        self._report(OutlierDetected(self._settings.name, endpoint.text, kind, enforced))

    def take_tally(self) -> dict[str, list[int]]:
        """For each endpoint what `EndpointMonitor.take_tally` says; endpoints without requests are left out."""
        found = {}
        for endpoint in self.endpoints:
            if endpoint.monitor is not None:
                tally = endpoint.monitor.take_tally()
                if any(tally):
                    found[endpoint.text] = tally
        return found

    def _take_over_health(self, endpoint: Endpoint, flags: HealthFlag | None, now: float) -> bool:
        if flags is None:
            return False
        failed_before = endpoint.health & _FAILED
        was_ejected = HealthFlag.FAILED_OUTLIER_CHECK in endpoint.health
        changed = endpoint.take_over_health(flags, now)
        if was_ejected and endpoint.monitor is not None and HealthFlag.FAILED_OUTLIER_CHECK not in flags:
            endpoint.monitor.on_uneject()
        if endpoint.health & _FAILED & ~failed_before:
            self._fail(endpoint)
        return changed

    def _fail(self, endpoint: Endpoint) -> None:
        """It is not asked over what is there any more.

        Other connections may do better if it is needed all the same; requests that are under way end as they may.
        """
        for pool in endpoint.pools:
            pool.renew()
        self._on_failed(endpoint)
