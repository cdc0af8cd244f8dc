"""`jwt_authn` to settings (envoy.extensions.filters.http.jwt_authn.v3, spec/jwt_authn.md section 1)."""

from collections.abc import Collection, Mapping

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.jwt_provider import build_provider, check_locations
from fastproxy.config.build.jwt_requirement import build_requirement, check_requirement_name
from fastproxy.config.build.matchers import build_conditions
from fastproxy.config.build.path_match import build_path_match
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.filters.jwt_authn.settings import (
    JwtAuthnSettings,
    PerRouteSettings,
    RequirementSettings,
    RuleSettings,
)
from fastproxy.match.settings import PathKind, PathMatch

JWT_AUTHN = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
PER_ROUTE = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"

# Envoy takes these and applies the rule regardless (known shortcoming 7).
_IGNORED_BY_ENVOY = ("runtime_fraction", "grpc", "tls_context", "dynamic_metadata", "filter_state", "cookies")


def build_jwt_authn(
    config: View, context: BuildContext, *, name: str = "", disabled: bool = False
) -> JwtAuthnSettings:
    """Build the whole filter; whatever is wrong with it is reported.

    Args:
        config: the `JwtAuthentication`.
        context: what other parts of the file say.
        name: the filter's name in `http_filters`.
        disabled: it is off but for routes that say otherwise.
    """
    views = config.entries("providers")
    built = {key: build_provider(key, view, context) for key, view in views.items()}
    check_locations(views)
    named = {
        key: build_requirement(view, views.keys()) for key, view in config.entries("requirement_map").items()
    }
    rules = [_build_rule(view, views.keys(), named) for view in config.children("rules")]
    config.unsupported(
        "filter_state_rules",
        "no filter of FastProxy's sets filter state, so these rules would never apply, and requests would pass",
        "Use rules, or typed_per_filter_config on the routes",
    )
    return JwtAuthnSettings(
        providers={key: provider for key, provider in built.items() if provider is not None},
        rules=tuple(rule for rule in rules if rule is not None),
        requirement_map={key: requirement for key, requirement in named.items() if requirement is not None},
        bypass_cors_preflight=config.flag("bypass_cors_preflight"),
        strip_failure_response=config.flag("strip_failure_response"),
        stat_prefix=config.text("stat_prefix").removesuffix("."),
        name=name,
        is_off_by_default=disabled,
        config_path=config.path,
    )


def build_per_route(config: View, filter_config: View, _context: BuildContext) -> PerRouteSettings:
    """Build a `PerRouteConfig` for the filter of `filter_config`.

    Envoy finds out about an unknown name when the first request comes.
    """
    if config.selected("requirement_specifier") == "disabled":
        return PerRouteSettings(disabled=config.flag("disabled"))
    name = config.text("requirement_name")
    if name:
        known = filter_config.entries("requirement_map")
        check_requirement_name(config, "requirement_name", name, known.keys())
    return PerRouteSettings(requirement_name=name)


def _build_rule(
    view: View, providers: Collection[str], named: Mapping[str, RequirementSettings | None]
) -> RuleSettings | None:
    match = view.child_or_empty("match")
    for field in _IGNORED_BY_ENVOY:
        if field in match.message.DESCRIPTOR.fields_by_name:
            match.unsupported(
                field,
                f"{field} is not supported in a rule of jwt_authn; Envoy ignores it and applies the rule regardless",
                "Remove it",
            )
    path = _build_path(match)
    conditions = build_conditions(match)
    requires: RequirementSettings | None = None
    kind = view.selected("requirement_type")
    if kind == "requirement_name":
        name = view.text(kind)
        if not check_requirement_name(view, kind, name, named.keys()):
            return None
        requires = named[name]
    elif kind == "requires":
        requires = build_requirement(view.child_or_empty(kind), providers)
    if path is None or conditions is None or (kind is not None and requires is None):
        # The rule would otherwise be taken for one that asks for less.
        return None
    name = view.text(kind) if kind == "requirement_name" else ""
    return RuleSettings(path, requires, conditions, requirement_name=name, config_path=view.path)


def _build_path(match: View) -> PathMatch | None:
    kind = match.selected("path_specifier")
    if kind == "connect_matcher":
        match.accept(kind)
        # CONNECT has no path; the condition is the method alone.
        return PathMatch(PathKind.PREFIX, "")
    if kind == "path_match_policy":
        match.unsupported(
            kind,
            f"{quote(kind)} is not supported yet",
            "Write the template as safe_regex: /a/{x} is /a/[^/]+",
        )
        return None
    return build_path_match(match)
