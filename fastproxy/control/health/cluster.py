"""The health of one cluster: who is in it, what checks find, and what workers are told.

An endpoint that discovery names no longer stays as long as its checks pass, unless the cluster says otherwise: a name
server that answers nonsense must not take away endpoints that work. One that comes back is the same as before.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from fastproxy.control.admin.view import OutlierStatus
from fastproxy.control.health.check_loop import CheckLoop
from fastproxy.control.health.event_log import EventLog
from fastproxy.control.health.host import CheckedHost, HostCheck
from fastproxy.control.health.outlier_watch import OutlierWatch
from fastproxy.control.health.state import Change, CheckResult, FailureKind, pause_s
from fastproxy.control.health.stats import HealthStats
from fastproxy.control.health.tools import HealthListener, HealthTools
from fastproxy.ipc.messages import (
    ClusterEndpoints,
    EndpointAddress,
    EndpointHealth,
    EndpointOutlier,
    OutlierTally,
    TallyRequest,
)
from fastproxy.stats import StatsSink
from fastproxy.upstream.health.settings import OutlierKind
from fastproxy.upstream.settings import (
    DEGRADED_FLAGS,
    EXCLUDED_FLAGS,
    UNHEALTHY_FLAGS,
    ClusterSettings,
    DiscoveryType,
    HealthFlag,
    HealthStatus,
    eds_flags,
)

_log = logging.getLogger("fastproxy.control.health")


class ClusterHealth:
    """Endpoints of one cluster with their health.

    Args:
        settings: the cluster.
        listener: is told of changes.
        tools: see there.
        previous: the cluster of that name in the configuration in force; what is known of endpoints that stay is taken
            from it as far as the checks are the same.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        listener: HealthListener,
        tools: HealthTools,
        previous: "ClusterHealth | None" = None,
    ) -> None:
        self.settings = settings
        self._listener = listener
        self._tools = tools
        self.is_live = True
        """Changes are told."""
        self.had_traffic: bool = previous is not None and previous.had_traffic
        self.stats = HealthStats()
        self.first_round = asyncio.Event()
        """Set once every endpoint that was there at the start has been checked."""
        self.policy = (0, False)
        """What discovery says besides endpoints: `ClusterEndpoints.overprovisioning_factor` and what follows it."""
        self._hosts: dict[str, CheckedHost] = {}
        self._event_logs = {check: EventLog(settings.name, check) for check in settings.health.checks}
        self._previous = previous
        outliers = settings.outliers
        self.outliers = (
            None
            if outliers is None
            else OutlierWatch(
                settings.name,
                outliers,
                tools,
                hosts=lambda: self.hosts,
                tell=self.tell,
                ask=self._ask_for_tally,
            )
        )
        """None: outlier detection is not on."""
        self._checks = CheckLoop(settings.name, tools, on_attempt=self._on_attempt, on_result=self._on_result)

    # -- what others ask -----------------------------------------------------------------------------------

    @property
    def hosts(self) -> tuple[CheckedHost, ...]:
        """All endpoints, those on their way out included."""
        return tuple(self._hosts.values())

    @property
    def endpoints(self) -> tuple[EndpointAddress, ...]:
        """All endpoints with their flags."""
        return tuple(replace(host.endpoint, flags=int(host.flags)) for host in self._hosts.values())

    def host(self, key: str) -> CheckedHost | None:
        """An endpoint by the key that `_key` makes."""
        return self._hosts.get(key)

    def message(self) -> ClusterEndpoints:
        """The complete list as workers get it."""
        return ClusterEndpoints(self.settings.name, list(self.endpoints), *self.policy)

    def outlier_status(self) -> OutlierStatus | None:
        """For `/clusters`; None if outlier detection is not on."""
        return None if self.outliers is None else self.outliers.status()

    def write_stats(self, sink: StatsSink) -> None:
        """Add `membership_*` and `health_check.*`."""
        prefix = f"cluster.{self.settings.stat_name or self.settings.name}."
        flags = [host.flags | eds_flags(HealthStatus(host.endpoint.health)) for host in self.hosts]
        unhealthy = sum(bool(one & UNHEALTHY_FLAGS) for one in flags)
        degraded = sum(bool(one & DEGRADED_FLAGS) and not one & UNHEALTHY_FLAGS for one in flags)
        sink.gauge(prefix + "membership_total", len(flags))
        sink.gauge(prefix + "membership_healthy", len(flags) - unhealthy - degraded)
        sink.gauge(prefix + "membership_degraded", degraded)
        sink.gauge(prefix + "membership_excluded", sum(bool(one & EXCLUDED_FLAGS) for one in flags))
        # As in Envoy, which looks at weights where members can change.
        weights = (
            () if self.settings.discovery is DiscoveryType.STATIC else (one.weight for one in self.endpoints)
        )
        sink.gauge(prefix + "max_host_weight", max(weights, default=0))
        if self.settings.health.checks:
            self.stats.write(sink, prefix + "health_check.", flags)
        if self.outliers is not None:
            self.outliers.write_stats(sink, prefix + "outlier_detection.")

    # -- what happens to it --------------------------------------------------------------------------------

    def on_endpoints(self, endpoints: Sequence[EndpointAddress]) -> None:
        """Discovery has found these: start and end checks."""
        before = self._hosts
        self._hosts = {}
        for endpoint in endpoints:
            key = self._key(endpoint)
            if key in self._hosts:
                continue
            host = before.pop(key, None)
            self._hosts[key] = self._new_host(endpoint, key) if host is None else self._keep(host, endpoint)
        for key, host in before.items():
            if self._outlives_discovery(host):
                host.is_leaving = True
                self._hosts[key] = host
            else:
                self._checks.end(host)
        self._look_for_first_round()
        if self.outliers is not None:
            self.outliers.start()

    def on_outlier(self, message: EndpointOutlier) -> None:
        """A worker saw an endpoint fail too often in a row."""
        host = self._by_address(message.address)
        if host is not None and self.outliers is not None:
            self.outliers.on_detection(host, OutlierKind(message.kind), enforced=message.enforced)

    def on_tally(self, message: OutlierTally) -> None:
        """A worker says how requests ended."""
        if self.outliers is not None:
            self.outliers.on_tally(message)

    def forget_previous(self) -> None:
        """The configuration is in force; what was to be taken from the one before has been taken."""
        self._previous = None

    def fail_immediately(self, address: str) -> None:
        """An endpoint asked to be taken out of use."""
        for host in self.hosts:
            if host.address == address and host.checks:
                before = host.flags
                for check in host.checks:
                    self._take(host, check, CheckResult(FailureKind.PASSIVE, reason="it asked for that"))
                # Also if nothing changed: the worker has set the flag by itself, and must not be alone with it.
                if host.flags == before:
                    self.tell(host)

    def tell(self, host: CheckedHost) -> None:
        """Tell the workers the flags of an endpoint."""
        if self.is_live:
            self._listener.tell(EndpointHealth(self.settings.name, host.address, int(host.flags)))

    async def stop(self) -> None:
        """Check no longer."""
        if self.outliers is not None:
            await self.outliers.stop()
        await self._checks.stop(self.hosts)

    # -- inside --------------------------------------------------------------------------------------------

    def _by_address(self, address: str) -> CheckedHost | None:
        if self.settings.discovery is DiscoveryType.LOGICAL_DNS:
            return next(iter(self.hosts), None)
        return next((host for host in self.hosts if host.address == address), None)

    def _ask_for_tally(self) -> None:
        if self.is_live:
            self._listener.tell(TallyRequest(self.settings.name))

    def _key(self, endpoint: EndpointAddress) -> str:
        """A logical endpoint is one, whatever its address."""
        if self.settings.discovery is DiscoveryType.LOGICAL_DNS:
            return ""
        return f"{endpoint.host} {endpoint.port}"

    def _new_host(self, endpoint: EndpointAddress, key: str) -> CheckedHost:
        host = CheckedHost(endpoint, self.settings, self._known(key))
        previous = None if self._previous is None else self._previous.host(key)
        if previous is not None and self.outliers is not None:
            host.ejection = replace(previous.ejection)
        self._checks.start(host)
        return host

    def _known(self, key: str) -> tuple[HealthFlag, ...] | None:
        previous = self._previous
        if previous is None or previous.settings.health.checks != self.settings.health.checks:
            return None
        host = previous.host(key)
        return None if host is None else host.check_flags

    def _keep(self, host: CheckedHost, endpoint: EndpointAddress) -> CheckedHost:
        host.is_leaving = False
        moved = (endpoint.host, endpoint.port) != (host.endpoint.host, host.endpoint.port)
        host.endpoint = endpoint
        if moved:
            self._checks.end(host)
            self._checks.start(host)
        return host

    def _outlives_discovery(self, host: CheckedHost) -> bool:
        if not host.checks or self.settings.health.ignore_on_removal:
            return False
        return HealthFlag.FAILED_ACTIVE_HC not in host.flags

    def _on_attempt(self) -> None:
        self.stats.attempt += 1

    def _on_result(self, host: CheckedHost, check: HostCheck, result: CheckResult) -> float:
        change = self._take(host, check, result)
        return pause_s(
            check.settings.intervals,
            result,
            change,
            had_traffic=self.had_traffic,
            random=self._tools.random,
        )

    def _take(self, host: CheckedHost, check: HostCheck, result: CheckResult) -> Change:
        """Take in a result, and tell whom it concerns."""
        before, state = host.flags, check.state
        state_before, first = state.flags, not state.is_checked
        change = state.on_result(result)
        self.stats.count(result)
        self._event_logs[check.settings].on_result(
            host.endpoint, result, state_before, state.flags, first=first
        )
        self._log_change(host, result, before, first=first)
        if first:
            self._look_for_first_round()
        if host.is_leaving and state.is_failed:
            self._remove(host)
        else:
            if (
                self.outliers is not None
                and result.failure is None
                and HealthFlag.FAILED_ACTIVE_HC not in host.flags
            ):
                self.outliers.on_check_passed(host)
            if host.flags != before:
                self.tell(host)
        return change

    def _remove(self, host: CheckedHost) -> None:
        """An endpoint that discovery dropped before fails now, too."""
        self._hosts.pop(self._key(host.endpoint), None)
        self._checks.end(host)
        if self.is_live:
            self._listener.on_endpoints(self.message())

    def _log_change(self, host: CheckedHost, result: CheckResult, before: HealthFlag, *, first: bool) -> None:
        was_failed = HealthFlag.FAILED_ACTIVE_HC in before
        is_failed = HealthFlag.FAILED_ACTIVE_HC in host.flags
        name = self.settings.name
        if is_failed and (first or not was_failed):
            _log.warning(
                "cluster '%s': %s fails its health check: %s", name, host.address, result.reason or "?"
            )
        elif was_failed and not is_failed:
            # At the start it is what everybody expects.
            level = logging.DEBUG if first else logging.INFO
            _log.log(level, "cluster '%s': %s passes its health check", name, host.address)

    def _look_for_first_round(self) -> None:
        if all(host.is_checked for host in self._hosts.values()):
            self.first_round.set()
