"""Paths that are open by omission: routes that lead to an upstream, and that no rule of `jwt_authn` speaks of."""

from collections.abc import Iterator

from fastproxy.config.problems import quote
from fastproxy.filters.jwt_authn.settings import JwtAuthnSettings
from fastproxy.lint.paths import covers, describe, is_universal, matcher_of, sample_paths
from fastproxy.lint.rule import Finding, Rule, Severity
from fastproxy.lint.survey import (
    Survey,
    clusters_of,
    forwards,
    is_conditional,
    is_route_conditional,
    listed,
    route_says,
)
from fastproxy.router.settings import RouteSettings, VirtualHostSettings

#: A route with thousands of neighbours is not worth more tries than this.
_MAX_SAMPLES = 400


def _check_uncovered(survey: Survey) -> Iterator[Finding]:
    for manager in survey.managers:
        if not manager.filters:
            continue
        unlisted, uncovered = [], []
        for host, route in manager.routes():
            if not forwards(route):
                continue
            says = [route_says(jwt, route) for jwt in manager.filters]
            if any(one is not None and one.is_explicit for one in says):
                continue
            if all(one is not None for one in says):
                unlisted.append(_name(survey, host, route))
                continue
            judges = [jwt for jwt, one in zip(manager.filters, says, strict=True) if one is None]
            path = _uncovered_path(host, route, judges)
            if path is not None:
                uncovered.append(f"{quote(path)} of {_name(survey, host, route)}")
        jwt = manager.filters[0]
        if uncovered:
            where = (
                f"{jwt.config_path}.rules"
                if survey.is_written(f"{jwt.config_path}.rules")
                else jwt.config_path
            )
            yield Finding(where, f"no rule speaks of {listed(uncovered)}{_hint(jwt)}")
        if unlisted:
            yield Finding(
                jwt.config_path,
                f"the filter is off by default, and nothing switches it on or off for {listed(unlisted)}",
                "Say it in the route's typed_per_filter_config, or remove `disabled: true` from the filter",
            )


def _uncovered_path(
    host: VirtualHostSettings, route: RouteSettings, judges: list[JwtAuthnSettings]
) -> str | None:
    """A path that takes this route, and that no rule certainly speaks of."""
    rules = [rule for jwt in judges for rule in jwt.rules]
    certain = [rule.match for rule in rules if not is_conditional(rule)]
    if any(covers(match, route.match) for match in certain):
        return None
    earlier = []
    for other in host.routes:
        if other is route:
            break
        if not is_route_conditional(other):
            earlier.append(other.match)
    excluded = [matcher_of(match) for match in (*earlier, *certain)]
    takes = matcher_of(route.match)
    for count, path in enumerate(sample_paths(route.match, (*certain, *earlier))):
        if count >= _MAX_SAMPLES:
            break
        raw = path.encode("utf-8", "surrogateescape")
        if raw[:1] == b"/" and takes(raw) and not any(matches(raw) for matches in excluded):
            return path
    return None


def _hint(jwt: JwtAuthnSettings) -> str:
    if not jwt.rules:
        return ", for there are no rules: the filter verifies nothing"
    universal = any(is_conditional(rule) and is_universal(rule.match) for rule in jwt.rules)
    return (
        "; a rule for every path is there, but the client decides whether its other conditions hold"
        if universal
        else ""
    )


def _name(survey: Survey, host: VirtualHostSettings, route: RouteSettings) -> str:
    where = survey.line_of(route.config_path)
    target = ", ".join(clusters_of(route)) or "a cluster that the request names"
    return f"the route {describe(route.match)} to {target}{where}"


def _check_connect(survey: Survey) -> Iterator[Finding]:
    for manager in survey.managers:
        if not manager.filters:
            continue
        for _, route in manager.routes():
            if not route.conditions.connect_only or not forwards(route):
                continue
            open_ones = [jwt for jwt in manager.filters if route_says(jwt, route) is None]
            if len(open_ones) < len(manager.filters):
                continue
            # A rule with a path never matches CONNECT, whose target has none.
            if not any(rule.conditions.connect_only for jwt in open_ones for rule in jwt.rules):
                yield Finding(
                    f"{route.config_path}.match",
                    "no rule of jwt_authn speaks of the CONNECT requests of this route",
                )


def _check_off(survey: Survey) -> Iterator[Finding]:
    for manager, jwt in survey.filters():
        says = [route_says(jwt, route) for _, route in manager.routes() if forwards(route)]
        if jwt.rules and says and all(one is not None and one.requirement is None for one in says):
            yield Finding(
                jwt.config_path, f"every route to an upstream switches the filter {quote(jwt.name)} off"
            )


RULES = (
    Rule(
        name="uncovered-path",
        severity=Severity.HIGH,
        summary="a route to an upstream that no jwt_authn rule speaks of",
        why="A request that no rule matches passes without a token",
        fix="End the rules with `match: {prefix: /}` and what it requires; where everybody may"
        " pass, say so with a rule without `requires`",
        details="A rule that is missing looks the same as a path that is meant to be open. Only rules"
        " for the path alone count: whether a header or a query parameter is there is for the"
        " client to choose. Routes with settings of their own for the filter are left alone, and"
        " so are routes that the proxy answers by itself.",
        example="routes:\n"
        "- match: {prefix: /}\n"
        "  route: {cluster: api}\n"
        "# and in jwt_authn\n"
        "rules:\n"
        "- match: {prefix: /v1}\n"
        "  requires: {provider_name: idp}   # /v2 is open to all",
        check=_check_uncovered,
    ),
    Rule(
        name="uncovered-connect",
        severity=Severity.HIGH,
        summary="a route for CONNECT that no jwt_authn rule speaks of",
        why="Rules with a path, also `prefix: /`, never match CONNECT, so it passes without a token",
        fix="Add a rule with `match: {connect_matcher: {}}` and what it requires, or settings of the filter to the"
        " route's typed_per_filter_config",
        details="A CONNECT request names a host and a port, and no path. Envoy's filter does the same. Silence the"
        " rule where everybody may open tunnels.",
        example="routes:\n"
        "- match: {connect_matcher: {}}\n"
        "  route: {cluster: tunnels, upgrade_configs: [{upgrade_type: CONNECT}]}\n"
        "# and in jwt_authn\n"
        "rules:\n"
        "- match: {prefix: /}\n"
        "  requires: {provider_name: idp}",
        check=_check_connect,
    ),
    Rule(
        name="filter-switched-off",
        severity=Severity.HIGH,
        summary="jwt_authn has rules, and is disabled on every route",
        why="The rules read as if they protected something, and are never consulted",
        fix="Disable the filter on the routes that need it alone, or remove the filter",
        details="`disabled: true` is meant for a health check or a login page. On the virtual host, or"
        " on the only route, it is most often left over from a test.",
        example="virtual_hosts:\n"
        "- name: all\n"
        "  domains: ['*']\n"
        "  typed_per_filter_config:\n"
        "    envoy.filters.http.jwt_authn:\n"
        '      "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig\n'
        "      disabled: true",
        check=_check_off,
    ),
)
