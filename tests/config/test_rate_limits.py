"""`rate_limits` of routes and virtual hosts: checked, and without effect while no filter counts them."""

import pytest

from tests.config.support import load, minimal, problem

LIMITS = """
- stage: 2
  disable_key: off
  actions:
  - remote_address: {}
  - generic_key: {descriptor_value: x}
  - request_headers: {header_name: x-a, descriptor_key: a}
  - header_value_match: {descriptor_value: v, headers: [{name: x-b, string_match: {exact: c}}]}
  - query_parameter_value_match: {descriptor_value: w, query_parameters: [{name: q, string_match: {prefix: d}}]}
""".replace("off", '"off"')


def with_limits(limits: str, *, on_host: bool = False) -> str:
    """A configuration with rate limits on its route or its virtual host."""
    inner = "rate_limits:\n" + limits.strip("\n")
    if on_host:
        return minimal(virtual_host=inner)
    routes = "- match: {prefix: /}\n  route:\n    cluster: backend\n" + "\n".join(
        f"    {line}" for line in inner.split("\n")
    )
    return minimal(routes=routes)


@pytest.mark.parametrize("on_host", [False, True])
def test_limits_without_a_filter_are_a_warning(on_host: bool) -> None:
    """So it is in Envoy, which says nothing."""
    found = load(with_limits(LIMITS, on_host=on_host)).warnings
    assert [one.problem for one in found if one.path.endswith("rate_limits")] == [
        "has no effect: no filter in http_filters uses it"
    ]


def test_virtual_host_s_limits_may_be_asked_for() -> None:
    """By the deprecated field."""
    routes = "- match: {prefix: /}\n  route: {cluster: backend, include_vh_rate_limits: true}\n"
    found = load(minimal(routes=routes)).warnings
    assert [one.problem for one in found if one.path.endswith("include_vh_rate_limits")] == [
        "has no effect: no filter in http_filters uses it",
        "the field is deprecated in Envoy's API",
    ]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ("- stage: 11\n  actions: [{remote_address: {}}]\n", "10"),
        ("- actions: []\n", "actions"),
        ("- actions: [{}]\n", "action"),
        ("- actions: [{request_headers: {header_name: x}}]\n", "descriptor_key"),
        (
            (
                "- actions: [{header_value_match: {descriptor_value: v,"
                " headers: [{name: a, string_match: {safe_regex: {regex: '('}}}]}}]\n"
            ),
            "invalid regex",
        ),
        (
            (
                "- actions: [{query_parameter_value_match: {descriptor_value: v,"
                " query_parameters: [{name: a, string_match: {safe_regex: {regex: '('}}}]}}]\n"
            ),
            "invalid regex",
        ),
    ],
)
def test_mistake_in_a_limit_is_found_all_the_same(limits: str, words: str) -> None:
    """Or it would be found on the day when a filter comes."""
    assert words in str(problem(with_limits(limits)))
