"""Ways in which an upstream can fail a request (spec/http.md sections 11.4 and 12).

`reason` is Envoy's wording after `reset reason:`; `code` and `flag` are what the access log shows.
"""

from typing import ClassVar

from fastproxy.errors import ProxyError, Side


class UpstreamError(ProxyError):
    """The upstream did not give a usable answer; no byte of a response has reached the downstream."""

    side: ClassVar[Side] = Side.UPSTREAM
    status: ClassVar[int] = 503
    reason: ClassVar[str] = ""

    def body(self, *, retried: bool = False) -> bytes:
        """The local reply's body, Envoy's text; `retried`: this was not the first try."""
        which = "retried and the latest reset reason" if retried else "reset reason"
        return f"upstream connect error or disconnect/reset before headers. {which}: {self.reason}".encode()

    def details(self) -> str:
        """The access log's response code details."""
        return f"upstream_reset_before_response_started{{{self.code}}}"


class ConnectFailed(UpstreamError):
    """TCP or TLS connect was refused or failed. `cause` is for logs: an OS or TLS error text."""

    flag, code, reason = "UF", "remote_connection_failure", "remote connection failure"

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause

    def details(self) -> str:
        """Envoy appends the cause with underscores for spaces; the downstream never sees it."""
        return f"upstream_reset_before_response_started{{{self.code}|{self.cause.replace(' ', '_')}}}"


class ConnectTimeout(UpstreamError):
    """`connect_timeout` passed before the connection, TLS handshake included, was there."""

    flag, code, reason = "UF", "connection_timeout", "connection timeout"


class UpstreamReset(UpstreamError):
    """The upstream closed the connection before its response head was complete.

    `reused`: the connection had served before and no byte of this response came, so its idle timer may have fired
    first; `router` decides. `at_end`: it said so (FIN, `close_notify`), instead of resetting the connection.
    """

    flag, code, reason = "UC", "connection_termination", "connection termination"

    def __init__(self, *, reused: bool, at_end: bool = False) -> None:
        super().__init__("upstream closed the connection early")
        self.reused = reused
        self.at_end = at_end


class UpstreamInvalidResponse(UpstreamError):
    """What the upstream sent is no HTTP/1 response that may be passed on."""

    status: ClassVar[int] = 502
    flag, code, reason = "UPE", "protocol_error", "protocol error"


class StreamTooLong(UpstreamError):
    """`max_stream_duration` of the cluster has passed, and the response is not complete."""

    status: ClassVar[int] = 504
    flag, code, reason = "UMSDR", "upstream_max_stream_duration_reached", "local reset"

    def body(self, *, retried: bool = False) -> bytes:
        """Envoy's text."""
        return b"upstream max stream duration reached"

    def details(self) -> str:
        """The code alone (Envoy)."""
        return self.code


class CircuitBreakerOverflow(UpstreamError):
    """A limit of `circuit_breakers` is reached: the cluster has enough to do. Never retried."""

    flag, code, reason = "UO", "overflow", "overflow"
