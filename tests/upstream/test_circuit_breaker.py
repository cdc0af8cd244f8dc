"""Limits: what is taken, what is refused, and that everything comes back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.shared_counts import SharedCounts
from fastproxy.stats import StatsSink
from fastproxy.upstream.circuit_breaker import CircuitBreaker, Resource, SharedResource, build_breakers
from fastproxy.upstream.errors import CircuitBreakerOverflow, ConnectFailed
from fastproxy.upstream.settings import (
    SHARED_ROWS_PER_CLUSTER,
    ClusterSettings,
    RetryBudgetSettings,
    ThresholdSettings,
)
from tests.listener.support import OK
from tests.upstream.support import PoolBench, Waiter


def limited(**limits: Any) -> tuple[ThresholdSettings, ThresholdSettings]:
    return ThresholdSettings(**limits), ThresholdSettings()


def gauges(breaker: CircuitBreaker) -> dict[str, int]:
    sink = StatsSink()
    breaker.write_stats(sink, "")
    return sink.gauges


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_a_resource_is_given_out_up_to_its_limit(limit: int) -> None:
    """And again after it came back; 0 is nothing at all."""
    resource = Resource(limit)
    assert [resource.acquire() for _ in range(limit + 2)] == [True] * limit + [False] * 2
    for _ in range(limit):
        resource.release()
        assert resource.acquire()
    assert resource.total() == limit


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=60))
def test_workers_together_never_take_more_than_the_limit(steps: list[tuple[int, bool]]) -> None:
    """One after the other; only at the same moment can there be one too many."""
    counts = SharedCounts.create(1, 3)
    resources = [SharedResource(4, counts.row(0), worker) for worker in range(3)]
    for worker, takes in steps:
        resource, before = resources[worker], resources[0].total()
        if takes:
            assert resource.acquire() == (before < 4)
        elif resource.used:
            resource.release()
        assert resources[0].total() == sum(one.used for one in resources) <= 4


def test_priorities_do_not_share_their_limits() -> None:
    """What DEFAULT has used up, HIGH still has; in one worker and over several."""
    counts = SharedCounts.create(SHARED_ROWS_PER_CLUSTER, 2)
    for row_of in (None, counts.row):
        default, high = build_breakers((ThresholdSettings(max_requests=1), ThresholdSettings()), row_of, 0)
        assert default.requests.acquire()
        assert not default.requests.acquire()
        assert high.requests.acquire()


def test_gauges_tell_what_is_open_and_what_remains() -> None:
    """`remaining_*` only with `track_remaining`."""
    breaker = CircuitBreaker(ThresholdSettings(max_connections=1, max_retries=2, track_remaining=True))
    assert breaker.connections.acquire()
    assert breaker.retries.acquire()
    found = gauges(breaker)
    assert {name for name, value in found.items() if value == 1 and name.endswith("_open")} == {"cx_open"}
    assert (found["remaining_cx"], found["remaining_retries"], found["remaining_rq"]) == (0, 1, 1024)
    assert "remaining_rq" not in gauges(CircuitBreaker(ThresholdSettings()))


def test_one_worker_speaks_for_all_of_them() -> None:
    """The admin interface sums up: two workers that both say 1 would be 2."""
    counts = SharedCounts.create(SHARED_ROWS_PER_CLUSTER, 2)
    thresholds = limited(max_requests=1)
    first, second = (build_breakers(thresholds, counts.row, worker)[0] for worker in range(2))
    assert second.requests.acquire()
    assert (gauges(first)["rq_open"], gauges(second)["rq_open"]) == (1, 0)


@pytest.mark.parametrize(("busy", "allowed"), [(0, 3), (10, 3), (30, 6), (100, 20)])
def test_a_retry_budget_follows_the_requests_of_the_moment(busy: int, allowed: int) -> None:
    """A share of what is under way and waiting, and never fewer than `min_retry_concurrency`."""
    breaker = CircuitBreaker(ThresholdSettings(max_retries=1, retry_budget=RetryBudgetSettings()))
    for number in range(busy):
        assert (breaker.requests if number % 2 else breaker.pending).acquire()
    assert sum(breaker.acquire_retry() for _ in range(busy + 10)) == allowed


# -- the pool under limits ---------------------------------------------------------------------------------


async def test_max_connections_makes_requests_wait_for_a_connection_that_is_there() -> None:
    """Envoy: the first is served, the second waits and is served after it (spec/clusters.md section 6)."""
    bench = PoolBench(thresholds=limited(max_connections=1))
    first, second = Waiter(), Waiter()
    bench.connect(first)
    connection = await bench.accept(0)
    bench.connect(second)
    await bench.settle()
    assert len(bench.attempts) == 1
    assert bench.stats.upstream_cx_overflow == 1
    connection.data_received(OK)
    assert second.connection is connection
    assert bench.breaker.pending.total() == 0


async def test_pending_requests_over_the_limit_fail_at_once() -> None:
    """503 with `x-envoy-overloaded`, while those that wait go on waiting."""
    bench = PoolBench(thresholds=limited(max_connections=1, max_pending_requests=1))
    first, second, third = Waiter(), Waiter(), Waiter()
    bench.connect(first)
    bench.connect(second)
    bench.connect(third)
    assert [type(event) for event in second.events + third.events] == [CircuitBreakerOverflow] * 2
    await bench.accept(0)
    assert first.events == ["connection"]
    assert bench.stats.upstream_rq_pending_overflow == 2
    bench.connect(fourth := Waiter())
    assert fourth.events == []


async def test_an_endpoint_without_connections_may_always_have_one() -> None:
    """Or requests would wait there for ever, for connections that are elsewhere (Envoy)."""
    bench = PoolBench(thresholds=limited(max_connections=0))
    bench.connect(waiter := Waiter())
    await bench.accept(0)
    assert waiter.events == ["connection"]
    assert bench.breaker.connections.total() == 1


async def test_a_connection_that_breaks_is_replaced_for_those_that_waited_for_it() -> None:
    """With a limit they have no attempt of their own."""
    bench = PoolBench(thresholds=limited(max_connections=1))
    first, second = Waiter(), Waiter()
    bench.connect(first)
    connection = await bench.accept(0)
    bench.connect(second)
    bench.transport_of(connection).lose(ConnectionResetError())
    await bench.accept(1)
    assert second.events == ["connection"]
    bench.check_invariants()


async def test_who_has_no_attempt_of_its_own_fails_with_the_last_one() -> None:
    """Nobody must wait for a connection that nobody makes (Envoy)."""
    bench = PoolBench(thresholds=limited(max_connections=1))
    waiters = [Waiter() for _ in range(3)]
    for waiter in waiters:
        bench.connect(waiter)
    await bench.refuse(0, ConnectFailed("refused"))
    assert [type(waiter.events[0]) for waiter in waiters] == [ConnectFailed] * 3
    assert (bench.breaker.pending.total(), bench.breaker.connections.total()) == (0, 0)
    assert bench.stats.upstream_rq_pending_failure_eject == 3


async def test_a_limit_for_each_endpoint() -> None:
    """`per_host_thresholds`."""
    bench = PoolBench(max_connections_per_endpoint=2)
    for _ in range(3):
        bench.connect(Waiter())
    await bench.settle()
    assert len(bench.attempts) == 2
    assert bench.stats.upstream_cx_overflow == 1


async def test_connections_are_given_back_however_they_end() -> None:
    """Refused, closed by either side, forgotten."""
    bench = PoolBench()
    for _ in range(3):
        bench.connect(Waiter())
    assert bench.breaker.connections.total() == 3
    await bench.refuse(0, ConnectFailed("x"))
    first = await bench.accept(1)
    second = await bench.accept(2)
    assert bench.breaker.connections.total() == 2
    bench.transport_of(first).lose(None)
    second.close()
    bench.loop.run_ready()
    assert bench.breaker.connections.total() == 0
    assert bench.breaker.pending.total() == 0


async def test_max_connection_pools_bounds_the_endpoints_in_use() -> None:
    """One that has only idle connections makes room; one that is busy does not."""
    breaker = CircuitBreaker(ThresholdSettings(max_connection_pools=1))
    benches = [PoolBench(), PoolBench()]
    benches[0].pool.connect(first := Waiter(), breaker)
    benches[1].pool.connect(refused := Waiter(), breaker)
    assert [type(event) for event in refused.events] == [CircuitBreakerOverflow]
    assert benches[1].stats.upstream_cx_pool_overflow == 1
    assert breaker.pending.total() == 1
    assert gauges(breaker)["cx_pool_open"] == 1
    assert first.events == []


async def test_an_idle_pool_makes_room_for_another() -> None:
    """Its connections are closed."""
    bench = PoolBench()
    thresholds = ThresholdSettings(max_connection_pools=1)
    breaker = CircuitBreaker(thresholds)
    bench.pool.connect(waiter := Waiter(), breaker)
    connection = await bench.accept(0)
    assert waiter.events == ["connection"]
    connection.data_received(OK)
    other = PoolBench()
    other.pool.connect(Waiter(), breaker)
    assert breaker.pools == [other.pool]
    bench.loop.run_ready()
    assert bench.pool.open_connections == 0


def test_a_cluster_without_thresholds_has_envoys_defaults() -> None:
    """They apply where a file says nothing."""
    default, high = ClusterSettings("c").thresholds
    assert (default.max_connections, default.max_pending_requests) == (1024, 1024)
    assert (default.max_requests, default.max_retries) == (1024, 3)
    assert default == high
