"""Requests that are tried more than once: what is sent again, what the downstream sees, and that nothing is left."""

import json
from typing import Any

import pytest

from fastproxy.router.retrying import RetryingExchange
from fastproxy.router.settings import ResetHeader, RetryOn, RetrySettings
from fastproxy.upstream.balancer.settings import subset_match
from fastproxy.upstream.errors import ConnectFailed
from fastproxy.upstream.monitor import EndpointMonitor
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    DiscoveredEndpoint,
    EndpointTraits,
    HealthFlag,
    ThresholdSettings,
)
from tests.listener.support import (
    CLUSTER,
    GET,
    OK,
    UPSTREAM,
    FakeUpstream,
    Proxy,
    head_of,
    status_of,
    to_service,
)

POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno"
ANY = RetryOn.SERVER_ERROR
A, B, C = (Address(f"198.51.100.{number}", 80) for number in (11, 12, 13))


def policy(conditions: RetryOn = ANY, **settings: Any) -> RetrySettings:
    # Without a pause by default: then the next try comes as soon as the loop runs.
    return RetrySettings(
        conditions, **{"base_interval_s": 0.0, "max_interval_s": 0.0, "max_retries": 3, **settings}
    )


def retrying(conditions: RetryOn = ANY, *, cluster: ClusterSettings | None = None, **more: Any) -> Proxy:
    """A proxy with one idle connection whose route has a policy; `route_*` are of the route."""
    route = {name[6:]: more.pop(name) for name in list(more) if name.startswith("route_")}
    proxy_options = {
        name: more.pop(name) for name in ("warm", "log_format", "buffer_limit_bytes") if name in more
    }
    return Proxy(
        routes=[to_service(retry=policy(conditions, **more), **route)], cluster=cluster, **proxy_options
    )


def counters(proxy: Proxy) -> dict[str, int]:
    """Those of the cluster that are not zero, by their last names."""
    found = proxy.stats().counters
    prefix = "cluster.service."
    return {name[len(prefix) :]: value for name, value in found.items() if name.startswith(prefix) and value}


def go_on(proxy: Proxy) -> None:
    """Let the pause end."""
    proxy.loop.advance(0.0)


# -- sent again --------------------------------------------------------------------------------------------


def test_a_response_to_be_retried_is_never_seen() -> None:
    """The downstream gets the answer of the second try, and nothing of the first."""
    with retrying() as proxy:
        first = proxy.upstream
        proxy.send(GET)
        sent = first.take()
        first.respond(UNAVAILABLE)
        assert proxy.take() == b""
        go_on(proxy)
        # It was answered completely, so its connection is as good as any.
        assert first.take().startswith(sent.partition(b"\r\n")[0])
        first.respond(OK)
        assert status_of(proxy.take()) == 200
        found = counters(proxy)
        assert (found["upstream_rq_retry"], found["upstream_rq_retry_success"]) == (1, 1)
        assert (found["upstream_rq_total"], found["upstream_rq_completed"]) == (2, 1)
        assert (found["retry.upstream_rq_503"], found["retry.upstream_rq_5xx"]) == (1, 1)
        assert "upstream_rq_503" not in found
        proxy.check_nothing_left()


async def test_a_discarded_response_that_goes_on_costs_its_connection() -> None:
    """The rest of it would be the beginning of the next one."""
    with retrying() as proxy:
        first = proxy.upstream
        proxy.send(GET)
        first.respond(b"HTTP/1.1 503 x\r\ncontent-length: 100\r\n\r\npart")
        assert first.is_closed()
        go_on(proxy)
        second = await proxy.accept()
        second.respond(OK)
        assert status_of(proxy.take()) == 200
        proxy.check_nothing_left()


