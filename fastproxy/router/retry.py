"""Whether a request is tried again, and when (Envoy `RetryPolicy`; spec/http.md section 11.3). Decides without I/O.

Twice what may have had an effect: never, unless the operator asked for it. What `retry_on` names is asked for; the one
case besides is told in `forward.py`.
"""

from collections.abc import Callable
from dataclasses import replace

from fastproxy.http.headers import HeaderMap, first
from fastproxy.http.messages import Request
from fastproxy.match.request import RequestMatcher, build_request_matcher
from fastproxy.match.settings import HeaderMatch, RequestConditions
from fastproxy.router.settings import (
    GRPC_RETRY_ON_WORDS,
    RETRY_ON_WORDS,
    RetryOn,
    RetrySettings,
    parse_retry_on,
)
from fastproxy.upstream.errors import CircuitBreakerOverflow, ConnectFailed, ConnectTimeout, UpstreamError

# Plain integers: an IntFlag costs half a microsecond each time it is asked.
_SERVER_ERROR = int(RetryOn.SERVER_ERROR)
_GATEWAY_ERROR = int(RetryOn.GATEWAY_ERROR)
_RESET = int(RetryOn.RESET)
_RESET_BEFORE_REQUEST = int(RetryOn.RESET_BEFORE_REQUEST)
_CONNECT_FAILURE = int(RetryOn.CONNECT_FAILURE)
_RETRIABLE_4XX = int(RetryOn.RETRIABLE_4XX)
_RETRIABLE_STATUS_CODES = int(RetryOn.RETRIABLE_STATUS_CODES)
_RETRIABLE_HEADERS = int(RetryOn.RETRIABLE_HEADERS)
_ENVOY_RATELIMITED = int(RetryOn.ENVOY_RATELIMITED)
#: Any of these means: no response is as bad as a response of 503.
_ANY_RESET = _SERVER_ERROR | _GATEWAY_ERROR | _RESET
#: gRPC status codes, and what makes them retriable.
_GRPC_CONDITIONS = {
    b"1": int(RetryOn.GRPC_CANCELLED),
    b"4": int(RetryOn.GRPC_DEADLINE_EXCEEDED),
    b"8": int(RetryOn.GRPC_RESOURCE_EXHAUSTED),
    b"13": int(RetryOn.GRPC_INTERNAL),
    b"14": int(RetryOn.GRPC_UNAVAILABLE),
}
_RETRY_ON = b"x-envoy-retry-on"
_RETRY_GRPC_ON = b"x-envoy-retry-grpc-on"
_MAX_RETRIES = b"x-envoy-max-retries"
_STATUS_CODES = b"x-envoy-retriable-status-codes"
_HEADER_NAMES = b"x-envoy-retriable-header-names"
_PER_TRY_TIMEOUT = b"x-envoy-upstream-rq-per-try-timeout-ms"
_CONTROLS = (
    _RETRY_ON,
    _RETRY_GRPC_ON,
    _MAX_RETRIES,
    _STATUS_CODES,
    _HEADER_NAMES,
    _PER_TRY_TIMEOUT,
    b"x-envoy-hedge-on-per-try-timeout",
)
#: A caller may not make a request cost more than this, whatever it says. Envoy takes any number.
_MOST_RETRIES = 1000


class RetryPolicy:
    """A compiled policy; one for all requests of a route."""

    __slots__ = ("_matches_request", "_response_matchers", "settings")

    def __init__(self, settings: RetrySettings) -> None:
        """Compile it.

        Raises:
            ValueError: a regular expression is invalid (the configuration has checked this before).
        """
        self.settings = settings
        self._matches_request = [_compile(match) for match in settings.request_headers]
        self._response_matchers = [_compile(match) for match in settings.response_headers]

    def conditions_for(self, request: Request) -> RetryOn:
        """What the request is retried on: nothing, if it has none of `retriable_request_headers`."""
        matchers = self._matches_request
        if matchers and not any(matches(request) for matches in matchers):
            return RetryOn(0)
        return self.settings.conditions

    def wants_headers(self, status: int, headers: HeaderMap) -> bool:
        """Whether one of `retriable_headers` matches a response; they may ask for `:status`, too."""
        if not self._response_matchers:
            return False
        response = Request(b"", b"", {b":status": b"%d" % status, **headers})
        return any(matches(response) for matches in self._response_matchers)


def _compile(match: HeaderMatch) -> RequestMatcher:
    found = build_request_matcher(RequestConditions(headers=(match,)))
    assert found is not None
    return found


#: For requests whose route has no policy.
NO_RETRIES = RetryPolicy(RetrySettings())


