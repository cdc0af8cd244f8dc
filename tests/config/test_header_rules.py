"""`headers_to_add` and `headers_to_remove` from a file: where they may stand, in which order they count."""

import pytest

from fastproxy.format.settings import AppendAction, HeaderRuleSettings, HeaderValueSettings
from fastproxy.router.settings import RouteSettings
from tests.config.support import load, minimal, problem, warnings

ADD = "[{header: {key: X-A, value: %s}}]"


def route(text: str) -> RouteSettings:
    """The only route of a file."""
    return load(text).settings.listeners[0].http.route_config.virtual_hosts[0].routes[0]


def with_rules(extra: str, *, table: str = "", host: str = "") -> str:
    text = minimal(
        routes=f"- match: {{prefix: /}}\n  route: {{cluster: backend}}\n  {extra}", virtual_host=host
    )
    return text.replace("            name: local\n", f"            name: local\n            {table}\n", 1)


def values(levels: tuple[HeaderRuleSettings, ...]) -> list[str]:
    return [one.value for level in levels for one in level.add]


@pytest.mark.parametrize("message", ["request", "response"])
@pytest.mark.parametrize(("wins", "expected"), [("false", ["r", "v", "t"]), ("true", ["t", "v", "r"])])
def test_levels_are_applied_in_envoys_order(message: str, wins: str, expected: list[str]) -> None:
    """The last one wins: the table by default, the route with `most_specific_header_mutations_wins`."""
    field = f"{message}_headers_to_add"
    built = route(
        with_rules(
            f"{field}: {ADD % 'r'}",
            host=f"{field}: {ADD % 'v'}",
            table=f"{field}: {ADD % 't'}\n            most_specific_header_mutations_wins: {wins}",
        )
    )

    assert values(getattr(built, f"{message}_headers")) == expected


@pytest.mark.parametrize(
    ("option", "action"),
    [
        ("", AppendAction.APPEND),
        (", append: true", AppendAction.APPEND),
        (", append: false", AppendAction.OVERWRITE),
        (", append_action: ADD_IF_ABSENT", AppendAction.ADD_IF_ABSENT),
        (", append_action: OVERWRITE_IF_EXISTS", AppendAction.OVERWRITE_IF_EXISTS),
    ],
)
def test_every_way_to_append(option: str, action: AppendAction) -> None:
    """The older field is still in many files."""
    built = route(with_rules(f"request_headers_to_add: [{{header: {{key: X-A, value: b}}{option}}}]"))

    assert built.request_headers == (HeaderRuleSettings((HeaderValueSettings("x-a", "b", action),)),)


def test_names_are_lower_case_and_a_single_rule_needs_no_list() -> None:
    """As everywhere in a file."""
    built = route(with_rules("response_headers_to_remove: Server"))

    assert built.response_headers == (HeaderRuleSettings(remove=("server",)),)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("request_headers_to_add: [{header: {key: Host, value: b}}]", "part of the request line"),
        ("request_headers_to_add: [{header: {key: ':path', value: b}}]", "part of the request line"),
        ("request_headers_to_remove: [':method']", "part of the request line"),
        ("response_headers_to_remove: [HOST]", "part of the request line"),
        (
            "request_headers_to_add: [{header: {key: Content-Length, value: '1'}}]",
            "belongs to one connection",
        ),
        ("response_headers_to_remove: [transfer-encoding]", "belongs to one connection"),
        ("request_headers_to_add: [{header: {key: a, value: '%NOPE%'}}]", "unknown operator %NOPE%"),
        ("request_headers_to_add: [{header: {key: a, value: '100%'}}]", "lone %"),
        (
            "request_headers_to_add: [{header: {key: a, value: b}, append: true, append_action: ADD_IF_ABSENT}]",
            "both append and append_action",
        ),
    ],
)
def test_rules_that_cannot_be_are_errors(rules: str, words: str) -> None:
    """With file, line and field, when the file is loaded."""
    found = problem(with_rules(rules))

    assert words in found.problem
    assert found.line is not None


def test_the_older_field_is_deprecated() -> None:
    """Envoy says so as well."""
    text = with_rules("request_headers_to_add: [{header: {key: a, value: b}, append: true}]")

    assert any("deprecated" in one for one in warnings(text))
