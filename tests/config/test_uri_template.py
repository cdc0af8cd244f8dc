"""URI templates: what they match, what they make of a path, and which are refused."""

import pytest

from fastproxy.config.build.uri_template import parse_rewrite, parse_template
from fastproxy.match.path import build_path_matcher
from fastproxy.match.settings import PathKind, PathMatch, RegexSubstitution
from fastproxy.match.substitution import build_substitution
from fastproxy.router.settings import ForwardAction
from tests.config.support import load, minimal, problem, warnings

_TYPES = "type.googleapis.com/envoy.extensions.path"
_MATCH = f"{_TYPES}.match.uri_template.v3.UriTemplateMatchConfig"
_REWRITE = f"{_TYPES}.rewrite.uri_template.v3.UriTemplateRewriteConfig"


def policy(template: str, type_url: str = _MATCH, field: str = "path_template") -> str:
    """A `path_match_policy`, or something like it, as YAML."""
    return f"{{name: t, typed_config: {{'@type': {type_url}, {field}: '{template}'}}}}"


def routes(template: str, action: str, match: str = "") -> str:
    """A file with one route."""
    return minimal(routes=f"- match: {{path_match_policy: {policy(template)}{match}}}\n  {action}")


@pytest.mark.parametrize(
    ("template", "matching", "others"),
    [
        ("/", ["/"], ["/a", ""]),
        ("/a/{x}", ["/a/1", "/a/a%2Fb", "/a/a=b", "/a/~"], ["/a", "/a/", "/a/1/", "/a/1/2", "/A/1", '/a/"']),
        ("/a/*/b", ["/a/x/b"], ["/a//b", "/a/x/y/b"]),
        ("/a/**", ["/a/", "/a/b", "/a/b//c"], ["/a", "/ab"]),
        ("/a/**/end", ["/a/b/c/end", "/a//end"], ["/a/end"]),
        ("/a/**.ts", ["/a/.ts", "/a/b/c.ts"], ["/a/b.tsx", "/a/bxts"]),
        ("/a/{x}.json", ["/a/b.json"], ["/a/.json", "/a/bxjson"]),
        ("/a/v{x}", ["/a/v1"], ["/a/v"]),
        ("/a/{x=*}/{y=**}", ["/a/1/2/3", "/a/1/"], ["/a/1"]),
        ("/a/{x=one/*}/z", ["/a/one/2/z"], ["/a/two/2/z"]),
        ("/a/{x=b/**/c}", ["/a/b/1/2/c"], ["/a/b/c/d"]),
        ("/a/{x}/", ["/a/1/"], ["/a/1"]),
        ("/a.b+c/(d)", ["/a.b+c/(d)"], ["/aXb+c/(d)", "/a.bbc/d"]),
    ],
)
def test_templates_match(template: str, matching: list[str], others: list[str]) -> None:
    """The whole path, segment by segment."""
    matches = build_path_matcher(PathMatch(PathKind.REGEX, parse_template(template).regex))
    assert [path for path in matching if not matches(path.encode())] == []
    assert [path for path in others if matches(path.encode())] == []


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("a", "begins with a slash"),
        ("/a/{x}/{x}", "occurs twice"),
        ("/a/{1x}", "is no name"),
        ("/a/{}", "is no name"),
        ("/a/{abcdefghijklmnopq}", "is no name"),
        ("/a/{x=}", "stand for nothing"),
        ("/a/{x=/b}", "stand for nothing"),
        ("/a/{x=b/}", "stand for nothing"),
        ("/a/***", "neither text"),
        ("/a/**/**", "follow"),
        ("/a/**/*", "follow"),
        ("/a/{x=**}/{y}", "follow"),
        ("/a/{x}{y}", "neither text"),
        ("/a/{x", "neither text"),
        ("/a/{x}}", "neither text"),
        ("/a/{x={y}}", "neither text"),
        ("/a/b*c", "behind text"),
        ("/a/b**", "behind text"),
        ("/a/{x=a*}", "cannot stand in a path"),
        ("/a//b", "side by side"),
        ("/a b", "cannot stand in a path"),
        ("/a?", "cannot stand in a path"),
        ("/\u00e9", "cannot stand in a path"),
        ("/{a}/{b}/{c}/{d}/{e}/{f}", "more than 5"),
    ],
)
def test_what_is_no_template_is_refused(template: str, words: str) -> None:
    """By Envoy, too, but for an asterisk behind text."""
    with pytest.raises(ValueError, match="^.*" + words):
        parse_template(template)


