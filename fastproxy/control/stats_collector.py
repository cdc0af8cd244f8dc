"""Asks the workers for statistics when somebody wants to see them."""

import asyncio
from collections.abc import Callable

from fastproxy.control.supervisor import Supervisor
from fastproxy.control.totals import MergedStats, WorkerTotals
from fastproxy.ipc.messages import StatsRequest, StatsSnapshot
from fastproxy.stats import StatsSink

#: A worker answers between two requests, so in milliseconds; one that hangs must not hang the admin interface
#: too.
_ANSWER_TIMEOUT_S = 1.0


class StatsCollector:
    """Collects snapshots. Questions that overlap are one question."""

    def __init__(self, supervisor: Supervisor, timeout_s: float = _ANSWER_TIMEOUT_S) -> None:
        self._supervisor = supervisor
        self._timeout_s = timeout_s
        self._totals = WorkerTotals()
        self._baseline: dict[str, int] = {}
        """What counters had when they were reset."""
        self._request_id = 0
        self._awaited: set[int] = set()
        self._complete = asyncio.Event()

    def on_snapshot(self, worker_id: int, snapshot: StatsSnapshot) -> None:
        """Take a worker's report, asked for or not."""
        self._totals.on_snapshot(worker_id, snapshot)
        # 0 is the periodic report; an answer to a question that timed out is old news for this one.
        if snapshot.request_id == self._request_id:
            self._settle(worker_id)

    def on_worker_gone(self, worker_id: int) -> None:
        """Keep what the worker counted, and wait for it no longer."""
        self._totals.on_worker_gone(worker_id)
        self._settle(worker_id)

    async def collect(self, write_own: Callable[[StatsSink], None]) -> MergedStats:
        """Ask every ready worker, wait for the answers, and sum up with the control plane's own numbers.

        A worker that does not answer in time is counted with its last report.
        """
        if not self._awaited:
            self._request_id += 1
            self._complete.clear()
            self._awaited = set(self._supervisor.ready_ids)
            self._supervisor.broadcast(StatsRequest(self._request_id))
        if self._awaited:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._complete.wait()
            except TimeoutError:
                self._awaited.clear()
                self._complete.set()
        own = StatsSink()
        write_own(own)
        merged = self._totals.merge(own)
        if self._baseline:
            # A counter that began anew since then, after a reload, counts from its own begin.
            merged.counters = {
                name: value - before if value >= (before := self._baseline.get(name, 0)) else value
                for name, value in merged.counters.items()
            }
        return merged

    async def reset(self, write_own: Callable[[StatsSink], None]) -> None:
        """Let every counter begin at 0 again; gauges and histograms go on (Envoy's `/reset_counters`)."""
        self._baseline = {}
        self._baseline = (await self.collect(write_own)).counters

    def _settle(self, worker_id: int) -> None:
        self._awaited.discard(worker_id)
        if not self._awaited:
            self._complete.set()
