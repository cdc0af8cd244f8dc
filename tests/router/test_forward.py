"""Exchanges: waiting for a connection, sending again, failing, and leaving nothing behind."""

import pytest

from fastproxy.upstream.errors import ConnectFailed, ConnectTimeout
from fastproxy.upstream.settings import ClusterSettings
from tests.listener.support import CLUSTER, GET, OK, FakeUpstream, Proxy, head_of, status_of, to_service

POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n"


async def test_a_request_waits_for_its_connection_and_its_body_with_it() -> None:
    """The downstream is not read meanwhile, so no more than one read is held."""
    with Proxy(warm=False) as proxy:
        proxy.send(POST + b"he")
        assert not proxy.transport.is_reading()
        upstream = await proxy.accept()
        assert upstream.take().endswith(b"\r\n\r\nhe")
        assert proxy.transport.is_reading()
        proxy.send(b"llo")
        assert upstream.take() == b"llo"
        upstream.respond(OK)
        assert status_of(proxy.take()) == 200
        proxy.check_nothing_left()


async def test_a_body_that_arrives_while_waiting_is_sent_in_order() -> None:
    """Bytes that were under way when reading was paused are not lost."""
    with Proxy(warm=False) as proxy:
        proxy.send(POST)
        for byte in b"hello":
            proxy.send(bytes([byte]))
        upstream = await proxy.accept()
        assert upstream.take().endswith(b"\r\n\r\nhello")
        assert proxy.transport.is_reading()
        upstream.respond(OK)
        proxy.check_nothing_left()


@pytest.mark.parametrize(
    ("error", "reason", "details"),
    [
        (
            ConnectFailed("delayed connect error: Connection refused"),
            b"remote connection failure",
            "remote_connection_failure|delayed_connect_error:_Connection_refused",
        ),
        (ConnectTimeout(), b"connection timeout", "connection_timeout"),
    ],
)
@pytest.mark.parametrize("wire", [GET, POST + b"hello", POST + b"h"])
async def test_connect_failure_is_503(wire: bytes, error: ConnectFailed, reason: bytes, details: str) -> None:
    """UF; the cause is for the log, never for the downstream (spec/http.md section 11.4)."""
    with Proxy(warm=False) as proxy:
        proxy.send(wire)
        await proxy.refuse(error)
        received = proxy.take()
        assert status_of(received) == 503
        assert received.endswith(b"before headers. reset reason: " + reason)
        assert b"refused" not in received
        assert proxy.log.lines == [f"503 UF upstream_reset_before_response_started{{{details}}}"]
        assert proxy.stats().counters["cluster.service.upstream_cx_connect_fail"] == 1
        assert proxy.stats().counters["cluster.service.upstream_rq_pending_failure_eject"] == 1
        proxy.check_nothing_left()


async def test_a_downstream_that_leaves_while_waiting_leaves_the_connection_to_the_next() -> None:
    """The attempt under way is not wasted."""
    with Proxy(warm=False) as proxy:
        proxy.send(GET)
        await proxy.settle()
        proxy.leave()
        upstream = await proxy.accept()
        assert upstream.take() == b""
        proxy.check_nothing_left()
        proxy.open_downstream()
        proxy.send(GET)
        upstream.respond(OK)
        assert status_of(proxy.take()) == 200
        assert len(proxy.attempts) == 1


async def test_route_timeout_while_waiting_for_a_connection() -> None:
    """504, and nobody sends the request later."""
    with Proxy(warm=False, routes=[to_service(timeout_s=2)]) as proxy:
        proxy.send(GET)
        await proxy.settle()
        proxy.advance(3)
        assert status_of(proxy.take()) == 504
        upstream = await proxy.accept()
        assert upstream.take() == b""
        proxy.check_nothing_left()


def used_once(proxy: Proxy) -> FakeUpstream:
    """A connection that has served a request already."""
    proxy.send(GET)
    proxy.upstream.respond(OK)
    proxy.upstream.take()
    proxy.take()
    return proxy.upstream


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"])
@pytest.mark.parametrize("error", [None, ConnectionResetError()])
async def test_a_stale_connection_costs_an_idempotent_request_nothing(
    method: bytes, error: Exception | None
) -> None:
    """The upstream's idle timer fired while the request was on its way: send it again, once, on a fresh connection."""
    with Proxy() as proxy:
        stale = used_once(proxy)
        proxy.send(method + b" /x HTTP/1.1\r\nhost: a\r\n\r\n")
        first = stale.take()
        stale.close(error)
        assert proxy.take() == b""
        fresh = await proxy.accept()
        assert fresh.take() == first
        fresh.respond(OK if method != b"HEAD" else OK[:-2])
        assert status_of(proxy.take()) == 200
        counters = proxy.stats().counters
        assert counters["cluster.service.upstream_rq_retry"] == 1
        assert counters["cluster.service.upstream_rq_retry_success"] == 1
        assert counters["cluster.service.upstream_rq_total"] == 2
        proxy.check_nothing_left()


