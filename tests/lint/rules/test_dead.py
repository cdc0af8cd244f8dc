"""What is never reached or used."""

import pytest

from tests.config.support import minimal
from tests.lint.support import CLEAN_PROVIDERS, CLOSED, NORMAL, PER_ROUTE, line, names, only, text, warnings


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{prefix: /}", "{prefix: /admin}"),
        ("{prefix: /}", '{safe_regex: {regex: "/x.*"}}'),
        ("{path_separated_prefix: /a}", "{path: /a/b}"),
        ("{prefix: /a}", "{path_separated_prefix: /ab}"),
        ("{prefix: /A, case_sensitive: false}", "{prefix: /ab}"),
        ("{path: /a}", "{path: /a}"),
        ("{prefix: /a}", '{safe_regex: {regex: "/ab[0-9]"}}'),
        ('{safe_regex: {regex: ".*"}}', "{prefix: /a}"),
        (
            "{prefix: /, headers: [{name: x, present_match: true}]}",
            ("{prefix: /a, headers: [{name: x, present_match: true}]}"),
        ),
    ],
)
def test_rule_behind_one_that_takes_all_it_could(first: str, second: str) -> None:
    """What it requires is never asked for."""
    source = text(
        f"- match: {first}\n  requires: {{provider_name: idp}}\n"
        f"- match: {second}\n  requires: {{provider_name: idp}}\n"
    )

    dead = [line(source, one) for one in warnings(source) if one.rule == "dead-rule"]

    assert f"- match: {second}" in dead


def test_message_names_the_line_of_the_other_rule() -> None:
    """So that nobody has to look for it."""
    source = text("- match: {prefix: /}\n  requires: {provider_name: idp}\n- match: {prefix: /admin}")
    first = [
        number for number, one in enumerate(source.splitlines(), 1) if one.strip() == "- match: {prefix: /}"
    ]

    # The route comes before the rules in the file.
    assert only(source, "dead-rule").what == (
        f"{{prefix: /admin}} is never reached: {{prefix: /}} (line {first[1]}) matches first"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{prefix: /admin}", "{prefix: /}"),
        ("{path: /a}", "{prefix: /a}"),
        ("{prefix: /a/}", "{path: /a}"),
        ("{prefix: /a}", "{prefix: /b}"),
        ('{safe_regex: {regex: "/a.*"}}', "{prefix: /a}"),
        ("{prefix: /a}", "{prefix: /a, case_sensitive: false}"),
        ("{prefix: /, headers: [{name: x, present_match: true}]}", "{prefix: /a}"),
        (
            "{prefix: /, headers: [{name: x, present_match: true}]}",
            ("{prefix: /, headers: [{name: z, present_match: true}]}"),
        ),
    ],
)
def test_rule_that_something_reaches(first: str, second: str) -> None:
    """Also when it is hard to say what."""
    rules = f"- match: {first}\n- match: {second}\n"
    source = text(rules)

    assert "dead-rule" not in names(source)


def test_route_behind_one_that_takes_all_it_could() -> None:
    """In its own virtual host."""
    routes = (
        "- match: {prefix: /}\n  route: {cluster: backend}\n"
        "- match: {prefix: /api}\n  route: {cluster: backend}"
    )
    source = minimal(routes=routes)

    assert line(source, only(source, "dead-route")) == "- match: {prefix: /api}"


def test_routes_in_order() -> None:
    """Narrow ones first."""
    routes = (
        "- match: {prefix: /api}\n  route: {cluster: backend}\n"
        "- match: {prefix: /}\n  route: {cluster: backend}"
    )

    assert names(minimal(routes=routes)) == []


@pytest.mark.parametrize(
    ("domains", "config", "dead"),
    [
        ('["https://api.example"]', "", True),
        ('["api.example/v1"]', "", True),
        ('["api.example:8080"]', "ignore_port_in_host_matching: true", True),
        ('["api.example:8080"]', "", False),
        ('["api.example", "*.example", "api.*", "[::1]"]', "ignore_port_in_host_matching: true", False),
    ],
)
def test_domain_that_matches_no_request(domains: str, config: str, dead: bool) -> None:
    """A URL is no host."""
    source = minimal(manager=NORMAL).replace('domains: "*"', f"domains: {domains}")
    source = source.replace("name: local\n", f"name: local\n            {config}\n")

    assert names(source) == (["dead-domain"] if dead else [])


def test_domain_with_a_port_that_the_listener_takes_off() -> None:
    """`strip_any_host_port` comes before virtual hosts are looked for."""
    source = minimal(manager="strip_any_host_port: true").replace(
        'domains: "*"', 'domains: ["api.example:8080"]'
    )

    assert "strip_any_host_port" in only(source, "dead-domain").what


def test_requirement_that_nothing_uses() -> None:
    """It protects nothing."""
    source = text(requirement_map="staff: {provider_name: idp}")

    assert line(source, only(source, "unused-requirement")) == "staff: {provider_name: idp}"


def test_requirement_that_a_rule_or_a_route_uses() -> None:
    """Both are uses."""
    routes = f"""
- match: {{path: /a}}
  route: {{cluster: backend}}
  typed_per_filter_config: {{jwt: {{"@type": {PER_ROUTE}, requirement_name: b}}}}
- match: {{prefix: /}}
  route: {{cluster: backend}}
"""
    source = text(
        "- match: {prefix: /}\n  requirement_name: a",
        requirement_map="a: {provider_name: idp}\nb: {provider_name: idp}",
        routes=routes,
    )

    assert names(source) == []


SECOND = """
other:
  issuer: https://other.example
  audiences: [api]
  remote_jwks: {http_uri: {uri: "http://localhost/keys", cluster: keys, timeout: 1s}}
"""


def test_provider_that_no_requirement_names() -> None:
    """Somebody meant to."""
    source = text(CLOSED, providers=CLEAN_PROVIDERS + SECOND, clusters=KEYS)

    assert line(source, only(source, "unused-provider")) == "other:"


KEYS = """
- name: keys
  type: STATIC
  load_assignment:
    cluster_name: keys
    endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]
"""


@pytest.mark.parametrize(
    "requires",
    [
        "{requires_any: {requirements: [{provider_name: idp}, {provider_name: other}]}}",
        "{provider_and_audiences: {provider_name: other, audiences: [x]}}",
        "{allow_missing: {}}",
    ],
)
def test_provider_that_some_requirement_accepts(requires: str) -> None:
    """`allow_missing` alone looks for tokens of all."""
    source = text(
        f"- match: {{path: /a}}\n  requires: {requires}\n{CLOSED.strip()}",
        providers=CLEAN_PROVIDERS + SECOND,
        clusters=KEYS,
    )

    assert names(source) == []
