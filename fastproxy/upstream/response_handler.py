"""What a connection to an endpoint expects of whoever sends a request over it."""

from typing import Protocol

from fastproxy.http.headers import HeaderMap
from fastproxy.upstream.errors import UpstreamError


class ResponseHandler(Protocol):
    """Who made the request on this connection and wants its response.

    The connection calls once per read, with everything that the read brought, so that a head and its body can be
    passed on in one write.
    """

    def on_interim(self, headers: HeaderMap) -> None:
        """A 100 (Continue) with these headers; its final response is still to come."""

    def on_response_head(self, status: int, headers: HeaderMap, body: list[bytes], *, complete: bool) -> None:
        """A final (not 1xx) response head, and what came with it of the body, transfer coding removed.

        Framing and hop-by-hop headers are still in `headers`. `complete`: the response has ended, and the connection
        no longer belongs to the handler.
        """

    def on_response_body(self, body: list[bytes], *, complete: bool) -> None:
        """More of the body, in pieces; `complete` as above."""

    def on_upstream_error(self, error: UpstreamError) -> None:
        """No complete response will come; the connection no longer belongs to the handler."""

    def on_upstream_blocked(self) -> None:
        """The connection's write buffer is above its high-water mark."""

    def on_upstream_drained(self) -> None:
        """The write buffer is below its low-water mark again."""


class SwitchHandler(ResponseHandler, Protocol):
    """A handler whose request asks to leave HTTP."""

    def on_switched(self, status: int, headers: HeaderMap, early: list[bytes]) -> None:
        """The upstream has agreed; all that follows comes as body, as it is, `early` being the first of it."""
