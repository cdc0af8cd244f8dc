"""CORS policies that let the pages of anybody act with a visitor's cookies."""

from collections.abc import Iterator

from fastproxy.config.problems import quote
from fastproxy.filters.cors.settings import CorsPolicy, CorsRouteSettings
from fastproxy.lint.rule import Finding, Rule, Severity
from fastproxy.lint.survey import Survey
from fastproxy.match.settings import StringKind, StringMatch
from fastproxy.match.string import build_string_matcher
from fastproxy.router.settings import ForwardAction, RouteSettings

_STRANGERS = ("https://attacker.example", "http://attacker.example", "https://a.b.attacker.example:8443")
_NULL = "null"


def _check_credentials(survey: Survey) -> Iterator[Finding]:
    seen: set[str] = set()
    for manager in survey.managers:
        for _, route in manager.routes():
            for policy in _policies(route):
                if policy.allow_credentials and policy.config_path not in seen:
                    seen.add(policy.config_path)
                    origin = _let_in(policy)
                    if origin:
                        yield Finding(
                            policy.config_path, f"pages of {quote(origin)} are allowed, with credentials"
                        )


def _policies(route: RouteSettings) -> Iterator[CorsPolicy]:
    action = route.action
    levels = [route.filter_configs]
    if isinstance(action, ForwardAction) and action.weighted_clusters is not None:
        levels += [one.filter_configs for one in action.weighted_clusters.clusters]
    for level in levels:
        for config in level.values():
            if isinstance(config, CorsRouteSettings) and config.effective is not None and not config.is_off:
                yield config.effective


def _let_in(policy: CorsPolicy) -> str:
    """An origin that nobody can have meant, and that is allowed; empty if none was found."""
    for match in policy.origins:
        if match.kind is StringKind.EXACT and match.value == "*":
            return _STRANGERS[0]
        matches = build_string_matcher(match)
        for origin in (*_STRANGERS, _NULL, *_look_alikes(match)):
            if matches(origin.encode()):
                return origin
    return ""


def _look_alikes(match: StringMatch) -> tuple[str, ...]:
    """What somebody could register to satisfy a condition on a part of the origin."""
    value = match.value
    if match.kind is StringKind.PREFIX and "://" in value and not value.endswith("."):
        scheme, _, rest = value.partition("://")
        # Behind a port's colon, or a whole label, anything may follow.
        return (f"{scheme}://{rest}.attacker.example",) if rest and ":" not in rest else ()
    if match.kind is StringKind.SUFFIX and value[:1] not in (".", ":", "/") and "://" not in value:
        return (f"https://attacker-{value}",)
    if match.kind is StringKind.CONTAINS:
        name = value.partition("://")[2] or value
        return (f"https://attacker.example/{value}", f"https://{name.strip('.')}.attacker.example")
    return ()


RULES = (
    Rule(
        name="cors-credentials-for-all",
        severity=Severity.MEDIUM,
        summary="a CORS policy with allow_credentials that strangers' origins satisfy",
        why="A visitor's browser lets such pages send requests with the visitor's cookies, and read the answers",
        fix="List the origins with `exact`, or remove allow_credentials",
        details='The origin that is allowed is repeated in the response, so browsers take `exact: "*"` together with'
        " credentials. `null` is the origin of any sandboxed frame. `prefix: https://app.example` allows"
        " https://app.example.attacker.example, too, and `suffix: app.example` https://attacker-app.example; begin a"
        " suffix with a dot. Tokens in headers are not sent by a browser on its own: the rule is about cookies.",
        example="typed_per_filter_config:\n"
        "  envoy.filters.http.cors:\n"
        '    "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy\n'
        '    allow_origin_string_match: [{exact: "*"}]\n'
        "    allow_credentials: true",
        check=_check_credentials,
    ),
)
