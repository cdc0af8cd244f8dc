"""How long a stream may take: by its route, by gRPC, by a trusted caller's headers."""

import pytest

from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import LocalReply, Request
from fastproxy.router.limits import (
    build_grpc_timeout,
    build_limits,
    encode_grpc_timeout,
    parse_grpc_timeout,
    take_alternative_header,
    take_timeout_header,
)
from fastproxy.router.settings import ForwardAction
from fastproxy.stats import StatsSink
from tests.listener.support import GET, Proxy, head_of, status_of, to_service


def request(**headers: bytes) -> Request:
    found: HeaderMap = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return Request(b"GET", b"/", found)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"250m", 0.25),
        (b"5u", 5e-6),
        (b"7n", 7e-9),
        (b"0S", 0.0),
        (b"99999999S", 99999999.0),
        (b"100000000S", None),
        (b"1", None),
        (b"S", None),
        (b"-1S", None),
        (b"1s", None),
        (b"1.5S", None),
        (None, None),
    ],
)
def test_grpc_timeouts(value: bytes | None, seconds: float | None) -> None:
    """At most eight digits and a unit (gRPC over HTTP/2, section "Requests")."""
    assert parse_grpc_timeout(value) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("action", "timeout", "seconds"),
    [
        (ForwardAction(max_stream_duration_s=5.0), b"1S", 5.0),
        (ForwardAction(grpc_timeout_max_s=10.0), b"1S", 1.0),
        (ForwardAction(grpc_timeout_max_s=10.0), b"11S", 10.0),
        (ForwardAction(grpc_timeout_max_s=10.0), b"0S", 10.0),
        (ForwardAction(grpc_timeout_max_s=0.0), b"11S", 11.0),
        (ForwardAction(grpc_timeout_max_s=10.0, grpc_timeout_offset_s=0.5), b"2S", 1.5),
        (ForwardAction(grpc_timeout_max_s=10.0, grpc_timeout_offset_s=3.0), b"2S", 2.0),
        (ForwardAction(grpc_timeout_max_s=10.0, max_stream_duration_s=7.0), None, 7.0),
        (ForwardAction(grpc_timeout_max_s=10.0), None, None),
        (ForwardAction(idle_timeout_s=1.0), None, None),
    ],
)
def test_durations(action: ForwardAction, timeout: bytes | None, seconds: float | None) -> None:
    """`grpc-timeout` counts only where the route says so, up to what it says."""
    limits = build_limits(action)
    assert limits is not None
    assert limits.duration_s(request() if timeout is None else request(grpc_timeout=timeout)) == seconds


def test_a_route_without_limits_has_none() -> None:
    """Nothing to apply, nothing to pay."""
    assert build_limits(ForwardAction()) is None


@pytest.mark.parametrize(
    ("value", "seconds"), [(b"250", 0.25), (b"0", 0.0), (b"soon", None), (b"-1", None), (b"9" * 20, None)]
)
def test_the_timeout_header_is_taken_off(value: bytes, seconds: float | None) -> None:
    """The upstream is told by `x-envoy-expected-rq-timeout-ms` instead."""
    one = request(x_envoy_upstream_rq_timeout_ms=value, x_envoy_upstream_rq_timeout_alt_response=b"1")
    assert take_timeout_header(one) == seconds
    assert take_alternative_header(one)
    assert not take_alternative_header(one)
    assert one.headers == {}


