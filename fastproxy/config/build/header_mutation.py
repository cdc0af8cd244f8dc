"""The `header_mutation` filter to settings (envoy.extensions.filters.http.header_mutation.v3)."""

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.header_rules import build_header_mutations
from fastproxy.config.view import View
from fastproxy.filters.header_mutation.settings import (
    HeaderMutationRouteSettings,
    HeaderMutationSettings,
    Mutations,
)

HEADER_MUTATION = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
HEADER_MUTATION_PER_ROUTE = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute"


def build_header_mutation(
    config: View, _context: BuildContext, *, name: str = "", disabled: bool = False
) -> HeaderMutationSettings:
    """Build the filter; mutations that cannot be done are reported."""
    del name
    return HeaderMutationSettings(
        _build_mutations(config), config.flag("most_specific_header_mutations_wins"), disabled
    )


def build_header_mutation_per_route(
    config: View, _filter_config: View, _context: BuildContext
) -> HeaderMutationRouteSettings:
    """Build a `HeaderMutationPerRoute`, one level of what a route says."""
    return HeaderMutationRouteSettings((_build_mutations(config),))


def _build_mutations(config: View) -> Mutations:
    mutations = config.child_or_empty("mutations")
    for field in ("request_trailers_mutations", "response_trailers_mutations"):
        mutations.unsupported(field, "trailers are not passed on", "Remove it")
    mutations.unsupported(
        "query_parameter_mutations",
        "the query is passed on as it came",
        "Use regex_rewrite on the route, or remove it",
    )
    return Mutations(
        tuple(build_header_mutations(mutations, "request_mutations")),
        tuple(build_header_mutations(mutations, "response_mutations")),
    )
