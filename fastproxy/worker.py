"""The data plane: one process that accepts, verifies and forwards, over what the control plane last told it.

Started as `python -m fastproxy.worker FD FD`: one end of the channel's socketpair, and one of the pair over which
sockets are handed over; `main` holds the other ends. It reads a WorkerInit, builds its runtime from the Bootstrap in
it, and serves until the channel says Drain or ends. A reload swaps runtimes within the process; the connections stay.
"""

import asyncio
import gc
import logging
import signal
import socket
import sys

import uvloop

from fastproxy import clock, logs
from fastproxy.errors import FastProxyError
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
from fastproxy.runtime import Generations, Runtime
from fastproxy.tasks import cancel_and_wait, spawn

_log = logging.getLogger("fastproxy.worker")

_SNAPSHOT_INTERVAL_S = 5.0
_IDLE_SWEEP_INTERVAL_S = 1.0


class Worker:
    """One worker process: what the control plane says, its sockets, and the runtimes that accept from them."""

    def __init__(self, init: WorkerInit, channel: Channel, handover: socket.socket) -> None:
        self._id = init.worker_id
        self._channel = channel
        self._handover = handover
        self._sockets: dict[int, socket.socket] = {}
        self._first_sockets = init.sockets
        self._candidate_sockets: list[ListenerSocket] = []
        self._generations = Generations(init, ask=self._ask_for_keys, tell=channel.send)

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
        await self._listen(self._generations.current, self._first_sockets)

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
            self._generations.log_files.retain(())

    async def _on_message(self, message: Message) -> None:
        match message:
            case ClusterEndpoints() | EndpointHealth() | JwksUpdate() | JwksFetchFailed() | TlsFilesUpdate():
                self._generations.inform(message)
            case TallyRequest():
                if tally := self._generations.current.take_tally(message.cluster):
                    self._channel.send(OutlierTally(message.cluster, tally))
            case StatsRequest():
                self._channel.send(self._snapshot(message.request_id))
            case SetLogLevel():
                logs.set_level(message.level, message.component)
            case ReopenAccessLogs():
                self._generations.log_files.reopen()
            case SetFarewell():
                self._generations.follow_farewell(message)
            case StopListening():
                self._stop_listening(message)
            case Prepare():
                self._prepare(message)
            case Commit():
                self._generations.commit()
            case StartServing() if self._generations.is_committing:
                await self._switch()
            case Abort():
                self._generations.abort()
            case _:
                _log.warning("unexpected message %s", type(message).__name__)

    def _stop_listening(self, message: StopListening) -> None:
        for index in message.listeners:
            self._generations.current.listeners[index].stop_accepting()
        for number in message.sockets:
            # A socket of another worker is not here.
            if number in self._sockets:
                self._sockets.pop(number).close()

    # -- reload --------------------------------------------------------------------------------------------

    def _prepare(self, message: Prepare) -> None:
        """Build a runtime beside the one that serves, and say whether it could be."""
        self._generations.abort()
        try:
            self._take_sockets(message.sockets)
            self._generations.prepare(message)
        except Exception as error:
            _log.debug("generation %d cannot be prepared", message.generation, exc_info=True)
            self._channel.send(PrepareFailed(self._id, message.generation, _reason(error)))
            return
        self._candidate_sockets = message.sockets
        self._channel.send(Prepared(self._id, message.generation))

    async def _switch(self) -> None:
        """Let the candidate serve. A failure ends the process: its successor starts with the new configuration."""
        candidate = self._generations.candidate
        assert candidate is not None
        await self._listen(candidate, self._candidate_sockets)
        self._generations.switch()
        for number in self._sockets.keys() - {entry.number for entry in self._candidate_sockets}:
            self._sockets.pop(number).close()
        self._channel.send(Switched(self._id, candidate.generation))

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
        sink = self._generations.collect_stats()
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
        await asyncio.gather(
            *(
                one.drain(message.drain_time_s, idle_grace_s=message.idle_grace_s)
                for one in self._generations.serving
            )
        )
        self._channel.send(self._snapshot(0))
        self._channel.send(Drained(self._id))
        await self._channel.drain()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_IDLE_SWEEP_INTERVAL_S)
            self._generations.check_idle(clock.monotonic())
            for cluster in self._generations.current.take_first_uses():
                self._channel.send(ClusterUsed(cluster))
            if self._generations.forget_idle():
                freeze()

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