async def test_the_second_try_is_the_last() -> None:
    """An upstream that always closes must not be asked for ever."""
    with Proxy() as proxy:
        stale = used_once(proxy)
        proxy.send(GET)
        stale.close()
        fresh = await proxy.accept()
        fresh.close()
        assert status_of(proxy.take()) == 503
        assert proxy.stats().counters["cluster.service.upstream_rq_retry"] == 1
        proxy.check_nothing_left()


@pytest.mark.parametrize(
    "wire",
    [
        b"POST / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PATCH / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok",
    ],
    ids=["post", "patch", "post-body"],
)
def test_what_is_not_safe_to_repeat_is_not_repeated(wire: bytes) -> None:
    """A second POST is a second order."""
    with Proxy() as proxy:
        stale = used_once(proxy)
        proxy.send(wire)
        stale.close()
        assert status_of(proxy.take()) == 503
        proxy.check_nothing_left()


def test_a_fresh_connection_that_closes_is_no_stale_one() -> None:
    """The upstream has read the request and chosen not to answer: 503 as in Envoy."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.close()
        assert status_of(proxy.take()) == 503
        assert proxy.stats().counters["cluster.service.upstream_rq_retry"] == 0


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_nothing_is_repeated_after_the_first_byte_of_an_answer(error: Exception | None) -> None:
    """The upstream had begun to work on it: its idle timer is no explanation any more."""
    with Proxy() as proxy:
        stale = used_once(proxy)
        proxy.send(GET)
        stale.respond(b"HTTP/1.1 2")
        stale.close(error)
        assert status_of(proxy.take()) in {502, 503}
        assert proxy.stats().counters["cluster.service.upstream_rq_retry"] == 0
        proxy.check_nothing_left()


async def test_a_downstream_that_leaves_during_the_second_try_leaves_nothing() -> None:
    """No waiter, no open request."""
    with Proxy() as proxy:
        stale = used_once(proxy)
        proxy.send(GET)
        stale.close()
        await proxy.settle()
        proxy.leave()
        await proxy.accept()
        proxy.check_nothing_left()


def test_service_time_is_measured_from_the_end_of_the_request() -> None:
    """`x-envoy-upstream-service-time`, overwriting what the upstream claims (spec/http.md section 11.1)."""
    with Proxy() as proxy:
        proxy.send(POST)
        proxy.loop.advance(5)
        proxy.send(b"hello")
        proxy.loop.advance(0.0015)
        proxy.upstream.respond(
            b"HTTP/1.1 200 OK\r\nx-envoy-upstream-service-time: 99\r\ncontent-length: 0\r\n\r\n"
        )
        assert head_of(proxy.take())[1][b"x-envoy-upstream-service-time"] == b"1"


async def test_a_slow_downstream_blocks_the_answer_of_a_connection_that_came_later() -> None:
    """The downstream was full before there was anything to pause."""
    with Proxy(warm=False) as proxy:
        proxy.send(GET)
        await proxy.settle()
        proxy.downstream.pause_writing()
        upstream = await proxy.accept()
        assert not upstream.transport.is_reading()
        proxy.downstream.resume_writing()
        assert upstream.transport.is_reading()
        upstream.respond(OK)
        proxy.check_nothing_left()


def test_an_upstream_may_want_names_with_capitals() -> None:
    """Some old ones do; the host too."""
    with Proxy(cluster=ClusterSettings(CLUSTER, proper_case_words=True)) as proxy:
        proxy.send(b"GET / HTTP/1.1\r\nhost: a\r\nx-own-NAME: v\r\n\r\n")
        lines = proxy.upstream.take().split(b"\r\n")
    assert lines[:2] == [b"GET / HTTP/1.1", b"Host: a"]
    assert b"X-Own-Name: v" in lines
