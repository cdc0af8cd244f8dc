"""The pool: who gets which connection, and that none is lost or given to two."""

import asyncio
import errno
import ssl
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.upstream.errors import ConnectFailed, ConnectTimeout, UpstreamInvalidResponse
from fastproxy.upstream.settings import (
    ConnectionSettings,
    PreconnectSettings,
    ThresholdSettings,
    UpstreamTlsSettings,
)
from tests.listener.support import OK
from tests.upstream.support import ADDRESS, PoolBench, Waiter


async def test_most_recently_used_idle_connection_comes_first() -> None:
    """The others grow old and are closed: the pool shrinks to what is needed."""
    bench = PoolBench()
    old, new = bench.idle(), bench.idle()
    assert bench.pool.take_idle() is new
    assert bench.pool.take_idle() is old
    assert bench.pool.take_idle() is None


async def test_waiters_are_served_first_come_first_served() -> None:
    """Whichever attempt is done first."""
    bench = PoolBench()
    first, second = Waiter(), Waiter()
    bench.connect(first)
    bench.connect(second)
    connection = await bench.accept(1)
    assert first.connection is connection
    assert second.connection is None
    bench.check_invariants()
    await bench.accept(0)
    assert second.events == ["connection"]


async def test_a_connection_given_back_serves_a_waiter_and_the_attempt_becomes_idle() -> None:
    """No connection is idle while somebody waits."""
    bench = PoolBench()
    busy = Waiter()
    busy.use(bench.make_connection())
    waiter = Waiter()
    bench.connect(waiter)
    assert busy.connection is not None
    busy.connection.data_received(OK)
    assert waiter.connection is busy.connection
    assert busy.events == [(200, b"ok", True)]
    waiter.connection.data_received(OK)
    assert waiter.events == ["connection", (200, b"ok", True)]
    spare = await bench.accept(0)
    assert bench.pool.take_idle() is spare
    assert bench.pool.take_idle() is waiter.connection


async def test_a_forgotten_waiter_is_not_served() -> None:
    """Its attempt serves the next one, which needs none of its own, or becomes idle."""
    bench = PoolBench()
    gone, next_, gone_too = Waiter(), Waiter(), Waiter()
    bench.connect(gone)
    bench.pool.forget(gone)
    bench.pool.forget(gone)
    bench.connect(next_)
    bench.connect(gone_too)
    bench.pool.forget(gone_too)
    connection = await bench.accept(0)
    assert next_.connection is connection
    assert gone.events == gone_too.events == []
    spare = await bench.accept(1)
    assert bench.pool.take_idle() is spare
    assert len(bench.attempts) == 2


async def test_a_waiter_with_an_attempt_left_survives_the_failure_of_another() -> None:
    """What failed was begun for somebody who has gone since."""
    bench = PoolBench()
    gone, stays = Waiter(), Waiter()
    bench.connect(gone)
    bench.connect(stays)
    bench.pool.forget(gone)
    await bench.refuse(0, ConnectTimeout())
    assert stays.events == []
    await bench.accept(1)
    assert stays.events == ["connection"]


async def test_a_failed_attempt_fails_one_waiter() -> None:
    """The others have attempts of their own."""
    bench = PoolBench()
    first, second = Waiter(), Waiter()
    bench.connect(first)
    bench.connect(second)
    await bench.refuse(0, ConnectTimeout())
    assert isinstance(first.events[0], ConnectTimeout)
    assert second.events == []
    assert bench.stats.upstream_cx_connect_timeout == 1
    assert bench.endpoint_stats.cx_connect_fail == 1
    await bench.accept(1)
    assert second.events == ["connection"]


async def test_a_connection_that_dies_at_once_is_a_failed_attempt() -> None:
    """Between the handshake and the task's turn it may be gone already."""
    bench = PoolBench()
    waiter = Waiter()
    bench.connect(waiter)
    await bench.settle()
    connection = bench.make_connection()
    bench.transport_of(connection).lose(None)
    bench.attempts[0].set_result(connection)
    await bench.settle()
    assert isinstance(waiter.events[0], ConnectFailed)
    bench.check_invariants()
    assert bench.pool.open_connections == 0


async def test_a_closed_idle_connection_is_never_handed_out() -> None:
    """Neither after its end, nor in the moment between end of stream and the loop's last call."""
    bench = PoolBench()
    gone, ending, good = bench.idle(), bench.idle(), bench.idle()
    bench.transport_of(gone).lose(None)
    ending.eof_received()
    assert bench.pool.take_idle() is good
    assert bench.pool.take_idle() is None
    bench.transport_of(ending).lose(None)
    assert bench.pool.open_connections == 1


