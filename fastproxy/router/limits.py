"""How long a stream may take, by its route and by what its request says (spec/http.md sections 9.1 and 11.2)."""

import re
from collections.abc import Callable

from fastproxy.http.headers import first
from fastproxy.http.local_reply import is_grpc
from fastproxy.http.messages import Request
from fastproxy.router.settings import ForwardAction

_GRPC_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_GRPC_HEADER = b"grpc-timeout"
_TIMEOUT_HEADER = b"x-envoy-upstream-rq-timeout-ms"
_ALTERNATIVE_HEADER = b"x-envoy-upstream-rq-timeout-alt-response"


class StreamLimits:
    """A route's `idle_timeout` and `max_stream_duration`."""

    __slots__ = ("_duration_s", "_grpc_max_s", "_grpc_offset_s", "idle_timeout_s")

    def __init__(self, action: ForwardAction) -> None:
        self.idle_timeout_s = action.idle_timeout_s
        """Instead of the connection manager's `stream_idle_timeout`; 0 is none, None says nothing."""
        self._duration_s = action.max_stream_duration_s
        self._grpc_max_s = action.grpc_timeout_max_s
        self._grpc_offset_s = action.grpc_timeout_offset_s

    def duration_s(self, request: Request) -> float | None:
        """How long the stream may last from its first byte; 0 is for ever, None leaves it to the connection manager."""
        if self._grpc_max_s is not None:
            asked = parse_grpc_timeout(first(request.headers, _GRPC_HEADER))
            if asked is not None:
                limit = self._grpc_max_s
                if limit and (asked > limit or not asked):
                    asked = limit
                return asked - self._grpc_offset_s if asked > self._grpc_offset_s else asked
        return self._duration_s


class GrpcRouteTimeout:
    """`max_grpc_timeout`: the timeout that a gRPC request asks for, within a bound, is the one of its route."""

    __slots__ = ("_max_s", "_offset_s", "_per_try_s")

    def __init__(self, max_s: float, offset_s: float, per_try_s: float) -> None:
        """Times are seconds; 0 is no bound, and no time for each try."""
        self._max_s = max_s
        self._offset_s = offset_s
        self._per_try_s = per_try_s

    def select_s(self, request: Request) -> float | None:
        """The timeout of a request, 0 for none; None: it is not gRPC. The upstream is told in `grpc-timeout`."""
        if not is_grpc(request):
            return None
        # Without a usable header a request asks for no end, which the bound then is.
        timeout_s = parse_grpc_timeout(first(request.headers, _GRPC_HEADER)) or 0.0
        if timeout_s > self._offset_s:
            timeout_s -= self._offset_s
        if self._max_s and not 0 < timeout_s <= self._max_s:
            timeout_s = self._max_s
        told_s = min(filter(None, (timeout_s, self._per_try_s)), default=0.0)
        if told_s:
            request.headers[_GRPC_HEADER] = encode_grpc_timeout(told_s)
        return timeout_s


#: Tells the upstream how long a gRPC request may take, and returns the timeout that this makes for the route: None is
#: the usual one, 0 is none.
GrpcTimeout = Callable[[Request], float | None]


def build_grpc_timeout(action: ForwardAction) -> GrpcTimeout | None:
    """What a route makes of `grpc-timeout`; None if it does not look at it."""
    if action.grpc_route_timeout_max_s is not None:
        per_try_s = 0.0 if action.retry is None else action.retry.per_try_timeout_s
        return GrpcRouteTimeout(
            action.grpc_route_timeout_max_s, action.grpc_route_timeout_offset_s, per_try_s
        ).select_s
    return _build_cap(action.grpc_timeout_max_s) if action.grpc_timeout_max_s else None


def _build_cap(limit_s: float) -> GrpcTimeout:
    """`grpc_timeout_header_max`: the upstream hears of no more time than the stream has."""

    def cap(request: Request) -> None:
        asked = parse_grpc_timeout(first(request.headers, _GRPC_HEADER))
        if asked is not None and asked > limit_s and is_grpc(request):
            request.headers[_GRPC_HEADER] = encode_grpc_timeout(limit_s)

    return cap


def build_limits(action: ForwardAction) -> StreamLimits | None:
    """A route's limits; None if it has none of its own."""
    if (
        action.idle_timeout_s is None
        and action.max_stream_duration_s is None
        and action.grpc_timeout_max_s is None
    ):
        return None
    return StreamLimits(action)


def parse_grpc_timeout(value: bytes | None) -> float | None:
    """Seconds that a `grpc-timeout` header asks for; None if it is absent or not one."""
    found = None if value is None else _GRPC_TIMEOUT.fullmatch(value)
    return None if found is None else int(found.group(1)) * _UNIT_S[found.group(2)]


def encode_grpc_timeout(seconds: float) -> bytes:
    """The value of a `grpc-timeout` header: in the finest unit from milliseconds on that needs at most eight digits."""
    value = int(seconds * 1000 + 1e-6)
    for unit, more in ((b"m", 1000), (b"S", 60), (b"M", 60)):
        if value < 100_000_000:
            return b"%d%b" % (value, unit)
        value //= more
    return b"%dH" % min(value, 99_999_999)


def take_timeout_header(request: Request) -> float | None:
    """Take `x-envoy-upstream-rq-timeout-ms` off the request: seconds, or None if there is no usable one.

    Only requests of trusted callers still have it here (spec/http.md section 7.2).
    """
    value = request.headers.pop(_TIMEOUT_HEADER, None)
    if not isinstance(value, bytes) or not value.isdigit() or len(value) > 15:
        return None
    return int(value) / 1000


def take_alternative_header(request: Request) -> bool:
    """Take `x-envoy-upstream-rq-timeout-alt-response` off; if it was there, a timeout answers 204 and not 504."""
    return request.headers.pop(_ALTERNATIVE_HEADER, None) is not None
