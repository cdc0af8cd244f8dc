"""The CORS filter: which requests it answers, and what responses say."""

import pytest

from fastproxy.filters.cors.filter import CorsFilter
from fastproxy.filters.cors.settings import CorsPolicy, CorsRouteSettings, CorsSettings
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import LocalReply, Request
from fastproxy.match.settings import Fraction, StringKind, StringMatch
from fastproxy.stats import StatsSink

GOOD = b"https://app.test"
ORIGINS = (StringMatch(StringKind.EXACT, GOOD.decode()),)
ASKS = {b"origin": GOOD, b"access-control-request-method": b"PUT"}
NOBODY, EVERYBODY = Fraction(0, 100), Fraction(100, 100)


def request(
    policy: CorsPolicy | None,
    headers: dict[bytes, bytes],
    method: bytes = b"GET",
    *,
    is_off: bool | None = False,
) -> Request:
    """A request on a route with this policy."""
    made = Request(method, b"/", dict(headers))
    made.filter_configs = {"cors": CorsRouteSettings(policy, is_off=is_off), "other": object()}
    return made


def counts(one: CorsFilter) -> tuple[int, int]:
    """Valid and invalid origins."""
    sink = StatsSink()
    one.write_stats(sink, "http.x.")
    return sink.counters["http.x.cors.origin_valid"], sink.counters["http.x.cors.origin_invalid"]


def test_preflight_of_an_allowed_origin_is_answered_in_the_upstream_s_place() -> None:
    """With the origin itself, never `*`; the method that is asked for is not compared with the list."""
    one = CorsFilter("cors", CorsSettings())
    reply = one.on_request(request(CorsPolicy(ORIGINS, allow_methods="GET"), ASKS, b"OPTIONS"))
    assert isinstance(reply, LocalReply)
    assert (reply.status, reply.body, reply.details, reply.is_whole) == (200, b"", "cors_response", True)
    assert reply.headers == (
        (b"access-control-allow-origin", GOOD),
        (b"access-control-allow-methods", b"GET"),
    )
    assert counts(one) == (1, 0)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        (b"OPTIONS", {b"access-control-request-method": b"PUT"}),
        (b"OPTIONS", {b"origin": b"", b"access-control-request-method": b"PUT"}),
        (b"OPTIONS", {b"origin": GOOD}),
        (b"OPTIONS", {b"origin": GOOD, b"access-control-request-method": b""}),
        (b"OPTIONS", {b"origin": GOOD, b"access-control-request-headers": b"x-a"}),
        (b"GET", ASKS),
        (b"options", ASKS),
        (b"OPTIONS", {b"origin": b"https://evil.test", b"access-control-request-method": b"PUT"}),
    ],
)
def test_s50_what_is_no_preflight_of_an_allowed_origin_goes_on_to_the_next_filter(
    method: bytes, headers: dict[bytes, bytes]
) -> None:
    """Or a made-up `origin` would be a way around the filter that asks for a token."""
    one = CorsFilter("cors", CorsSettings())
    assert one.on_request(request(CorsPolicy(ORIGINS), headers, method)) is None


def test_preflight_of_another_origin_may_be_answered_without_a_word() -> None:
    """`forward_not_matching_preflights: false` keeps it from the upstream, and says nothing about CORS."""
    one = CorsFilter("cors", CorsSettings())
    policy = CorsPolicy((), allow_credentials=True, max_age="5", forwards_not_matching_preflights=False)
    reply = one.on_request(request(policy, ASKS, b"OPTIONS"))
    assert isinstance(reply, LocalReply)
    assert (reply.status, reply.headers, reply.details) == (200, (), "cors_response")
    assert one.on_request(request(policy, ASKS, b"GET")) is None
    assert counts(one) == (0, 2)


