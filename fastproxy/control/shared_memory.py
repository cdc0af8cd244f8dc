"""The memory in which workers count together what a cluster is burdened with (circuit breakers).

It is made once, before the first worker starts, and every worker inherits it. Each cluster has a block of rows, found
by its name, for as long as the process lives: a reload that changes a cluster, or a worker that starts later, finds
the same counts. With one worker there is nothing to share.
"""

import logging
from collections.abc import Iterable

from fastproxy.shared_counts import SharedCounts
from fastproxy.upstream.settings import SHARED_ROWS_PER_CLUSTER, ClusterSettings

_log = logging.getLogger("fastproxy")
#: Names of clusters that a process may meet in all its reloads. Memory that nobody writes to costs nothing.
_MIN_BLOCKS = 4096


class SharedMemory:
    """The table, and who has which part of it.

    Args:
        workers: how many there are.
        clusters: those of the first configuration.

    Raises:
        OSError: there is no memory for it.
    """

    def __init__(self, workers: int, clusters: Iterable[ClusterSettings]) -> None:
        names = [cluster.name for cluster in clusters]
        self._size = max(_MIN_BLOCKS, 2 * len(names))
        self._counts = (
            None if workers == 1 else SharedCounts.create(self._size * SHARED_ROWS_PER_CLUSTER, workers)
        )
        self._blocks: dict[str, int] = {}

    @property
    def fd(self) -> int:
        """What workers inherit; -1 if there is nothing to share."""
        return -1 if self._counts is None else self._counts.fd

    @property
    def rows(self) -> int:
        """How many rows the table has."""
        return self._size * SHARED_ROWS_PER_CLUSTER

    def blocks_of(self, clusters: Iterable[ClusterSettings]) -> dict[str, int]:
        """The first row of each cluster; a cluster that is not in it counts for each worker alone."""
        if self._counts is None:
            return {}
        found = {}
        for cluster in clusters:
            block = self._blocks.get(cluster.name)
            if block is None:
                if len(self._blocks) >= self._size:
                    _log.warning(
                        "cluster '%s': too many clusters since the start; its circuit breakers hold for each worker",
                        cluster.name,
                    )
                    continue
                block = self._blocks[cluster.name] = len(self._blocks) * SHARED_ROWS_PER_CLUSTER
            found[cluster.name] = block
        return found

    def on_worker_gone(self, worker_id: int) -> None:
        """What a worker that ended had in use is free again."""
        if self._counts is not None:
            self._counts.clear(worker_id)

    def close(self) -> None:
        """Give the memory back; it is gone when the last worker has ended."""
        if self._counts is not None:
            self._counts.close()
            self._counts = None