@pytest.mark.parametrize(
    ("template", "rewrite", "path", "expected"),
    [
        ("/a/{x}", "/new/{x}", "/a/1", "/new/1"),
        ("/a/{x=*}/{y=**}", "/{y}/{x}", "/a/1/2/3", "/2/3/1"),
        ("/a/{x}", "/{x}{x}-{x}.q", "/a/q", "/qq-q.q"),
        ("/a/*/{x}", "/s/{x}", "/a/1/2", "/s/2"),
        ("/a/{x}", "/*", "/a/1", "/*"),
        ("/a/{x=**}", "/{x}", "/a/", "/"),
    ],
)
def test_rewrites_use_variables(template: str, rewrite: str, path: str, expected: str) -> None:
    """In any order, and more than once."""
    substitute = build_substitution(parse_rewrite(rewrite, parse_template(template)))
    assert substitute(path.encode()) == expected.encode()


@pytest.mark.parametrize(
    ("rewrite", "words"),
    [
        ("/{y}", "mismatch between variables"),
        ("/{x=*}", "mismatch between variables"),
        ("{x}", "begins with a slash"),
        ("/a//b", "no two stand side by side"),
        ("/{x", "without the other one"),
        ("/{x}}", "without the other one"),
        ("/a?b", "cannot stand in a path"),
        ("/\\1", "cannot stand in a path"),
    ],
)
def test_what_is_no_rewrite_is_refused(rewrite: str, words: str) -> None:
    """When the file is loaded."""
    with pytest.raises(ValueError, match=words):
        parse_rewrite(rewrite, parse_template("/a/{x}"))


def test_a_route_can_match_and_rewrite_by_templates() -> None:
    """Both policies together."""
    rewrite = policy("/b/{x}", _REWRITE, "path_template_rewrite")
    text = routes("/a/{x}", f"route: {{cluster: backend, path_rewrite_policy: {rewrite}}}")
    (route,) = load(text).settings.listeners[0].http.route_config.virtual_hosts[0].routes
    assert route.match == PathMatch(PathKind.REGEX, parse_template("/a/{x}").regex)
    assert isinstance(route.action, ForwardAction)
    assert route.action.regex_rewrite == RegexSubstitution(f"^{route.match.value}$", "/b/\\1")


@pytest.mark.parametrize(
    ("template", "action", "words"),
    [
        ("/a/{x", "route: {cluster: backend}", "neither text"),
        ("/a/{x}", "route: {cluster: backend, prefix_rewrite: /x}", "Cannot use prefix_rewrite"),
        ("/a/{x}", "redirect: {prefix_rewrite: /x}", "Cannot use prefix_rewrite"),
    ],
)
def test_templates_that_cannot_work_are_reported(template: str, action: str, words: str) -> None:
    """With their place."""
    assert words in problem(routes(template, action)).problem


def test_a_template_rewrite_needs_a_template() -> None:
    """There are no variables otherwise."""
    rewrite = policy("/b", _REWRITE, "path_template_rewrite")
    fields = f"route: {{cluster: backend, path_rewrite_policy: {rewrite}}}"
    assert (
        "without path_match_policy" in problem(minimal(routes=f"- match: {{prefix: /}}\n  {fields}")).problem
    )


def test_case_is_always_compared() -> None:
    """As in Envoy, and the warning says so."""
    text = routes("/a/{x}", "route: {cluster: backend}", ", case_sensitive: false")
    assert any("compared with case" in entry for entry in warnings(text))
