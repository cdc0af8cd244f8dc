"""What a filter is: something that may look at a request, change it, answer it, or make it wait."""

from collections.abc import Awaitable
from typing import Protocol

from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import LocalReply, Request
from fastproxy.stats import StatsSink

#: None: go on. A reply: stop here and send it. An awaitable: the request waits for one of the two.
Outcome = LocalReply | Awaitable[LocalReply | None] | None


class HttpFilter(Protocol):
    """One configured HTTP filter; built once per worker, called once per request."""

    def on_request(self, request: Request) -> Outcome:
        """Decide about a request. The usual case must return without awaiting anything."""

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Add the filter's numbers to a snapshot; `prefix` is "http.STAT_PREFIX."."""


class ResponseFilter(Protocol):
    """What a filter has beside that if it looks at response heads, too; the chain finds out when it is built."""

    def on_response(self, request: Request, headers: HeaderMap) -> None:
        """Change the head of a response to `request`, an upstream's or our own, framing headers excepted.

        Called after the route's header rules, the last filter first, and also where an earlier filter answered and
        this one has not seen the request.
        """


class TrailerFilter(Protocol):
    """What a filter has beside that if it changes trailers; called only for messages that have some."""

    def on_request_trailers(self, request: Request, trailers: HeaderMap) -> None:
        """Change the trailers of a request that every filter has let pass."""

    def on_response_trailers(self, request: Request, trailers: HeaderMap) -> None:
        """Change the trailers of an upstream's response, the last filter first."""
