"""The data plane: one process that accepts, verifies and forwards, over what the control plane last told it.

Started as `python -m fastproxy.worker FD`; FD is one end of a socketpair whose other end `main` holds. It reads a
WorkerInit, builds its runtime from the Bootstrap in it, and serves until the channel says Drain or ends.
"""

import asyncio
import base64
import gc
import logging
import signal
import socket
import sys

import uvloop

from fastproxy import clock, logs
from fastproxy.config import settings_from_bootstrap
from fastproxy.config.settings import ProxySettings
from fastproxy.errors import FastProxyError
from fastproxy.filters.base import HttpFilter
from fastproxy.filters.chain import FilterChain
from fastproxy.filters.jwt_authn.filter import JwtAuthnFilter
from fastproxy.filters.jwt_authn.keys import ProviderKeys
from fastproxy.ipc.channel import Channel, ChannelError
from fastproxy.ipc.messages import (
    ClusterEndpoints,
    Drain,
    Drained,
    EndpointAddress,
    JwksFetchFailed,
    JwksRefreshRequest,
    JwksUpdate,
    Message,
    ReopenAccessLogs,
    SetLogLevel,
    StartServing,
    StatsRequest,
    StatsSnapshot,
    WorkerFailed,
    WorkerInit,
    WorkerReady,
)
from fastproxy.listener.acceptor import Listener
from fastproxy.listener.access_log import AccessLog, AccessLogFile
from fastproxy.listener.manager import HttpConnectionManager
from fastproxy.listener.settings import HttpConnectionManagerSettings, ListenerSettings
from fastproxy.router.router import Router
from fastproxy.stats import StatsSink
from fastproxy.tasks import cancel_and_wait, spawn
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.settings import (
    Address,
    DiscoveredEndpoint,
    EndpointTraits,
    HealthStatus,
    Locality,
)

_log = logging.getLogger("fastproxy.worker")

_SNAPSHOT_INTERVAL_S = 5.0
_IDLE_SWEEP_INTERVAL_S = 1.0


