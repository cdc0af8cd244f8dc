"""The `header_mutation` filter to settings (envoy.extensions.filters.http.header_mutation.v3)."""

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.header_rules import build_header_mutations
from fastproxy.config.view import View
from fastproxy.filters.header_mutation.settings import (
    HeaderMutationRouteSettings,
    HeaderMutationSettings,
    Mutations,
    QueryMutation,
)
from fastproxy.format.compile import compile_header_value
from fastproxy.format.settings import AppendAction

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
    query = [_build_query_mutation(one) for one in mutations.children("query_parameter_mutations")]
    return Mutations(
        tuple(build_header_mutations(mutations, "request_mutations")),
        tuple(build_header_mutations(mutations, "response_mutations")),
        tuple(one for one in query if one is not None),
        tuple(build_header_mutations(mutations, "request_trailers_mutations")),
        tuple(build_header_mutations(mutations, "response_trailers_mutations")),
    )


def _build_query_mutation(view: View) -> QueryMutation | None:
    """One `KeyValueMutation`; None if nothing can be made of it (reported)."""
    name, append = view.text("remove"), view.child("append")
    if append is None:
        if not name:
            view.error("one of append and remove has to say what is done")
            return None
        return QueryMutation(name, action=None)
    if name:
        view.error("only one of append and remove can be given", field="remove")
    record = append.child("record")
    append.accept("entry")
    if record is None:
        append.error("there is no record to append", "Give a record with key and value")
        return None
    key, value = record.text("key"), record.child("value")
    if value is None or value.selected("kind") != "string_value":
        if value is not None:
            value.accept(*(field.name for field, _ in value.message.ListFields()))
        record.error("only text is a value", "Put it in quotes", field="value")
        return None
    text = value.text("string_value")
    try:
        compile_header_value(text)
    except ValueError as error:
        record.error(str(error), field="value")
        return None
    return QueryMutation(key, text, AppendAction(append.choice("action")))
