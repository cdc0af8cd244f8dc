"""Outlier detection for one cluster at work: what workers report goes in, and who is ejected comes out.

What is decided, and how, is `OutlierDetector`'s; here is when, about whom, and who is told.
"""

import asyncio
import logging
from collections.abc import Callable

from fastproxy.control.admin.view import OutlierStatus
from fastproxy.control.health.host import CheckedHost
from fastproxy.control.health.outlier import OutlierDetector, OutlierEvent
from fastproxy.control.health.outlier_log import OutlierLog
from fastproxy.control.health.tools import HealthTools
from fastproxy.ipc.messages import OutlierTally
from fastproxy.stats import StatsSink
from fastproxy.tasks import cancel_and_wait, spawn
from fastproxy.upstream.health.settings import OutlierKind, OutlierSettings

_log = logging.getLogger("fastproxy.control.health")
#: How long workers have to answer a TallyRequest.
_ANSWERS_S = 0.2


class OutlierWatch:
    """Judges the endpoints of one cluster by how requests to them end.

    Args:
        cluster: its name.
        settings: its `outlier_detection`.
        tools: see there.
        hosts: all endpoints of the moment.
        tell: tells the workers the flags of an endpoint.
        ask: asks the workers how requests ended; `on_tally` takes the answers.
    """

    def __init__(
        self,
        cluster: str,
        settings: OutlierSettings,
        tools: HealthTools,
        *,
        hosts: Callable[[], tuple[CheckedHost, ...]],
        tell: Callable[[CheckedHost], None],
        ask: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._tools = tools
        self._hosts = hosts
        self._tell = tell
        self._ask = ask
        self._detector = OutlierDetector(settings, tools.random, self._on_event)
        path = settings.event_log_path
        self._event_log = OutlierLog(cluster, path) if path else None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Judge every interval from now on."""
        if self._task is None:
            self._task = spawn(self._run(), name=f"outliers {self._cluster}")

    async def stop(self) -> None:
        """Judge no longer."""
        await cancel_and_wait(self._task)

    def on_detection(self, host: CheckedHost, kind: OutlierKind, *, enforced: bool) -> None:
        """A worker saw an endpoint fail too often in a row; `enforced`: and may have ejected it by itself."""
        everybody = [one.ejection for one in self._hosts()]
        now = self._tools.now()
        if self._detector.on_detection(host.ejection, everybody, kind, enforced=enforced, now=now):
            _log.warning("cluster '%s': %s is ejected: %s", self._cluster, host.address, kind.value)
        # Also if it is not: the worker has ejected it by itself, and must not be alone with that.
        if enforced:
            self._tell(host)

    def on_tally(self, message: OutlierTally) -> None:
        """A worker says how requests ended."""
        for host in self._hosts():
            counts = message.hosts.get(host.address, [])
            if len(counts) == 4:
                ejection = host.ejection
                ejection.successes += counts[0]
                ejection.failures += counts[1]
                ejection.local_successes += counts[2]
                ejection.local_failures += counts[3]

    def on_check_passed(self, host: CheckedHost) -> None:
        """An endpoint that passes its checks gets another chance (`successful_active_health_check_uneject_host`)."""
        if self._settings.uneject_on_active_success:
            self._detector.uneject(host.ejection, self._tools.now())

    def status(self) -> OutlierStatus:
        """For `/clusters`."""
        rates, local = self._detector.rates, self._detector.local_rates
        return OutlierStatus(
            rates.average,
            rates.threshold,
            local.average,
            local.threshold,
            {
                host.address: (host.ejection.success_rate, host.ejection.local_success_rate)
                for host in self._hosts()
            },
        )

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Add `outlier_detection.*`."""
        self._detector.write_stats(sink, prefix, [host.ejection for host in self._hosts()])

    async def _run(self) -> None:
        interval_s = self._settings.interval_s
        # For the answers of the workers; one that is late is counted in the next interval.
        answers_s = min(_ANSWERS_S, interval_s / 2)
        while True:
            await self._tools.sleep(interval_s - answers_s)
            if len(self._hosts()) >= self._settings.fewest_rated_hosts:
                self._ask()
            await self._tools.sleep(answers_s)
            hosts = self._hosts()
            for ejection in self._detector.on_interval([host.ejection for host in hosts], self._tools.now()):
                self._on_changed(next(host for host in hosts if host.ejection is ejection))

    def _on_changed(self, host: CheckedHost) -> None:
        if host.ejection.is_ejected:
            _log.warning("cluster '%s': %s is ejected for its rate", self._cluster, host.address)
        else:
            _log.info("cluster '%s': %s is no longer ejected", self._cluster, host.address)
        self._tell(host)

    def _on_event(self, event: OutlierEvent) -> None:
        if self._event_log is not None:
            host = next((host for host in self._hosts() if host.ejection is event.one), None)
            if host is not None:
                self._event_log.write(event, host.address)
