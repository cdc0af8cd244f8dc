"""Keeps N workers alive. One slot per worker id; a slot runs one process after another.

The life of a slot:

    start process -> (held until `release`) -> WorkerInit, state, StartServing -> WorkerReady -> channel ends
        ^                                                                                            |
        +------------------------- back-off, unless the supervisor is stopping ----------------------+

A reload is a transaction over all workers (S58): `prepare` asks each to build the new runtime, then either `commit`
makes all switch or `abort` makes all forget it. A worker that dies meanwhile takes no part: its successor waits for
the end of the transaction and starts with what is in force then.

What always holds: between WorkerInit and the state that follows it there is no `await`, so a broadcast either
comes after them or is contained in them, and no worker misses an update. A worker's listening sockets belong
to `main` as well; they outlive the process.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from fastproxy import clock
from fastproxy.control.backoff import Backoff
from fastproxy.control.ballot import Ballot
from fastproxy.control.options import ControlOptions
from fastproxy.control.shared_memory import SharedMemory
from fastproxy.control.worker_process import WorkerProcess
from fastproxy.ipc.channel import ChannelError
from fastproxy.ipc.messages import (
    Abort,
    Commit,
    Drain,
    Drained,
    Prepare,
    Prepared,
    PrepareFailed,
    StartServing,
    Switched,
    ToMain,
    ToWorker,
    WorkerFailed,
    WorkerInit,
    WorkerReady,
)
from fastproxy.tasks import cancel_and_wait, spawn

_log = logging.getLogger("fastproxy.control.supervisor")
#: A worker that lived this long was not broken from the start: its successor starts without delay growth.
_STABLE_AFTER_S = 60.0
#: How long a worker may take to end after its channel closed or it said Drained, before it is killed.
_EXIT_GRACE_S = 5.0
#: Workers keep the drain time themselves; at its end they still have to close, report and flush their logs.
_DRAIN_GRACE_S = 1.0


class WorkerHost(Protocol):
    """What the supervisor asks of its owner."""

    def build_init(self, worker_id: int) -> WorkerInit:
        """Make the first message for a worker."""
        ...

    def current_state(self) -> Iterable[ToWorker]:
        """Everything that was broadcast and still stands: a new worker gets it right after WorkerInit."""
        ...

    def listening_sockets(self, worker_id: int) -> Mapping[int, socket.socket]:
        """The worker's listening sockets by number."""
        ...

    def on_worker_message(self, worker_id: int, message: ToMain) -> None:
        """A worker said something that the supervisor does not handle itself."""
        ...

    def on_worker_gone(self, worker_id: int) -> None:
        """A worker's process ended; its totals are final."""
        ...


