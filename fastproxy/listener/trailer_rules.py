"""What a listener makes of the trailers of requests (Envoy `enable_trailers`)."""

from collections.abc import Callable

from fastproxy.http.errors import ProtocolError
from fastproxy.http.headers import HeaderMap, count_header_bytes
from fastproxy.http.messages import Request
from fastproxy.http.trailers import MessageTrailers, remove_forbidden


class TrailerRules:
    """Keeps trailers within the limits of a head, without what must not be there (S46)."""

    __slots__ = ("_check_underscores", "_identity")

    def __init__(
        self, identity_headers: frozenset[bytes], check_underscores: Callable[[HeaderMap], None] | None
    ) -> None:
        """Make the rules of one connection manager.

        Args:
            identity_headers: names that only filters may set.
            check_underscores: `headers_with_underscores_action`; None: such names are as good as any.
        """
        self._identity = identity_headers
        self._check_underscores = check_underscores

    def keep(
        self, request: Request, fields: HeaderMap, repeated: int, *, max_bytes: int, max_count: int
    ) -> None:
        """Give a request the trailers that came behind its body, if there are any.

        Args:
            request: whose body is complete.
            fields: as they came; the request's from now on.
            repeated: lines beyond the first of each name.
            max_bytes: of all lines.
            max_count: of lines.

        Raises:
            ProtocolError: there are too many, or some that are rejected.
        """
        if not fields:
            return
        if len(fields) + repeated > max_count:
            raise ProtocolError("http1.too_many_headers", status=431)
        if count_header_bytes(fields) > max_bytes:
            raise ProtocolError("http1.headers_too_large", status=431)
        if self._check_underscores is not None:
            self._check_underscores(fields)
        remove_forbidden(fields, self._identity)
        request.trailers = MessageTrailers()
        request.trailers.request = fields
