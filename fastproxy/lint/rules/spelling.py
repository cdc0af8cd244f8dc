"""Other spellings of a path: what slips past a rule because the rule compares text and the upstream reads paths."""

from collections.abc import Iterator
from itertools import islice

from fastproxy.config.problems import quote
from fastproxy.filters.jwt_authn.settings import RuleSettings
from fastproxy.lint.paths import ANYTHING, begins_with, describe, is_universal, sample
from fastproxy.lint.requirements import needs_token
from fastproxy.lint.rule import Finding, Rule, Severity
from fastproxy.lint.survey import Access, ManagerSurvey, Survey, route_says
from fastproxy.listener.settings import EscapedSlashes
from fastproxy.match.settings import PathKind, PathMatch
from fastproxy.router.settings import RouteSettings

#: Every pair of rules is tried with every route; large files repeat a few patterns.
_MAX_TRIED = 100
_OPEN, _CLOSED = Access.OPEN, Access.CLOSED


def _check_boundary(survey: Survey) -> Iterator[Finding]:
    for manager in survey.managers:
        for rule, route, match, is_open in _verdicts(manager):
            if match.kind is not PathKind.PREFIX or len(match.value) < 2:
                continue
            place = rule.config_path if rule is not None else route.config_path if route is not None else ""
            if is_open and match.value[-1].isalnum():
                longer = f"{match.value}-{ANYTHING}"
                if _opens(manager, longer, rule, route):
                    yield Finding(
                        f"{place}.match",
                        f"{describe(match)} opens {quote(longer)}, too",
                        f"Write path_separated_prefix: {match.value}",
                    )
            elif not is_open and match.value.endswith("/"):
                itself = match.value.removesuffix("/")
                if _differs(manager, open_path=itself, closed_path=f"{match.value}{ANYTHING}"):
                    yield Finding(
                        f"{place}.match",
                        f"{describe(match)} leaves {quote(itself)} itself open",
                        f"Write path_separated_prefix: {itself}",
                    )


def _verdicts(
    manager: ManagerSurvey,
) -> Iterator[tuple[RuleSettings | None, RouteSettings | None, PathMatch, bool]]:
    """What decides about tokens by path: every rule, and every route that decides instead of the rules.

    Yields the rule or the route, its condition, and whether it lets pass without a token.
    """
    for jwt in manager.filters:
        for rule in jwt.rules:
            yield rule, None, rule.match, not needs_token(rule.requires)
        for _, route in manager.routes():
            says = route_says(jwt, route)
            if says is not None and says.is_explicit:
                yield None, route, route.match, not needs_token(says.requirement)


def _opens(manager: ManagerSurvey, path: str, rule: RuleSettings | None, route: RouteSettings | None) -> bool:
    """Whether this rule or route is why a path is open somewhere."""
    return any(
        manager.access(host, path) is _OPEN
        and manager.access(host, path, without_rule=rule, without_route=route) is _CLOSED
        for host in manager.hosts
    )


def _differs(manager: ManagerSurvey, *, open_path: str, closed_path: str) -> bool:
    return any(
        manager.access(host, open_path) is _OPEN and manager.access(host, closed_path) is _CLOSED
        for host in manager.hosts
    )


def _check_normalization(survey: Survey) -> Iterator[Finding]:
    for manager in survey.managers:
        settings = manager.manager
        if not settings.normalize_path:
            found = next(_dot_segments(manager), None)
            if found is not None:
                spelt, meant = found
                yield Finding(
                    f"{settings.config_path}.normalize_path",
                    f"{quote(spelt)} passes without a token, although {quote(meant)} needs one",
                    "Set normalize_path: true",
                )
        if not settings.merge_slashes:
            doubled = next(_double_slashes(manager), None)
            if doubled is not None:
                yield Finding(
                    f"{settings.config_path}.merge_slashes",
                    f"{quote('/' + doubled)} passes without a token, although {quote(doubled)} needs one",
                    "Set merge_slashes: true",
                )


