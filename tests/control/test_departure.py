"""What is said to the workers when an operator takes a proxy out of service."""

import asyncio

from fastproxy.control.departure import Departure
from fastproxy.ipc.messages import SetFarewell


class Bench:
    def __init__(self, *, drain_s: float = 600.0, is_immediate: bool = False) -> None:
        self.told: list[SetFarewell] = []
        self.stopped: list[bool] = []
        self.departure = Departure(
            drain_s, is_immediate=is_immediate, tell=self.told.append, stop_listening=self.stopped.append
        )


def test_a_worker_that_starts_later_learns_that_health_checks_fail() -> None:
    """Its state is that of the others."""
    bench = Bench()
    assert not bench.departure.message().health_failed
    bench.departure.set_health(failed=True)
    assert bench.departure.message() == bench.told[-1]
    assert bench.told[-1].health_failed
    bench.departure.set_health(failed=False)
    assert not bench.told[-1].health_failed


def test_listeners_close_at_once_without_grace() -> None:
    """And nobody is told to end its connections: the operator has not asked for that."""
    bench = Bench()
    bench.departure.drain_listeners(graceful=False, inbound_only=True, skip_exit=False)
    bench.departure.drain_listeners(graceful=False, inbound_only=False, skip_exit=True)
    assert bench.stopped == [True]
    assert bench.told == []


async def test_a_graceful_drain_closes_the_listeners_at_its_end_and_begins_only_once() -> None:
    """A second call does not prolong it."""
    bench = Bench(drain_s=0.0)
    for _ in range(2):
        bench.departure.drain_listeners(graceful=True, inbound_only=False, skip_exit=False)
    assert bench.stopped == []
    await asyncio.sleep(0)
    while not bench.stopped:
        await asyncio.sleep(0)
    assert bench.stopped == [False]
    assert len(bench.told) == 1
    assert bench.told[0].drain_from > 0


async def test_a_drain_may_end_connections_and_leave_the_listeners_open() -> None:
    """`skip_exit`; and the end of the process ends a drain."""
    bench = Bench(drain_s=0.0)
    bench.departure.drain_listeners(graceful=True, inbound_only=False, skip_exit=True)
    await asyncio.sleep(0)
    assert bench.stopped == []
    other = Bench(drain_s=0.0)
    other.departure.drain_listeners(graceful=True, inbound_only=False, skip_exit=False)
    other.departure.stop()
    await asyncio.sleep(0)
    assert other.stopped == []


def test_the_immediate_strategy_takes_no_time() -> None:
    """`--drain-strategy immediate`: from the first response on."""
    bench = Bench(is_immediate=True)
    bench.departure.drain_listeners(graceful=True, inbound_only=False, skip_exit=True)
    assert bench.told[0].drain_s == 0
