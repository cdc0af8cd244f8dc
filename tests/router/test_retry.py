"""What is retried, how often and when; the decision alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request
from fastproxy.match.settings import HeaderMatch, StringKind, StringMatch
from fastproxy.router.retry import RetryPolicy, RetryState, take_retry_headers
from fastproxy.router.settings import (
    GRPC_RETRY_ON_WORDS,
    RETRY_ON_WORDS,
    ResetHeader,
    RetryOn,
    RetrySettings,
    parse_retry_on,
)
from fastproxy.upstream.errors import (
    CircuitBreakerOverflow,
    ConnectFailed,
    ConnectTimeout,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamReset,
)

NOW = 1_700_000_000.0
WORDS = {**RETRY_ON_WORDS, **GRPC_RETRY_ON_WORDS}
REFUSED, CLOSED = ConnectFailed("refused"), UpstreamReset(reused=False)


def request_with(**headers: bytes) -> Request:
    return Request(b"GET", b"/", {name.replace("_", "-").encode(): value for name, value in headers.items()})


def state(conditions: str = "", request: Request | None = None, **settings: object) -> RetryState:
    policy = RetrySettings(parse_retry_on(conditions, WORDS), **settings)  # type: ignore[arg-type]
    return RetryState(RetryPolicy(policy), request or request_with())


@pytest.mark.parametrize(
    ("condition", "retried"),
    [
        ("", ""),
        ("5xx", "500 502 503 504 599"),
        ("gateway-error", "502 503 504"),
        ("retriable-4xx", "409"),
        ("retriable-status-codes", "404 418"),
        ("reset", ""),
        ("connect-failure", ""),
        ("5xx,retriable-4xx", "409 500 502 503 504 599"),
        (" 5xx , nonsense", "500 502 503 504 599"),
        ("refused-stream,http3-post-connect-failure", ""),
    ],
)
def test_statuses_that_are_retried(condition: str, retried: str) -> None:
    """Each condition means what Envoy's does (spec/http.md section 11.3)."""
    tried = state(condition, status_codes=frozenset((404, 418)))
    statuses = (200, 204, 302, 404, 409, 418, 429, 500, 502, 503, 504, 599, 600, 999)
    found = [status for status in statuses if tried.wants_response(status, {}, NOW)]
    assert found == [int(word) for word in retried.split()]


@pytest.mark.parametrize(
    ("condition", "before", "after"),
    [
        ("5xx", True, True),
        ("gateway-error", True, True),
        ("reset", True, True),
        ("reset-before-request", True, False),
        ("connect-failure", True, False),
        ("retriable-4xx,retriable-status-codes,retriable-headers", False, False),
        ("unavailable", False, False),
        ("", False, False),
    ],
)
@pytest.mark.parametrize("no_connection", [REFUSED, ConnectTimeout()])
@pytest.mark.parametrize("no_response", [CLOSED, UpstreamInvalidResponse(), None])
def test_failures_that_are_retried(
    condition: str,
    before: bool,
    after: bool,
    no_connection: UpstreamError,
    no_response: UpstreamError | None,
) -> None:
    """Before the request was sent, and after; None is a try that took too long."""
    assert state(condition).wants_error(no_connection, was_sent=False) is before
    assert state(condition).wants_error(no_response, was_sent=True) is after


@given(st.lists(st.sampled_from(sorted(WORDS)), max_size=8), st.integers(200, 599))
def test_more_conditions_never_retry_less(words: list[str], status: int) -> None:
    """A list is the union of its words."""
    headers: HeaderMap = {b"grpc-status": b"14"}
    together = state(",".join(words)).wants_response(status, headers, NOW)
    assert together == any(state(word).wants_response(status, headers, NOW) for word in words)


@pytest.mark.parametrize("condition", sorted(WORDS))
def test_an_open_circuit_breaker_is_never_retried(condition: str) -> None:
    """More requests are what it does not need."""
    assert not state(condition).wants_error(CircuitBreakerOverflow(), was_sent=False)


def test_what_is_overloaded_behind_us_is_retried_like_any_other() -> None:
    """`x-envoy-overloaded` speaks of one endpoint, and the next one may not be (Envoy 1.40 does the same)."""
    assert state("5xx").wants_response(503, {b"x-envoy-overloaded": b"true"}, NOW)


def test_a_rate_limit_behind_us_is_retried_only_if_that_is_asked_for() -> None:
    """`envoy-ratelimited`, whatever the status."""
    limited: HeaderMap = {b"x-envoy-ratelimited": b"true"}
    assert not state("5xx").wants_response(503, limited, NOW)
    assert state("envoy-ratelimited").wants_response(429, limited, NOW)
    assert not state("envoy-ratelimited").wants_response(429, {}, NOW)


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("cancelled", b"1"),
        ("deadline-exceeded", b"4"),
        ("resource-exhausted", b"8"),
        ("internal", b"13"),
        ("unavailable", b"14"),
    ],
)
def test_grpc_status_in_the_head(word: str, code: bytes) -> None:
    """An answer without a body has it there; in trailers it comes too late."""
    others = [b"0", b"1", b"2", b"4", b"8", b"13", b"14", b"x", b""]
    found = [value for value in others if state(word).wants_response(200, {b"grpc-status": value}, NOW)]
    assert found == [code]


def test_retriable_headers_of_the_response() -> None:
    """One of them is enough; without the condition none is."""
    match = HeaderMatch("x-again", StringMatch(StringKind.EXACT, "yes"))
    by_status = HeaderMatch(":status", StringMatch(StringKind.PREFIX, "41"))
    tried = state("retriable-headers", response_headers=(match, by_status))
    assert tried.wants_response(200, {b"x-again": b"yes"}, NOW)
    assert tried.wants_response(418, {}, NOW)
    assert not tried.wants_response(200, {b"x-again": b"no"}, NOW)
    assert not state("5xx", response_headers=(match,)).wants_response(200, {b"x-again": b"yes"}, NOW)


