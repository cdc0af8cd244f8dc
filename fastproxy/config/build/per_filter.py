"""`typed_per_filter_config`: what a route, a virtual host or a route table says about an HTTP filter.

Keys are names of filters in `http_filters`. Envoy ignores a key that names none; here it is an error, for what was
meant to protect a route, or to open it, would silently do neither.
"""

import difflib
from collections.abc import Mapping

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.filter_kinds import FILTER_KINDS
from fastproxy.config.problems import quote
from fastproxy.config.view import View

FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"

#: The configuration of each filter by its name; None for one that FastProxy does without because it is optional.
FilterViews = Mapping[str, View | None]


def build_filter_configs(
    view: View,
    filters: FilterViews,
    context: BuildContext,
    inherited: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Build one level's map; filters that cannot be configured are reported.

    Args:
        view: the level.
        filters: those that may be spoken of.
        context: what the whole configuration shares.
        inherited: the map of the level around it. The most specific level wins, whole and filter by filter, but for
            filters that take what every level says (spec/http.md section 9.4).
    """
    found: dict[str, object] = dict(inherited or {})
    opened = view.typed_entries("typed_per_filter_config")
    for name in sorted(view.message.typed_per_filter_config):
        config = opened.get(name)
        if config is None:
            # Decoding has said why, if there was a text to decode.
            view.error(f"the settings for {quote(name)} cannot be read", field="typed_per_filter_config")
            continue
        settings = _build_one(name, config, filters, context)
        if settings is not None:
            found[name] = _merge(name, settings, filters, found)
    return found


def _merge(name: str, own: object, filters: FilterViews, inherited: Mapping[str, object]) -> object:
    filter_config = filters[name]
    kind = None if filter_config is None else FILTER_KINDS.get(filter_config.type_name)
    if kind is None or kind.merge is None or name not in inherited:
        return own
    return kind.merge(own, inherited[name])


def _build_one(name: str, config: View, filters: FilterViews, context: BuildContext) -> object:
    """What one level says about one filter; None if nothing can be made of it (reported)."""
    inner: View | None = config
    optional = disabled = False
    if config.type_name == FILTER_CONFIG:
        optional, disabled = config.flag("is_optional"), config.flag("disabled")
        inner = config.typed("config")
        # `config: {}` switches the filter on as it is; nothing at all says nothing.
        is_empty = config.has("config") and not config.message.config.type_url
        if inner is None and not is_empty and (config.has("config") or not disabled):
            config.error("no settings that can be read", "Set config or disabled", field="config")
            return None
    filter_config = filters.get(name)
    if filter_config is None:
        if inner is not None:
            _accept_all(inner)
        _report_unknown(name, config, filters, optional=optional)
        return None
    kind = FILTER_KINDS.get(filter_config.type_name)
    if kind is None:
        if inner is not None:
            _accept_all(inner)
        config.error(f"the filter {quote(name)} has no settings for single routes", "Remove them")
        return None
    if inner is not None and inner.type_name != kind.route_type_name:
        _accept_all(inner)
        config.error(
            f"the filter {quote(name)} takes a {kind.route_type_name} here, not a {quote(inner.type_name)}"
        )
        return None
    settings = kind.on_for_route if inner is None else kind.build_for_route(inner, filter_config, context)
    return kind.off_for_route if disabled else settings


def _report_unknown(name: str, config: View, filters: FilterViews, *, optional: bool) -> None:
    if name in filters or optional:
        config.warn(f"has no effect: there is no HTTP filter {quote(name)}, and it is optional")
        return
    near = difflib.get_close_matches(name, filters, n=1)
    config.error(
        f"http_filters has no filter named {quote(name)}",
        f"Did you mean {quote(near[0])}?" if near else "The key is the filter's name in http_filters",
    )


def _accept_all(view: View) -> None:
    view.accept(*(field.name for field, _ in view.message.ListFields()))