class Supervisor:
    """Starts, watches, replaces and drains the workers."""

    def __init__(self, host: WorkerHost, options: ControlOptions, memory: SharedMemory) -> None:
        self._host = host
        self._memory = memory
        self._options = options
        self._workers: dict[int, WorkerProcess] = {}
        self._initialised: set[int] = set()
        self._slots: dict[int, asyncio.Task[None]] = {}
        self._released = asyncio.Event()
        self._stopping = False
        self._settled = asyncio.Event()
        """Cleared while a reload is under way."""
        self._settled.set()
        self._ballot = Ballot(options.reload_timeout_s)
        self._first_attempts: list[asyncio.Future[str]] = []
        self.restarts = 0
        """Workers replaced so far."""
        self.starts = 0
        """Workers that became ready so far, replacements included."""

    def start(self) -> None:
        """Start the interpreters; they wait for `release` before they do anything."""
        loop = asyncio.get_running_loop()
        self._first_attempts = [loop.create_future() for _ in range(self._options.concurrency)]
        for worker_id in range(self._options.concurrency):
            self._slots[worker_id] = spawn(self._run_slot(worker_id), name=f"worker-slot-{worker_id}")

    async def release(self) -> str:
        """Let the workers build their runtime and accept; returns when each is ready or has failed once.

        Returns:
            Empty if a worker is ready; else the first one's reason, and nobody serves.
        """
        self._released.set()
        failures = await asyncio.gather(*(asyncio.shield(attempt) for attempt in self._first_attempts))
        return failures[0] if all(failures) else ""

    @property
    def ready_count(self) -> int:
        """Workers that accept connections now."""
        return sum(worker.ready for worker in self._workers.values())

    @property
    def ready_ids(self) -> frozenset[int]:
        """Ids of the workers that accept connections now."""
        return frozenset(worker.id for worker in self._workers.values() if worker.ready)

    def pids(self) -> tuple[int, ...]:
        """Process ids of the living workers, in order of worker id."""
        return tuple(self._workers[worker_id].pid for worker_id in sorted(self._workers))

    def broadcast(self, message: ToWorker) -> None:
        """Send to every worker that has its WorkerInit; the others get it with their first state."""
        for worker_id in sorted(self._initialised):
            self.send(worker_id, message)

    def send(self, worker_id: int, message: ToWorker) -> None:
        """Send to one worker. One that cannot be spoken to any more is killed, and replaced by its slot."""
        if worker_id not in self._initialised:
            return
        worker = self._workers[worker_id]
        try:
            worker.channel.send(message)
        except ChannelError as error:
            _log.error("worker %d (pid %d) is replaced: %s", worker_id, worker.pid, error)
            worker.kill()

    async def prepare(
        self, message: Callable[[int], Prepare], sockets: Callable[[int], Mapping[int, socket.socket]]
    ) -> str:
        """Begin a reload: every worker builds the new runtime. `commit` or `abort` must follow.

        Args:
            message: makes the message for a worker by its id.
            sockets: the worker's listening sockets in the new configuration.

        Returns:
            Empty if all can serve it; else why one cannot.
        """
        assert self._settled.is_set()
        self._settled.clear()
        ids = sorted(self._initialised)
        for worker_id in ids:
            prepare = message(worker_id)
            self._ballot.generation = prepare.generation
            self._ballot.open(worker_id)
            if self._hand_over(worker_id, sockets(worker_id)):
                self.send(worker_id, prepare)
        return next(filter(None, await self._ballot.count(ids)), "")

    async def commit(self, state: Iterable[ToWorker]) -> str:
        """Make every worker serve by what it has prepared; the host's state is the new one already.

        Returns:
            Empty, or what went wrong with a worker. That one is replaced; there is no way back for the others.
        """
        ids = sorted(self._initialised)
        messages = (Commit(self._ballot.generation), *state, StartServing())
        for worker_id in ids:
            self._ballot.open(worker_id)
            for message in messages:
                self.send(worker_id, message)
        failures = await self._ballot.count(ids)
        for worker_id, failure in zip(ids, failures, strict=True):
            if failure and worker_id in self._workers:
                _log.error("worker %d is replaced: it did not switch: %s", worker_id, failure)
                self._workers[worker_id].kill()
        self._settled.set()
        return next(filter(None, failures), "")

    def abort(self) -> None:
        """Make every worker forget what it has prepared."""
        self.broadcast(Abort(self._ballot.generation))
        self._settled.set()

    def _hand_over(self, worker_id: int, sockets: Mapping[int, socket.socket]) -> bool:
        worker = self._workers[worker_id]
        try:
            worker.hand_over(sockets)
        except ChannelError as error:
            _log.error("worker %d (pid %d) is replaced: %s", worker_id, worker.pid, error)
            worker.kill()
            return False
        return True

    async def drain(self, drain_time_s: float, *, idle_grace_s: float = 0.0) -> bool:
        """Let the workers finish what is in flight; those still busy after `drain_time_s` are killed.

        Args:
            drain_time_s: the bound.
            idle_grace_s: connections between two requests stay open for so long, for a request on its way.

        Returns:
            Whether all of them finished in time.
        """
        self._stopping = True
        self.broadcast(Drain(drain_time_s, min(idle_grace_s, drain_time_s)))
        for worker_id, slot in self._slots.items():
            if worker_id not in self._initialised:
                slot.cancel()
        if not self._slots:
            return True
        _, busy = await asyncio.wait(self._slots.values(), timeout=drain_time_s + _DRAIN_GRACE_S)
        await self.kill()
        return not busy

    async def kill(self) -> None:
        """End all workers at once and wait until they are gone."""
        self._stopping = True
        for worker in self._workers.values():
            worker.kill()
        await cancel_and_wait(*self._slots.values())

    async def _run_slot(self, worker_id: int) -> None:
        backoff = Backoff(*self._options.restart_backoff_s)
        while True:
            started_at = clock.monotonic()
            reason = await self._run_worker(worker_id)
            if self._stopping:
                return
            self._settle_first_attempt(worker_id, reason)
            if clock.monotonic() - started_at >= _STABLE_AFTER_S:
                backoff.reset()
            delay_s = backoff.next_delay_s()
            self.restarts += 1
            _log.error("worker %d ended: %s; starting another in %.1f s", worker_id, reason, delay_s)
            await asyncio.sleep(delay_s)

    async def _run_worker(self, worker_id: int) -> str:
        """Run one process to its end; returns why it ended."""
        try:
            worker = await WorkerProcess.start(
                worker_id,
                self._options.worker_argv,
                log_path=self._options.log_path,
                inherited_fd=self._memory.fd,
            )
        except OSError as error:
            return f"cannot start a process: {error}"
        self._workers[worker_id] = worker
        failure = None
        try:
            await self._released.wait()
            await self._settled.wait()
            self._initialise(worker)
            failure = await self._converse(worker)
        except ChannelError as error:
            failure = f"channel broken: {error}"
            worker.kill()
        except asyncio.CancelledError:
            worker.kill()
            raise
        finally:
            self._initialised.discard(worker_id)
            self._ballot.abstain(worker_id)
            ending = await asyncio.shield(worker.close(_EXIT_GRACE_S))
            self._workers.pop(worker_id, None)
            self._memory.on_worker_gone(worker_id)
            self._host.on_worker_gone(worker_id)
        when = "" if worker.ready else " before it was ready"
        return failure or ending + when

    def _initialise(self, worker: WorkerProcess) -> None:
        worker.hand_over(self._host.listening_sockets(worker.id))
        worker.channel.send(self._host.build_init(worker.id))
        for message in self._host.current_state():
            worker.channel.send(message)
        worker.channel.send(StartServing())
        self._initialised.add(worker.id)

    async def _converse(self, worker: WorkerProcess) -> str | None:
        """Handle the worker's messages until its channel ends; returns the reason if it gave one."""
        failure = None
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(self._options.worker_start_timeout_s, self._give_up_on, worker)
        try:
            while (message := await worker.channel.receive()) is not None:
                if isinstance(message, WorkerReady):
                    deadline.cancel()
                    worker.ready = True
                    self.starts += 1
                    self._settle_first_attempt(worker.id, "")
                    _log.info("worker %d (pid %d) is ready", worker.id, worker.pid)
                elif isinstance(message, WorkerFailed):
                    failure = message.reason
                elif isinstance(message, Prepared | Switched):
                    self._ballot.vote(worker.id, message.generation, "")
                elif isinstance(message, PrepareFailed):
                    self._ballot.vote(worker.id, message.generation, message.reason)
                elif isinstance(message, Drained):
                    return None
                else:
                    self._host.on_worker_message(worker.id, _for_main(message))
        finally:
            deadline.cancel()
        return failure

    def _give_up_on(self, worker: WorkerProcess) -> None:
        _log.error(
            "worker %d (pid %d) was not ready within %.0f s and is killed",
            worker.id,
            worker.pid,
            self._options.worker_start_timeout_s,
        )
        worker.kill()

    def _settle_first_attempt(self, worker_id: int, failure: str) -> None:
        future = self._first_attempts[worker_id]
        if not future.done():
            future.set_result(failure)


def _for_main(message: object) -> ToMain:
    if not isinstance(message, ToMain):
        raise ChannelError(f"a worker sent {type(message).__name__}, which only main sends")
    return message
