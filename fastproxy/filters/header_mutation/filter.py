"""The filter: apply header rules where it stands in the chain, so that later filters see what it did.

Theory: what routes say is known when the first request for one comes, and is compiled then; a route's settings are one
object for as long as the route lives, so its identity is the key.
"""

from collections.abc import Callable, Iterator
from itertools import chain

from fastproxy.filters.base import Outcome
from fastproxy.filters.header_mutation.query import QueryRules
from fastproxy.filters.header_mutation.settings import (
    HeaderMutationRouteSettings,
    HeaderMutationSettings,
    Mutations,
)
from fastproxy.format.header_rules import HeaderRules, build_header_rules
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request
from fastproxy.stats import StatsSink


class _Compiled:
    """What is done on one route."""

    __slots__ = ("request", "request_trailers", "response", "response_trailers", "source")

    def __init__(self, levels: tuple[Mutations, ...], source: object) -> None:
        self.request: tuple[Callable[[Request], None], ...] = tuple(
            chain.from_iterable(_request_steps(one) for one in levels)
        )
        self.response: HeaderRules | None = build_header_rules(
            [rule for one in levels for rule in one.response]
        )
        self.request_trailers: HeaderRules | None = build_header_rules(
            [rule for one in levels for rule in one.request_trailers]
        )
        self.response_trailers: HeaderRules | None = build_header_rules(
            [rule for one in levels for rule in one.response_trailers]
        )
        self.source = source
        """Kept, so that no other object gets its identity."""


def _request_steps(level: Mutations) -> Iterator[Callable[[Request], None]]:
    rules = build_header_rules(level.request)
    if rules is not None:
        yield rules.apply_to_request
    if level.query:
        yield QueryRules(level.query).apply


class HeaderMutationFilter:
    """Compiled `HeaderMutation`."""

    __slots__ = ("_by_route", "_name", "_own", "_specific_last", "_usual")

    def __init__(self, name: str, settings: HeaderMutationSettings) -> None:
        """Build the filter; `name` is its name in `http_filters`, by which routes speak of it.

        Raises:
            ValueError: a value is no format (the configuration has checked this before).
        """
        self._name = name
        self._own = settings.mutations
        self._specific_last = settings.specific_last
        self._usual = _Compiled(() if settings.is_off_by_default else (settings.mutations,), None)
        self._by_route: dict[int, _Compiled] = {}

    def on_request(self, request: Request) -> Outcome:
        """Change the headers and the query of a request. Hot path: once per request."""
        for step in self._select(request).request:
            step(request)
        return None

    def on_response(self, request: Request, headers: HeaderMap) -> None:
        """Change the headers of a response to `request`. Hot path: once per request."""
        rules = self._select(request).response
        if rules is not None:
            rules.apply_to_response(request, headers)

    def on_request_trailers(self, request: Request, trailers: HeaderMap) -> None:
        """Change the trailers of a request."""
        rules = self._select(request).request_trailers
        if rules is not None:
            rules.apply_to_trailers(request, trailers)

    def on_response_trailers(self, request: Request, trailers: HeaderMap) -> None:
        """Change the trailers of a response to `request`."""
        rules = self._select(request).response_trailers
        if rules is not None:
            rules.apply_to_trailers(request, trailers)

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """It counts nothing, as in Envoy."""

    def _select(self, request: Request) -> _Compiled:
        configs = request.filter_configs
        config = None if configs is None else configs.get(self._name)
        if config is None:
            return self._usual
        known = self._by_route.get(id(config))
        if known is None:
            assert isinstance(config, HeaderMutationRouteSettings)
            known = self._by_route[id(config)] = _Compiled(self._levels_of(config), config)
        return known

    def _levels_of(self, config: HeaderMutationRouteSettings) -> tuple[Mutations, ...]:
        if config.is_off:
            return ()
        return (self._own, *(config.levels[::-1] if self._specific_last else config.levels))
