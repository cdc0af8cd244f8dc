"""What the control plane counts itself: Envoy's `server.*`, `cluster_manager.*`, `listener_manager.*`."""

import os
from dataclasses import dataclass

import fastproxy
from fastproxy.control.change_counts import ChangeCounts
from fastproxy.control.process_memory import resident_bytes
from fastproxy.stats import Histogram, StatsSink


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What `write_server_stats` reports."""

    live: bool
    state: int
    """Envoy's number: 0 live, 1 draining, 2 pre-initializing, 3 initializing."""
    uptime_s: float
    concurrency: int
    worker_restarts: int
    workers_ready: int
    worker_starts: int
    """Workers that became ready so far."""
    initialization_ms: float | None
    worker_pids: tuple[int, ...]
    listeners: int
    draining_listeners: int
    """Those that listen no more."""
    clusters: int
    changes: ChangeCounts


def write_server_stats(sink: StatsSink, facts: ServerFacts) -> None:
    """Add the numbers of the server itself."""
    major, minor, patch = (int(part) for part in fastproxy.__version__.split(".")[:3])
    resident = sum(resident_bytes(pid) for pid in (os.getpid(), *facts.worker_pids))
    sink.gauge("server.live", int(facts.live))
    sink.gauge("server.state", facts.state)
    sink.gauge("server.uptime", int(facts.uptime_s))
    sink.gauge("server.concurrency", facts.concurrency)
    sink.gauge("server.version", major * 10000 + minor * 100 + patch)
    sink.gauge("server.hot_restart_epoch", 0)
    sink.gauge("server.memory_allocated", resident)
    sink.gauge("server.memory_heap_size", resident)
    sink.gauge("server.memory_physical_size", resident)
    initialization = Histogram()
    if facts.initialization_ms is not None:
        sink.gauge("server.initialization_ms", int(facts.initialization_ms))
        initialization.record(facts.initialization_ms)
    sink.histogram("server.initialization_time_ms", initialization)
    sink.counter("server.worker_restarts", facts.worker_restarts)
    sink.counter("listener_manager.listener_added", facts.listeners + facts.changes.listeners_removed)
    sink.counter("listener_manager.listener_modified", facts.changes.listeners_modified)
    sink.counter("listener_manager.listener_removed", facts.changes.listeners_removed)
    sink.counter("listener_manager.listener_create_success", facts.worker_starts * facts.listeners)
    sink.counter("listener_manager.listener_create_failure", 0)
    sink.counter("listener_manager.listener_stopped", facts.draining_listeners)
    sink.gauge("listener_manager.total_listeners_active", facts.listeners - facts.draining_listeners)
    sink.gauge("listener_manager.total_listeners_draining", facts.draining_listeners)
    sink.gauge("listener_manager.total_listeners_warming", 0)
    sink.gauge("listener_manager.workers_started", int(facts.workers_ready > 0))
    sink.counter("cluster_manager.cluster_added", facts.clusters + facts.changes.clusters_removed)
    sink.counter("cluster_manager.cluster_modified", facts.changes.clusters_modified)
    sink.counter("cluster_manager.cluster_removed", facts.changes.clusters_removed)
    sink.gauge("cluster_manager.active_clusters", facts.clusters)
    sink.gauge("cluster_manager.warming_clusters", 0)
