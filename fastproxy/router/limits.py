"""How long a stream may take, by its route and by what its request says (spec/http.md sections 9.1 and 11.2)."""

import re

from fastproxy.http.headers import first
from fastproxy.http.messages import Request
from fastproxy.router.settings import ForwardAction

_GRPC_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
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
            asked = parse_grpc_timeout(first(request.headers, b"grpc-timeout"))
            if asked is not None:
                limit = self._grpc_max_s
                if limit and (asked > limit or not asked):
                    asked = limit
                return asked - self._grpc_offset_s if asked > self._grpc_offset_s else asked
        return self._duration_s


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
