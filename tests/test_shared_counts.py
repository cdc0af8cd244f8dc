"""Numbers that several processes share."""

import subprocess
import sys

from fastproxy.shared_counts import SharedCounts

_OTHER = """
import sys
from fastproxy.shared_counts import SharedCounts
counts = SharedCounts(int(sys.argv[1]), 3, 2)
row = counts.row(1)
row[1] = row[0] + 1
"""


def test_another_process_sees_what_is_written_and_adds_its_own() -> None:
    """Each in its own column."""
    counts = SharedCounts.create(3, 2)
    row = counts.row(1)
    row[0] = 41
    subprocess.run([sys.executable, "-c", _OTHER, str(counts.fd)], check=True, pass_fds=(counts.fd,))
    assert row.tolist() == [41, 42]
    assert counts.row(0).tolist() == counts.row(2).tolist() == [0, 0]


def test_what_a_dead_worker_had_is_cleared_and_nothing_else() -> None:
    """Or its requests would count for ever."""
    counts = SharedCounts.create(2, 3)
    for index in range(2):
        for worker in range(3):
            counts.row(index)[worker] = 7
    counts.clear(1)
    assert [counts.row(index).tolist() for index in range(2)] == [[7, 0, 7], [7, 0, 7]]


def test_it_can_be_closed() -> None:
    """Nothing is left open at the end of the proxy."""
    SharedCounts.create(1, 1).close()
