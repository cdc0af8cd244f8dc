"""`metadata` of routes, virtual hosts, clusters and endpoints."""

import json

from tests.config.support import load, minimal, warnings

_METADATA = "metadata: {filter_metadata: {n: {i: 1, a: [x]}, m: {}}}"


def test_metadata_of_a_route_is_kept_for_formats() -> None:
    """Namespaces sorted, whole numbers as such; without a warning, for something reads it."""
    text = minimal(routes=f"- match: {{prefix: /}}\n  route: {{cluster: backend}}\n  {_METADATA}")
    (route,) = load(text).settings.listeners[0].http.route_config.virtual_hosts[0].routes
    assert json.loads(route.metadata) == {"m": {}, "n": {"a": ["x"], "i": 1}}
    assert warnings(text) == []


def test_without_metadata_there_is_none() -> None:
    """Nothing is set on a request then."""
    settings = load(minimal()).settings
    (host,) = settings.listeners[0].http.route_config.virtual_hosts
    assert [host.metadata, host.routes[0].metadata, settings.clusters[0].metadata] == ["", "", ""]
