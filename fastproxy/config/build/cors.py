"""The `cors` filter and its policies to settings (envoy.extensions.filters.http.cors.v3, spec/filters.md section 1)."""

from collections.abc import Mapping

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.fraction import build_fraction
from fastproxy.config.build.matchers import build_string_match
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.filters.cors.settings import CorsPolicy, CorsRouteSettings, CorsSettings
from fastproxy.http.field_values import may_be_sent
from fastproxy.match.settings import Fraction

CORS = "envoy.extensions.filters.http.cors.v3.Cors"
CORS_POLICY = "envoy.extensions.filters.http.cors.v3.CorsPolicy"
_TEXTS = ("allow_methods", "allow_headers", "expose_headers", "max_age")


def build_cors(
    _config: View, _context: BuildContext, *, name: str = "", disabled: bool = False
) -> CorsSettings:
    """Build the filter, whose message is empty."""
    del name
    return CorsSettings(disabled)


def build_cors_per_route(config: View, _filter_config: View, context: BuildContext) -> CorsRouteSettings:
    """Build a `CorsPolicy`, one level of what a route says."""
    return CorsRouteSettings(_build_policy(config, context), is_off=False)


def build_old_policy(
    view: View, configs: Mapping[str, object], filters: Mapping[str, View | None], context: BuildContext
) -> dict[str, object]:
    """Add the deprecated field `cors` of a virtual host or a route action to what is said about filters there.

    Args:
        view: the virtual host or route action.
        configs: what it and the levels around it say about filters.
        filters: those that there are; every CORS filter takes the field.
        context: for runtime keys.
    """
    found = dict(configs)
    cors = view.child("cors")
    if cors is None:
        return found
    names = [name for name, one in filters.items() if one is not None and one.type_name == CORS]
    policy = CorsRouteSettings(old_policy=_build_policy(cors, context))
    if not names:
        cors.warn("has no effect: http_filters has no filter that uses it", f"Add a filter with a {CORS}")
    for name in names:
        found[name] = policy.within(found.get(name))
    return found


def without_policies(view: View, configs: Mapping[str, object]) -> dict[str, object]:
    """Take out what is said about CORS: a route that answers by itself has none, whatever it says (Envoy)."""
    if any(one.type_name == CORS_POLICY for one in view.typed_entries("typed_per_filter_config").values()):
        view.warn(
            "a CorsPolicy has no effect on a route that does not lead to a cluster",
            "Add the headers with response_headers_to_add",
            field="typed_per_filter_config",
        )
    return {name: one for name, one in configs.items() if not isinstance(one, CorsRouteSettings)}


def _build_policy(view: View, context: BuildContext) -> CorsPolicy:
    origins = [build_string_match(one) for one in view.children("allow_origin_string_match")]
    for field in _TEXTS:
        if not may_be_sent(view.text(field).encode()):
            view.error(f"{quote(view.text(field))} has a character that no header may have", field=field)
    return CorsPolicy(
        origins=tuple(one for one in origins if one is not None),
        allow_methods=view.text("allow_methods"),
        allow_headers=view.text("allow_headers"),
        expose_headers=view.text("expose_headers"),
        max_age=view.text("max_age"),
        allow_credentials=_said(view, "allow_credentials"),
        allow_private_network_access=_said(view, "allow_private_network_access"),
        forwards_not_matching_preflights=_said(view, "forward_not_matching_preflights"),
        enabled=_share(view, "filter_enabled", context),
        shadow_enabled=_share(view, "shadow_enabled", context),
        config_path=view.join("allow_origin_string_match"),
    )


def _said(view: View, field: str) -> bool | None:
    return view.flag_or(field, default=False) if view.has(field) else None


def _share(view: View, field: str, context: BuildContext) -> Fraction | None:
    share = view.child(field)
    return None if share is None else build_fraction(share, context)
