"""One configuration in the control plane, and the services that keep what it names current.

At the start there is one generation. A reload makes the next one beside it: clusters and key sources that mean the same
are shared, the others warm up in silence. Then it takes over, or is discarded and nothing has happened.
"""

import base64
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from weakref import ref

from fastproxy.config import LoadedConfig, Resources, TlsUpdate
from fastproxy.config.settings import ProxySettings
from fastproxy.control.dns import DiscoveryService
from fastproxy.control.eds import EndpointFiles
from fastproxy.control.health.service import HealthService
from fastproxy.control.health.tools import HealthListener
from fastproxy.control.jwks_http import JwksHttpClient
from fastproxy.control.key_store import KeyStore
from fastproxy.control.lookup import FamilyLookup
from fastproxy.control.options import ControlOptions
from fastproxy.control.shared_memory import SharedMemory
from fastproxy.control.sockets import ListenerSockets, close_all_but
from fastproxy.control.tls_watcher import TlsWatcher
from fastproxy.ipc.messages import (
    ClusterEndpoints,
    ListenerSocket,
    Prepare,
    StopListening,
    ToWorker,
    WorkerInit,
)
from fastproxy.stats import StatsSink
from fastproxy.upstream.settings import ClusterSettings, UpstreamTlsSettings

_log = logging.getLogger("fastproxy")


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that was loaded and can be run."""

    settings: ProxySettings
    bootstrap: bytes
    """The same as a serialised `Bootstrap`, which is what workers get."""
    warnings: tuple[str, ...] = ()
    loaded: LoadedConfig | None = None
    """Where it comes from; None: it was made, not loaded."""

    @property
    def resources(self) -> Resources:
        """What of it came from files of its own."""
        return Resources() if self.loaded is None else self.loaded.resources


@dataclass(frozen=True, slots=True)
class ControlServices:
    """What every generation needs of the control plane."""

    options: ControlOptions
    broadcast: Callable[[ToWorker], None]
    """Tells all workers."""
    on_endpoints: Callable[[ClusterEndpoints], None]
    """A cluster of the generation in force has other addresses."""
    lookup: FamilyLookup
    memory: SharedMemory
    """What workers count together."""
    files: EndpointFiles
    """Reads the endpoints of EDS clusters."""


class Generation:
    """A configuration, its sockets, and who follows DNS and keys for it.

    Args:
        number: 1 at the start, one more with every reload.
        configuration: what is run.
        sockets: one for each listener.
        services: the control plane's.
        previous: the generation in force, which this one may replace.
    """

    def __init__(
        self,
        number: int,
        configuration: Configuration,
        sockets: tuple[ListenerSockets, ...],
        services: ControlServices,
        previous: "Generation | None" = None,
    ) -> None:
        self.number = number
        self.configuration = configuration
        self.settings = configuration.settings
        self.bootstrap = configuration.bootstrap
        self.sockets = sockets
        self.stopped: list[ListenerSockets] = []
        """Those that were closed by the operator's wish."""
        self._options = services.options
        self._memory = services.memory
        self.health: HealthService = HealthService(
            self.settings.clusters,
            HealthListener(services.on_endpoints, services.broadcast),
            previous=None if previous is None else previous.health,
        )
        self.discovery: DiscoveryService = DiscoveryService(
            self.settings.clusters,
            self.health.on_discovered,
            services.lookup,
            files=services.files,
            previous=None if previous is None else previous.discovery,
        )
        client = JwksHttpClient(
            {cluster.name: cluster for cluster in self.settings.clusters}, self.health.endpoints
        )
        self.keys: KeyStore = KeyStore(
            self.settings.providers(),
            client,
            services.broadcast,
            cooldown_s=self._options.forced_refetch_cooldown_s,
            snapshot_dir=self.settings.jwks_snapshot_dir,
            lookup=services.lookup,
            previous=None if previous is None else previous.keys,
        )

        self._upstream_tls: dict[str, list[ref[UpstreamTlsSettings]]] = {}
        """Of every cluster, those of earlier generations included that something shared may still hold."""
        for one in self.settings.clusters:
            if one.tls is not None:
                earlier = [] if previous is None else previous.upstream_tls(one)
                self._upstream_tls[one.name] = [ref(one.tls), *earlier]
        self.tls = TlsWatcher(
            self.bootstrap,
            self.settings.tls_files,
            services.broadcast,
            on_update=self._renew,
        )

    def upstream_tls(self, cluster: ClusterSettings) -> "list[ref[UpstreamTlsSettings]]":
        """TLS settings of a cluster that is the same here; none if it is not."""
        if cluster not in self.settings.clusters:
            return []
        return [one for one in self._upstream_tls.get(cluster.name, ()) if one() is not None]

    def _renew(self, update: TlsUpdate) -> None:
        """Key fetches and health checks follow changed certificates."""
        for name, changed in update.clusters.items():
            for one in self._upstream_tls.get(name, ()):
                known = one()
                if known is not None:
                    known.renew(changed)

    async def warm_up(self) -> bool:
        """Get the first addresses and the keys that listeners wait for; both are bounded in time."""
        self.discovery.start()
        if not await self.discovery.wait_initialised(self._options.first_resolution_timeout_s):
            _log.warning("some clusters have no DNS answer yet; starting without it")
        self.health.start(self.discovery.endpoints)
        if not await self.health.wait_first_round(self._options.first_health_checks_timeout_s):
            _log.warning("some endpoints have not been checked yet; starting without them")
        _log.info("all clusters initialized")
        self.keys.start()
        await self.keys.wait_first_results()
        return True

    def take_over(self, previous: "Generation", past: StatsSink) -> None:
        """Become the generation in force. What `previous` counted for things that are gone is added to `past`.

        Nothing waits here: before it the old generation speaks to the workers, after it the new one.
        """
        for discovery in self.discovery.take_over(previous.discovery):
            part = StatsSink()
            discovery.write_stats(part)
            past.add_past(part, active=False)
        for cluster in self.health.take_over(previous.health):
            part = StatsSink()
            cluster.write_stats(part)
            past.add_past(part, active=False)
        part = StatsSink()
        self.keys.take_over(previous.keys, part)
        previous.tls.end()
        previous.tls.write_stats(part)
        past.add_past(part, active=False)
        self.tls.start()
        for one in self.sockets:
            one.settle_mode()
        close_all_but(previous.sockets, self.sockets)

    async def retire(self) -> None:
        """Another generation has taken over: end what this one alone does."""
        await self.tls.stop()
        await self.discovery.stop()
        await self.health.stop()
        await self.keys.retire()

    async def discard(self, in_force: "Generation") -> None:
        """This one will not take over: end it, and leave the one in force as it is."""
        close_all_but(self.sockets, in_force.sockets)
        await self.discovery.stop()
        await self.health.stop()
        await self.keys.stop()

    async def stop(self) -> None:
        """End everything but the sockets, which are to be closed before; the process ends."""
        await self.tls.stop()
        await self.keys.stop()
        await self.discovery.stop()
        await self.health.stop()

    def stop_listening(self, *, inbound_only: bool) -> StopListening:
        """Stop holding the addresses of all listeners, or of those for inbound traffic; nothing opens them again.

        Returns:
            What makes the workers do the same.
        """
        stopped = [one for one in self.sockets if one.settings.is_inbound or not inbound_only]
        self.sockets = tuple(one for one in self.sockets if one not in stopped)
        self.stopped += stopped
        for sockets in stopped:
            sockets.close()
        return StopListening(
            sorted({one.spot.listener_index for one in stopped}),
            [number for one in stopped for number in one.numbers],
        )

    def close_sockets(self, *, keeps_files: bool = False) -> None:
        """Stop holding the addresses; workers have copies of their own.

        `keeps_files`: a successor goes on listening on the Unix domain sockets.
        """
        for sockets in self.sockets:
            sockets.close(keeps_file=keeps_files)

    # -- what workers are told -----------------------------------------------------------------------------

    def init_message(self, worker_id: int, log_level: str) -> WorkerInit:
        """Return the first message for a worker."""
        return WorkerInit(
            worker_id,
            self._options.concurrency,
            self._encoded_bootstrap(),
            log_level,
            self._socket_list(worker_id),
            self.number,
            self._memory.fd,
            self._memory.rows,
            self._memory.blocks_of(self.settings.clusters),
            self._options.log_format,
            *self._options.access_log_flush,
        )

    def prepare_message(self, worker_id: int) -> Prepare:
        """Return what makes a worker build this generation beside the one that it serves."""
        return Prepare(
            self.number,
            self._encoded_bootstrap(),
            self._socket_list(worker_id),
            sorted(self.keys.kept),
            self._memory.blocks_of(self.settings.clusters),
        )

    def state(self) -> tuple[ToWorker, ...]:
        """Return the addresses, keys and certificates in force."""
        return (*self.health.snapshot(), *self.keys.snapshot(), *self.tls.snapshot())

    def _encoded_bootstrap(self) -> str:
        return base64.b64encode(self.bootstrap).decode()

    def _socket_list(self, worker_id: int) -> list[ListenerSocket]:
        return [
            ListenerSocket(sockets.spot.listener_index, number)
            for sockets in self.sockets
            for number in sockets.of_worker(worker_id, self._options.concurrency)
        ]

    def worker_sockets(self, worker_id: int) -> dict[int, socket.socket]:
        """Return the sockets that a worker serves, by number."""
        return {
            number: sock
            for sockets in self.sockets
            for number, sock in sockets.of_worker(worker_id, self._options.concurrency).items()
        }
