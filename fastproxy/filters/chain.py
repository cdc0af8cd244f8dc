"""The filters of a connection manager, in configured order."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from fastproxy.filters.base import HttpFilter, Outcome, TrailerFilter
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import LocalReply, Request
from fastproxy.stats import StatsSink

_log = logging.getLogger("fastproxy.filters")

#: A filter that failed has not allowed the request: fail closed (S56).
FILTER_FAILED = LocalReply(500, details="filter_failed")


class FilterChain:
    """Runs a request through its filters until one answers."""

    __slots__ = (
        "_filters",
        "_on_request",
        "_on_response",
        "_select_route",
        "_trailer_filters",
        "on_response",
    )

    def __init__(
        self, filters: Sequence[HttpFilter], select_route: Callable[[Request], None] | None = None
    ) -> None:
        """Build the chain.

        Args:
            filters: in configured order, without the router.
            select_route: called when a filter has set `request.route_is_stale` (Envoy's cleared route cache), before
                the next filter looks at what the route says about it.
        """
        self._filters = tuple(filters)
        self._select_route = select_route
        self._on_request = tuple(one.on_request for one in self._filters)
        self._on_response: tuple[Callable[[Request, HeaderMap], None], ...] = tuple(
            one.on_response for one in reversed(self._filters) if hasattr(one, "on_response")
        )
        self._trailer_filters: tuple[TrailerFilter, ...] = tuple(
            cast("TrailerFilter", one) for one in self._filters if hasattr(one, "on_request_trailers")
        )
        self.on_response: Callable[[Request, HeaderMap], bool] | None = (
            self._run_response if self._on_response else None
        )
        """Runs a response head through the filters, the last one first; None if none of them looks at it. Says whether
        the response may be sent: a filter that failed may not have removed what it should have (S56)."""

    def on_request(self, request: Request) -> Outcome:
        """Run the chain. Hot path: once per request; no coroutine is created unless a filter waits."""
        index = 0
        try:
            for on_request in self._on_request:
                outcome = on_request(request)
                index += 1
                if outcome is None:
                    if request.route_is_stale and self._select_route is not None:
                        self._select_route(request)
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
                if request.route_is_stale and self._select_route is not None:
                    self._select_route(request)
                outcome = on_request(request)
                if outcome is not None and not isinstance(outcome, LocalReply):
                    outcome = await outcome
                if outcome is not None:
                    return outcome
            if request.route_is_stale and self._select_route is not None:
                self._select_route(request)
        except Exception:
            _log.exception("a filter failed; the request is refused")
            return FILTER_FAILED
        return None

    def _run_response(self, request: Request, headers: HeaderMap) -> bool:
        try:
            for on_response in self._on_response:
                on_response(request, headers)
        except Exception:
            _log.exception("a filter failed; the response is not sent")
            return False
        return True

    def on_request_trailers(self, request: Request, trailers: HeaderMap) -> bool:
        """Run the trailers of a request through the filters; says whether the request may go on (S56)."""
        try:
            for one in self._trailer_filters:
                one.on_request_trailers(request, trailers)
        except Exception:
            _log.exception("a filter failed; the request is refused")
            return False
        return True

    def on_response_trailers(self, request: Request, trailers: HeaderMap) -> bool:
        """Run the trailers of a response through the filters, the last one first; says whether it may go on (S56)."""
        try:
            for one in reversed(self._trailer_filters):
                one.on_response_trailers(request, trailers)
        except Exception:
            _log.exception("a filter failed; the response is cut")
            return False
        return True

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Add every filter's numbers to a snapshot."""
        for one in self._filters:
            one.write_stats(sink, prefix)
