"""`upgrade_configs` of connection managers and routes."""

import pytest

from fastproxy.listener.settings import UpgradeSettings
from fastproxy.router.settings import ForwardAction, RouteUpgrade
from tests.config.support import JWT, ROUTER, load, minimal, problem, warnings


def connect_route(config: str, match: str = "connect_matcher: {}") -> str:
    return f"- match: {{{match}}}\n  route: {{cluster: backend, upgrade_configs: [{config}]}}"


def test_types_are_read_in_any_case() -> None:
    """Envoy compares without case."""
    text = minimal(
        manager="upgrade_configs: [{upgrade_type: WebSocket}, {upgrade_type: tcp, enabled: false}]",
        routes=connect_route("{upgrade_type: CONNECT, connect_config: {}}"),
    )
    http = load(text).settings.listeners[0].http
    assert http.upgrades == (UpgradeSettings("websocket"), UpgradeSettings("tcp", enabled=False))
    action = http.route_config.virtual_hosts[0].routes[0].action
    assert isinstance(action, ForwardAction)
    assert action.upgrades == (RouteUpgrade("connect", connects_tcp=True),)


def test_filters_of_an_upgrade_bring_their_keys() -> None:
    """Otherwise nobody would fetch them."""
    provider = "{issuer: i, remote_jwks: {http_uri: {uri: http://i/k, cluster: backend, timeout: 1s}}}"
    text = minimal(
        manager=f"""
upgrade_configs:
- upgrade_type: websocket
  filters:
  - name: own
    typed_config:
      "@type": {JWT}
      providers: {{p: {provider}}}
  - name: r
    typed_config: {{"@type": {ROUTER}}}
""",
        routes="""
- match: {prefix: /}
  route: {cluster: backend}
  typed_per_filter_config:
    own:
      "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig
      disabled: true
""",
    )
    settings = load(text).settings
    (upgrade,) = settings.listeners[0].http.upgrades
    assert upgrade.filters is not None
    assert [one.name for one in upgrade.filters] == ["own"]
    assert [one.issuer for one in settings.providers()] == ["i"]


@pytest.mark.parametrize(
    ("manager", "words"),
    [
        ("upgrade_configs: [{upgrade_type: a}, {upgrade_type: A}]", "multiple upgrade configs"),
        ("upgrade_configs: [{upgrade_type: h2c}]", "is not supported"),
        ("upgrade_configs: [{}]", "needs a type"),
        (
            "upgrade_configs: [{upgrade_type: a, filters: [{name: x, is_optional: true}]}]",
            "must be the router",
        ),
    ],
)
def test_what_cannot_work_is_refused(manager: str, words: str) -> None:
    """At the start, not with the first handshake."""
    assert words in problem(minimal(manager=manager)).problem


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{upgrade_type: websocket, connect_config: {}}", "is for upgrade_type CONNECT"),
        ("{upgrade_type: CONNECT, connect_config: {allow_post: true}}", "only CONNECT opens a tunnel"),
        ("{upgrade_type: CONNECT, connect_config: {proxy_protocol_config: {}}}", "no PROXY header"),
    ],
)
def test_what_a_tunnel_cannot_do_is_refused(config: str, words: str) -> None:
    """A tunnel that works otherwise than it says would be a hole."""
    assert words in problem(minimal(routes=connect_route(config))).problem


def test_connect_on_a_route_that_never_gets_it_is_a_warning() -> None:
    """CONNECT has no path."""
    (text,) = warnings(minimal(routes=connect_route("{upgrade_type: CONNECT}", "prefix: /")))
    assert "only a route with connect_matcher gets CONNECT requests" in text