def test_retriable_request_headers_limit_the_policy() -> None:
    """Only requests that have one of them are retried."""
    wanted = (HeaderMatch("x-safe"), HeaderMatch(":method", StringMatch(StringKind.EXACT, "HEAD")))
    assert state("5xx", request_with(x_safe=b"1"), request_headers=wanted).is_enabled
    assert not state("5xx", request_headers=wanted).is_enabled


# -- headers of trusted callers ----------------------------------------------------------------------------


def taken(policy: RetrySettings | None = None, **headers: bytes) -> tuple[RetrySettings | None, Request]:
    request = request_with(x_other=b"stays", **headers)
    found = take_retry_headers(request, None if policy is None else RetryPolicy(policy))
    return None if found is None else found.settings, request


def test_headers_are_taken_off_and_obeyed() -> None:
    """Every one of them (spec/http.md section 7.2)."""
    found, request = taken(
        x_envoy_retry_on=b"5xx,nonsense",
        x_envoy_retry_grpc_on=b"unavailable",
        x_envoy_max_retries=b"7",
        x_envoy_retriable_status_codes=b"418, 429,x,-1",
        x_envoy_retriable_header_names=b"X-Again, x-more,:path,",
        x_envoy_upstream_rq_per_try_timeout_ms=b"250",
        x_envoy_hedge_on_per_try_timeout=b"true",
    )
    assert request.headers == {b"x-other": b"stays"}
    assert found == RetrySettings(
        RetryOn.SERVER_ERROR | RetryOn.GRPC_UNAVAILABLE,
        max_retries=7,
        per_try_timeout_s=0.25,
        status_codes=frozenset((418, 429)),
        response_headers=(HeaderMatch("x-again"), HeaderMatch("x-more")),
    )


def test_headers_add_to_the_policy_of_the_route() -> None:
    """The conditions of both; the number of the header."""
    policy = RetrySettings(RetryOn.RESET, max_retries=5, status_codes=frozenset((404,)))
    found, _ = taken(policy, x_envoy_retry_on=b"retriable-4xx", x_envoy_max_retries=b"0")
    assert found is not None
    assert found.conditions == RetryOn.RESET | RetryOn.RETRIABLE_4XX
    assert (found.max_retries, found.status_codes) == (0, frozenset((404,)))


@pytest.mark.parametrize("value", [b"", b"x", b"-1", b"1.5", b"9" * 40, "\u0663".encode()])
def test_a_number_that_is_none_is_not_heeded(value: bytes) -> None:
    """The policy stays what it was."""
    found, _ = taken(
        RetrySettings(max_retries=2), x_envoy_max_retries=value, x_envoy_upstream_rq_per_try_timeout_ms=value
    )
    assert found == RetrySettings(max_retries=2)


def test_no_header_changes_nothing() -> None:
    """And costs no new policy."""
    request = request_with(x_other=b"1")
    policy = RetryPolicy(RetrySettings())
    assert take_retry_headers(request, policy) is policy
    assert take_retry_headers(request, None) is None


# -- time --------------------------------------------------------------------------------------------------


@given(
    base_ms=st.integers(1, 1000),
    factor=st.integers(1, 50),
    chances=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=12),
)
def test_pauses_grow_with_full_jitter_and_stay_below_the_maximum(
    base_ms: int, factor: int, chances: list[float]
) -> None:
    """Uniform in [0, (2**n - 1) * base), never above `max_interval` (spec/http.md section 11.3)."""
    base_s = base_ms / 1000
    tried = state("5xx", base_interval_s=base_s, max_interval_s=base_s * factor)
    for number, chance in enumerate(chances, 1):
        pause_s = tried.next_pause_s(lambda chance=chance: chance)  # type: ignore[misc]
        assert pause_s == pytest.approx(chance * min((2**number - 1) * base_s, base_s * factor))


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({b"retry-after": b"3"}, 3),
        ({b"x-reset": b"%d" % (NOW + 7)}, 7),
        ({b"retry-after": b"600", b"x-reset": b"%d" % (NOW + 7)}, 7),
        ({b"retry-after": b"600"}, 0),
        ({b"retry-after": b"0"}, 0),
        ({b"x-reset": b"%d" % (NOW - 7)}, 0),
        ({b"retry-after": b"Wed, 21 Oct 2026 07:28:00 GMT"}, 0),
        ({b"retry-after": b"-3"}, 0),
        ({}, 0),
    ],
)
def test_an_upstream_may_say_when_to_come_again(headers: HeaderMap, pause_s: int) -> None:
    """`rate_limited_retry_back_off`: up to its maximum; the first header that can be read counts."""
    tried = state(
        "5xx",
        base_interval_s=0.025,
        reset_headers=(ResetHeader("retry-after"), ResetHeader("x-reset", is_timestamp=True)),
    )
    assert tried.wants_response(503, headers, NOW)
    assert tried.waits_for_reset is bool(pause_s)
    lowest, highest = tried.next_pause_s(lambda: 0.0), pause_s * 1.5
    assert lowest == pause_s
    if pause_s:
        assert tried.next_pause_s(lambda: 1.0) == highest
    # The next failure says nothing about it.
    assert tried.wants_error(CLOSED, was_sent=True)
    assert not tried.waits_for_reset


def test_a_request_that_cannot_be_repeated_is_never_retried() -> None:
    """Part of its body is gone."""
    tried = state("5xx")
    tried.disable()
    assert not tried.wants_response(503, {}, NOW)
    assert not tried.wants_error(REFUSED, was_sent=False)
