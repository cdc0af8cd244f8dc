"""How many connections a worker takes (Envoy: resource limits and the overload manager's `downstream_connections`).

A limit of the configuration holds for all workers together: each takes its part of it, rounded up. What is above is
accepted and cut at once, as in Envoy: left in the backlog it would look like a proxy that hangs.
"""

import resource
from collections.abc import Callable

from fastproxy.stats import StatsSink

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
