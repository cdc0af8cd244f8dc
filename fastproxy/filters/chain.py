"""The filters of a connection manager, in configured order."""

import logging
from collections.abc import Awaitable, Sequence

from fastproxy.filters.base import HttpFilter, Outcome
from fastproxy.http.messages import LocalReply, Request
from fastproxy.stats import StatsSink

_log = logging.getLogger("fastproxy.filters")

#: A filter that failed has not allowed the request: fail closed (S56).
FILTER_FAILED = LocalReply(500, details="filter_failed")


class FilterChain:
    """Runs a request through its filters until one answers."""

    __slots__ = ("_filters", "_on_request")

    def __init__(self, filters: Sequence[HttpFilter]) -> None:
        self._filters = tuple(filters)
        self._on_request = tuple(one.on_request for one in self._filters)

    def on_request(self, request: Request) -> Outcome:
        """Run the chain. Hot path: once per request; no coroutine is created unless a filter waits."""
        index = 0
        try:
            for on_request in self._on_request:
                outcome = on_request(request)
                index += 1
                if outcome is None:
                    continue
                if isinstance(outcome, LocalReply):
                    return outcome
                return self._resume(request, outcome, index)
        except Exception:
            _log.exception("a filter failed; the request is refused")
            return FILTER_FAILED
        return None

    async def _resume(
        self, request: Request, waiting: Awaitable[LocalReply | None], index: int
    ) -> LocalReply | None:
        try:
            reply = await waiting
            if reply is not None:
                return reply
            for on_request in self._on_request[index:]:
                outcome = on_request(request)
                if outcome is not None and not isinstance(outcome, LocalReply):
                    outcome = await outcome
                if outcome is not None:
                    return outcome
        except Exception:
            _log.exception("a filter failed; the request is refused")
            return FILTER_FAILED
        return None

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Add every filter's numbers to a snapshot."""
        for one in self._filters:
            one.write_stats(sink, prefix)
