"""The health_check filter from the file."""

import pytest

from fastproxy.filters.health_check.settings import HealthCheckSettings
from fastproxy.match.settings import HeaderMatch, StringKind, StringMatch
from tests.config.support import load, minimal, problem, warnings

_TYPE = "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck"


def _filter(fields: str) -> str:
    return f'- name: hc\n  typed_config: {{"@type": {_TYPE}, {fields}}}\n'


def _built(fields: str) -> object:
    text = minimal(filters=_filter(fields)) + "\nnode: {id: i, cluster: edge}\n"
    (listener,) = load(text).settings.listeners
    return listener.http.http_filters[0].config


def test_every_field_is_read() -> None:
    """Percentages are rounded up, as Envoy does."""
    assert _built(
        "pass_through_mode: false, headers: [{name: ':path', string_match: {exact: /healthz}}], "
        "cluster_min_healthy_percentages: {backend: {value: 33.1}}"
    ) == HealthCheckSettings(
        headers=(HeaderMatch(":path", StringMatch(StringKind.EXACT, "/healthz")),),
        min_healthy_percentages=(("backend", 34),),
        service_cluster="edge",
    )
    assert _built("pass_through_mode: true, cache_time: 2s") == HealthCheckSettings(
        is_pass_through=True, cache_time_s=2.0, service_cluster="edge"
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("headers: []", "pass_through_mode"),
        ("pass_through_mode: false, cache_time: 1s", "only an upstream's answer can be kept"),
        ("pass_through_mode: false, cluster_min_healthy_percentages: {a: {value: 101}}", "100"),
    ],
)
def test_what_envoy_refuses_is_refused(fields: str, words: str) -> None:
    """Each where it stands."""
    assert words in str(problem(minimal(filters=_filter(fields))))


def test_percentages_with_pass_through_have_no_effect_and_are_warned_of() -> None:
    """Envoy says nothing."""
    found = warnings(
        minimal(filters=_filter("pass_through_mode: true, cluster_min_healthy_percentages: {a: {value: 1}}"))
    )
    assert any("the upstream decides" in str(one) for one in found)


def test_routes_may_switch_it_off_and_nothing_else() -> None:
    """It has no settings for routes, in Envoy neither."""
    route = "- match: {prefix: /}\n  route: {cluster: backend}\n  typed_per_filter_config: {hc: %s}\n"
    text = minimal(
        filters=_filter("pass_through_mode: false"),
        routes=route % f'{{"@type": {_TYPE}, pass_through_mode: false}}',
    )
    assert "no settings for single routes" in str(problem(text))
    load(
        minimal(
            filters=_filter("pass_through_mode: false"),
            routes=route
            % '{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}',
        )
    )
