"""What a filter is: something that may look at a request, change it, answer it, or make it wait."""

from collections.abc import Awaitable
from typing import Protocol

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
