"""`rate_limits` of routes and virtual hosts: what a filter that limits rates would count (spec/filters.md section 4.2).

There is no such filter yet, and without one Envoy does nothing with them either. They are checked all the same, so that
a mistake in them is found.
"""

from fastproxy.config.build.matchers import build_header_matches, build_query_matches
from fastproxy.config.view import View

_NO_FILTER = "no filter in http_filters uses it"


def accept_rate_limits(view: View) -> None:
    """Take the fields of a virtual host or a route action, and warn that nothing follows from them."""
    for limit in view.children("rate_limits"):
        limit.accept("stage", "disable_key", "limit", "hits_addend", "apply_on_stream_done")
        for action in limit.children("actions"):
            _check_action(action)
    view.without_effect("rate_limits", _NO_FILTER)
    if "include_vh_rate_limits" in view.message.DESCRIPTOR.fields_by_name:
        view.without_effect("include_vh_rate_limits", _NO_FILTER)


def _check_action(action: View) -> None:
    kind = action.selected("action_specifier")
    if kind == "header_value_match":
        match = action.child_or_empty(kind)
        match.accept("descriptor_key", "descriptor_value", "expect_match")
        build_header_matches(match, "headers")
    elif kind == "query_parameter_value_match":
        match = action.child_or_empty(kind)
        match.accept("descriptor_key", "descriptor_value", "expect_match")
        build_query_matches(match, "query_parameters")
    elif kind is not None:
        action.accept(kind)