class Worker:
    """Runtime and listeners of one worker process."""

    def __init__(self, init: WorkerInit, settings: ProxySettings, channel: Channel) -> None:
        self._init = init
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._clusters = {one.name: Cluster(one) for one in settings.clusters}
        self._keys: dict[str, list[ProviderKeys]] = {}
        self._log_files: dict[str, AccessLogFile] = {}
        self._listeners = [self._build_listener(listener) for listener in settings.listeners]

    def _build_listener(self, listener: ListenerSettings) -> Listener:
        chains = [self._build_manager(listener, chain.network) for chain in listener.chains()]
        return Listener(listener, chains, self._loop)

    def _build_manager(
        self, listener: ListenerSettings, http: HttpConnectionManagerSettings
    ) -> HttpConnectionManager:
        filters: list[HttpFilter] = []
        token_headers: frozenset[bytes] = frozenset()
        identity_headers: frozenset[bytes] = frozenset()
        for one in http.http_filters:
            jwt_authn = JwtAuthnFilter(one.config, ask=self._ask_for_keys)
            filters.append(jwt_authn)
            token_headers |= jwt_authn.token_headers
            identity_headers |= jwt_authn.identity_headers
            for provider in jwt_authn.providers.values():
                self._keys.setdefault(provider.keys.source_id, []).append(provider.keys)
        router = Router(
            http.route_config,
            self._clusters,
            suppress_envoy_headers=http.suppress_envoy_headers,
            identity_headers=identity_headers,
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
        )

    def _log_file(self, path: str) -> AccessLogFile:
        if path not in self._log_files:
            self._log_files[path] = AccessLogFile(path, self._loop)
        return self._log_files[path]

    def _ask_for_keys(self, source_id: str) -> None:
        self._channel.send(JwksRefreshRequest(source_id))

    async def learn(self) -> bool:
        """Take in endpoints and keys before the first request; False if the control plane went away."""
        while (message := await self._channel.receive()) is not None:
            if isinstance(message, StartServing):
                return True
            self._on_message(message)
        return False

    async def listen(self) -> None:
        """Accept on every socket that the control plane handed over."""
        for handed_over in self._init.sockets:
            await self._listeners[handed_over.listener_index].listen(socket.socket(fileno=handed_over.fd))

    async def run(self) -> None:
        """Follow the control plane until it says Drain or is gone."""
        sweeping = spawn(self._sweep(), name="idle sweep")
        reporting = spawn(self._report(), name="stats report")
        try:
            while (message := await self._channel.receive()) is not None:
                if isinstance(message, Drain):
                    await self._drain(message.drain_time_s)
                    break
                self._on_message(message)
        finally:
            await cancel_and_wait(sweeping, reporting)
            for file in self._log_files.values():
                file.close()

    def _on_cluster_endpoints(self, message: ClusterEndpoints) -> None:
        cluster = self._clusters.get(message.cluster)
        if cluster is not None:
            cluster.update_endpoints([_endpoint(entry) for entry in message.endpoints])

    def _on_message(self, message: Message) -> None:
        match message:
            case ClusterEndpoints():
                self._on_cluster_endpoints(message)
            case JwksUpdate():
                for keys in self._keys.get(message.source_id, ()):
                    keys.on_update(message.epoch, message.jwks.encode(), fetched=message.fetched)
            case JwksFetchFailed():
                for keys in self._keys.get(message.source_id, ()):
                    keys.on_fetch_failed()
            case StatsRequest():
                self._channel.send(self._snapshot(message.request_id))
            case SetLogLevel():
                logs.set_level(message.level, message.component)
            case ReopenAccessLogs():
                for file in self._log_files.values():
                    file.reopen()
            case _:
                _log.warning("unexpected message %s", type(message).__name__)

    def _snapshot(self, request_id: int) -> StatsSnapshot:
        sink = StatsSink()
        for listener in self._listeners:
            listener.write_stats(sink)
        for cluster in self._clusters.values():
            cluster.write_stats(sink)
        return StatsSnapshot(
            worker_id=self._init.worker_id,
            request_id=request_id,
            counters=sink.counters,
            gauges=sink.gauges,
            histograms=sink.histograms,
            hosts=sink.hosts,
        )

    async def _drain(self, drain_time_s: float) -> None:
        """Stop accepting, finish what is in flight, then say so."""
        for listener in self._listeners:
            # Before any socket closes: an answer sent after that must not promise to keep the connection.
            listener.announce_drain()
        await asyncio.gather(*(listener.drain(drain_time_s) for listener in self._listeners))
        for cluster in self._clusters.values():
            cluster.drain()
        self._channel.send(self._snapshot(0))
        self._channel.send(Drained(self._init.worker_id))
        await self._channel.drain()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_IDLE_SWEEP_INTERVAL_S)
            now = clock.monotonic()
            for listener in self._listeners:
                listener.check_idle(now)
            for cluster in self._clusters.values():
                cluster.close_idle(now)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_SNAPSHOT_INTERVAL_S)
            self._channel.send(self._snapshot(0))


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
    )


async def serve(channel_fd: int) -> int:
    """Run one worker on its end of the channel; returns the process's exit code."""
    channel = await Channel.open(socket.socket(fileno=channel_fd))
    init = await channel.receive()
    if not isinstance(init, WorkerInit):
        return 1
    logs.configure(init.log_level)
    try:
        settings = settings_from_bootstrap(base64.b64decode(init.bootstrap))
        worker = Worker(init, settings, channel)
        if not await worker.learn():
            return 0
        await worker.listen()
    except Exception as error:
        _log.debug("the worker cannot start", exc_info=True)
        channel.send(WorkerFailed(init.worker_id, _reason(error)))
        await channel.drain()
        return 1
    channel.send(WorkerReady(init.worker_id))
    # What was built lives as long as the process: the collector need not walk it again on every pass.
    gc.collect()
    gc.freeze()
    try:
        await worker.run()
    except ChannelError as error:
        _log.error("control channel: %s", error)
        return 1
    finally:
        channel.close()
    return 0


def _reason(error: Exception) -> str:
    """Why the worker cannot start, fit for an operator.

    Only errors that were worded for one are repeated; the text of any other might quote the configuration, and with
    it a secret (S53).
    """
    if isinstance(error, FastProxyError | OSError):
        return str(error)
    return f"unexpected {type(error).__name__}; log level debug shows where"


def main() -> None:
    """Entry point of the worker process."""
    # The terminal sends Ctrl-C to the whole group; `main` decides when and how workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(uvloop.run(serve(int(sys.argv[1]))))


if __name__ == "__main__":
    main()
