"""CORS policies with credentials."""

import pytest

from tests.config.support import minimal
from tests.lint.support import names, only

TYPES = "type.googleapis.com/envoy.extensions.filters.http.cors.v3"
FILTERS = f'- name: cors\n  typed_config: {{"@type": {TYPES}.Cors}}\n'


def policy(origins: str, credentials: str = "true") -> str:
    """A virtual host with a policy, which its route inherits."""
    per_filter = (
        f'{{cors: {{"@type": {TYPES}.CorsPolicy, allow_origin_string_match: {origins},'
        f" allow_credentials: {credentials}}}}}"
    )
    return minimal(filters=FILTERS, virtual_host=f"typed_per_filter_config: {per_filter}\n")


@pytest.mark.parametrize(
    ("origins", "stranger"),
    [
        ('[{exact: "*"}]', "https://attacker.example"),
        ("[{exact: https://app.example}, {safe_regex: {regex: .*}}]", "https://attacker.example"),
        ("[{safe_regex: {regex: 'http://.*'}}]", "http://attacker.example"),
        ("[{prefix: http}]", "https://attacker.example"),
        ('[{exact: "null"}]', "null"),
        ("[{prefix: https://app.example}]", "https://app.example.attacker.example"),
        ("[{suffix: app.example}]", "https://attacker-app.example"),
        ("[{contains: app.example}]", "app.example"),
    ],
)
def test_strangers_that_a_policy_lets_in(origins: str, stranger: str) -> None:
    """Whoever can have such an origin acts with the visitor's cookies."""
    found = only(policy(origins), "cors-credentials-for-all")
    assert stranger in found.what
    assert found.path.endswith("allow_origin_string_match")


@pytest.mark.parametrize(
    "origins",
    [
        "[{exact: https://app.example}]",
        "[{suffix: .app.example}]",
        "[{safe_regex: {regex: 'https://[a-z]+\\.app\\.example'}}]",
        "[{prefix: 'https://app.example:'}]",
        "[]",
    ],
)
def test_policies_that_name_their_own(origins: str) -> None:
    """They are what credentials are for."""
    assert names(policy(origins)) == []


def test_anybody_without_credentials() -> None:
    """A public interface is no mistake."""
    assert names(policy('[{exact: "*"}]', credentials="false")) == []
    assert names(minimal(filters=FILTERS)) == []


def test_policy_that_is_switched_off() -> None:
    """It allows nothing."""
    config = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
    host = f'{{cors: {{"@type": {config}, disabled: true}}}}'
    assert names(minimal(filters=FILTERS, virtual_host=f"typed_per_filter_config: {host}\n")) == []


def test_policy_of_a_weighted_cluster_alone() -> None:
    """It is said below the route."""
    entry = (
        f'{{name: backend, weight: 1, typed_per_filter_config: {{cors: {{"@type": {TYPES}.CorsPolicy,'
        ' allow_origin_string_match: [{exact: "*"}], allow_credentials: true}}}'
    )
    routes = f"- match: {{prefix: /}}\n  route: {{weighted_clusters: {{clusters: [{entry}]}}}}\n"
    only(minimal(filters=FILTERS, routes=routes), "cors-credentials-for-all")