def _dot_segments(manager: ManagerSurvey) -> Iterator[tuple[str, str]]:
    """Paths with `..` that are open, and the closed path that an upstream may make of each."""
    closed = [f"/{ANYTHING}", *_closed_paths(manager)]
    for _, _, match, is_open in islice(_verdicts(manager), _MAX_TRIED):
        start = begins_with(match)
        if is_open and match.kind is not PathKind.EXACT and not is_universal(match) and start.startswith("/"):
            inside = start if start.endswith("/") else start + "/"
            up = "../" * (inside.count("/") - 1)
            for meant in closed:
                spelt = f"{inside}{up.removesuffix('/')}{meant}"
                if _differs(manager, open_path=spelt, closed_path=meant):
                    yield spelt, meant
    for meant in closed:
        spelt = f"/{ANYTHING}/..{meant}"
        if _differs(manager, open_path=spelt, closed_path=meant):
            yield spelt, meant


def _double_slashes(manager: ManagerSurvey) -> Iterator[str]:
    for path in _closed_paths(manager):
        if _differs(manager, open_path="/" + path, closed_path=path):
            yield path


def _closed_paths(manager: ManagerSurvey) -> list[str]:
    """One path of everything that needs a token."""
    found = {
        path: None
        for _, _, match, is_open in _verdicts(manager)
        if not is_open and (path := sample(match)) is not None and path.startswith("/")
    }
    return list(found)[:_MAX_TRIED]


def _check_escaped(survey: Survey) -> Iterator[Finding]:
    for manager in survey.managers:
        # Without normalize_path there is an easier way, and another warning.
        if manager.manager.escaped_slashes is not EscapedSlashes.KEEP or not manager.manager.normalize_path:
            continue
        for spelt, meant in _escaped(manager):
            if _differs(manager, open_path=spelt, closed_path=meant):
                yield Finding(
                    f"{manager.manager.config_path}.path_with_escaped_slashes_action",
                    f"{quote(spelt)} passes without a token, although {quote(meant)} needs one",
                )
                break


def _escaped(manager: ManagerSurvey) -> Iterator[tuple[str, str]]:
    """Paths with an escaped slash, and what an upstream that decodes it makes of each."""
    for _, _, match, is_open in islice(_verdicts(manager), _MAX_TRIED):
        start = begins_with(match)
        if match.kind is PathKind.EXACT or is_universal(match) or not start.startswith("/"):
            continue
        inside = start.removesuffix("/")
        if is_open:
            yield f"{inside}/{'..%2F' * inside.count('/')}{ANYTHING}", f"/{ANYTHING}"
        else:
            yield f"{inside}%2F{ANYTHING}", f"{inside}/{ANYTHING}"


def _check_case(survey: Survey) -> Iterator[Finding]:
    for manager in survey.managers:
        blind = [
            begins_with(route.match).lower()
            for _, route in manager.routes()
            if not route.match.case_sensitive and not is_universal(route.match)
        ]
        if not blind:
            continue
        for rule, route, match, is_open in _verdicts(manager):
            path = sample(match)
            if is_open or path is None or not match.case_sensitive or match.kind is PathKind.REGEX:
                continue
            other = path.upper() if path.upper() != path else path.lower()
            if other.lower().startswith(tuple(blind)) and _differs(
                manager, open_path=other, closed_path=path
            ):
                place = (
                    rule.config_path if rule is not None else route.config_path if route is not None else ""
                )
                yield Finding(
                    f"{place}.match",
                    f"the routes take {quote(other)} for {quote(path)}, but {describe(match)} does not match it",
                    "Set case_sensitive: false here, too, or nowhere",
                )


def _check_regex(survey: Survey) -> Iterator[Finding]:
    for manager in survey.managers:
        matches = [(rule.config_path, rule.match) for jwt in manager.filters for rule in jwt.rules]
        matches += [(route.config_path, route.match) for _, route in manager.routes()]
        for path, match in matches:
            if match.kind is not PathKind.REGEX:
                continue
            pattern, start = match.value, begins_with(match)
            if start and not start.startswith("/"):
                yield Finding(
                    f"{path}.match.safe_regex",
                    f"{quote(pattern)} matches no path: every path begins with a slash",
                    "Begin it with /, or with .* to match anywhere",
                )
            elif pattern.startswith("^") and not pattern.endswith(("$", ".*", ".+", ".*)", ".+)")):
                yield Finding(
                    f"{path}.match.safe_regex",
                    f'{quote(pattern)} begins with "^" as if it could match a part, but it does not match longer paths',
                    "End it with .* if longer paths are meant, or with $ to say that they are not",
                )