@pytest.mark.parametrize("wire", [POST + b"hello", CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"])
@pytest.mark.parametrize("step", [0, 1])
async def test_the_body_is_sent_again(wire: bytes, step: int) -> None:
    """All of it, framed as the first time, however it came."""
    with retrying() as proxy:
        first = proxy.upstream
        proxy.send(wire, step=step)
        proxy.loop.advance(0.001)
        sent = first.take()
        first.close(ConnectionResetError())
        go_on(proxy)
        second = await proxy.accept()
        again = second.take()
        head, _, body = again.partition(b"\r\n\r\n")
        assert body.replace(b"1\r\n", b"").replace(b"\r\n", b"") in {b"hello", b"5hello0", b"hello0"}
        assert head.split(b"\r\n")[:2] == sent.split(b"\r\n")[:2]
        second.respond(OK)
        assert status_of(proxy.take()) == 200
        proxy.check_nothing_left()


async def test_a_body_that_is_still_coming_goes_on_to_the_next_try() -> None:
    """What came so far is repeated, what comes after it follows: before, during and after the pause."""
    with retrying(base_interval_s=1.0, max_interval_s=1.0) as proxy:
        first = proxy.upstream
        proxy.send(POST + b"h")
        first.respond(UNAVAILABLE)
        proxy.send(b"e")
        assert proxy.take() == b""
        proxy.advance(1)
        second = await proxy.accept()
        assert second.take().endswith(b"\r\n\r\nhe")
        proxy.send(b"llo")
        assert second.take() == b"llo"
        second.respond(OK)
        assert status_of(proxy.take()) == 200
        proxy.check_nothing_left()


async def test_a_failed_connect_is_tried_again_with_the_body() -> None:
    """Nothing was sent: safe for any method, if the operator asked for it."""
    with retrying(RetryOn.CONNECT_FAILURE, warm=False) as proxy:
        proxy.send(POST + b"he")
        await proxy.refuse(ConnectFailed("refused"))
        go_on(proxy)
        second = await proxy.accept()
        proxy.send(b"llo")
        assert second.take().endswith(b"\r\n\r\nhello")
        second.respond(OK)
        assert status_of(proxy.take()) == 200
        proxy.check_nothing_left()


# -- not sent again ----------------------------------------------------------------------------------------


def test_a_post_without_a_policy_is_sent_once() -> None:
    """Also when the reused connection closes: it may have had its effect (DESIGN section 6)."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.take()
        proxy.send(POST + b"hello")
        proxy.upstream.close()
        assert status_of(proxy.take()) == 503
        assert len(proxy.upstreams) == 1
        assert not proxy.attempts


async def test_a_put_whose_body_is_kept_survives_a_stale_connection() -> None:
    """Idempotent, nothing of an answer came, and the body is there: no policy is needed."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.take()
        proxy.upstream.take()
        proxy.send(POST.replace(b"POST", b"PUT") + b"hello", step=1)
        proxy.upstream.close()
        fresh = await proxy.accept()
        assert fresh.take().endswith(b"\r\n\r\nhello")
        fresh.respond(OK)
        assert status_of(proxy.take()) == 200
        proxy.check_nothing_left()


def test_a_put_that_was_too_large_to_keep_does_not() -> None:
    """Its first bytes are gone."""
    with Proxy(buffer_limit_bytes=4) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.take()
        proxy.send(POST.replace(b"POST", b"PUT") + b"hello")
        proxy.upstream.close()
        assert status_of(proxy.take()) == 503
        assert "retry_or_shadow_abandoned" not in counters(proxy), "there was no retry to abandon"


async def test_a_post_that_was_not_written_at_all_goes_elsewhere() -> None:
    """The reused connection was closing already: nobody can have seen the request."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.take()
        stale = proxy.upstream
        stale.transport._closing = True
        stale.take()
        proxy.send(POST + b"hello")
        assert stale.take() == b""
        fresh = await proxy.accept()
        assert fresh.take().endswith(b"\r\n\r\nhello")
        fresh.respond(OK)
        assert status_of(proxy.take()) == 200


@pytest.mark.parametrize("first_part", [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome"])
def test_nothing_is_tried_again_after_the_head_went_downstream(first_part: bytes) -> None:
    """The downstream has seen the first bytes of one answer; it must not get the rest of another."""
    with retrying() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(first_part)
        assert proxy.take()
        proxy.upstream.close()
        go_on(proxy)
        assert proxy.is_closed()
        assert "upstream_rq_retry" not in counters(proxy)


def test_a_body_over_the_limit_is_forwarded_and_not_retried() -> None:
    """`request_body_buffer_limit`; the request goes on without a net (`retry_or_shadow_abandoned`)."""
    with retrying(route_replay_limit_bytes=4) as proxy:
        proxy.send(POST + b"hello")
        assert proxy.upstream.take().endswith(b"hello")
        proxy.upstream.respond(UNAVAILABLE)
        assert status_of(proxy.take()) == 503
        assert counters(proxy)["retry_or_shadow_abandoned"] == 1
        proxy.check_nothing_left()


def test_a_body_that_grows_over_the_limit_during_the_pause_fails() -> None:
    """507: it was to be sent again, and cannot be any more (Envoy)."""
    with retrying(route_replay_limit_bytes=4, base_interval_s=1.0, max_interval_s=1.0) as proxy:
        proxy.send(POST + b"he")
        proxy.upstream.respond(UNAVAILABLE)
        proxy.send(b"llo")
        received = proxy.take()
        assert status_of(received) == 507
        assert received.endswith(b"exceeded request buffer limit while retrying upstream")
        assert proxy.log.lines == ["507 - request_payload_exceeded_retry_buffer_limit"]
        assert proxy.loop.live_timers <= 2
        assert proxy.stats().gauges["cluster.service.upstream_rq_active"] == 0
        assert not proxy.cluster.breakers[0].retries.used


# -- how often ---------------------------------------------------------------------------------------------


def test_when_all_tries_fail_the_last_answer_is_given_and_flagged() -> None:
    """`URX` (spec/http.md section 11.3)."""
    with retrying(max_retries=2) as proxy:
        proxy.send(GET)
        for _ in range(3):
            assert proxy.take() == b""
            proxy.upstream.respond(UNAVAILABLE)
            go_on(proxy)
        received = proxy.take()
        assert status_of(received) == 503
        assert received.endswith(b"no")
        assert proxy.log.lines == ["503 URX via_upstream"]
        found = counters(proxy)
        assert (found["upstream_rq_retry"], found["upstream_rq_retry_limit_exceeded"]) == (2, 1)
        assert "upstream_rq_retry_success" not in found
        proxy.check_nothing_left()


async def test_when_all_connections_fail_the_text_says_that_it_was_retried() -> None:
    """Envoy's words, for whoever greps for them."""
    with retrying(warm=False, max_retries=1) as proxy:
        proxy.send(GET)
        await proxy.refuse(ConnectFailed("refused"))
        go_on(proxy)
        await proxy.refuse(ConnectFailed("refused"))
        received = proxy.take()
        assert status_of(received) == 503
        assert received.endswith(
            b"before headers. retried and the latest reset reason: remote connection failure"
        )
        assert proxy.log.lines[0].startswith("503 URX,UF ")
        proxy.check_nothing_left()


def test_a_policy_without_conditions_retries_nothing() -> None:
    """Also not when it has a number."""
    with retrying(RetryOn(0)) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(UNAVAILABLE)
        assert status_of(proxy.take()) == 503
        assert proxy.log.lines == ["503 - via_upstream"]


def test_no_more_retries_at_a_time_than_the_circuit_breaker_allows() -> None:
    """`max_retries`: an upstream that is down must not get four times its load (flag UO)."""
    limits = (ThresholdSettings(max_retries=1), ThresholdSettings())
    cluster = ClusterSettings(CLUSTER, thresholds=limits)
    with retrying(cluster=cluster, base_interval_s=1.0, max_interval_s=1.0) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(UNAVAILABLE)
        assert proxy.cluster.breakers[0].retries.used == 1
        proxy.open_downstream()
        proxy.send(GET)
        proxy.upstream.respond(UNAVAILABLE)
        assert status_of(proxy.take()) == 503
        assert proxy.log.lines == ["503 UO via_upstream"]
        assert counters(proxy)["upstream_rq_retry_overflow"] == 1
        proxy.advance(1)
        proxy.upstream.respond(OK)
        assert proxy.cluster.breakers[0].retries.used == 0
        proxy.check_nothing_left()


def test_too_many_requests_are_refused_and_not_retried() -> None:
    """`max_requests`: 503 with `x-envoy-overloaded`, flag UO, and the connection stays in its pool."""
    limits = (ThresholdSettings(max_requests=1), ThresholdSettings())
    with retrying(cluster=ClusterSettings(CLUSTER, thresholds=limits)) as proxy:
        first = proxy.upstream
        proxy.send(GET)
        proxy.open_downstream()
        proxy.offer()
        proxy.send(GET)
        received = proxy.take()
        assert status_of(received) == 503
        assert head_of(received)[1][b"x-envoy-overloaded"] == b"true"
        assert received.endswith(b"before headers. reset reason: overflow")
        assert proxy.log.lines == ["503 UO upstream_reset_before_response_started{overflow}"]
        first.respond(OK)
        proxy.check_nothing_left()
        proxy.send(GET)
        first.respond(OK)
        assert status_of(proxy.take()) == 200


async def test_many_that_waited_for_one_connection_are_refused_without_recursion() -> None:
    """Each one that does not want it leaves it to the next."""
    limits = (ThresholdSettings(max_requests=0), ThresholdSettings())
    with Proxy(warm=False, cluster=ClusterSettings(CLUSTER, thresholds=limits)) as proxy:
        for _ in range(1000):
            proxy.open_downstream()
            proxy.send(GET)
        await proxy.accept(0)
        assert proxy.log.lines == ["503 UO upstream_reset_before_response_started{overflow}"] * 1000


def test_high_priority_has_limits_of_its_own() -> None:
    """`priority: HIGH` of the route."""
    limits = (ThresholdSettings(max_requests=0), ThresholdSettings())
    with Proxy(
        routes=[to_service("/high", is_high_priority=True), to_service()],
        cluster=ClusterSettings(CLUSTER, thresholds=limits),
    ) as proxy:
        proxy.send(GET)
        assert status_of(proxy.take()) == 503
        proxy.send(GET.replace(b"GET /", b"GET /high"))
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200
        proxy.check_nothing_left()


# -- time --------------------------------------------------------------------------------------------------


async def test_a_try_that_takes_too_long_is_given_up() -> None:
    """`per_try_timeout`, from the end of the request; the connection cannot be used any more."""
    with retrying(per_try_timeout_s=2.0) as proxy:
        slow = proxy.upstream
        proxy.send(POST)
        proxy.advance(5)
        proxy.send(b"hello")
        proxy.loop.advance(1.9)
        assert not slow.is_closed()
        proxy.loop.advance(0.2)
        assert slow.is_closed()
        second = await proxy.accept()
        second.respond(OK)
        assert status_of(proxy.take()) == 200
        assert counters(proxy)["upstream_rq_per_try_timeout"] == 1
        proxy.check_nothing_left()


def test_the_last_try_that_takes_too_long_is_a_timeout() -> None:
    """504 as for the route's timeout, with other details."""
    with retrying(RetryOn(0), per_try_timeout_s=2.0) as proxy:
        proxy.send(GET)
        proxy.advance(2)
        received = proxy.take()
        assert status_of(received) == 504
        assert received.endswith(b"upstream request timeout")
        assert proxy.log.lines == ["504 UT upstream_per_try_timeout"]
        proxy.check_nothing_left()


def test_after_the_head_a_try_may_take_as_long_as_it_likes() -> None:
    """Envoy: then only the route's timeout counts."""
    with retrying(per_try_timeout_s=2.0, route_timeout_s=0.0) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no")
        proxy.advance(10)
        proxy.upstream.respond(b"k")
        assert proxy.take().endswith(b"ok")
        proxy.check_nothing_left()


async def test_a_try_that_stands_still_is_given_up() -> None:
    """`per_try_idle_timeout`: before the head it is tried again, after it the downstream is cut."""
    with retrying(per_try_idle_timeout_s=2.0) as proxy:
        proxy.send(GET)
        proxy.loop.advance(2.0)
        second = await proxy.accept()
        second.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\no")
        proxy.loop.advance(1.5)
        second.respond(b"k")
        proxy.loop.advance(1.5)
        assert not proxy.is_closed()
        proxy.loop.advance(0.6)
        assert proxy.is_closed()
        assert counters(proxy)["upstream_rq_per_try_idle_timeout"] == 2
        assert proxy.log.lines == ["200 UT upstream_per_try_idle_timeout"]
        assert second.is_closed()


async def test_a_try_does_not_stand_still_while_the_request_is_on_its_way() -> None:
    """`per_try_idle_timeout` begins with the end of the request: it is the downstream that is slow (Envoy)."""
    with retrying(per_try_idle_timeout_s=2.0) as proxy:
        proxy.send(POST + b"he")
        proxy.loop.advance(10.0)
        assert "upstream_rq_per_try_idle_timeout" not in counters(proxy)
        proxy.send(b"llo")
        proxy.loop.advance(2.0)
        assert counters(proxy)["upstream_rq_per_try_idle_timeout"] == 1
        second = await proxy.accept()
        assert second.take().endswith(b"hello")


async def test_a_try_whose_upstream_gave_hints_is_given_up_and_repeated() -> None:
    """No downstream has seen them, so it can be. Envoy then waits for ever."""
    with retrying(per_try_timeout_s=2.0) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        proxy.loop.advance(2.0)
        second = await proxy.accept()
        second.respond(OK)
        assert status_of(proxy.take()) == 200


def test_the_route_timeout_is_for_all_tries_together() -> None:
    """It also ends a pause."""
    with retrying(route_timeout_s=3.0, reset_headers=(ResetHeader("retry-after"),)) as proxy:
        proxy.send(GET)
        proxy.advance(2)
        proxy.upstream.respond(UNAVAILABLE.replace(b"\r\n\r\n", b"\r\nretry-after: 100\r\n\r\n"))
        proxy.upstream.take()
        proxy.advance(1)
        assert status_of(proxy.take()) == 504
        assert proxy.log.lines == ["504 UT response_timeout"]
        # No upstream was asked when it passed, and no retry has begun.
        assert (
            counters(proxy).keys().isdisjoint({"upstream_rq_timeout", "upstream_rq_504", "upstream_rq_retry"})
        )
        proxy.advance(200)
        assert proxy.upstream.take() == b""
        assert not proxy.cluster.breakers[0].retries.used
        proxy.check_nothing_left()


def test_a_downstream_that_leaves_during_a_pause_leaves_nothing() -> None:
    """No timer, no retry in the circuit breaker, no open request."""
    with retrying(base_interval_s=10.0, max_interval_s=10.0) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(UNAVAILABLE)
        proxy.leave()
        assert not proxy.cluster.breakers[0].retries.used
        proxy.advance(20)
        assert proxy.upstream.take().count(b"GET") == 1
        proxy.check_nothing_left()


def test_an_upstream_may_ask_for_a_pause() -> None:
    """`rate_limited_retry_back_off`: counted apart."""
    with retrying(reset_headers=(ResetHeader("retry-after"),)) as proxy:
        proxy.send(GET)
        proxy.upstream.take()
        proxy.upstream.respond(UNAVAILABLE.replace(b"\r\n\r\n", b"\r\nretry-after: 2\r\n\r\n"))
        proxy.loop.advance(1.9)
        assert proxy.upstream.take() == b""
        proxy.loop.advance(1.2)
        assert proxy.upstream.take().startswith(b"GET")
        found = counters(proxy)
        assert found["upstream_rq_retry_backoff_ratelimited"] == 1
        assert "upstream_rq_retry_backoff_exponential" not in found


# -- what is told ------------------------------------------------------------------------------------------


def test_both_sides_may_be_told_which_try_it_is() -> None:
    """`x-envoy-attempt-count`, in the request and in the answer."""
    with retrying(route_tells_upstream_attempts=True, route_tells_downstream_attempts=True) as proxy:
        proxy.send(GET)
        assert head_of(proxy.upstream.take())[1][b"x-envoy-attempt-count"] == b"1"
        proxy.upstream.respond(UNAVAILABLE)
        go_on(proxy)
        assert head_of(proxy.upstream.take())[1][b"x-envoy-attempt-count"] == b"2"
        proxy.upstream.respond(OK)
        assert head_of(proxy.take())[1][b"x-envoy-attempt-count"] == b"2"


def test_the_proxys_own_answers_tell_it_too() -> None:
    """Also where there was no retry policy."""
    with Proxy(routes=[to_service(tells_downstream_attempts=True)]) as proxy:
        proxy.send(GET)
        proxy.upstream.close()
        assert head_of(proxy.take())[1][b"x-envoy-attempt-count"] == b"1"


def test_the_log_has_the_number_of_tries() -> None:
    """`%UPSTREAM_REQUEST_ATTEMPT_COUNT%`."""
    with retrying(log_format="%UPSTREAM_REQUEST_ATTEMPT_COUNT%") as proxy:
        proxy.send(GET)
        proxy.upstream.respond(UNAVAILABLE)
        go_on(proxy)
        proxy.upstream.respond(OK)
        assert proxy.log.lines == ["2"]


def test_the_upstream_is_told_how_long_it_has_left() -> None:
    """`x-envoy-expected-rq-timeout-ms`: of the route's timeout, or of this try if that is less."""
    with retrying(per_try_timeout_s=4.0, route_timeout_s=5.0) as proxy:
        proxy.send(GET)
        assert head_of(proxy.upstream.take())[1][b"x-envoy-expected-rq-timeout-ms"] == b"4000"
        proxy.loop.advance(2)
        proxy.upstream.respond(UNAVAILABLE)
        go_on(proxy)
        assert head_of(proxy.upstream.take())[1][b"x-envoy-expected-rq-timeout-ms"] == b"3000"
        proxy.loop.advance(0.5)
        proxy.upstream.respond(OK)
        # Envoy: of all tries together.
        assert head_of(proxy.take())[1][b"x-envoy-upstream-service-time"] == b"2500"


# -- where it goes -----------------------------------------------------------------------------------------


def with_endpoints(proxy: Proxy, *endpoints: DiscoveredEndpoint) -> None:
    """Replace the endpoints by these."""
    proxy.cluster.update_endpoints(endpoints)


async def tried_hosts(proxy: Proxy, tries: int) -> list[str]:
    """The endpoints of every try but the last one, in order."""
    hosts = []
    proxy.send(GET)
    for _ in range(tries):
        await proxy.settle()
        request = proxy.downstream._stream.request
        assert request is not None
        hosts.append(request.upstream_host)
        await proxy.refuse(ConnectFailed("refused"))
        proxy.loop.advance(1.0)
    return hosts


async def test_previous_hosts_are_avoided() -> None:
    """With enough selections, every endpoint is tried before one is tried twice."""
    with retrying(avoids_previous=True, max_selections=50, max_retries=2, warm=False) as proxy:
        with_endpoints(proxy, *(DiscoveredEndpoint(one) for one in (A, B, C)))
        assert sorted(await tried_hosts(proxy, 3)) == sorted(map(str, (A, B, C)))


@pytest.mark.parametrize(
    ("avoids", "avoided"),
    [
        ({"avoids_canaries": True}, {"canary": True}),
        ({"avoided_metadata": subset_match({"stage": "x", "zone": 1})}, {"stage": "x", "zone": 1, "more": 2}),
    ],
)
async def test_canaries_and_endpoints_with_some_metadata_are_avoided(
    avoids: dict[str, Any], avoided: dict[str, object]
) -> None:
    """Only in retries: the first try goes where the policy says."""
    traits = EndpointTraits(metadata=json.dumps({"envoy.lb": avoided}))
    with retrying(max_selections=50, max_retries=4, warm=False, **avoids) as proxy:
        with_endpoints(proxy, DiscoveredEndpoint(A, traits), DiscoveredEndpoint(B))
        assert (await tried_hosts(proxy, 4))[1:] == [str(B)] * 3


async def test_previous_priorities_are_left_out_and_then_begin_anew() -> None:
    """`retry_priority`: a retry goes to the next priority, although the first one looks healthy."""
    with retrying(priority_update_frequency=1, max_retries=3, warm=False) as proxy:
        with_endpoints(
            proxy,
            *(DiscoveredEndpoint(one, EndpointTraits(priority=number)) for number, one in enumerate((A, B))),
        )
        assert await tried_hosts(proxy, 3) == [str(A), str(B), str(A)]


async def test_no_endpoint_left_for_a_retry() -> None:
    """UH, as without a retry."""
    cluster = ClusterSettings(CLUSTER)
    with retrying(warm=False, cluster=cluster) as proxy:
        proxy.send(GET)
        await proxy.settle()
        proxy.cluster.update_endpoints([])
        await proxy.refuse(ConnectFailed("refused"))
        go_on(proxy)
        received = proxy.take()
        assert status_of(received) == 503
        assert received.endswith(b"no healthy upstream")
        assert proxy.log.lines == ["503 UH no_healthy_upstream"]
        assert not proxy.cluster.breakers[0].retries.used


def test_the_host_that_was_rewritten_is_rewritten_for_the_next_endpoint() -> None:
    """`auto_host_rewrite`: and the old host is told once."""
    with retrying(route_auto_host_rewrite=True, route_append_x_forwarded_host=True) as proxy:
        proxy.send(GET)
        first = head_of(proxy.upstream.take())[1]
        proxy.upstream.respond(UNAVAILABLE)
        go_on(proxy)
        again = head_of(proxy.upstream.take())[1]
        assert again[b"host"] == first[b"host"] == UPSTREAM.hostname.encode()
        assert again[b"x-forwarded-host"] == first[b"x-forwarded-host"] == b"a"
        assert again[b"x-envoy-original-host"] == b"a"


async def test_an_unhealthy_endpoint_is_no_choice_for_a_retry() -> None:
    """Health counts for retries as for first tries."""
    with retrying(warm=False, max_retries=4) as proxy:
        with_endpoints(proxy, DiscoveredEndpoint(A), DiscoveredEndpoint(B))
        proxy.cluster.endpoints[1].set_health(HealthFlag.FAILED_ACTIVE_HC, on=True, now=0.0)
        proxy.cluster.on_health_changed()
        assert await tried_hosts(proxy, 4) == [str(A)] * 4


def test_who_watches_an_endpoint_sees_responses_that_no_downstream_sees() -> None:
    """`x-envoy-immediate-health-check-fail` in an answer that is retried counts like any other."""
    with retrying() as proxy:
        told: list[str] = []
        endpoint = proxy.cluster.endpoints[0]
        endpoint.monitor = EndpointMonitor(
            lambda: told.append("failed"), lambda kind: told.append(kind.value)
        )
        proxy.send(GET)
        wire = UNAVAILABLE.replace(b"\r\n\r\n", b"\r\nx-envoy-immediate-health-check-fail: true\r\n\r\n")
        proxy.upstream.respond(wire)
        assert told == ["failed"]
        go_on(proxy)
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200


async def test_a_slow_upstream_whose_connection_breaks_gives_the_request_back() -> None:
    """The body that was paused for it is read again."""
    with retrying() as proxy:
        first: FakeUpstream = proxy.upstream
        proxy.send(POST + b"h")
        first.block()
        assert not proxy.transport.is_reading()
        first.close(ConnectionResetError())
        assert proxy.transport.is_reading()
        go_on(proxy)
        second = await proxy.accept()
        proxy.send(b"ello")
        assert second.take().endswith(b"\r\n\r\nhello")
        second.respond(OK)
        proxy.check_nothing_left()


@pytest.mark.parametrize("together", [True, False])
def test_a_response_to_be_retried_that_breaks_off_costs_one_retry(together: bool) -> None:
    """Its head was reason enough; what is wrong with its body must not count as a second failure."""
    with retrying(max_retries=1) as proxy:
        first = proxy.upstream
        proxy.offer()
        proxy.send(GET)
        (used,) = (one for one in proxy.upstreams if one.take())
        head, rest = b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n", b"zz\r\n"
        for data in [head + rest] if together else [head, rest]:
            used.respond(data)
        go_on(proxy)
        assert proxy.take() == b""
        (second,) = (one for one in proxy.upstreams if one.take())
        assert second is first or second is not used
        second.respond(OK)
        assert status_of(proxy.take()) == 200
        assert counters(proxy)["upstream_rq_retry"] == 1
        proxy.check_nothing_left()


async def test_a_body_that_nobody_may_need_again_is_not_kept() -> None:
    """Without a policy only a connection that was used before is a reason to send again; an upload may be large."""
    upload = b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello"
    with Proxy(warm=False) as proxy:
        proxy.send(upload)
        fresh = await proxy.accept()
        exchange = proxy.downstream._stream.exchange
        assert isinstance(exchange, RetryingExchange)
        assert not exchange._body.is_whole
        proxy.send(b"world")
        fresh.respond(OK)
        proxy.send(upload)
        exchange = proxy.downstream._stream.exchange
        assert isinstance(exchange, RetryingExchange)
        assert exchange._body.is_whole
        fresh.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")
        assert not exchange._body.is_whole, "the response has begun"