def test_response_to_an_allowed_origin_says_so_whatever_the_upstream_says() -> None:
    """Its own word is replaced; what the policy does not speak of stays."""
    one = CorsFilter("cors", CorsSettings())
    made = request(CorsPolicy(ORIGINS, allow_credentials=True), {b"origin": GOOD})
    assert one.on_request(made) is None
    headers: HeaderMap = {
        b"access-control-allow-origin": b"*",
        b"access-control-expose-headers": b"x-up",
    }
    one.on_response(made, headers)
    assert headers == {
        b"access-control-allow-origin": GOOD,
        b"access-control-expose-headers": b"x-up",
        b"access-control-allow-credentials": b"true",
    }


def test_response_to_another_origin_is_left_alone() -> None:
    """So is one to a request that this filter has not seen, because another one answered before."""
    one = CorsFilter("cors", CorsSettings())
    policy = CorsPolicy(ORIGINS)
    made = request(policy, {b"origin": b"https://evil.test"})
    assert one.on_request(made) is None
    for seen in (made, request(policy, {b"origin": GOOD})):
        headers: HeaderMap = {b"access-control-allow-origin": b"upstream's"}
        one.on_response(seen, headers)
        assert headers == {b"access-control-allow-origin": b"upstream's"}


def test_two_filters_of_one_chain_remember_apart() -> None:
    """Each has its name, by which routes speak of it."""
    first, second = CorsFilter("first", CorsSettings()), CorsFilter("second", CorsSettings())
    made = Request(b"GET", b"/", {b"origin": GOOD})
    made.filter_configs = {
        "first": CorsRouteSettings(CorsPolicy(ORIGINS, expose_headers="x-1")),
        "second": CorsRouteSettings(CorsPolicy(())),
    }
    assert first.on_request(made) is None
    assert second.on_request(made) is None
    headers: HeaderMap = {}
    second.on_response(made, headers)
    assert headers == {}
    first.on_response(made, headers)
    assert headers[b"access-control-expose-headers"] == b"x-1"


@pytest.mark.parametrize(
    ("policy", "answered", "counted"),
    [
        (CorsPolicy(ORIGINS, enabled=NOBODY), False, (0, 0)),
        (CorsPolicy(ORIGINS, enabled=NOBODY, shadow_enabled=EVERYBODY), False, (1, 0)),
        (CorsPolicy((), enabled=NOBODY, shadow_enabled=EVERYBODY), False, (0, 1)),
        (CorsPolicy(ORIGINS, enabled=EVERYBODY, shadow_enabled=EVERYBODY), True, (1, 0)),
        (CorsPolicy(ORIGINS), True, (1, 0)),
        (None, False, (0, 0)),
    ],
)
def test_shares_decide_whether_a_policy_is_obeyed_or_only_counted(
    policy: CorsPolicy | None, answered: bool, counted: tuple[int, int]
) -> None:
    """A shadow changes nothing that anybody could see."""
    one = CorsFilter("cors", CorsSettings())
    made = request(policy, ASKS, b"OPTIONS")
    assert (one.on_request(made) is not None) is answered
    assert counts(one) == counted
    headers: HeaderMap = {}
    one.on_response(made, headers)
    assert headers == {}


@pytest.mark.parametrize(
    ("filter_is_off", "route_says", "works"),
    [
        (False, None, True),
        (False, False, True),
        (False, True, False),
        (True, None, False),
        (True, False, True),
    ],
)
def test_routes_switch_the_filter_on_and_off(
    filter_is_off: bool, route_says: bool | None, works: bool
) -> None:
    """`disabled` in `http_filters`, and `FilterConfig` on the route."""
    one = CorsFilter("cors", CorsSettings(filter_is_off))
    made = request(CorsPolicy(ORIGINS), ASKS, b"OPTIONS", is_off=route_says)
    assert (one.on_request(made) is not None) is works


def test_route_that_says_nothing_has_no_policy() -> None:
    """And costs nothing but the look."""
    one = CorsFilter("cors", CorsSettings())
    made = Request(b"OPTIONS", b"/", dict(ASKS))
    assert one.on_request(made) is None
    made.filter_configs = {"other": object()}
    assert one.on_request(made) is None
    assert counts(one) == (0, 0)
