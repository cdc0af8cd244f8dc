"""How many connections a worker takes."""

import logging
import resource

import pytest

from fastproxy.listener.connection_limit import (
    Admission,
    ConnectionLimit,
    connections_by_files,
    raise_file_limit,
    share_of,
)
from fastproxy.listener.stats import ListenerStats
from fastproxy.stats import StatsSink


@pytest.mark.parametrize(
    ("limit", "workers", "share"), [(None, 4, None), (10, 1, 10), (10, 4, 3), (0, 4, 0), (1, 4, 1), (5, 0, 5)]
)
def test_a_limit_is_shared_among_the_workers(limit: int | None, workers: int, share: int | None) -> None:
    """Rounded up: a limit of one still lets one connection in."""
    assert share_of(limit, workers) == share


def test_the_limit_is_reached_when_it_is() -> None:
    """And `rejected` is for the caller to count."""
    open_now = 1
    limit = ConnectionLimit(2, lambda: open_now)
    assert not limit.is_reached()
    open_now = 2
    assert limit.is_reached()
    limit.rejected += 1
    sink = StatsSink()
    limit.write_stats(sink)
    assert sink.gauges["overload.downstream_connections.limit"] == 2
    assert sink.counters["overload.downstream_connections.rejected"] == 1


@pytest.mark.interpreted_only
def test_without_a_limit_the_file_descriptors_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of them are for upstream connections; and there is always room for one."""
    for soft, expected in ((1064, 500), (10, 1), (resource.RLIM_INFINITY, 1 << 30)):
        monkeypatch.setattr(resource, "getrlimit", lambda _kind, soft=soft: (soft, soft))
        assert connections_by_files() == expected
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (1064, 1064))
    assert ConnectionLimit(None, lambda: 0).maximum == 500
    assert ConnectionLimit(1000, lambda: 0).maximum == 500


@pytest.mark.interpreted_only
def test_the_soft_limit_of_files_becomes_the_hard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """1024 would be the end of a proxy."""
    done: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, value: done.append((kind, value)))
    raise_file_limit()
    assert done == [(resource.RLIMIT_NOFILE, (4096, 4096))]


def test_an_overflow_is_counted_every_time_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A flood of connections must not become a flood of lines."""
    open_now, stats = 2, ListenerStats()
    admission = Admission("main", 2, lambda: open_now, stats)
    with caplog.at_level(logging.WARNING, "fastproxy.listener"):
        assert [admission.is_full() for _ in range(3)] == [True] * 3
        open_now = 1
        assert not admission.is_full()
        assert len(caplog.records) == 1
        open_now = 2
        assert admission.is_full()
        assert len(caplog.records) == 2
    assert stats.downstream_cx_overflow == 4
    assert stats.downstream_global_cx_overflow == 0


def test_the_limit_of_the_worker_holds_besides_that_of_the_listener() -> None:
    """And is counted apart."""
    stats, limit = ListenerStats(), ConnectionLimit(1, lambda: 1)
    admission = Admission("main", 2, lambda: 0, stats)
    assert not admission.is_full()
    admission.limit_by(limit)
    assert admission.is_full()
    assert (stats.downstream_cx_overflow, stats.downstream_global_cx_overflow, limit.rejected) == (0, 1, 1)