def take_retry_headers(request: Request, policy: RetryPolicy | None) -> RetryPolicy | None:
    """Take the headers that steer retries off the request; only those of trusted callers are still there.

    Args:
        request: the headers go, so that no upstream sees them.
        policy: the route's.

    Returns:
        The route's policy, or one that also heeds the headers.
    """
    headers = request.headers
    found = {name: headers.pop(name) for name in _CONTROLS if name in headers}
    if not found:
        return policy
    text = {name: _text(value) for name, value in found.items()}
    settings = NO_RETRIES.settings if policy is None else policy.settings
    conditions = settings.conditions
    conditions |= parse_retry_on(text.get(_RETRY_ON, ""), RETRY_ON_WORDS)
    conditions |= parse_retry_on(text.get(_RETRY_GRPC_ON, ""), GRPC_RETRY_ON_WORDS)
    max_retries = _number(text.get(_MAX_RETRIES, ""))
    per_try_ms = _number(text.get(_PER_TRY_TIMEOUT, ""))
    codes = {_number(word) for word in text.get(_STATUS_CODES, "").split(",")}
    names = (word.strip().lower() for word in text.get(_HEADER_NAMES, "").split(","))
    return RetryPolicy(
        replace(
            settings,
            conditions=conditions,
            max_retries=settings.max_retries if max_retries is None else min(max_retries, _MOST_RETRIES),
            per_try_timeout_s=settings.per_try_timeout_s if per_try_ms is None else per_try_ms / 1000,
            status_codes=settings.status_codes | {code for code in codes if code is not None},
            response_headers=(
                *settings.response_headers,
                *(HeaderMatch(name) for name in names if name and name[0] != ":"),
            ),
        )
    )


def _text(value: bytes | list[bytes]) -> str:
    joined = value if isinstance(value, bytes) else b",".join(value)
    return joined.decode("latin-1")


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


class RetryState:
    """What one request is retried on, how often still, and when."""

    __slots__ = ("_conditions", "_next_interval_s", "_policy", "_reset_s", "retries_left")

    def __init__(self, policy: RetryPolicy, request: Request) -> None:
        self._policy = policy
        self._conditions = int(policy.conditions_for(request))
        self.retries_left = policy.settings.max_retries
        """Tries that are left besides the one under way."""
        self._next_interval_s = 0.0
        self._reset_s = 0.0

    @property
    def is_enabled(self) -> bool:
        """Whether there is anything that the request is retried on."""
        return self._conditions != 0

    def disable(self) -> None:
        """Never again: the request cannot be repeated."""
        self._conditions = 0

    def wants_response(self, status: int, headers: HeaderMap, unix_now: float) -> bool:
        """Whether a response is one to try again after.

        Args:
            status: of the response.
            headers: of the response; some tell how long to wait (`rate_limited_retry_back_off`).
            unix_now: seconds.
        """
        self._reset_s = 0.0
        if not self._is_retriable(status, headers):
            return False
        settings = self._policy.settings
        for header in settings.reset_headers:
            seconds = _number((first(headers, header.name.encode()) or b"").decode("latin-1"))
            if seconds is None:
                continue
            pause_s = seconds - int(unix_now) if header.is_timestamp else float(seconds)
            if 0 < pause_s <= settings.max_reset_s:
                self._reset_s = pause_s
                break
        return True

    def _is_retriable(self, status: int, headers: HeaderMap) -> bool:
        conditions = self._conditions
        if not conditions:
            return False
        if b"x-envoy-ratelimited" in headers:
            # Another proxy's rate limit: more requests are the last thing that helps, unless they are asked for.
            return bool(conditions & _ENVOY_RATELIMITED)
        if 500 <= status <= 599 and conditions & _SERVER_ERROR:
            return True
        if status in (502, 503, 504) and conditions & _GATEWAY_ERROR:
            return True
        if status == 409 and conditions & _RETRIABLE_4XX:
            return True
        if conditions & _RETRIABLE_STATUS_CODES and status in self._policy.settings.status_codes:
            return True
        if conditions & _RETRIABLE_HEADERS and self._policy.wants_headers(status, headers):
            return True
        grpc_status = headers.get(b"grpc-status")
        if isinstance(grpc_status, bytes):
            return bool(conditions & _GRPC_CONDITIONS.get(grpc_status.strip(), 0))
        return False

    def wants_error(self, error: UpstreamError | None, *, was_sent: bool) -> bool:
        """Whether to try again after there was no response.

        Args:
            error: what happened; None: `per_try_timeout` has passed.
            was_sent: the request had a connection, so the upstream may have seen it.
        """
        self._reset_s = 0.0
        conditions = self._conditions
        if isinstance(error, CircuitBreakerOverflow):
            return False
        if isinstance(error, ConnectFailed | ConnectTimeout) and conditions & _CONNECT_FAILURE:
            return True
        if not was_sent and conditions & _RESET_BEFORE_REQUEST:
            return True
        return bool(conditions & _ANY_RESET)

    @property
    def waits_for_reset(self) -> bool:
        """Whether the next pause is one that a response asked for."""
        return self._reset_s > 0

    def next_pause_s(self, random: Callable[[], float]) -> float:
        """How long to wait before the next try; to be asked once for each.

        Exponential with full jitter: in [0, (2**n - 1) * base) for the n-th retry, at most the maximum. A response that
        says when to come again (`rate_limited_retry_back_off`) is obeyed, plus up to half of that.

        Args:
            random: in [0, 1).
        """
        if self._reset_s > 0:
            return self._reset_s * (1 + random() / 2)
        settings = self._policy.settings
        base_s, max_s = settings.base_interval_s, settings.max_interval_s
        self._next_interval_s = min(self._next_interval_s * 2 + base_s, max_s)
        return random() * self._next_interval_s
