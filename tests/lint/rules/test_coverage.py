"""Paths that are open by omission."""

import pytest

from tests.config.support import JWT, minimal
from tests.lint.support import CLEAN_PROVIDERS, CLOSED, DISABLED, PER_ROUTE, line, names, only, text

ONLY_V1 = "- match: {prefix: /v1}\n  requires: {provider_name: idp}"


@pytest.mark.parametrize(
    ("rules", "path"),
    [
        (ONLY_V1, "/anything"),
        ("- match: {path: /}\n  requires: {provider_name: idp}", "/anything"),
        ("- match: {path_separated_prefix: /a}\n- match: {path_separated_prefix: /b}", "/anything"),
        ('- match: {safe_regex: {regex: "/v[0-9]+/.*"}}\n  requires: {provider_name: idp}', "/anything"),
    ],
)
def test_path_that_no_rule_speaks_of(rules: str, path: str) -> None:
    """With an example, so that it can be tried."""
    source = text(rules)
    found = only(source, "uncovered-path")

    assert f'no rule speaks of "{path}" of the route {{prefix: /}} to backend (line ' in found.what
    assert line(source, found) == "rules:"


@pytest.mark.parametrize(
    ("route", "rules", "path"),
    [
        (
            "prefix: /api",
            "- match: {path_separated_prefix: /api}\n  requires: {provider_name: idp}",
            "/apianything",
        ),
        (
            "prefix: /a, case_sensitive: false",
            "- match: {prefix: /a}",
            "/A/ANYTHING",
        ),
        ("path: /x", "- match: {path: /y}", "/x"),
        ('safe_regex: {regex: "/items/[0-9]+"}', "- match: {prefix: /other}", "/items/0"),
        ("prefix: /a", "- match: {path: /a}\n- match: {prefix: /a/}", "/aanything"),
    ],
)
def test_the_example_takes_the_route(route: str, rules: str, path: str) -> None:
    """Narrow routes, rules that are narrower still."""
    assert (
        f'"{path}"'
        in only(
            text(rules, routes=f"- match: {{{route}}}\n  route: {{cluster: backend}}"), "uncovered-path"
        ).what
    )


@pytest.mark.parametrize(
    "conditions",
    ["headers: [{name: x-v, present_match: true}]", "query_parameters: [{name: v, present_match: true}]"],
)
def test_rule_that_the_client_can_escape_covers_nothing(conditions: str) -> None:
    """It leaves the header out, and passes."""
    found = only(
        text(f"- match: {{prefix: /, {conditions}}}\n  requires: {{provider_name: idp}}"), "uncovered-path"
    )

    assert "the client decides" in found.what


def test_no_rules_at_all() -> None:
    """The filter is there, and verifies nothing."""
    source = text("[]", requirement_map="a: {provider_name: idp}", routes=NAMED + DEFAULT)

    assert "the filter verifies nothing" in only(source, "uncovered-path").what


NAMED = f"""
- match: {{prefix: /a}}
  route: {{cluster: backend}}
  typed_per_filter_config: {{jwt: {{"@type": {PER_ROUTE}, requirement_name: a}}}}
"""
DEFAULT = "- match: {prefix: /}\n  route: {cluster: backend}\n"


def test_filter_that_is_off_by_default_and_a_route_that_says_nothing() -> None:
    """Protection that must be asked for is forgotten."""
    source = text(requirement_map="a: {provider_name: idp}", routes=NAMED + DEFAULT).replace(
        "- name: jwt\n", "- name: jwt\n            disabled: true\n"
    )

    found = only(source, "uncovered-path")

    assert "off by default" in found.what
    assert "{prefix: /} to backend" in found.what
    assert "{prefix: /a}" not in found.what


@pytest.mark.parametrize(
    ("rules", "routes"),
    [
        ("- match: {prefix: /}\n  requires: {provider_name: idp}", DEFAULT),
        ('- match: {prefix: ""}\n  requires: {provider_name: idp}', DEFAULT),
        ('- match: {safe_regex: {regex: ".*"}}\n  requires: {provider_name: idp}', DEFAULT),
        # Open, and said so.
        (ONLY_V1 + "\n- match: {prefix: /}", DEFAULT),
        # What the proxy answers by itself.
        (
            ONLY_V1,
            (
                "- match: {prefix: /v1/}\n  route: {cluster: backend}\n"
                "- match: {prefix: /}\n  direct_response: {status: 404}"
            ),
        ),
        # Only an earlier route could be meant.
        (
            ONLY_V1 + "\n- match: {path: /}",
            (
                "- match: {prefix: /v1}\n  route: {cluster: backend}\n"
                "- match: {path: /}\n  route: {cluster: backend}"
            ),
        ),
        (
            ONLY_V1,
            (
                f"- match: {{prefix: /v1}}\n  route: {{cluster: backend}}\n"
                f"- match: {{path: /health}}\n  route: {{cluster: backend}}\n  {DISABLED}"
            ),
        ),
        # A union.
        (
            (
                "- match: {path: /a}\n  requires: {provider_name: idp}\n"
                "- match: {prefix: /a/}\n  requires: {provider_name: idp}"
            ),
            "- match: {path_separated_prefix: /a}\n  route: {cluster: backend}",
        ),
        (
            '- match: {safe_regex: {regex: "/items/.*"}}\n  requires: {provider_name: idp}',
            '- match: {safe_regex: {regex: "/items/[0-9]+"}}\n  route: {cluster: backend}',
        ),
    ],
)
def test_covered_or_open_on_purpose(rules: str, routes: str) -> None:
    """Nothing to say."""
    assert names(text(rules, routes=routes)) == []


def test_a_proxy_without_the_filter_promises_nothing() -> None:
    """Not every proxy verifies tokens."""
    assert names(minimal()) == []


def test_two_filters_cover_for_each_other() -> None:
    """What one of them speaks of is not forgotten."""
    second = f"""
- name: second
  typed_config:
    "@type": {JWT}
    providers: {{}}
    rules: [{{match: {{prefix: /}}}}]
"""
    source = text(ONLY_V1).replace(
        "          - name: router",
        "".join(f"          {one}\n" for one in second.strip().splitlines()) + "          - name: router",
    )

    assert names(source) == []


def test_filter_switched_off_for_every_route() -> None:
    """Left over from a test, and nobody sees it in the rules."""
    found = only(text(virtual_host=DISABLED), "filter-switched-off")

    assert 'switches the filter "jwt" off' in found.what


def test_filter_switched_off_for_some() -> None:
    """A health check."""
    routes = f"- match: {{path: /health}}\n  route: {{cluster: backend}}\n  {DISABLED}\n{DEFAULT}"

    assert names(text(routes=routes, providers=CLEAN_PROVIDERS)) == []


CONNECT = """- match: {connect_matcher: {}}
  route: {cluster: backend, upgrade_configs: [{upgrade_type: CONNECT}]}
- match: {prefix: /}
  route: {cluster: backend}
"""


def test_tunnels_that_anybody_may_open() -> None:
    """A rule for every path is none for CONNECT, which has no path."""
    source = text(routes=CONNECT)

    assert "uncovered-connect" in names(source)


def test_tunnels_that_need_a_token() -> None:
    """By a rule of their own."""
    rules = "- match: {connect_matcher: {}}\n  requires: {provider_name: idp}\n" + CLOSED.strip()

    assert "uncovered-connect" not in names(text(rules, routes=CONNECT))
