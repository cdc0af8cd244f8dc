"""What is never reached or used: it reads as if it meant something, and does nothing."""

from collections.abc import Iterator

from fastproxy.config.problems import quote
from fastproxy.filters.jwt_authn.settings import JwtAuthnSettings
from fastproxy.lint.paths import begins_with, covers, describe, is_universal
from fastproxy.lint.requirements import accepted, roots
from fastproxy.lint.rule import Finding, Rule, Severity
from fastproxy.lint.survey import ManagerSurvey, Survey, is_conditional, is_route_conditional, route_configs
from fastproxy.listener.settings import StripPort
from fastproxy.match.settings import PathKind, PathMatch


class _Earlier:
    """Path conditions met so far, kept so that the one that covers another is found without trying all."""

    def __init__(self) -> None:
        self._found: dict[tuple[PathKind, str], list[tuple[int, PathMatch]]] = {}
        self._universal: tuple[int, PathMatch] | None = None

    def add(self, position: int, match: PathMatch) -> None:
        if is_universal(match) and self._universal is None:
            self._universal = position, match
        self._found.setdefault((match.kind, match.value.lower()), []).append((position, match))

    def covering(self, match: PathMatch) -> int | None:
        """The first that matches all that `match` does."""
        start = begins_with(match).lower()
        keys = [(match.kind, match.value.lower())]
        for kind in (PathKind.PREFIX, PathKind.SEPARATED_PREFIX):
            keys += [(kind, start[:size]) for size in range(len(start) + 1)]
        candidates = [entry for key in keys for entry in self._found.get(key, ())]
        if self._universal is not None:
            candidates.append(self._universal)
        return min((position for position, wide in candidates if covers(wide, match)), default=None)


def _check_rules(survey: Survey) -> Iterator[Finding]:
    for _, jwt in survey.filters():
        earlier = _Earlier()
        for index, rule in enumerate(jwt.rules):
            position = earlier.covering(rule.match)
            if position is None:
                position = next(
                    (
                        other
                        for other, one in enumerate(jwt.rules[:index])
                        if is_conditional(one)
                        and one.conditions == rule.conditions
                        and covers(one.match, rule.match)
                    ),
                    None,
                )
            if position is not None:
                first = jwt.rules[position]
                yield Finding(
                    f"{rule.config_path}.match",
                    f"{describe(rule.match)} is never reached: {describe(first.match)}"
                    f"{survey.line_of(first.config_path)} matches first",
                )
            elif not is_conditional(rule):
                earlier.add(index, rule.match)


def _check_routes(survey: Survey) -> Iterator[Finding]:
    for manager in survey.managers:
        for host in manager.hosts:
            earlier = _Earlier()
            conditional: list[int] = []
            for index, route in enumerate(host.routes):
                position = earlier.covering(route.match)
                if position is None:
                    position = next(
                        (
                            other
                            for other in conditional
                            if host.routes[other].conditions == route.conditions
                            # A share of the requests is drawn anew.
                            and route.conditions.fraction is None
                            and covers(host.routes[other].match, route.match)
                        ),
                        None,
                    )
                if position is not None:
                    first = host.routes[position]
                    yield Finding(
                        f"{route.config_path}.match",
                        f"{describe(route.match)} is never reached: {describe(first.match)}"
                        f"{survey.line_of(first.config_path)} matches first",
                    )
                elif is_route_conditional(route):
                    conditional.append(index)
                else:
                    earlier.add(index, route.match)


def _check_domains(survey: Survey) -> Iterator[Finding]:
    for manager in survey.managers:
        ignores_port = manager.manager.route_config.ignore_port_in_host_matching
        strips_port = manager.manager.strip_port is StripPort.ANY
        for host in manager.hosts:
            for domain in host.domains:
                _, colon, port = domain.rpartition(":")
                if "/" in domain or any(char.isspace() for char in domain):
                    why = "a host has neither scheme, path nor spaces"
                elif (
                    (ignores_port or strips_port) and colon and port.isdigit() and not domain.startswith("*")
                ):
                    field = "ignore_port_in_host_matching" if ignores_port else "strip_any_host_port"
                    why = f"{field} takes the port off before hosts are compared"
                else:
                    continue
                yield Finding(
                    f"{host.config_path}.domains", f"the domain {quote(domain)} matches no request: {why}"
                )