RULES = (
    Rule(
        name="prefix-boundary",
        severity=Severity.HIGH,
        summary="a prefix that ends in the middle of a name, so that the wrong paths are open",
        why="A prefix is compared as text, not segment by segment",
        fix="Use path_separated_prefix",
        details="`prefix: /docs` without `requires` opens `/docs-internal`, too, and `prefix: /api/`"
        " with one leaves `/api` to the next rule. Only what really opens a path is reported: a"
        " request for the path in the message is played through the rules. Open prefixes that"
        " end in a slash or another separator say what they mean.",
        example="rules:\n"
        "- match: {prefix: /docs}         # opens /docs-internal\n"
        "- match: {prefix: /}\n"
        "  requires: {provider_name: idp}",
        check=_check_boundary,
    ),
    Rule(
        name="unnormalized-path",
        severity=Severity.HIGH,
        summary="another spelling of a protected path passes without a token",
        why="The rules compare the path as it was sent, and the upstream may read another one out of it",
        fix="Set normalize_path: true and merge_slashes: true",
        details="`/docs/../admin` begins with `/docs`, and most upstreams take it for `/admin`"
        " (CVE-2019-9901, CVE-2021-39156: the same in Envoy and Istio). With `normalize_path`"
        " rules, routes and upstream see the resolved path. Reported only where the rules treat"
        " the two spellings differently.",
        example="normalize_path: false   # also when it is not written\n"
        "# in jwt_authn\n"
        "rules:\n"
        "- match: {path_separated_prefix: /docs}\n"
        "- match: {prefix: /}\n"
        "  requires: {provider_name: idp}",
        check=_check_normalization,
    ),
    Rule(
        name="escaped-slash",
        severity=Severity.MEDIUM,
        summary="a protected path passes without a token when a slash is written as %2F",
        why="The rules do not decode it, and an upstream that does reads another path",
        fix="Set path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT, or REJECT_REQUEST",
        details="CVE-2021-29492: the path that is checked and the path that is served differ. Envoy's"
        " default leaves escaped slashes as they are. Silence it if the upstream does not decode"
        " them, or if its paths need them.",
        example="normalize_path: true\n"
        "# and no path_with_escaped_slashes_action\n"
        "rules:\n"
        "- match: {path_separated_prefix: /docs}   # /docs/..%2Fadmin is open\n"
        "- match: {prefix: /}\n"
        "  requires: {provider_name: idp}",
        check=_check_escaped,
    ),
    Rule(
        name="case-hole",
        severity=Severity.HIGH,
        summary="routes ignore letter case and a rule does not",
        why="The same resource is reached in capital letters, without a token",
        fix="Give the rule and the route the same case_sensitive",
        details="A route with `case_sensitive: false` says that the upstream does not care about letter"
        " case. A rule that does protects one spelling of many.",
        example="routes:\n"
        "- match: {prefix: /admin, case_sensitive: false}\n"
        "  route: {cluster: admin}\n"
        "# in jwt_authn\n"
        "rules:\n"
        "- match: {prefix: /admin}           # /ADMIN is open\n"
        "  requires: {provider_name: idp}\n"
        "- match: {prefix: /}",
        check=_check_case,
    ),
    Rule(
        name="regex-full-match",
        severity=Severity.MEDIUM,
        summary="a regular expression that was written to match a part of the path",
        why="safe_regex must match the whole path, so the rule or route applies to less than it seems to",
        fix="Write the expression for the whole path",
        details="In most tools `^/admin` finds everything that begins with `/admin`. Envoy's"
        " `safe_regex` is a full match: `/admin/users` does not match, and a rule that should"
        " protect it does not apply.",
        example="rules:\n"
        '- match: {safe_regex: {regex: "^/admin"}}   # matches /admin alone\n'
        "  requires: {provider_name: idp}",
        check=_check_regex,
    ),
)