class TrustedCaller:
    """Sets the headers that a request of a trusted caller still has behind the preparation."""

    def on_request(self, one: Request) -> LocalReply | None:
        one.is_plain = False
        one.headers[b"x-envoy-upstream-rq-timeout-ms"] = b"2000"
        one.headers[b"x-envoy-upstream-rq-timeout-alt-response"] = b"1"
        return None

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Nothing to tell."""


def test_a_trusted_caller_chooses_timeout_and_answer() -> None:
    """204 instead of 504 (spec/http.md section 11.2)."""
    with Proxy(filters=[TrustedCaller()]) as proxy:
        proxy.send(GET)
        headers = head_of(proxy.upstream.take())[1]
        assert headers[b"x-envoy-expected-rq-timeout-ms"] == b"2000"
        assert b"x-envoy-upstream-rq-timeout-ms" not in headers
        proxy.advance(1.9)
        assert proxy.take() == b""
        proxy.advance(0.2)
        assert status_of(proxy.take()) == 204
        assert proxy.log.lines == ["204 UT response_timeout"]


def test_a_route_has_its_own_idle_timeout() -> None:
    """`idle_timeout`; the next request on the connection has that of its own route again."""
    with Proxy(
        routes=[to_service("/idle", idle_timeout_s=2.0, timeout_s=0.0), to_service(timeout_s=0.0)]
    ) as proxy:
        proxy.send(b"GET /idle HTTP/1.1\r\nhost: a\r\n\r\n")
        proxy.advance(1)
        assert proxy.take() == b""
        proxy.advance(2)
        assert status_of(proxy.take()) == 504
        assert proxy.log.lines == ["504 SI stream_idle_timeout"]
        proxy.offer()
        proxy.send(GET)
        proxy.advance(200)
        assert proxy.take() == b""


def test_an_idle_timeout_of_zero_is_none() -> None:
    """A stream of events may be silent for hours."""
    with Proxy(routes=[to_service(idle_timeout_s=0.0, timeout_s=0.0)], stream_idle_timeout_s=5.0) as proxy:
        proxy.send(GET)
        proxy.advance(600)
        assert proxy.take() == b""


def test_max_stream_duration_answers_or_cuts() -> None:
    """Before the response 504, after its head the connection ends: nobody takes the part for the whole."""
    with Proxy(routes=[to_service(max_stream_duration_s=3.0, timeout_s=0.0)]) as proxy:
        proxy.send(GET)
        proxy.advance(3.1)
        assert status_of(received := proxy.take()) == 504
        assert received.endswith(b"\r\n\r\ndownstream duration timeout")
        assert proxy.log.lines == ["504 - max_duration_timeout"]
        proxy.offer()
        proxy.send(GET)
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        proxy.advance(3.1)
        assert proxy.transport.was_aborted()
        assert proxy.stats().counters["http.ingress.downstream_rq_max_duration_reached"] == 2


def test_a_stream_that_ends_in_time_leaves_no_timer() -> None:
    """The next request must not be cut by the time of the one before."""
    with Proxy(routes=[to_service("/short", max_stream_duration_s=3.0), to_service(timeout_s=0.0)]) as proxy:
        proxy.send(b"GET /short HTTP/1.1\r\nhost: a\r\n\r\n")
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        assert status_of(proxy.take()) == 200
        proxy.send(GET)
        proxy.advance(10)
        assert proxy.take() == b""
        proxy.leave()
        assert proxy.loop.live_timers == 0


@pytest.mark.parametrize(
    ("seconds", "value"),
    [
        (0.25, b"250m"),
        (0.29, b"290m"),
        (99999.999, b"99999999m"),
        (100000.0, b"100000S"),
        (1e8, b"1666666M"),
        (6e9, b"1666666H"),
        (1e15, b"99999999H"),
    ],
)
def test_grpc_timeouts_are_written_with_at_most_eight_digits(seconds: float, value: bytes) -> None:
    """In the finest unit that has room for them, from milliseconds on."""
    assert encode_grpc_timeout(seconds) == value


@pytest.mark.parametrize(
    ("maximum", "offset", "asked", "timeout", "told"),
    [
        (1.0, 0.0, b"300m", 0.3, b"300m"),
        (1.0, 0.0, b"5S", 1.0, b"1000m"),
        (1.0, 0.0, None, 1.0, b"1000m"),
        (1.0, 0.0, b"junk", 1.0, b"1000m"),
        (0.0, 0.0, b"5S", 5.0, b"5000m"),
        (0.0, 0.0, None, 0.0, None),
        (0.0, 0.1, b"300m", 0.2, b"200m"),
        (0.0, 0.1, b"100m", 0.1, b"100m"),
    ],
)
def test_grpc_request_chooses_the_timeout_of_its_route_within_a_bound(
    maximum: float, offset: float, asked: bytes | None, timeout: float, told: bytes | None
) -> None:
    """The deprecated `max_grpc_timeout`: without a usable header a request asks for no end."""
    select = build_grpc_timeout(
        ForwardAction("c", grpc_route_timeout_max_s=maximum, grpc_route_timeout_offset_s=offset)
    )
    assert select is not None
    made = request(content_type=b"application/grpc")
    if asked is not None:
        made.headers[b"grpc-timeout"] = asked
    assert select(made) == pytest.approx(timeout)
    assert made.headers.get(b"grpc-timeout") == told


def test_request_that_is_no_grpc_has_the_usual_timeout() -> None:
    """Whatever its headers say; and a route without these fields looks at nothing."""
    select = build_grpc_timeout(ForwardAction("c", grpc_route_timeout_max_s=1.0))
    assert select is not None
    assert select(request(grpc_timeout=b"5S")) is None
    assert build_grpc_timeout(ForwardAction("c")) is None


def test_upstream_hears_of_no_more_time_than_the_stream_has() -> None:
    """`grpc_timeout_header_max` cuts what the header asks for."""
    cap = build_grpc_timeout(ForwardAction("c", grpc_timeout_max_s=1.0))
    assert cap is not None
    for asked, told in ((b"5S", b"1000m"), (b"300m", b"300m"), (b"junk", b"junk")):
        made = request(content_type=b"application/grpc", grpc_timeout=asked)
        assert cap(made) is None
        assert made.headers[b"grpc-timeout"] == told
