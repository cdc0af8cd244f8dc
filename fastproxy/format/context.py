"""What an operator may look at."""

from collections.abc import Callable

from fastproxy.http.messages import Request


class FormatContext:
    """One request at the moment of formatting.

    `now`: monotonic seconds. `local_reply_body`: the body that `%LOCAL_REPLY_BODY%` stands for, outside of local
    replies empty. `secret_headers`: names, in lower case, of request headers that carry credentials here, beside those
    that do everywhere.
    """

    __slots__ = ("local_reply_body", "now", "request", "secret_headers")

    def __init__(
        self,
        request: Request,
        now: float,
        local_reply_body: bytes = b"",
        secret_headers: frozenset[bytes] = frozenset(),
    ) -> None:
        self.request = request
        self.now = now
        self.local_reply_body = local_reply_body
        self.secret_headers = secret_headers


#: A value, None if there is none. Bytes are text of a peer, as received; what becomes of either is the reader's affair.
Operator = Callable[[FormatContext], object]
