"""How many connections a worker takes (Envoy: resource limits and the overload manager's `downstream_connections`).

A limit of the configuration holds for all workers together: each takes its part of it, rounded up. What is above is
accepted and cut at once, as in Envoy: left in the backlog it would look like a proxy that hangs.
"""

import logging
import resource
from collections.abc import Callable

from fastproxy.listener.stats import ListenerStats
from fastproxy.stats import StatsSink

_log = logging.getLogger("fastproxy.listener")

#: Left for upstream connections, logs and everything else when nobody set a limit.
_RESERVED_FILES = 64


def share_of(limit: int | None, concurrency: int) -> int | None:
    """A worker's part of a limit that holds for all of them."""
    return None if limit is None else -(-limit // max(concurrency, 1))


def raise_file_limit() -> None:
    """Let this process open as many files as it may: the soft limit is often 1024 for the sake of `select()`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return


def connections_by_files() -> int:
    """How many connections fit into the file descriptors of this process: each may need one upstream."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1 << 30
    return max((soft - _RESERVED_FILES) // 2, 1)


class ConnectionLimit:
    """The limit of one worker over all its listeners.

    Args:
        maximum: `overload.global_downstream_max_connections` or the overload manager's, this worker's part of it.
        count: how many connections are open now.
    """

    __slots__ = ("_count", "_maximum", "rejected")

    def __init__(self, maximum: int | None, count: Callable[[], int]) -> None:
        by_files = connections_by_files()
        self._maximum = by_files if maximum is None else min(maximum, by_files)
        self._count = count
        self.rejected = 0

    @property
    def maximum(self) -> int:
        """The number in force."""
        return self._maximum

    def is_reached(self) -> bool:
        """Whether no further connection can be taken. Once per connection."""
        return self._count() >= self._maximum

    def write_stats(self, sink: StatsSink) -> None:
        """Add `overload.*` as the worker sees it."""
        sink.gauge("overload.downstream_connections.limit", self._maximum)
        sink.counter("overload.downstream_connections.rejected", self.rejected)


class Admission:
    """Says of each new connection of one listener whether it is above a limit.

    Args:
        name: the listener's, for messages.
        maximum: this worker's part of the listener's own limit; None: no limit.
        count: how many connections of the listener are open now.
        stats: the listener's.
    """

    __slots__ = ("_count", "_global", "_is_overflowing", "_maximum", "_name", "_stats")

    def __init__(
        self, name: str, maximum: int | None, count: Callable[[], int], stats: ListenerStats
    ) -> None:
        self._name = name
        self._maximum = maximum
        self._count = count
        self._stats = stats
        self._global: ConnectionLimit | None = None
        self._is_overflowing = False

    def limit_by(self, limit: ConnectionLimit) -> None:
        """Count the listener's connections against a limit of the whole worker."""
        self._global = limit

    def is_full(self) -> bool:
        """Whether the next connection is above a limit; counts and says so if it is. Once per connection."""
        limit = self._global
        if self._maximum is not None and self._count() >= self._maximum:
            self._stats.downstream_cx_overflow += 1
            self._say_overflow(self._maximum)
            return True
        if limit is not None and limit.is_reached():
            self._stats.downstream_global_cx_overflow += 1
            limit.rejected += 1
            self._say_overflow(limit.maximum)
            return True
        self._is_overflowing = False
        return False

    def _say_overflow(self, maximum: int) -> None:
        if not self._is_overflowing:
            self._is_overflowing = True
            _log.warning(
                "listener '%s': new connections are cut, %d are open in this worker", self._name, maximum
            )
