"""Which cluster counts where, in all workers and through all reloads."""

import logging

import pytest

from fastproxy.control import shared_memory
from fastproxy.control.shared_memory import SharedMemory
from fastproxy.shared_counts import SharedCounts
from fastproxy.upstream.settings import SHARED_ROWS_PER_CLUSTER, ClusterSettings

A, B, C = (ClusterSettings(name) for name in "abc")


def test_a_cluster_keeps_its_place_through_reloads() -> None:
    """Also when it goes, changes or comes back: those that still serve count there."""
    memory = SharedMemory(2, (A, B))
    first = memory.blocks_of((A, B))
    assert len(set(first.values())) == 2
    changed = ClusterSettings("a", connect_timeout_s=1.0)
    second = memory.blocks_of((C, changed))
    assert second["a"] == first["a"]
    assert second["c"] not in first.values()
    assert memory.blocks_of((A, B)) == first
    assert all(block + SHARED_ROWS_PER_CLUSTER <= memory.rows for block in second.values())
    memory.close()


def test_one_worker_has_nobody_to_share_with() -> None:
    """And pays nothing."""
    memory = SharedMemory(1, (A,))
    assert (memory.fd, memory.blocks_of((A,))) == (-1, {})
    memory.on_worker_gone(0)
    memory.close()


def test_what_a_worker_had_in_use_is_free_when_it_has_ended() -> None:
    """A crash must not use up the limits."""
    memory = SharedMemory(2, (A,))
    # As in the workers, which inherit the descriptor.
    cells = SharedCounts(memory.fd, memory.rows, 2).row(memory.blocks_of((A,))["a"])
    cells[0], cells[1] = 5, 7
    memory.on_worker_gone(1)
    assert cells.tolist() == [5, 0]


def test_more_clusters_than_places(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Their limits hold for each worker; that is said."""
    monkeypatch.setattr(shared_memory, "_MIN_BLOCKS", 1)
    memory = SharedMemory(2, (A,))
    with caplog.at_level(logging.WARNING):
        assert set(memory.blocks_of((A, B, C))) == {"a", "b"}
    assert "cluster 'c': too many clusters" in caplog.text
    memory.close()
