"""The `cors` filter from the file: policies of every level, the deprecated field, and what has no effect."""

import pytest

from fastproxy.filters.build import build_filter
from fastproxy.filters.cors.filter import CorsFilter
from fastproxy.filters.cors.settings import CorsPolicy, CorsRouteSettings, CorsSettings
from fastproxy.match.settings import Fraction, StringKind, StringMatch
from tests.config.support import load, minimal, problem

TYPES = "type.googleapis.com/envoy.extensions.filters.http.cors.v3"
FILTERS = f'- name: cors\n  typed_config: {{"@type": {TYPES}.Cors}}\n'
CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
ORIGIN = "allow_origin_string_match: [{exact: https://a.test}]"
POLICY = CorsPolicy((StringMatch(StringKind.EXACT, "https://a.test"),))


def policy(text: str) -> str:
    """What a level says about the filter."""
    return f'{{cors: {{"@type": {TYPES}.CorsPolicy, {text}}}}}'


def said(
    configs: str = "{}", *, host: str = "", action: str = "route: {cluster: backend}", filters: str = FILTERS
) -> object:
    """What the route says about the filter in the end."""
    routes = f"- match: {{prefix: /}}\n  {action}\n  typed_per_filter_config: {configs}\n"
    (listener,) = load(minimal(filters=filters, routes=routes, virtual_host=host)).settings.listeners
    return listener.http.route_config.virtual_hosts[0].routes[0].filter_configs.get("cors")


def warnings_of(**text: str) -> list[str]:
    """The warnings about a configuration."""
    return [one.problem for one in load(minimal(**text)).warnings]


def test_filter_is_read_and_built() -> None:
    """Its message is empty; `disabled` stands beside it."""
    (listener,) = load(minimal(filters=FILTERS)).settings.listeners
    (one,) = listener.http.http_filters
    assert one.config == CorsSettings()
    assert isinstance(build_filter(one.name, CorsSettings()), CorsFilter)
    (listener,) = load(minimal(filters=FILTERS + "  disabled: true\n")).settings.listeners
    assert listener.http.http_filters[0].config == CorsSettings(is_off_by_default=True)


def test_every_field_of_a_policy_is_read() -> None:
    """None of them is a mere label."""
    found = said(
        policy(
            "allow_origin_string_match: [{exact: https://a.test}, {safe_regex: {regex: 'https://.*\\.b\\.test'}}],"
            " allow_methods: 'GET,PUT', allow_headers: x-a, expose_headers: x-b, max_age: '600',"
            " allow_credentials: true, allow_private_network_access: false, forward_not_matching_preflights: true,"
            " filter_enabled: {default_value: {numerator: 5, denominator: TEN_THOUSAND}},"
            " shadow_enabled: {default_value: {numerator: 7}}"
        )
    )
    assert found == CorsRouteSettings(
        CorsPolicy(
            (
                StringMatch(StringKind.EXACT, "https://a.test"),
                StringMatch(StringKind.REGEX, r"https://.*\.b\.test"),
            ),
            "GET,PUT",
            "x-a",
            "x-b",
            "600",
            allow_credentials=True,
            allow_private_network_access=False,
            forwards_not_matching_preflights=True,
            enabled=Fraction(5, 10_000),
            shadow_enabled=Fraction(7, 100),
        ),
        is_off=False,
    )


def test_share_comes_from_the_runtime_if_the_key_is_there() -> None:
    """`layered_runtime` is how a policy is rolled out."""
    runtime = "layered_runtime: {layers: [{name: s, static_layer: {cors.on: 30}}]}\n"
    per_route = policy("filter_enabled: {default_value: {numerator: 100}, runtime_key: cors.on}")
    routes = (
        f"- match: {{prefix: /}}\n  route: {{cluster: backend}}\n  typed_per_filter_config: {per_route}\n"
    )
    (listener,) = load(minimal(filters=FILTERS, routes=routes, top=runtime)).settings.listeners
    found = listener.http.route_config.virtual_hosts[0].routes[0].filter_configs["cors"]
    assert isinstance(found, CorsRouteSettings)
    assert found.policy is not None
    assert found.policy.enabled == Fraction(30, 100)


def test_levels_are_brought_together() -> None:
    """What the route does not say, the virtual host does."""
    host = f"typed_per_filter_config: {policy(ORIGIN + ', max_age: 5')}\n".replace(
        "max_age: 5", "max_age: '5'"
    )
    found = said(policy("max_age: '7', allow_methods: PUT"), host=host)
    assert found == CorsRouteSettings(
        CorsPolicy(POLICY.origins, max_age="7", allow_methods="PUT"), is_off=False
    )
    assert said(f'{{cors: {{"@type": {CONFIG}, disabled: true}}}}', host=host) == CorsRouteSettings(
        CorsPolicy(POLICY.origins, max_age="5"), is_off=True
    )


def test_deprecated_field_is_read_on_routes_and_virtual_hosts() -> None:
    """With the warning that every deprecated field gets."""
    found = said(
        action="route: {cluster: backend, cors: {allow_methods: PUT}}",
        host=f"cors: {{{ORIGIN}}}\n",
    )
    assert found == CorsRouteSettings(old_policy=CorsPolicy(POLICY.origins, allow_methods="PUT"))
    words = warnings_of(filters=FILTERS, virtual_host=f"cors: {{{ORIGIN}}}\n")
    assert words == ["the field is deprecated in Envoy's API"]


def test_deprecated_field_without_a_filter_is_a_warning() -> None:
    """Envoy says nothing, and whoever wrote it waits for headers that never come."""
    words = warnings_of(virtual_host=f"cors: {{{ORIGIN}}}\n")
    assert any("http_filters has no filter that uses it" in one for one in words)


@pytest.mark.parametrize("action", ["redirect: {path_redirect: /x}", "direct_response: {status: 200}"])
def test_route_that_answers_by_itself_has_no_policy(action: str) -> None:
    """Not even that of its virtual host, as in Envoy; one of its own is a warning."""
    host = f"typed_per_filter_config: {policy(ORIGIN)}\ncors: {{{ORIGIN}}}\n"
    assert said(action=action, host=host) is None
    assert said(policy(ORIGIN), action=action) is None
    routes = f"- match: {{prefix: /}}\n  {action}\n  typed_per_filter_config: {policy(ORIGIN)}\n"
    words = warnings_of(filters=FILTERS, routes=routes)
    assert any(
        "a CorsPolicy has no effect on a route that does not lead to a cluster" in one for one in words
    )


@pytest.mark.parametrize("field", ["allow_methods", "allow_headers", "expose_headers", "max_age"])
def test_text_that_would_end_a_header_is_refused(field: str) -> None:
    """It is written into responses as it is (S47)."""
    per_route = policy(f'{field}: "GET\\r\\nx: y"')
    routes = (
        f"- match: {{prefix: /}}\n  route: {{cluster: backend}}\n  typed_per_filter_config: {per_route}\n"
    )
    found = problem(minimal(filters=FILTERS, routes=routes))
    assert "a character that no header may have" in found.problem
    assert found.path.endswith(field)


def test_wrong_expression_is_refused() -> None:
    """The syntax is RE2's."""
    per_route = policy("allow_origin_string_match: [{safe_regex: {regex: '(?=x)'}}]")
    routes = (
        f"- match: {{prefix: /}}\n  route: {{cluster: backend}}\n  typed_per_filter_config: {per_route}\n"
    )
    assert "invalid regex" in problem(minimal(filters=FILTERS, routes=routes)).problem
