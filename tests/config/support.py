"""Short ways to make configurations; every test that needs a whole one starts from `minimal`."""

from pathlib import Path
from textwrap import dedent, indent

import pytest

from fastproxy.config import ConfigError, ConfigProblem, LoadedConfig, load_config

HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
JWT = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"

DEFAULT_ROUTE = """
- match: {prefix: /}
  route: {cluster: backend}
"""
DEFAULT_CLUSTER = """
- name: backend
  type: STATIC
  load_assignment:
    cluster_name: backend
    endpoints:
    - lb_endpoints:
      - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 8000}}}
"""


def block(text: str, spaces: int) -> str:
    """Text at a given indentation, without blank lines around it."""
    return indent(dedent(text).strip("\n"), " " * spaces)


def minimal(
    *,
    routes: str = DEFAULT_ROUTE,
    clusters: str = DEFAULT_CLUSTER,
    filters: str = "",
    manager: str = "",
    listener: str = "",
    virtual_host: str = "",
    top: str = "",
) -> str:
    """One listener on port 0 with one route to one cluster; the arguments are YAML put into their places."""
    return f"""\
{block(top, 0)}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
{block(listener, 4)}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": {HCM}
          stat_prefix: ingress
{block(manager, 10)}
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: "*"
{block(virtual_host, 14)}
              routes:
{block(routes, 14)}
          http_filters:
{block(filters, 10)}
          - name: router
            typed_config: {{"@type": {ROUTER}}}
  clusters:
{block(clusters, 2)}
"""


def jwt_filter(providers: str, rules: str = "[]") -> str:
    """A jwt_authn filter for the `filters` argument of `minimal`."""
    return f"""\
- name: jwt
  typed_config:
    "@type": {JWT}
    providers:
{block(providers, 6)}
    rules:
{block(rules, 4 if rules.lstrip().startswith("-") else 6)}
"""


def cluster(extra: str) -> str:
    """The default cluster with more fields."""
    return DEFAULT_CLUSTER + block(extra, 2) + "\n"


def load(text: str) -> LoadedConfig:
    """Load YAML text."""
    return load_config(None, config_yaml=text)


def load_file(folder: Path, text: str, name: str = "config.yaml") -> LoadedConfig:
    """Load text from a file of the given name."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def problems(text: str) -> tuple[ConfigProblem, ...]:
    """The problems of a text that must not load."""
    with pytest.raises(ConfigError) as caught:
        load(text)
    return caught.value.problems


def problem(text: str) -> ConfigProblem:
    """The only problem of a text that must not load."""
    found = problems(text)
    assert len(found) == 1, "\n".join(str(entry) for entry in found)
    return found[0]


def warnings(text: str) -> list[str]:
    """The warnings of a text that loads."""
    return [str(entry) for entry in load(text).warnings]
