"""The control plane as a whole: what starts in which order, what reacts to what, and how it ends.

Start: bind listening sockets and the admin address -> admin answers (`PRE_INITIALIZING`) -> worker interpreters start
-> first DNS answers and the keys that must be there first (both bounded) -> workers build their runtime and
accept (`INITIALIZING`) -> `LIVE`.
End: SIGTERM, SIGINT or /quitquitquit -> `DRAINING` -> workers finish or time is up -> exit. A second signal
ends it at once.
SIGHUP reloads (`control/reload.py`): what belongs to one configuration is in `generation`, the rest stays.
What the admin interface shows and does is `overview`.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from fastproxy.config import LoadedConfig
from fastproxy.config.settings import ProxySettings
from fastproxy.control.admin import ServerState
from fastproxy.control.admin_door import AdminDoor
from fastproxy.control.cert_expiry import CertificateExpiry
from fastproxy.control.constant_stats import write_constants
from fastproxy.control.departure import Departure
from fastproxy.control.eds import EndpointFiles
from fastproxy.control.file_watch import FileWatcher
from fastproxy.control.generation import Configuration, ControlServices, Generation
from fastproxy.control.life import Life
from fastproxy.control.lookup import FamilyLookup, system_lookup
from fastproxy.control.notify import notify, reloading
from fastproxy.control.options import ControlOptions
from fastproxy.control.overview import Overview, Parts
from fastproxy.control.own_stats import ServerFacts, write_server_stats
from fastproxy.control.reload import LoadConfiguration, Reloader, ReloadRefused, UpdateConfiguration
from fastproxy.control.shared_memory import SharedMemory
from fastproxy.control.sockets import StartupError, open_listener_sockets
from fastproxy.control.stats_collector import StatsCollector
from fastproxy.control.succession import Succession
from fastproxy.control.supervisor import Supervisor
from fastproxy.control.watch import ConfigWatcher
from fastproxy.ipc.messages import (
    ClusterEndpoints,
    ClusterUsed,
    EndpointOutlier,
    ImmediateFailure,
    JwksRefreshRequest,
    OutlierTally,
    SetLogLevel,
    StatsSnapshot,
    ToMain,
    ToWorker,
    WorkerInit,
)
from fastproxy.jwt.ml_dsa import describe_availability
from fastproxy.stats import StatsSink
from fastproxy.tasks import cancel_and_wait, spawn

_log = logging.getLogger("fastproxy")
_T = TypeVar("_T")
#: After SIGTERM a connection that was used within this time stays open for it: the next request may be on its way.
_IDLE_GRACE_S = 1.0
#: The same when a successor serves: nobody waits for the end, so more of the requests on their way are met.
_REPLACED_IDLE_GRACE_S = 5.0
_HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


class ControlPlane:
    """One proxy: `await ControlPlane(...).run()` serves until it is told to stop.

    Args:
        settings: the configuration.
        bootstrap: the same as a serialised `Bootstrap`, which is what workers get.
        options: what the command line says.
        load: loads the configuration again; None: there is nothing to reload.
        loaded: where the configuration comes from, if it was loaded.
        update: makes it anew when a file with resources has changed.
        lookup: name resolution, for tests.
    """

    def __init__(
        self,
        settings: ProxySettings,
        bootstrap: bytes,
        options: ControlOptions,
        *,
        load: LoadConfiguration | None = None,
        loaded: LoadedConfig | None = None,
        update: UpdateConfiguration | None = None,
        lookup: FamilyLookup = system_lookup,
    ) -> None:
        self._options = options
        self._life = Life()
        self._log_levels: dict[str, str] = {"": options.log_level, **options.component_log_levels}
        self._stop_requested = asyncio.Event()
        self._killed = asyncio.Event()
        memory = SharedMemory(options.concurrency, settings.clusters)
        self._supervisor = Supervisor(self, options, memory)
        self._stats = StatsCollector(self._supervisor)
        self.past_stats = StatsSink()
        self._expiry = CertificateExpiry()
        self._files = FileWatcher()
        self.services = ControlServices(
            options,
            self._supervisor.broadcast,
            self._on_endpoints,
            lookup,
            memory,
            EndpointFiles(self._files),
        )
        self.generation = Generation(
            1, Configuration(settings, bootstrap, options.warnings, loaded), (), self.services
        )
        self._departure = Departure(
            options.drain_time_s,
            is_immediate=options.drains_at_once,
            tell=self._supervisor.broadcast,
            stop_listening=self._stop_listening,
        )
        self._reloader = Reloader(self, self._supervisor, load or _nothing_to_load, update, self._files)
        self._watcher = (
            None
            if options.watch_path is None
            else ConfigWatcher(options.watch_path, lambda: self._reloader.request("the file has changed"))
        )
        self.overview = Overview(
            self,
            options,
            Parts(
                self._life, self._supervisor, self._stats, self._reloader, self._departure, self._log_levels
            ),
        )
        """What the admin interface shows and does."""
        self._admin = AdminDoor(self.overview, options)
        self._succession = Succession(
            options,
            listeners=lambda: self.generation.sockets,
            admin=self._admin.for_successor,
            on_replaced=self._on_replaced,
        )

    @property
    def settings(self) -> ProxySettings:
        """The configuration in force."""
        return self.generation.settings

    # ---- life
    # ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until told to stop, then drain. Returns when everything has ended.

        Raises:
            StartupError: the proxy could not start; nothing of it is left running.
        """
        self._install_signal_handlers()
        try:
            if await self._start():
                await self._stop_requested.wait()
            await self._drain()
        finally:
            await self._shut_down()
        _log.info("exiting")

    def request_shutdown(self, reason: str) -> None:
        """Start to drain; a second call ends the workers at once."""
        if not self._stop_requested.is_set():
            _log.info("%s: draining, at most %.0f s", reason, self._options.drain_time_s)
            self._stop_requested.set()
        else:
            _log.warning("%s: not waiting for the drain to end", reason)
            self._killed.set()

    async def _start(self) -> bool:
        """Bring everything up; False if the stop was requested meanwhile."""
        for warning in self._options.warnings:
            _log.warning("%s", warning)
        _log.info("ML-DSA signatures: %s", describe_availability())
        inheritance = await self._succession.inherit(self.settings)
        self.generation.sockets = open_listener_sockets(
            self.settings.listeners,
            self._options.concurrency,
            passed_on=inheritance.take_listeners(self.settings),
        )
        for sockets in self.generation.sockets:
            _log.info("listener '%s' on %s", sockets.settings.name, sockets.address)
        if not self._succession.has_predecessor:
            await self._admin.open(self.settings.admin, self._succession.inheritance)
        self._supervisor.start()
        if await self._unless_stopped(self.generation.warm_up()) is None:
            return False
        self.generation.tls.start()
        self._life.state = ServerState.INITIALIZING
        _log.info("all dependencies initialized. starting %d workers", self._options.concurrency)
        failure = await self._unless_stopped(self._supervisor.release())
        if failure is None:
            return False
        if failure:
            raise StartupError(f"no worker could start: {failure}")
        self._life.begin_to_serve()
        if self._succession.has_predecessor:
            # Not before: /ready of the two would contradict each other, on one address.
            await self._admin.open(self.settings.admin, self._succession.inheritance)
        await self._succession.begin()
        self._reloader.start()
        if self._watcher is not None:
            self._watcher.start()
        notify("READY=1", f"MAINPID={os.getpid()}", "STATUS=serving")
        _log.info("starting main dispatch loop")
        return True

    def _on_replaced(self, pid: int) -> None:
        notify(f"MAINPID={pid}")
        self.request_shutdown(f"process {pid} has taken over")

    async def _unless_stopped(self, step: Coroutine[Any, Any, _T]) -> _T | None:
        """Await a step of the start; None if the request to stop came first, and the step was given up."""
        work = spawn(step, name="start-step")
        stop = spawn(self._stop_requested.wait(), name="stop-requested")
        await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
        stopped = not work.done()
        await cancel_and_wait(work, stop)
        return None if stopped else work.result()

    async def _drain(self) -> None:
        self._life.state = ServerState.DRAINING
        await self._stop_changing()
        if self._succession.is_replaced:
            # The successor answers on the same address.
            await self._admin.stop()
        else:
            notify("STOPPING=1")
        self.generation.close_sockets(keeps_files=self._succession.is_replaced)
        grace_s = _REPLACED_IDLE_GRACE_S if self._succession.is_replaced else _IDLE_GRACE_S
        drain = spawn(self._supervisor.drain(self._options.drain_time_s, idle_grace_s=grace_s), name="drain")
        killed = spawn(self._killed.wait(), name="kill-requested")
        await asyncio.wait((drain, killed), return_when=asyncio.FIRST_COMPLETED)
        await cancel_and_wait(killed)
        if not drain.done():
            await self._supervisor.kill()
        if not await drain:
            _log.warning("requests were still in flight when the workers ended")

    async def _stop_changing(self) -> None:
        """No reload and no successor from here on."""
        if self._watcher is not None:
            await self._watcher.stop()
        await self._reloader.stop()
        self._departure.stop()
        await self._succession.stop()
        self._admin.keep_no_socket()

    async def _shut_down(self) -> None:
        await self._stop_changing()
        self.generation.close_sockets(keeps_files=self._succession.is_replaced)
        await self._supervisor.kill()
        self.services.memory.close()
        await self.generation.stop()
        await self._files.stop()
        await self._admin.stop()
        if not self._succession.is_replaced:
            self._admin.remove_file()
        for number in _HANDLED_SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _install_signal_handlers(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request_shutdown, number.name)
        loop.add_signal_handler(signal.SIGUSR1, self._reopen_logs)
        loop.add_signal_handler(signal.SIGHUP, self._reloader.request, signal.SIGHUP.name)
        loop.add_signal_handler(signal.SIGUSR2, self._succession.start_successor)

    def _reopen_logs(self) -> None:
        self.overview.reopen_logs()
        self._admin.reopen_log()

    def on_reload(self, *, begins: bool) -> None:
        """A reload begins, or has ended one way or the other (ReloadHost)."""
        if begins:
            notify(*reloading(), "STATUS=reloading")
        else:
            notify("READY=1", f"STATUS=serving, generation {self.generation.number}")

    # ---- what the supervisor asks (WorkerHost)
    # -------------------------------------------------------------------

    def build_init(self, worker_id: int) -> WorkerInit:
        """Make the first message for a worker."""
        return self.generation.init_message(worker_id, self._log_levels[""])

    def current_state(self) -> Iterable[ToWorker]:
        """Everything that was broadcast and still stands."""
        changed = (
            SetLogLevel(level, component) for component, level in self._log_levels.items() if component
        )
        return (*changed, self._departure.message(), *self.generation.state())

    def listening_sockets(self, worker_id: int) -> Mapping[int, socket.socket]:
        """The worker's listening sockets by number."""
        return self.generation.worker_sockets(worker_id)

    def on_worker_message(self, worker_id: int, message: ToMain) -> None:
        """React to what a worker says."""
        if isinstance(message, StatsSnapshot):
            self._stats.on_snapshot(worker_id, message)
        elif isinstance(message, JwksRefreshRequest):
            answer = self.generation.keys.on_refresh_request(message.source_id)
            if answer is not None:
                self._supervisor.send(worker_id, answer)
        elif isinstance(message, ClusterUsed | ImmediateFailure | EndpointOutlier | OutlierTally):
            self.generation.health.on_worker_message(message)

    def on_worker_gone(self, worker_id: int) -> None:
        """Keep what the worker counted."""
        self._stats.on_worker_gone(worker_id)

    def _on_endpoints(self, message: ClusterEndpoints) -> None:
        self._supervisor.broadcast(message)
        self.generation.keys.on_endpoints_changed(message.cluster)

    def _stop_listening(self, inbound_only: bool) -> None:
        message = self.generation.stop_listening(inbound_only=inbound_only)
        _log.info("%d listeners are closed; the proxy goes on with what is open", len(message.listeners))
        self._supervisor.broadcast(message)

    def write_stats(self, sink: StatsSink) -> None:
        """Add all that the control plane counts itself (Overviewed)."""
        sink.add_past(self.past_stats, active=False)
        self._reloader.status.write_stats(sink)
        self._reloader.resources.write_stats(sink)
        for discovery in self.generation.discovery.clusters.values():
            discovery.write_stats(sink)
        for cluster in self.generation.health.clusters.values():
            cluster.write_stats(sink)
        self.generation.keys.write_stats(sink)
        self.generation.tls.write_stats(sink)
        self._admin.write_stats(sink)
        write_constants(sink, self.settings, self._options.concurrency)
        days = self._expiry.days_left(self.settings, self.generation.tls)
        sink.gauge("server.days_until_first_cert_expiring", days)
        write_server_stats(
            sink,
            ServerFacts(
                live=self.overview.state is ServerState.LIVE,
                state=self.overview.state.value,
                uptime_s=self._life.uptime_s(),
                concurrency=self._options.concurrency,
                worker_restarts=self._supervisor.restarts,
                workers_ready=self._supervisor.ready_count,
                worker_starts=self._supervisor.starts,
                initialization_ms=self._life.initialization_ms,
                worker_pids=self._supervisor.pids(),
                listeners=len(self.settings.listeners),
                draining_listeners=len(self.settings.listeners)
                if self._life.state is ServerState.DRAINING
                else len({one.spot.listener_index for one in self.generation.stopped}),
                clusters=len(self.settings.clusters),
                changes=self._reloader.changes,
            ),
        )


def _nothing_to_load(in_force: Configuration) -> Configuration:
    raise ReloadRefused("this proxy was started without a configuration that can be read again")
