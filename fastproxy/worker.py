"""The data plane: one process that accepts, verifies and forwards, over what the control plane last told it.

Started as `python -m fastproxy.worker FD FD`: one end of the channel's socketpair, and one of the pair over which
sockets are handed over; `main` holds the other ends. It reads a WorkerInit, builds its runtime from the Bootstrap in
it, and serves until the channel says Drain or ends. A reload swaps runtimes within the process; the connections stay.
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
from fastproxy.errors import FastProxyError
from fastproxy.farewell import Farewell
from fastproxy.ipc.channel import Channel, ChannelError
from fastproxy.ipc.handover import receive_sockets
from fastproxy.ipc.messages import (
    Abort,
    ClusterEndpoints,
    ClusterUsed,
    Commit,
    Drain,
    Drained,
    EndpointHealth,
    JwksFetchFailed,
    JwksRefreshRequest,
    JwksUpdate,
    ListenerSocket,
    Message,
    OutlierTally,
    Prepare,
    Prepared,
    PrepareFailed,
    ReopenAccessLogs,
    SetFarewell,
    SetLogLevel,
    StartServing,
    StatsRequest,
    StatsSnapshot,
    StopListening,
    Switched,
    TallyRequest,
    TlsFilesUpdate,
    WorkerFailed,
    WorkerInit,
    WorkerReady,
)
from fastproxy.large_reads import keep_large_buffers_apart
from fastproxy.runtime import AccessLogFiles, CountShares, Runtime
from fastproxy.shared_counts import SharedCounts
from fastproxy.stats import StatsSink
from fastproxy.tasks import cancel_and_wait, spawn

_log = logging.getLogger("fastproxy.worker")

_SNAPSHOT_INTERVAL_S = 5.0
_IDLE_SWEEP_INTERVAL_S = 1.0
#: After a reload, how long an idle connection that nobody serves any more stays open for a request on its way, and
#: how long a request on one may take (Envoy's default drain time).
_RELOAD_IDLE_GRACE_S = 5.0
_RELOAD_DRAIN_S = 600.0


class Worker:
    """The runtimes of one worker process: the one that serves, one that may replace it, those that it has replaced."""

    def __init__(self, init: WorkerInit, channel: Channel, handover: socket.socket) -> None:
        self._id = init.worker_id
        self._concurrency = init.concurrency
        self._channel = channel
        self._handover = handover
        self._sockets: dict[int, socket.socket] = {}
        self._log_files = AccessLogFiles(
            asyncio.get_running_loop(), init.access_log_flush_s, init.access_log_flush_bytes
        )
        self._past = StatsSink()
        """What runtimes counted that are gone."""
        self._retired: list[tuple[Runtime, Runtime]] = []
        """Runtimes that still serve what they have begun, each with its successor."""
        self._candidate: Runtime | None = None
        self._candidate_sockets: list[ListenerSocket] = []
        self._is_committing = False
        """Between Commit and StartServing: what the control plane says is meant for the candidate."""
        self._counts = (
            SharedCounts(init.counts_fd, init.counts_rows, init.concurrency) if init.counts_fd >= 0 else None
        )
        self._farewell = Farewell()
        self._runtime = self._build(init.generation, init.bootstrap, init.count_blocks)
        self._first_sockets = init.sockets

    def _build(
        self,
        generation: int,
        bootstrap: str,
        count_blocks: dict[str, int],
        previous: Runtime | None = None,
        kept_sources: tuple[str, ...] = (),
    ) -> Runtime:
        content = base64.b64decode(bootstrap)
        return Runtime(
            generation,
            settings_from_bootstrap(content),
            bootstrap=content,
            concurrency=self._concurrency,
            log_files=self._log_files,
            ask=self._ask_for_keys,
            shares=(None if self._counts is None else CountShares(self._counts, count_blocks, self._id)),
            previous=previous,
            kept_sources=kept_sources,
            farewell=self._farewell,
            tell=self._channel.send,
        )

    def _ask_for_keys(self, source_id: str) -> None:
        self._channel.send(JwksRefreshRequest(source_id))

    async def learn(self) -> bool:
        """Take in endpoints and keys before the first request; False if the control plane went away."""
        while (message := await self._channel.receive()) is not None:
            if isinstance(message, StartServing):
                return True
            await self._on_message(message)
        return False

    async def listen(self) -> None:
        """Accept on every socket that the control plane handed over."""
        self._take_sockets(self._first_sockets)
        await self._listen(self._runtime, self._first_sockets)

    async def run(self) -> None:
        """Follow the control plane until it says Drain or is gone."""
        sweeping = spawn(self._sweep(), name="idle sweep")
        reporting = spawn(self._report(), name="stats report")
        try:
            while (message := await self._channel.receive()) is not None:
                if isinstance(message, Drain):
                    await self._drain(message)
                    break
                await self._on_message(message)
        finally:
            await cancel_and_wait(sweeping, reporting)
            self._log_files.retain(())

    async def _on_message(self, message: Message) -> None:
        match message:
            case ClusterEndpoints() | EndpointHealth() | JwksUpdate() | JwksFetchFailed() | TlsFilesUpdate():
                self._inform(message)
            case TallyRequest():
                if tally := self._runtime.take_tally(message.cluster):
                    self._channel.send(OutlierTally(message.cluster, tally))
            case StatsRequest():
                self._channel.send(self._snapshot(message.request_id))
            case SetLogLevel():
                logs.set_level(message.level, message.component)
            case ReopenAccessLogs():
                self._log_files.reopen()
            case SetFarewell():
                self._follow_farewell(message)
            case StopListening():
                self._stop_listening(message)
            case Prepare():
                self._prepare(message)
            case Commit():
                self._is_committing = self._candidate is not None
            case StartServing() if self._is_committing:
                await self._switch()
            case Abort():
                self._abort()
            case _:
                _log.warning("unexpected message %s", type(message).__name__)

    def _follow_farewell(self, message: SetFarewell) -> None:
        self._farewell.say(
            health_failed=message.health_failed, drain_from=message.drain_from, drain_s=message.drain_s
        )
        for runtime in (self._runtime, *(one for one, _ in self._retired)):
            runtime.follow_farewell()

    def _stop_listening(self, message: StopListening) -> None:
        for index in message.listeners:
            self._runtime.listeners[index].stop_accepting()
        for number in message.sockets:
            # A socket of another worker is not here.
            if number in self._sockets:
                self._sockets.pop(number).close()

    def _inform(
        self, message: ClusterEndpoints | EndpointHealth | JwksUpdate | JwksFetchFailed | TlsFilesUpdate
    ) -> None:
        """Pass on what the control plane has found out."""
        for runtime in self._informed():
            match message:
                case ClusterEndpoints():
                    runtime.on_endpoints(message)
                case EndpointHealth():
                    runtime.on_health(message)
                case JwksUpdate():
                    runtime.on_keys(message)
                case JwksFetchFailed():
                    runtime.on_keys_failed(message)
                case TlsFilesUpdate() if runtime.generation == self._informed()[0].generation:
                    # A retired runtime shakes no more hands.
                    runtime.on_tls_files(message)

    def _informed(self) -> list[Runtime]:
        """Whom a message about endpoints or keys is for. Requests of a retired runtime wait for keys, too."""
        if self._is_committing and self._candidate is not None:
            return [self._candidate]
        return [self._runtime, *(runtime for runtime, _ in self._retired)]

    # -- reload --------------------------------------------------------------------------------------------

    def _prepare(self, message: Prepare) -> None:
        """Build a runtime beside the one that serves; what can go wrong in a reload goes wrong here."""
        self._abort()
        try:
            self._take_sockets(message.sockets)
            self._candidate = self._build(
                message.generation,
                message.bootstrap,
                message.count_blocks,
                self._runtime,
                tuple(message.kept_sources),
            )
        except Exception as error:
            _log.debug("generation %d cannot be prepared", message.generation, exc_info=True)
            self._channel.send(PrepareFailed(self._id, message.generation, _reason(error)))
            return
        self._candidate_sockets = message.sockets
        self._channel.send(Prepared(self._id, message.generation))

    def _abort(self) -> None:
        self._candidate = None
        self._is_committing = False
        self._log_files.retain(self._log_paths())

    async def _switch(self) -> None:
        """Let the candidate serve. A failure ends the process: its successor starts with the new configuration."""
        old, new = self._runtime, self._candidate
        assert new is not None
        await self._listen(new, self._candidate_sockets)
        # From here to the end nothing waits: the next request that begins is the new runtime's.
        self._candidate, self._is_committing = None, False
        self._runtime = new
        for retired, _ in self._retired:
            retired.redirect(new)
        self._retired.append((old, new))
        old.retire(new, idle_grace_s=_RELOAD_IDLE_GRACE_S)
        for number in self._sockets.keys() - {entry.number for entry in self._candidate_sockets}:
            self._sockets.pop(number).close()
        spawn(old.end_orphans(_RELOAD_DRAIN_S), name=f"drain of generation {old.generation}")
        self._channel.send(Switched(self._id, new.generation))

    def _forget_idle(self) -> None:
        """Drop the runtimes that have nothing left to do, and what they alone needed."""
        finished = [entry for entry in self._retired if entry[0].is_idle]
        if not finished:
            return
        self._retired = [entry for entry in self._retired if entry not in finished]
        for runtime, successor in finished:
            part = StatsSink()
            runtime.write_stats(part, successor)
            self._past.add_past(part, active=False)
        self._log_files.retain(self._log_paths())
        del finished, runtime, successor
        freeze()

    def _log_paths(self) -> set[str]:
        candidate = [] if self._candidate is None else [self._candidate]
        living = [self._runtime, *candidate, *(runtime for runtime, _ in self._retired)]
        return set().union(*(runtime.log_paths for runtime in living))

    def _take_sockets(self, wanted: list[ListenerSocket]) -> None:
        self._sockets.update(receive_sockets(self._handover))
        if any(entry.number not in self._sockets for entry in wanted):
            raise ChannelError("a listening socket did not arrive")

    async def _listen(self, runtime: Runtime, sockets: list[ListenerSocket]) -> None:
        for entry in sockets:
            # A copy, for the listener closes what it gets; the queue of connections belongs to all copies.
            await runtime.listeners[entry.listener_index].listen(self._sockets[entry.number].dup())

    # -- numbers and time ----------------------------------------------------------------------------------

    def _snapshot(self, request_id: int) -> StatsSnapshot:
        sink = StatsSink()
        sink.add_past(self._past, active=False)
        for runtime, successor in self._retired:
            part = StatsSink()
            runtime.write_stats(part, successor)
            sink.add_past(part, active=True)
        self._runtime.write_stats(sink)
        return StatsSnapshot(
            worker_id=self._id,
            request_id=request_id,
            counters=sink.counters,
            gauges=sink.gauges,
            histograms=sink.histograms,
            hosts=sink.hosts,
        )

    async def _drain(self, message: Drain) -> None:
        """Stop accepting, finish what is in flight, then say so."""
        for sock in self._sockets.values():
            sock.close()
        runtimes = [self._runtime, *(runtime for runtime, _ in self._retired)]
        await asyncio.gather(
            *(one.drain(message.drain_time_s, idle_grace_s=message.idle_grace_s) for one in runtimes)
        )
        self._channel.send(self._snapshot(0))
        self._channel.send(Drained(self._id))
        await self._channel.drain()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_IDLE_SWEEP_INTERVAL_S)
            now = clock.monotonic()
            self._runtime.check_idle(now)
            for cluster in self._runtime.take_first_uses():
                self._channel.send(ClusterUsed(cluster))
            for runtime, _ in self._retired:
                runtime.check_idle(now)
            self._forget_idle()

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_SNAPSHOT_INTERVAL_S)
            self._channel.send(self._snapshot(0))


def freeze() -> None:
    """Tell the collector that what is here now stays: it need not walk it again on every pass.

    First what was frozen and is garbage by now is collected, which is what a reload leaves.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def serve(channel_fd: int, handover_fd: int) -> int:
    """Run one worker on its ends of the channel and the handover; returns the process's exit code."""
    channel = await Channel.open(socket.socket(fileno=channel_fd))
    handover = socket.socket(fileno=handover_fd)
    init = await channel.receive()
    if not isinstance(init, WorkerInit):
        return 1
    logs.configure(init.log_level, pattern=init.log_format)
    try:
        worker = Worker(init, channel, handover)
        if not await worker.learn():
            return 0
        await worker.listen()
    except Exception as error:
        _log.debug("the worker cannot start", exc_info=True)
        channel.send(WorkerFailed(init.worker_id, _reason(error)))
        await channel.drain()
        return 1
    channel.send(WorkerReady(init.worker_id))
    freeze()
    try:
        await worker.run()
    except (ChannelError, OSError) as error:
        # The second: a listener could not be opened after Commit.
        _log.error("the worker ends: %s", error)
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
    keep_large_buffers_apart()
    # The terminal sends Ctrl-C to the whole group; `main` decides when and how workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]))))


if __name__ == "__main__":
    main()