async def test_bytes_on_an_idle_connection_end_it() -> None:
    """Nobody asked: they would be the answer to the next request (response smuggling)."""
    bench = PoolBench()
    connection = bench.idle()
    connection.data_received(OK)
    bench.loop.run_ready()
    assert bench.pool.take_idle() is None
    assert bench.pool.open_connections == 0


async def test_idle_connections_are_closed_after_the_idle_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """`common_http_protocol_options.idle_timeout` of the cluster."""
    bench = PoolBench(idle_timeout_s=60.0)
    monkeypatch.setattr("fastproxy.clock.monotonic", bench.loop.time)
    old = bench.idle()
    bench.loop.now += 30
    new = bench.idle()
    bench.pool.close_idle(bench.loop.now + 29)
    assert not bench.transport_of(old).was_aborted()
    bench.pool.close_idle(bench.loop.now + 30)
    bench.loop.run_ready()
    assert bench.transport_of(old).was_aborted()
    assert bench.stats.upstream_cx_idle_timeout == 1
    assert bench.pool.take_idle() is new
    bench.check_invariants()


async def test_an_idle_timeout_of_zero_is_none() -> None:
    """Envoy's meaning of 0."""
    bench = PoolBench(idle_timeout_s=0.0)
    connection = bench.idle()
    bench.pool.close_idle(1e12)
    assert bench.pool.take_idle() is connection


async def test_drain_closes_idle_ones_now_and_busy_ones_after_their_answer() -> None:
    """The endpoint left the cluster; requests under way finish."""
    bench = PoolBench()
    idle = bench.idle()
    busy = Waiter()
    busy.use(bench.make_connection())
    bench.pool.drain()
    assert bench.transport_of(idle).was_aborted()
    assert busy.connection is not None
    busy.connection.data_received(OK)
    bench.loop.run_ready()
    assert busy.events == [(200, b"ok", True)]
    assert bench.pool.open_connections == 0


