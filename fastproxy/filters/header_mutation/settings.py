"""The `header_mutation` filter as the configuration fixes it (envoy.extensions.filters.http.header_mutation.v3)."""

from dataclasses import dataclass

from fastproxy.format.settings import AppendAction, HeaderRuleSettings


@dataclass(frozen=True, slots=True)
class QueryMutation:
    """One change to the query (`KeyValueMutation`)."""

    name: str
    """Decoded."""
    value: str = ""
    """A format."""
    action: AppendAction | None = AppendAction.APPEND
    """None removes the parameter."""


@dataclass(frozen=True, slots=True)
class Mutations:
    """What is done to a request and to its response, in this order; each mutation is a level of its own."""

    request: tuple[HeaderRuleSettings, ...] = ()
    response: tuple[HeaderRuleSettings, ...] = ()
    query: tuple[QueryMutation, ...] = ()
    """What is done to the query of the request, behind its headers."""
    request_trailers: tuple[HeaderRuleSettings, ...] = ()
    response_trailers: tuple[HeaderRuleSettings, ...] = ()
    """What is done to the trailers of either, if there are any."""


@dataclass(frozen=True, slots=True)
class HeaderMutationSettings:
    """`HeaderMutation`."""

    mutations: Mutations
    specific_last: bool = False
    """`most_specific_header_mutations_wins`: of what is said around a route the route's own is done last."""
    is_off_by_default: bool = False
    """`disabled: true` in `http_filters`: off but for routes that speak of the filter."""


@dataclass(frozen=True, slots=True)
class HeaderMutationRouteSettings:
    """What a route and everything around it says about the filter (`HeaderMutationPerRoute`)."""

    levels: tuple[Mutations, ...] = ()
    """Most specific first. All of them are done, after the filter's own."""
    is_off: bool = False

    def within(self, outer: object) -> "HeaderMutationRouteSettings":
        """Add what the level around this one says."""
        if not isinstance(outer, HeaderMutationRouteSettings):
            return self
        return HeaderMutationRouteSettings(self.levels + outer.levels, self.is_off)
