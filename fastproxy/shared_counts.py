"""Small numbers that all workers see: each worker writes its own column of a table, and reads whole rows.

The table is shared memory without locks. A cell belongs to one worker and is written whole, so nothing is ever lost;
what a reader adds up may be a moment old. `main` makes the table, hands its descriptor to the workers, and clears the
column of a worker that ended: what that one had counted ended with it.
"""

import mmap
import os

_CELL_BYTES = 8


class SharedCounts:
    """A table of integers: `rows` things that are counted, one column for each worker."""

    __slots__ = ("_cells", "_memory", "_rows", "_workers", "fd")

    def __init__(self, fd: int, rows: int, workers: int) -> None:
        """Map the table behind a descriptor, which belongs to the table from now on.

        Args:
            fd: from `create`, perhaps in another process.
            rows: as given to `create`; at least 1.
            workers: as given to `create`; at least 1.
        """
        self.fd = fd
        self._rows = rows
        self._workers = workers
        self._memory = mmap.mmap(fd, rows * workers * _CELL_BYTES)
        self._cells = memoryview(self._memory).cast("q")

    @classmethod
    def create(cls, rows: int, workers: int) -> "SharedCounts":
        """Make a table of zeros in memory that has no name.

        Raises:
            OSError: there is no memory for it.
        """
        fd = os.memfd_create("fastproxy-counts", os.MFD_CLOEXEC)
        os.ftruncate(fd, rows * workers * _CELL_BYTES)
        return cls(fd, rows, workers)

    def row(self, index: int) -> "memoryview[int]":
        """One thing that is counted: a cell for each worker."""
        start = index * self._workers
        return self._cells[start : start + self._workers]

    def clear(self, worker_id: int) -> None:
        """Set a worker's column to zero; only when that worker does not run."""
        for index in range(worker_id, self._rows * self._workers, self._workers):
            # What is not written to takes no memory.
            if self._cells[index]:
                self._cells[index] = 0

    def close(self) -> None:
        """Unmap and close; no row of it may be used any more."""
        self._cells.release()
        self._memory.close()
        os.close(self.fd)