async def test_drain_still_serves_who_waits() -> None:
    """The request was accepted before the endpoint left."""
    bench = PoolBench()
    waiter, gone = Waiter(), Waiter()
    bench.connect(waiter)
    bench.connect(gone)
    bench.pool.forget(gone)
    bench.pool.drain()
    connection = await bench.accept(0)
    assert waiter.connection is connection
    await bench.accept(1)
    assert bench.pool.take_idle() is None
    connection.data_received(OK)
    bench.loop.run_ready()
    assert bench.pool.open_connections == 0


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "delayed_connect_error:_Connection_refused"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION] wrong version"), "TLS_error:"),
        (OSError("no strerror"), "delayed_connect_error:_no_strerror"),
        (ValueError("server_hostname cannot start with a dot"), "invalid_address_or_name:"),
        (UnicodeError("label too long"), "invalid_address_or_name:"),
    ],
)
async def test_whatever_goes_wrong_while_connecting_the_waiter_hears_of_it(
    raised: Exception, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiter that nobody serves would wait for its route's timeout, or for ever."""

    async def create_connection(*_args: Any, **_kwargs: Any) -> None:
        raise raised

    bench = PoolBench()
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    waiter = Waiter()
    bench.connect(waiter)
    await bench.settle()
    (error,) = waiter.events
    assert isinstance(error, ConnectFailed)
    assert expected in error.details()


async def test_connect_timeout_covers_the_whole_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that accepts and then says nothing of TLS is a timeout, too."""

    async def create_connection(*_args: Any, **_kwargs: Any) -> None:
        await asyncio.get_running_loop().create_future()

    bench = PoolBench(connect_timeout_s=0.0)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    waiter = Waiter()
    bench.connect(waiter)
    await bench.settle()
    assert isinstance(waiter.events[0], ConnectTimeout)


@pytest.mark.parametrize(("sni", "expected"), [("", "service.example"), ("other.example", "other.example")])
async def test_tls_name_is_the_sni_or_the_endpoint_s(
    sni: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent as SNI is what is verified."""
    seen: dict[str, Any] = {}

    async def create_connection(_factory: Any, host: str, port: int, **kwargs: Any) -> None:
        seen.update(kwargs, host=host, port=port)
        raise ConnectionRefusedError(111, "refused")

    tls = UpstreamTlsSettings(ssl.create_default_context(), sni)
    bench = PoolBench(tls=tls)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    bench.connect(Waiter())
    await bench.settle()
    assert seen == {"host": ADDRESS.host, "port": 8080, "ssl": tls.context, "server_hostname": expected}


async def test_a_connection_is_given_up_when_it_has_served_often_enough() -> None:
    """`max_requests_per_connection`; who waits gets another one."""
    bench = PoolBench(connections=ConnectionSettings(max_requests=2))
    connection = bench.idle()
    for _ in range(2):
        assert bench.pool.take_idle() is connection
        waiter = Waiter()
        waiter.use(connection)
        connection.data_received(OK)
    assert bench.pool.take_idle() is None
    assert not connection.is_usable
    assert (bench.stats.upstream_cx_max_requests, bench.stats.upstream_cx_destroy_local) == (1, 0)
    await bench.settle()
    assert (bench.stats.upstream_cx_destroy_local, bench.stats.upstream_cx_destroy_remote) == (1, 0)


async def test_a_connection_is_given_up_when_it_is_old_enough() -> None:
    """`max_connection_duration`: after its request, or by the sweep when it is idle."""
    bench = PoolBench(connections=ConnectionSettings(max_duration_s=100.0))
    busy, idle, young = bench.idle(), bench.idle(), bench.idle()
    for old in (busy, idle):
        old.opened_at -= 100.0
    bench.pool._idle.remove(busy)
    waiter = Waiter()
    waiter.use(busy)
    busy.data_received(OK)
    assert not busy.is_usable
    bench.pool.close_idle(young.opened_at + 1.0)
    assert bench.pool._idle == [young]
    assert bench.stats.upstream_cx_max_duration_reached == 2


async def test_the_limits_of_a_response_head_are_the_clusters() -> None:
    """`max_headers_count`, `max_response_headers_kb`: one byte or one header too many is no response."""
    for limits in (
        ConnectionSettings(max_response_headers=2),
        ConnectionSettings(max_response_head_bytes=1024),
    ):
        bench = PoolBench(connections=limits)
        waiter = Waiter()
        waiter.use(bench.idle())
        connection = waiter.connection
        assert connection is not None
        head = b"HTTP/1.1 200 OK\r\na: 1\r\nb: 2\r\nc: " + b"3" * 1100
        connection.data_received(head + b"\r\ncontent-length: 0\r\n\r\n")
        assert isinstance(waiter.events[-1], UpstreamInvalidResponse)


async def test_connections_are_made_from_the_source_that_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`upstream_bind_config`; an address that is not ours is counted."""
    seen: dict[str, Any] = {}

    async def create_connection(_factory: Any, _host: str, _port: int, **kwargs: Any) -> None:
        seen.update(kwargs)
        raise OSError(errno.EADDRNOTAVAIL, "not ours")

    bench = PoolBench(connections=ConnectionSettings(sources=(("127.0.0.9", 0),)))
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    bench.connect(Waiter())
    await bench.settle()
    assert seen["local_addr"] == ("127.0.0.9", 0)
    assert bench.stats.bind_errors == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["want", "accept", "refuse", "forget", "answer", "close", "break", "eof", "junk"]),
        st.integers(0, 5),
    ),
    max_size=40,
)


async def run_steps(steps: list[tuple[str, int]]) -> None:
    bench = PoolBench()
    waiters: list[Waiter] = []
    for action, number in steps:
        busy = [w for w in waiters if w.connection is not None and w.connection._handler is w]
        open_attempts = [n for n, attempt in enumerate(bench.attempts) if not attempt.done()]
        alive = [t for t in bench.transports if not t.is_lost]
        if action == "want":
            waiter = Waiter()
            waiters.append(waiter)
            if (idle := bench.pool.take_idle()) is not None:
                waiter.use(idle)
            else:
                bench.connect(waiter)
        elif action == "accept" and open_attempts:
            await bench.accept(open_attempts[number % len(open_attempts)])
        elif action == "refuse" and open_attempts:
            await bench.refuse(open_attempts[number % len(open_attempts)], ConnectFailed("x"))
        elif action == "forget" and bench.pool._waiting:
            bench.pool.forget(bench.pool._waiting[number % len(bench.pool._waiting)][0])
        elif action in {"answer", "close"} and busy:
            connection = busy[number % len(busy)].connection
            assert connection is not None
            if action == "answer":
                connection.data_received(OK)
            else:
                connection.close()
        elif action == "break" and alive:
            alive[number % len(alive)].lose(ConnectionResetError())
        elif action == "eof" and alive:
            alive[number % len(alive)]._protocol.eof_received()
            alive[number % len(alive)].close()
        elif action == "junk" and alive:
            alive[number % len(alive)]._protocol.data_received(b"junk")
        await bench.settle()
        bench.check_invariants()
        owners = [id(w.connection) for w in waiters if w.connection and w.connection._handler is w]
        assert len(owners) == len(set(owners)), "one connection, two requests"
    for attempt in bench.attempts:
        if not attempt.done():
            attempt.set_exception(ConnectFailed("end"))
    await bench.settle()
    assert not bench.pool._waiting


@settings(max_examples=60)
@given(STEPS)
def test_any_order_of_events_keeps_the_pool_consistent(steps: list[tuple[str, int]]) -> None:
    """No waiter is left behind, no connection belongs to two, the count is right."""
    asyncio.run(run_steps(steps))


@pytest.mark.parametrize(("ratio", "made"), [(1.0, 1), (1.5, 2), (2.0, 2), (3.0, 3)])
async def test_spare_connections_are_made_with_the_first_request(ratio: float, made: int) -> None:
    """`per_upstream_preconnect_ratio`: as many connections for each request, as in Envoy."""
    bench = PoolBench(preconnect=PreconnectSettings(per_upstream=ratio))
    waiter = Waiter()
    bench.connect(waiter)
    await bench.settle()
    assert len(bench.attempts) == made
    connections = [await bench.accept(index) for index in range(made)]
    assert waiter.connection is connections[0]
    waiter.connection.data_received(OK)
    # Idle again: the next request finds what it needs, and nothing has to be made.
    assert bench.pool.take_idle() is not None
    await bench.settle()
    assert len(bench.attempts) == made


async def test_requests_that_take_the_spares_bring_new_ones() -> None:
    """At most three for one request, whatever is missing."""
    bench = PoolBench(preconnect=PreconnectSettings(per_upstream=2.0))
    idle = bench.make_connection()
    idle.charged_to = bench.breaker
    bench.pool.release(idle)
    taken = bench.pool.take_idle()
    assert taken is idle
    await bench.settle()
    assert len(bench.attempts) == 1


async def test_spare_connections_never_go_beyond_the_circuit_breaker() -> None:
    """They are a favour, and a limit is a limit; nothing overflows, for no request suffered."""
    thresholds = (ThresholdSettings(max_connections=2), ThresholdSettings())
    bench = PoolBench(preconnect=PreconnectSettings(per_upstream=3.0), thresholds=thresholds)
    bench.connect(Waiter())
    await bench.settle()
    assert len(bench.attempts) == 2
    assert bench.stats.upstream_cx_overflow == 0


@pytest.mark.parametrize("spoil", ["unhealthy", "draining"])
async def test_no_spare_connections_to_an_endpoint_that_should_not_be_used(spoil: str) -> None:
    """Who must go there all the same gets one, for it needs it."""
    bench = PoolBench(preconnect=PreconnectSettings(per_upstream=3.0, predictive=3.0))
    if spoil == "unhealthy":
        bench.pool.is_healthy = False
    else:
        bench.pool.drain()
    assert not bench.pool.warm_up(bench.breaker, 3.0)
    bench.connect(Waiter())
    await bench.settle()
    assert len(bench.attempts) == 1


async def test_a_request_takes_over_the_attempt_that_was_begun_ahead_of_it() -> None:
    """`predictive_preconnect_ratio`: the connection is under way, or there, when the request comes."""
    bench = PoolBench()
    assert bench.pool.warm_up(bench.breaker, 2.0)
    assert bench.pool.warm_up(bench.breaker, 2.0)
    assert not bench.pool.warm_up(bench.breaker, 2.0)
    waiter = Waiter()
    bench.connect(waiter)
    await bench.settle()
    assert len(bench.attempts) == 2
    await bench.refuse(0, ConnectTimeout())
    assert waiter.events == []
    await bench.accept(1)
    assert waiter.events == ["connection"]


async def test_renewed_pool_uses_no_earlier_connection_again() -> None:
    """`close_connections_on_host_health_failure`: requests under way finish, the next ones connect anew."""
    bench = PoolBench()
    idle, busy = bench.idle(), Waiter()
    busy.use(bench.make_connection())
    assert busy.connection is not None
    bench.pool.renew()
    assert not idle.is_usable
    busy.connection.data_received(OK)
    assert busy.events == [(200, b"ok", True)]
    assert bench.pool.take_idle() is None
    waiter = Waiter()
    bench.connect(waiter)
    fresh = await bench.accept(0)
    fresh.data_received(OK)
    assert bench.pool.take_idle() is fresh