def _check_requirements(survey: Survey) -> Iterator[Finding]:
    for manager, jwt in survey.filters():
        used = {rule.requirement_name for rule in jwt.rules} | _named_by_routes(manager, jwt)
        for name in jwt.requirement_map:
            if name not in used:
                yield Finding(
                    f"{jwt.config_path}.requirement_map[{quote(name)}]",
                    f"no rule and no route uses the requirement {quote(name)}",
                )


def _named_by_routes(manager: ManagerSurvey, jwt: JwtAuthnSettings) -> set[str]:
    configs = [config for _, route in manager.routes() for config in route_configs(jwt, route)]
    return {config.requirement_name for config in configs if config is not None}


def _check_providers(survey: Survey) -> Iterator[Finding]:
    for _, jwt in survey.filters():
        used = {use.provider_name for _, requirement in roots(jwt) for use in accepted(requirement, jwt)}
        for name, provider in jwt.providers.items():
            if name not in used:
                yield Finding(
                    provider.config_path, f"no requirement accepts tokens of the provider {quote(name)}"
                )


RULES = (
    Rule(
        name="dead-rule",
        severity=Severity.MEDIUM,
        summary="a jwt_authn rule that an earlier one always comes before",
        why="The first rule that matches decides, so what this one requires is never asked for",
        fix="Move it before the other rule, or remove it",
        details="Certain for exact paths and prefixes; of a regular expression only what it begins with"
        " is looked at. A stricter rule behind a laxer one is the usual case.",
        example="rules:\n"
        "- match: {prefix: /}\n"
        "  requires: {provider_name: idp}\n"
        "- match: {prefix: /admin}   # never reached\n"
        "  requires: {provider_name: staff}",
        check=_check_rules,
    ),
    Rule(
        name="dead-route",
        severity=Severity.MEDIUM,
        summary="a route that an earlier one always comes before",
        why="The first route that matches decides, so this one, with its settings for filters, is never used",
        fix="Move it before the other route, or remove it",
        details="As `dead-rule`, within each virtual host. A route may carry `typed_per_filter_config`,"
        " so that a dead one can be a missing protection.",
        example="routes:\n"
        "- match: {prefix: /}\n"
        "  route: {cluster: pages}\n"
        "- match: {prefix: /api}   # never reached\n"
        "  route: {cluster: api}",
        check=_check_routes,
    ),
    Rule(
        name="dead-domain",
        severity=Severity.LOW,
        summary="a virtual host's domain that matches no request",
        why="Requests that it was written for go to another virtual host, with other routes and"
        " other settings",
        fix="Write the host alone: api.example, *.example or api.example:8443",
        details="A domain is compared with the `host` header: no scheme, no path, and a port only as"
        " long as `ignore_port_in_host_matching` and `strip_any_host_port` are off.",
        example='virtual_hosts:\n- name: api\n  domains: ["https://api.example/"]',
        check=_check_domains,
    ),
    Rule(
        name="unused-requirement",
        severity=Severity.LOW,
        summary="an entry of requirement_map that nothing uses",
        why="It protects nothing, and somebody may believe that it does",
        fix="Name it in a rule (requirement_name) or a route, or remove it",
        details="Most often a rule still spells its requirement out, or a route lost its"
        " `typed_per_filter_config`.",
        example="requirement_map:\n  staff: {provider_name: idp}     # and no requirement_name: staff",
        check=_check_requirements,
    ),
    Rule(
        name="unused-provider",
        severity=Severity.LOW,
        summary="a provider that no requirement names",
        why="Its tokens are accepted nowhere, its keys are fetched all the same, and a requirement"
        " may be missing",
        fix="Name it in a requirement, or remove it",
        details="A requirement that stands in `requirement_map` counts as a use. `allow_missing` and"
        " `allow_missing_or_failed` on their own use every provider.",
        example="providers:\n  idp: {...}\n  old-idp: {...}                  # in no requirement",
        check=_check_providers,
    ),
)
