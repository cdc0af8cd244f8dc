"""Floods, slow senders and oversized heads: refused within a bound, and others do not notice."""

from contextlib import ExitStack

import pytest

from tests.e2e.support.proxies import resident_bytes, workers_of
from tests.e2e.support.upstream import Answer
from tests.e2e.support.wire import Downstream, encode_request
from tests.hostile.conftest import Target

_MIB = 1024 * 1024


def test_head_of_60_kib_passes_and_more_is_431(target: Target) -> None:
    """Envoy's default limit (`max_request_headers_kb`)."""
    statuses = []
    for size in (59_000, 70_000, 1_000_000):
        with Downstream(target.proxy.ports["open"]) as downstream:
            downstream.send(encode_request("GET", "/", ("x-large", "v" * size)))
            statuses.append(downstream.read_response().status)

    assert statuses == [200, 431, 431]


def test_a_head_that_never_ends_is_cut_at_the_limit(target: Target) -> None:
    """The limit counts while the head arrives: nobody waits for an end that is not coming."""
    (worker,) = workers_of(target.proxy)
    before = resident_bytes(worker)
    with Downstream(target.proxy.ports["open"]) as downstream:
        downstream.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200_000)
        assert downstream.read_response().status == 431

    assert resident_bytes(worker) - before < 8 * _MIB


def test_a_request_line_that_never_ends_is_cut_at_the_limit(target: Target) -> None:
    """The same without a single header."""
    with Downstream(target.proxy.ports["open"]) as downstream:
        downstream.send(b"GET /" + b"a" * 2_000_000)
        assert downstream.read_response().status in {400, 414, 431}


@pytest.mark.parametrize(("count", "status"), [(99, 200), (100, 431), (5000, 431)])
def test_more_than_100_headers_are_refused(target: Target, count: int, status: int) -> None:
    """Envoy's `max_headers_count`, host included."""
    with Downstream(target.proxy.ports["open"]) as downstream:
        downstream.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * count + b"\r\n")
        assert downstream.read_response().status == status


@pytest.mark.parametrize(
    "flood",
    [b"1\r\na\r\n0\r\n" + b"x: y\r\n" * 500_000, b"1;" + b"e" * 5_000_000],
    ids=["trailers", "chunk-extension"],
)
def test_what_stands_around_chunks_is_bounded(target: Target, flood: bytes) -> None:
    """Trailers are headers to an attacker; extensions are thrown away, but not before they cost memory
    (CVE-2023-39326 in another proxy)."""
    (worker,) = workers_of(target.proxy)
    before = resident_bytes(worker)
    head = encode_request("POST", "/", ("transfer-encoding", "chunked"))
    with Downstream(target.proxy.ports["open"]) as downstream:
        downstream.send(head + flood)
        downstream.half_close()
        downstream.read_to_end()

    assert resident_bytes(worker) - before < 8 * _MIB
    target.seen_after_fence()


@pytest.mark.parametrize("text", ["." * 50_000, "a." * 25_000, "Bearer " * 7000, "=" * 50_000])
def test_s12_a_token_of_many_dots_is_refused(target: Target, text: str) -> None:
    """Splitting at every dot allocates without end (CVE-2025-30204)."""
    with Downstream(target.proxy.ports["guarded"]) as downstream:
        downstream.send(encode_request("GET", "/guarded", ("authorization", f"Bearer {text}")))
        assert downstream.read_response().status == 401

    assert target.seen_after_fence() == []


def test_s13_a_token_above_the_limit_is_refused(target: Target) -> None:
    """Size is checked before anything is decoded, valid or not."""
    token = target.key.issue() + "A" * 30_000
    with Downstream(target.proxy.ports["guarded"]) as downstream:
        downstream.send(encode_request("GET", "/guarded", ("authorization", f"Bearer {token}")))
        assert downstream.read_response().status == 401


def test_a_pipelined_flood_is_answered_in_order_and_in_bounded_memory(target: Target) -> None:
    """Requests are queued within a bound, then the socket is not read: the sender waits, the proxy does not grow."""
    (worker,) = workers_of(target.proxy)
    before = resident_bytes(worker)
    count = 5000
    with Downstream(target.proxy.ports["open"]) as downstream:
        downstream.send(b"".join(encode_request("GET", f"/{number}") for number in range(count)))
        responses = downstream.read_responses([b"GET"] * count)

    assert [response.status for response in responses] == [200] * count
    assert resident_bytes(worker) - before < 16 * _MIB
    seen = target.seen_after_fence()
    assert [request.path for request in seen] == [b"/%d" % number for number in range(count)]


def test_a_pipelined_flood_that_nobody_reads_stalls(target: Target) -> None:
    """Answers pile up only to the water mark when the sender never reads them."""
    (worker,) = workers_of(target.proxy)
    before = resident_bytes(worker)
    target.upstream.paths["/big"] = Answer(
        (b"HTTP/1.1 200 OK\r\ncontent-length: 65536\r\n\r\n" + bytes(65536),)
    )
    with Downstream(target.proxy.ports["open"], receive_buffer_bytes=16384) as downstream:
        sent = downstream.send_until_stalled(encode_request("GET", "/big") * 1000, 64 * _MIB)

    assert resident_bytes(worker) - before < 24 * _MIB
    assert sent < 64 * _MIB
    target.seen_after_fence()


def test_a_slow_head_is_answered_408_when_a_limit_is_set(target: Target) -> None:
    """Slowloris: `request_headers_timeout` ends it, with Envoy's text."""
    with Downstream(target.proxy.ports["hasty"]) as downstream:
        downstream.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow:")

        response = downstream.read_response()

        assert response.status == 408
        assert response.body == b"request header timeout"
        assert response.closes
        assert downstream.is_closed_by_peer()


def test_many_half_open_requests_do_not_disturb_others(target: Target) -> None:
    """A few hundred silent connections are any crowd on a bad network."""
    with ExitStack() as stack:
        for _ in range(300):
            silent = stack.enter_context(Downstream(target.proxy.ports["open"]))
            silent.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow:")

        assert target.seen_after_fence() == []


def test_connections_that_are_reset_leave_nothing_behind(target: Target) -> None:
    """Scanners and load balancers reset connections all day."""
    pieces = [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        encode_request("POST", "/", ("content-length", "10")) + b"abc",
    ]
    for piece in pieces * 25:
        with Downstream(target.proxy.ports["open"]) as downstream:
            downstream.send(piece)
            downstream.abort()

    target.seen_after_fence()
    with Downstream(target.proxy.ports["open"]) as downstream:
        downstream.send(encode_request("GET", "/"))
        assert downstream.read_response().status == 200
