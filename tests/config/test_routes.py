"""Virtual hosts, route matches and actions."""

import pytest

from fastproxy.match.settings import PathKind, PathMatch
from fastproxy.router.settings import (
    DirectResponseAction,
    ForwardAction,
    RedirectAction,
    RouteActionSettings,
    RouteConfigurationSettings,
)
from tests.config.support import load, minimal, problem, warnings

FORWARD = "route: {cluster: backend}"


def table(text: str) -> RouteConfigurationSettings:
    return load(text).settings.listeners[0].http.route_config


def action(text: str) -> RouteActionSettings:
    return table(minimal(routes=f"- match: {{prefix: /}}\n  {text}")).virtual_hosts[0].routes[0].action


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("{prefix: /a}", PathMatch(PathKind.PREFIX, "/a")),
        ('{prefix: ""}', PathMatch(PathKind.PREFIX, "")),
        ("{path: /a, case_sensitive: false}", PathMatch(PathKind.EXACT, "/a", case_sensitive=False)),
        ("{path_separated_prefix: /a}", PathMatch(PathKind.SEPARATED_PREFIX, "/a")),
        ("{safe_regex: {regex: '/r[0-9]+'}}", PathMatch(PathKind.REGEX, "/r[0-9]+")),
        ("{safe_regex: {google_re2: {}, regex: /r}}", PathMatch(PathKind.REGEX, "/r")),
    ],
)
def test_path_conditions(match: str, expected: PathMatch) -> None:
    """All four forms, and the old spelling of a regex."""
    assert (
        table(minimal(routes=f"- match: {match}\n  {FORWARD}")).virtual_hosts[0].routes[0].match == expected
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("route: {cluster: backend}", ForwardAction("backend")),
        (
            (
                "route: {cluster: backend, timeout: 0s, host_rewrite_literal: a, prefix_rewrite: /b,"
                " cluster_not_found_response_code: NOT_FOUND}"
            ),
            ForwardAction(
                "backend",
                0.0,
                "a",
                auto_host_rewrite=False,
                prefix_rewrite="/b",
                cluster_not_found_status=404,
            ),
        ),
        (
            "route: {cluster: backend, auto_host_rewrite: true}",
            ForwardAction("backend", auto_host_rewrite=True),
        ),
        ("redirect: {}", RedirectAction()),
        (
            (
                "redirect: {https_redirect: true, host_redirect: h, port_redirect: 8, path_redirect: /p,"
                " response_code: FOUND, strip_query: true}"
            ),
            RedirectAction(
                302,
                https_redirect=True,
                host_redirect="h",
                port_redirect=8,
                path_redirect="/p",
                strip_query=True,
            ),
        ),
        (
            "redirect: {scheme_redirect: https, prefix_rewrite: /p}",
            RedirectAction(scheme_redirect="https", prefix_rewrite="/p"),
        ),
        ("direct_response: {status: 200, body: {inline_string: hi}}", DirectResponseAction(200, b"hi")),
        ("direct_response: {status: 204}", DirectResponseAction(204)),
    ],
)
def test_actions(text: str, expected: RouteActionSettings) -> None:
    """Every attribute from its field."""
    assert action(text) == expected


def test_domains_are_compared_in_lower_case() -> None:
    """Host names have no case (RFC 9110 section 4.2.3)."""
    found = table(minimal().replace('domains: "*"', "domains: [A.Example, '*.B', 'c.*']"))

    assert found.virtual_hosts[0].domains == ("a.example", "*.b", "c.*")


@pytest.mark.parametrize(
    ("domains", "words"),
    [
        ('["*", "*"]', "Only a single wildcard domain"),
        ("[a.example, A.example]", "Only unique values for domains"),
        ('["a*b"]', "no meaning"),
        ('["*a*"]', "no meaning"),
        ('[""]', "must not be empty"),
    ],
)
def test_ambiguous_domains_are_refused(domains: str, words: str) -> None:
    """Which virtual host answers must not depend on their order."""
    assert words in problem(minimal().replace('domains: "*"', f"domains: {domains}")).problem


def test_an_unknown_cluster_is_refused_with_its_nearest_neighbour() -> None:
    """Otherwise every request answers 503 at run time."""
    found = problem(minimal(routes="- match: {prefix: /}\n  route: {cluster: bakend}"))

    assert found.problem == "unknown cluster 'bakend'"
    assert found.fix == 'Did you mean "backend"?'


def test_the_check_of_clusters_can_be_switched_off() -> None:
    """`validate_clusters: false`, as in Envoy."""
    text = minimal(routes="- match: {prefix: /}\n  route: {cluster: later}")

    assert table(
        text.replace("name: local", "name: local\n            validate_clusters: false")
    ).virtual_hosts


@pytest.mark.parametrize("pattern", ["(?=a)", "(a)\\1", "a(", "*"])
def test_only_re2_syntax_is_taken(pattern: str) -> None:
    """Backtracking engines can be made to hang by a path."""
    found = problem(minimal(routes=f"- match: {{safe_regex: {{regex: '{pattern}'}}}}\n  {FORWARD}"))

    assert found.problem.startswith("invalid regex")


def test_direct_response_bodies_are_bounded() -> None:
    """Envoy's limit, and the field that raises it."""
    text = minimal(
        routes=f"- match: {{prefix: /}}\n  direct_response: {{status: 200, body: {{inline_string: {'a' * 4097}}}}}"
    )

    assert "4097 bytes; maximum is 4096" in problem(text).problem
    raised = "name: local\n            max_direct_response_body_size_bytes: 5000"
    assert table(text.replace("name: local", raised)).virtual_hosts


@pytest.mark.parametrize(
    "route",
    [
        "- match: {prefix: /, headers: [{name: a}]}\n  route: {cluster: backend}",
        "- match: {prefix: /, query_parameters: [{name: a}]}\n  route: {cluster: backend}",
        "- match: {prefix: /, runtime_fraction: {default_value: {numerator: 5}}}\n  route: {cluster: backend}",
        "- match: {connect_matcher: {}}\n  route: {cluster: backend}",
        "- match: {prefix: /}\n  route: {cluster_header: x}",
        "- match: {prefix: /}\n  route: {cluster: backend, retry_policy: {retry_on: 5xx}}",
    ],
)
def test_what_routes_cannot_do_yet_is_refused(route: str) -> None:
    """A dropped condition sends requests where they must not go."""
    assert "not supported" in problem(minimal(routes=route)).problem


def test_a_prefix_with_a_query_warns_that_it_never_matches() -> None:
    """Paths are compared without their query."""
    assert any(
        "never matches" in entry
        for entry in warnings(minimal(routes=f"- match: {{prefix: '/a?b'}}\n  {FORWARD}"))
    )


def test_virtual_hosts_that_demand_tls_are_refused() -> None:
    """Serving them in the clear would be the opposite."""
    assert "ALL is not supported" in problem(minimal(virtual_host="require_tls: ALL")).problem
