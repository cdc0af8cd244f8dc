"""What the admin interface shows of the control plane, and what it makes it do."""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from fastproxy import clock, logs
from fastproxy.config.settings import ProxySettings
from fastproxy.control.admin.view import JwksStatus, ListenerStatus, OutlierStatus, ServerState
from fastproxy.control.departure import Departure
from fastproxy.control.generation import Generation
from fastproxy.control.life import Life
from fastproxy.control.options import ControlOptions
from fastproxy.control.reload import Reloader
from fastproxy.control.reload_status import ReloadStatus
from fastproxy.control.resources import ResourceStatus
from fastproxy.control.stats_collector import StatsCollector
from fastproxy.control.supervisor import Supervisor
from fastproxy.control.tls_watcher import TlsState
from fastproxy.control.totals import MergedStats
from fastproxy.ipc.messages import EndpointAddress, ReopenAccessLogs, SetLogLevel
from fastproxy.stats import StatsSink

_log = logging.getLogger("fastproxy")


class Overviewed(Protocol):
    """What is asked of the control plane itself."""

    generation: Generation
    """The configuration in force, with what belongs to it."""

    def write_stats(self, sink: StatsSink) -> None:
        """Add all that the control plane counts itself."""
        ...

    def request_shutdown(self, reason: str) -> None:
        """Start to drain."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the control plane that stay for its whole life."""

    life: Life
    supervisor: Supervisor
    stats: StatsCollector
    reloader: Reloader
    departure: Departure
    log_levels: dict[str, str]
    """Level by component; the one of all the others has the name "". New workers get these."""


class Overview:
    """The control plane as the admin interface knows it (`AdminView`)."""

    def __init__(self, plane: Overviewed, options: ControlOptions, parts: Parts) -> None:
        self._plane = plane
        self._options = options
        self._life = parts.life
        self._supervisor = parts.supervisor
        self._stats = parts.stats
        self._reloader = parts.reloader
        self._departure = parts.departure
        self._log_levels = parts.log_levels

    @property
    def settings(self) -> ProxySettings:
        """The configuration in force."""
        return self._plane.generation.settings

    @property
    def state(self) -> ServerState:
        """Where in its life the proxy is."""
        state = self._life.state
        return ServerState.DRAINING if state is ServerState.LIVE and self._departure.health_failed else state

    def uptime_s(self) -> float:
        """Seconds since the start."""
        return self._life.uptime_s()

    async def collect_stats(self) -> MergedStats:
        """Ask all workers and sum up; bounded in time."""
        return await self._stats.collect(self._plane.write_stats)

    def endpoints(self, cluster: str) -> Iterable[EndpointAddress]:
        """Current addresses of a cluster."""
        return self._plane.generation.health.endpoints(cluster)

    def outliers(self, cluster: str) -> OutlierStatus | None:
        """What outlier detection found in a cluster; None if it is not on."""
        found = self._plane.generation.health.clusters.get(cluster)
        return None if found is None else found.outlier_status()

    def listeners(self) -> Iterable[ListenerStatus]:
        """The listeners as bound."""
        found = []
        for index, settings in enumerate(self.settings.listeners):
            known = (*self._plane.generation.sockets, *self._plane.generation.stopped)
            bound = [one for one in known if one.spot.listener_index == index]
            # Without sockets, one that does not bind: as it is configured.
            addresses = [(one.spot.address.host, one.port) for one in bound] or [
                (one.host, one.port) for one in settings.addresses()
            ]
            found.append(ListenerStatus(settings.name, tuple(addresses)))
        return tuple(found)

    def jwks(self) -> Iterable[JwksStatus]:
        """The keys of every provider."""
        return self._plane.generation.keys.report(clock.monotonic())

    def reload_status(self) -> ReloadStatus:
        """How reloads went."""
        return self._reloader.status

    def overprovisioning_factor(self, cluster: str) -> int:
        """What the file that has the endpoints of a cluster says; 0: nothing."""
        found = self._plane.generation.health.clusters.get(cluster)
        return 0 if found is None else found.policy[0]

    def dynamic_clusters(self) -> frozenset[str]:
        """Names of the clusters that come from a file."""
        return self._plane.generation.configuration.resources.cluster_names()

    def resources(self) -> tuple[ResourceStatus, ...]:
        """The files with clusters, listeners, routes and endpoints."""
        return (*self._reloader.resources.status(), *self._plane.generation.discovery.file_status())

    def tls(self) -> TlsState:
        """The certificates of every listener."""
        return self._plane.generation.tls.state()

    def config_dump(self) -> dict[str, Any]:
        """The configuration in Envoy's `ConfigDump` shape, secrets redacted."""
        # Imports protobuf and the whole schema: only when somebody asks.
        from fastproxy.config import config_dump  # noqa: PLC0415

        configuration = self._plane.generation.configuration
        return config_dump(configuration.bootstrap, configuration.resources)

    def command_line_options(self) -> dict[str, Any]:
        """What /server_info shows of the command line."""
        return {
            "concurrency": self._options.concurrency,
            "config_path": self._options.config_path,
            "log_level": self._log_levels[""],
            "log_path": self._options.log_path,
            "admin_address_path": self._options.admin_address_path,
            "drain_time": f"{self._options.drain_time_s:g}s",
            "mode": "Serve",
            **self._options.command_line,
        }

    def set_log_level(self, level: str, component: str) -> None:
        """Change the log level here and in the workers.

        Raises:
            ValueError: no such level.
        """
        logs.set_level(level, component)
        if not component:
            self._log_levels.clear()
        self._log_levels[component] = level
        self._supervisor.broadcast(SetLogLevel(level, component))

    def process_ids(self) -> tuple[int, ...]:
        """This process's, then the workers'."""
        return (os.getpid(), *self._supervisor.pids())

    async def reset_counters(self) -> None:
        """Let every counter begin at 0 again."""
        await self._stats.reset(self._plane.write_stats)

    def set_health(self, *, failed: bool) -> None:
        """Fail the health checks of others, or let them pass again."""
        self._departure.set_health(failed=failed)

    def drain_listeners(self, *, graceful: bool, inbound_only: bool, skip_exit: bool) -> None:
        """Stop listening, at once or when the drain time is over."""
        self._departure.drain_listeners(graceful=graceful, inbound_only=inbound_only, skip_exit=skip_exit)

    def reopen_logs(self) -> None:
        """Make the workers reopen their access logs (SIGUSR1)."""
        _log.info("reopening access logs")
        self._supervisor.broadcast(ReopenAccessLogs())

    def request_shutdown(self, reason: str) -> None:
        """Drain and exit, as SIGTERM does."""
        self._plane.request_shutdown(reason)
