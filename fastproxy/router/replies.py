"""What the router answers when an upstream does not (spec/http.md section 9)."""

from fastproxy.http.messages import LocalReply
from fastproxy.upstream.errors import CircuitBreakerOverflow, StreamTooLong, UpstreamError

NO_HEALTHY_UPSTREAM = LocalReply(503, b"no healthy upstream", details="no_healthy_upstream", flag="UH")
REQUEST_TIMEOUT = LocalReply(504, b"upstream request timeout", details="response_timeout", flag="UT")
#: Instead of it, where the request asks for that (`x-envoy-upstream-rq-timeout-alt-response`).
ALTERNATIVE_TIMEOUT = LocalReply(204, details="response_timeout", flag="UT")


def build_error_reply(
    error: UpstreamError, *, retried: bool, envoy_headers: bool, is_request_complete: bool = True
) -> LocalReply:
    """Say to the downstream that its request has failed.

    Args:
        error: why.
        retried: it was tried again before.
        envoy_headers: responses may carry `x-envoy-` headers.
        is_request_complete: all of the request is here, and it is not for another protocol.
    """
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if envoy_headers and isinstance(error, CircuitBreakerOverflow):
        headers = ((b"x-envoy-overloaded", b"true"),)
    status = error.status
    if isinstance(error, StreamTooLong) and not is_request_complete:
        # As every timer that finds the request incomplete (Envoy).
        status = 408
    return LocalReply(
        status,
        error.body(retried=retried),
        details=error.details(),
        flag=error.flag,
        headers=headers,
    )
