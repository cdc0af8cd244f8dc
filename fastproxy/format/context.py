"""What an operator may look at."""

from collections.abc import Callable

from fastproxy.http.messages import Request

#: Envoy's `AccessLogType` of a request's last line, for most its only one.
REQUEST_END = "DownstreamEnd"
#: Of the lines before that, where they are asked for.
REQUEST_START, REQUEST_PERIODIC = "DownstreamStart", "DownstreamPeriodic"
REQUEST_TUNNEL = "DownstreamTunnelSuccessfullyEstablished"
#: Of whatever is no request and no connection of a TCP proxy.
NO_LOG_TYPE = "NotSet"


class FormatContext:
    """One request at the moment of formatting.

    `now`: monotonic seconds. `local_reply_body`: the body that `%LOCAL_REPLY_BODY%` stands for, outside of local
    replies empty. `secret_headers`: names, in lower case, of request headers that carry credentials here, beside those
    that do everywhere. `log_type`: why a line is written (`%ACCESS_LOG_TYPE%`).
    """

    __slots__ = ("local_reply_body", "log_type", "now", "request", "secret_headers")

    def __init__(
        self,
        request: Request,
        now: float,
        local_reply_body: bytes = b"",
        secret_headers: frozenset[bytes] = frozenset(),
        log_type: str = "",
    ) -> None:
        self.request = request
        self.now = now
        self.local_reply_body = local_reply_body
        self.secret_headers = secret_headers
        self.log_type = log_type


#: A value, None if there is none. Bytes are text of a peer, as received; what becomes of either is the reader's affair.
Operator = Callable[[FormatContext], object]
