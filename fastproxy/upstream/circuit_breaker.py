"""Limits of what a cluster is burdened with (Envoy `circuit_breakers`; spec/clusters.md section 6).

There are two sets of limits, for routes of priority DEFAULT and HIGH. Each holds for the whole cluster, over all its
endpoints and over all workers: a worker publishes what it uses in shared memory, and adds up what all of them do
before it takes more. Two workers that look at the same moment may both take the last one; so a limit is exceeded by
at most one per worker, for a moment, and with one worker never.
"""

from collections.abc import Callable
from typing import Protocol

from fastproxy.stats import StatsSink
from fastproxy.upstream.settings import NO_LIMIT, SHARED_ROWS_PER_CLUSTER, ThresholdSettings

_ROWS_PER_PRIORITY = SHARED_ROWS_PER_CLUSTER // 2

#: Envoy files say 1000000 or more to mean "none": no worker comes there, so nobody needs to look at the others.
_PRACTICALLY_UNLIMITED = 1_000_000

#: Gives the shared row of a number, one cell for each worker.
RowOf = Callable[[int], "memoryview[int]"]


class LimitedPool(Protocol):
    """The connections to one endpoint, as far as they are limited with those to others."""

    @property
    def is_unused(self) -> bool:
        """Whether no request is on any of them, and none waits for one."""

    def close_all_idle(self) -> None:
        """Close them, for another endpoint needs the place."""


class Resource:
    """One thing of which only so much may be in use; here in one worker alone."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        """By this worker."""

    def acquire(self) -> bool:
        """Take one; False if there is none left. Hot path: once per request."""
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def acquire_anyway(self) -> None:
        """Take one, whatever the limit says."""
        self.used += 1

    def release(self) -> None:
        """Give one back. Hot path: once per request."""
        self.used -= 1

    def total(self) -> int:
        """In use by all workers."""
        return self.used


class SharedResource(Resource):
    """The same over all workers. bench/circuit_breaker.py has what it costs.

    A worker adds to its cell, for after a reload two clusters of one name may use it for a while: the one that was
    replaced still serves what it had begun, and its load counts.
    """

    __slots__ = ("_row", "_worker_id")

    def __init__(self, limit: int, row: "memoryview[int]", worker_id: int) -> None:
        super().__init__(limit)
        self._row = row
        self._worker_id = worker_id

    def acquire(self) -> bool:
        """Take one, if all workers together have not used them up. Hot path: once per request."""
        if sum(self._row.tolist()) >= self.limit:
            return False
        self.used += 1
        self._row[self._worker_id] += 1
        return True

    def acquire_anyway(self) -> None:
        """Take one, and tell the others."""
        self.used += 1
        self._row[self._worker_id] += 1

    def release(self) -> None:
        """Give one back, and tell the others. Hot path: once per request."""
        self.used -= 1
        self._row[self._worker_id] -= 1

    def total(self) -> int:
        """In use by all workers."""
        return sum(self._row.tolist())


class CircuitBreaker:
    """The limits of one priority of one cluster."""

    __slots__ = (
        "_budget_share",
        "_min_retries",
        "_speaks",
        "_tracks_remaining",
        "connections",
        "max_pools",
        "pending",
        "pools",
        "requests",
        "retries",
    )

    def __init__(
        self,
        settings: ThresholdSettings,
        row_of: RowOf | None = None,
        worker_id: int = 0,
    ) -> None:
        """Make the limits.

        Args:
            settings: the thresholds.
            row_of: shared memory, connections, pending requests, requests, retries; None: this worker is the only one.
            worker_id: which cells are this worker's.
        """
        budget = settings.retry_budget
        self._budget_share = -1.0 if budget is None else budget.percent / 100
        self._min_retries = 0 if budget is None else budget.min_concurrency

        def make(index: int, limit: int) -> Resource:
            if row_of is None or (limit >= _PRACTICALLY_UNLIMITED and budget is None):
                return Resource(limit)
            return SharedResource(limit, row_of(index), worker_id)

        self.connections = make(0, settings.max_connections)
        self.pending = make(1, settings.max_pending_requests)
        """Requests that wait for a connection."""
        self.requests = make(2, settings.max_requests)
        """Requests that have a connection."""
        self.retries = make(3, settings.max_retries)
        """Requests that wait for their next try, or are in it."""
        self.max_pools = settings.max_connection_pools
        """How many endpoints a worker may have connections to."""
        self.pools: list[LimitedPool] = []
        """Those that are in use, where `max_pools` limits them; the oldest first."""
        self._tracks_remaining = settings.track_remaining
        # A gauge is the sum of what the workers say: one has to speak for all of them.
        self._speaks = worker_id == 0 or row_of is None

    def acquire_retry(self) -> bool:
        """Take a retry, by number or by `retry_budget`, which follows the requests of the moment."""
        if self._budget_share >= 0:
            self.retries.limit = self._retry_limit()
        return self.retries.acquire()

    def admit_pool(self, pool: LimitedPool) -> bool:
        """Let an endpoint have connections, at the cost of one that has only idle ones, if it must be."""
        if pool in self.pools:
            return True
        if len(self.pools) >= self.max_pools:
            unused = next((one for one in self.pools if one.is_unused), None)
            if unused is None:
                return False
            self.pools.remove(unused)
            unused.close_all_idle()
        self.pools.append(pool)
        return True

    def dismiss_pool(self, pool: LimitedPool) -> None:
        """An endpoint has no connections any more."""
        if pool in self.pools:
            self.pools.remove(pool)

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Write the gauges under `prefix` ("cluster.NAME.circuit_breakers.default.")."""
        if self._budget_share >= 0:
            self.retries.limit = self._retry_limit()
        counted = (
            ("cx", self.connections, "cx"),
            ("rq_pending", self.pending, "pending"),
            ("rq", self.requests, "rq"),
            ("rq_retry", self.retries, "retries"),
        )
        for name, resource, short in counted:
            left = resource.limit - resource.total()
            sink.gauge(f"{prefix}{name}_open", int(left <= 0 and self._speaks))
            if self._tracks_remaining:
                sink.gauge(f"{prefix}remaining_{short}", max(0, left) if self._speaks else 0)
        pools_left = self.max_pools - len(self.pools)
        sink.gauge(f"{prefix}cx_pool_open", int(pools_left <= 0 and self._speaks))
        if self._tracks_remaining and self.max_pools < NO_LIMIT:
            sink.gauge(f"{prefix}remaining_cx_pools", max(0, pools_left))

    def _retry_limit(self) -> int:
        busy = self.requests.total() + self.pending.total()
        return max(self._min_retries, int(self._budget_share * busy))


def build_breakers(
    thresholds: tuple[ThresholdSettings, ThresholdSettings], row_of: RowOf | None = None, worker_id: int = 0
) -> tuple[CircuitBreaker, CircuitBreaker]:
    """The limits of a cluster: for routes of priority DEFAULT, and of priority HIGH.

    Args:
        thresholds: of both.
        row_of: shared memory, `SHARED_ROWS_PER_CLUSTER` rows; None: this worker is the only one.
        worker_id: which cells are this worker's.
    """
    if row_of is None:
        return CircuitBreaker(thresholds[0]), CircuitBreaker(thresholds[1])
    rows = row_of
    return (
        CircuitBreaker(thresholds[0], rows, worker_id),
        CircuitBreaker(thresholds[1], lambda index: rows(_ROWS_PER_PRIORITY + index), worker_id),
    )
