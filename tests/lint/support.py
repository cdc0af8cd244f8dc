"""Short ways to lint a configuration text."""

from fastproxy.lint import LintWarning, lint
from tests.config.support import DEFAULT_CLUSTER, DEFAULT_ROUTE, JWT, block, load, minimal

PUBLIC_KEY = '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
LOCAL = f"local_jwks: {{inline_string: '{{\"keys\":[{PUBLIC_KEY}]}}'}}"
CLEAN_PROVIDERS = f"""
idp:
  issuer: https://idp.example
  audiences: [api]
  {LOCAL}
"""
CLOSED = """
- match: {prefix: /}
  requires: {provider_name: idp}
"""
NORMAL = "normalize_path: true\nmerge_slashes: true\npath_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT"
PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"
DISABLED = f'typed_per_filter_config: {{jwt: {{"@type": {PER_ROUTE}, disabled: true}}}}'


def remote_cluster(name: str, *, tls: str = "", host: str = "upstream.example") -> str:
    """A cluster beyond this machine; `tls` is the inside of an UpstreamTlsContext, or `-` for default settings."""
    socket = ""
    if tls:
        inside = "" if tls == "-" else f", {tls}"
        kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        socket = f'\n  transport_socket: {{name: tls, typed_config: {{"@type": {kind}{inside}}}}}'
    address = f"{{socket_address: {{address: {host}, port_value: 443}}}}"
    return f"""
- name: {name}
  type: STRICT_DNS
  load_assignment:
    cluster_name: {name}
    endpoints: [{{lb_endpoints: [{{endpoint: {{address: {address}}}}}]}}]{socket}
"""


def text(
    rules: str = CLOSED,
    *,
    providers: str = CLEAN_PROVIDERS,
    requirement_map: str = "{}",
    routes: str = DEFAULT_ROUTE,
    clusters: str = "",
    manager: str = NORMAL,
    virtual_host: str = "",
    top: str = "",
    extra: str = "",
) -> str:
    """A configuration with a jwt_authn filter; without arguments no rule finds fault with it."""
    if providers is CLEAN_PROVIDERS and "idp" not in rules + requirement_map:
        # One that nothing uses would be another mistake.
        providers = "{}"
    inner = block(requirement_map, 6)
    filters = f"""\
- name: jwt
  typed_config:
    "@type": {JWT}
    providers:
{block(providers, 6)}
    requirement_map:
{inner}
    rules:
{block(rules, 6)}
{block(extra, 4)}
"""
    return minimal(
        filters=filters,
        routes=routes,
        clusters=DEFAULT_CLUSTER + block(clusters, 0) + "\n",
        manager=manager,
        virtual_host=virtual_host,
        top=top,
    )


def warnings(source: str) -> tuple[LintWarning, ...]:
    """Every warning about a text."""
    return lint(load(source))


def names(source: str) -> list[str]:
    """Names of the rules that have something to say, in the order of the file."""
    return [warning.rule for warning in warnings(source)]


def only(source: str, rule: str) -> LintWarning:
    """The only warning about a text, which must be of this rule."""
    found = warnings(source)
    assert [warning.rule for warning in found] == [rule], "\n".join(map(str, found)) or "no warning"
    return found[0]


def line(source: str, warning: LintWarning) -> str:
    """The line that a warning points at, without its indentation."""
    assert warning.line is not None
    return source.splitlines()[warning.line - 1].strip()
