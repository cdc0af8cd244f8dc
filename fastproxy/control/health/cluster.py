"""The health of one cluster: who is in it, what checks find, and what workers are told.

An endpoint that discovery names no longer stays as long as its checks pass, unless the cluster says otherwise: a name
server that answers nonsense must not take away endpoints that work. One that comes back is the same as before.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from fastproxy import clock
from fastproxy.control.admin.view import OutlierStatus
from fastproxy.control.health.checkers import Checker, CheckerFactory, make_checker
from fastproxy.control.health.event_log import EventLog
from fastproxy.control.health.host import CheckedHost, HostCheck
from fastproxy.control.health.outlier import OutlierDetector, OutlierEvent
from fastproxy.control.health.outlier_log import OutlierLog
from fastproxy.control.health.state import Change, CheckResult, FailureKind, pause_s
from fastproxy.control.health.stats import HealthStats
from fastproxy.ipc.messages import (
    ClusterEndpoints,
    EndpointAddress,
    EndpointHealth,
    EndpointOutlier,
    OutlierTally,
    TallyRequest,
)
from fastproxy.stats import StatsSink
from fastproxy.tasks import cancel_and_wait, spawn
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
#: How long workers have to answer a TallyRequest.
_ANSWERS_S = 0.2


@dataclass(frozen=True, slots=True)
class HealthTools:
    """What health checks need of the world; tests bring their own."""

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Random = field(default_factory=Random)
    make_checker: CheckerFactory = make_checker
    now: Callable[[], float] = clock.monotonic


@dataclass(frozen=True, slots=True)
class HealthListener:
    """Who is told, as long as the cluster is part of the configuration in force."""

    on_endpoints: Callable[[ClusterEndpoints], None]
    """Other endpoints."""
    tell: Callable[[EndpointHealth | TallyRequest], None]
    """Tells all workers the flags of an endpoint, or asks them how requests ended."""


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
        self.outliers = (
            None
            if settings.outliers is None
            else OutlierDetector(settings.outliers, tools.random, self._on_outlier_event)
        )
        path = "" if settings.outliers is None else settings.outliers.event_log_path
        self._outlier_log = OutlierLog(settings.name, path) if path else None
        self._watching: asyncio.Task[None] | None = None
        self._stopping: set[asyncio.Task[None]] = set()

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
        if self.outliers is None:
            return None
        rates, local = self.outliers.rates, self.outliers.local_rates
        return OutlierStatus(
            rates.average,
            rates.threshold,
            local.average,
            local.threshold,
            {
                host.address: (host.ejection.success_rate, host.ejection.local_success_rate)
                for host in self.hosts
            },
        )

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
        if self.settings.health.checks:
            self.stats.write(sink, prefix + "health_check.", flags)
        if self.outliers is not None:
            ejections = [host.ejection for host in self.hosts]
            self.outliers.write_stats(sink, prefix + "outlier_detection.", ejections)

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
                self._end(host)
        self._look_for_first_round()
        if self.outliers is not None and self._watching is None:
            self._watching = spawn(self._watch(self.outliers), name=f"outliers {self.settings.name}")

    def on_outlier(self, message: EndpointOutlier) -> None:
        """A worker saw an endpoint fail too often in a row."""
        host = self._by_address(message.address)
        if host is None or self.outliers is None:
            return
        everybody = [one.ejection for one in self.hosts]
        kind, now = OutlierKind(message.kind), self._tools.now()
        if self.outliers.on_detection(host.ejection, everybody, kind, enforced=message.enforced, now=now):
            _log.warning("cluster '%s': %s is ejected: %s", self.settings.name, host.address, kind.value)
        # Also if it is not: the worker has ejected it by itself, and must not be alone with that.
        if message.enforced:
            self.tell(host)

    def on_tally(self, message: OutlierTally) -> None:
        """A worker says how requests ended."""
        for host in self.hosts:
            counts = message.hosts.get(host.address, [])
            if len(counts) == 4:
                ejection = host.ejection
                ejection.successes += counts[0]
                ejection.failures += counts[1]
                ejection.local_successes += counts[2]
                ejection.local_failures += counts[3]

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
        await cancel_and_wait(self._watching)
        await asyncio.gather(*(host.stop() for host in self.hosts))
        await cancel_and_wait(*self._stopping)

    # -- inside --------------------------------------------------------------------------------------------

    def _by_address(self, address: str) -> CheckedHost | None:
        if self.settings.discovery is DiscoveryType.LOGICAL_DNS:
            return next(iter(self.hosts), None)
        return next((host for host in self.hosts if host.address == address), None)

    async def _watch(self, outliers: OutlierDetector) -> None:
        """Judge every interval."""
        interval_s = outliers.settings.interval_s
        # For the answers of the workers; one that is late is counted in the next interval.
        answers_s = min(_ANSWERS_S, interval_s / 2)
        while True:
            await self._tools.sleep(interval_s - answers_s)
            if self.is_live and len(self._hosts) >= outliers.settings.fewest_rated_hosts:
                self._listener.tell(TallyRequest(self.settings.name))
            await self._tools.sleep(answers_s)
            for ejection in outliers.on_interval([host.ejection for host in self.hosts], self._tools.now()):
                self._tell_ejection(next(host for host in self.hosts if host.ejection is ejection))

    def _on_outlier_event(self, event: OutlierEvent) -> None:
        if self._outlier_log is not None:
            host = next((host for host in self.hosts if host.ejection is event.one), None)
            if host is not None:
                self._outlier_log.write(event, host.address)

    def _tell_ejection(self, host: CheckedHost) -> None:
        if host.ejection.is_ejected:
            _log.warning("cluster '%s': %s is ejected for its rate", self.settings.name, host.address)
        else:
            _log.info("cluster '%s': %s is no longer ejected", self.settings.name, host.address)
        self.tell(host)

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
        self._start(host)
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
            for check in host.checks:
                self._give_up(check)
            self._start(host)
        return host

    def _outlives_discovery(self, host: CheckedHost) -> bool:
        if not host.checks or self.settings.health.ignore_on_removal:
            return False
        return HealthFlag.FAILED_ACTIVE_HC not in host.flags

    def _start(self, host: CheckedHost) -> None:
        for check in host.checks:
            check.task = spawn(self._check(host, check), name=f"health {self.settings.name} {host.address}")

    def _end(self, host: CheckedHost) -> None:
        for check in host.checks:
            self._give_up(check)

    def _give_up(self, check: HostCheck) -> None:
        task, check.task = check.task, None
        if task is None:
            return
        task.cancel()
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _check(self, host: CheckedHost, check: HostCheck) -> None:
        """Check again and again."""
        tools, intervals = self._tools, check.settings.intervals
        checker = host.make_checker(check, tools.make_checker)
        try:
            if intervals.initial_jitter_s:
                await tools.sleep(tools.random.random() * intervals.initial_jitter_s)
            while True:
                self.stats.attempt += 1
                result = await _bounded(checker, check.settings.timeout_s)
                change = self._take(host, check, result)
                await tools.sleep(
                    pause_s(intervals, result, change, had_traffic=self.had_traffic, random=tools.random)
                )
        finally:
            await checker.close()

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
            self._uneject_after_success(host, result)
            if host.flags != before:
                self.tell(host)
        return change

    def _uneject_after_success(self, host: CheckedHost, result: CheckResult) -> None:
        """An endpoint that passes its checks gets another chance (`successful_active_health_check_uneject_host`)."""
        outliers = self.outliers
        if outliers is None or result.failure is not None or not outliers.settings.uneject_on_active_success:
            return
        if HealthFlag.FAILED_ACTIVE_HC not in host.flags:
            outliers.uneject(host.ejection, self._tools.now())

    def _remove(self, host: CheckedHost) -> None:
        """An endpoint that discovery dropped before fails now, too."""
        self._hosts.pop(self._key(host.endpoint), None)
        self._end(host)
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


async def _bounded(checker: Checker, timeout_s: float) -> CheckResult:
    """One check; whatever happens, there is a result within `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            return await checker.check()
    except TimeoutError:
        return CheckResult(FailureKind.NETWORK_TIMEOUT, reason=f"no answer within {timeout_s:g} s")
    except Exception as error:
        # Unforeseen, so a bug; but the next check must come all the same.
        _log.exception("a health check failed unexpectedly")
        return CheckResult(FailureKind.NETWORK, reason=f"internal error ({type(error).__name__})")
