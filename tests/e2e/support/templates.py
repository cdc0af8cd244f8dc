"""Envoy configuration in small pieces; every piece is a plain dict, as the YAML file has it."""

from typing import Any

from tests.e2e.support.proxies import Config

_TYPES = "type.googleapis.com/envoy.extensions"
_HCM = f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = f"{_TYPES}.filters.http.router.v3.Router"
_JWT = f"{_TYPES}.filters.http.jwt_authn.v3.JwtAuthentication"
_FILE_LOG = f"{_TYPES}.access_loggers.file.v3.FileAccessLog"


def bootstrap(admin_port: int, listeners: list[Config], clusters: list[Config]) -> Config:
    """A whole file."""
    return {
        "admin": {"address": address(admin_port)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def address(port: int, host: str = "127.0.0.1") -> Config:
    """A socket address."""
    return {"socket_address": {"address": host, "port_value": port}}


def listener(
    name: str,
    port: int,
    virtual_hosts: list[Config],
    *,
    filters: list[Config] | None = None,
    router: Config | None = None,
    options: Config | None = None,
    listener_options: Config | None = None,
) -> Config:
    """A listener with one HTTP connection manager; `options` are fields of that, `router` of the router."""
    manager: Config = {
        "@type": _HCM,
        "stat_prefix": name,
        "route_config": {"name": "local_route", "virtual_hosts": virtual_hosts},
        "http_filters": [
            *(filters or []),
            {"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER, **(router or {})}},
        ],
        **(options or {}),
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": name, "address": address(port), "filter_chains": [chain], **(listener_options or {})}


def cluster(name: str, *ports: int, **options: Any) -> Config:
    """A STATIC cluster on 127.0.0.1."""
    endpoints = [{"endpoint": {"address": address(port)}} for port in ports]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        **options,
    }


def virtual_host(name: str, domains: list[str], routes: list[Config]) -> Config:
    """A virtual host."""
    return {"name": name, "domains": domains, "routes": routes}


def forward(match: Config, cluster_name: str = "echo", **action: Any) -> Config:
    """A route to a cluster."""
    return {"match": match, "route": {"cluster": cluster_name, **action}}


def redirect(match: Config, **action: Any) -> Config:
    """A route that redirects."""
    return {"match": match, "redirect": action}


def direct(match: Config, status: int, body: str | None = None) -> Config:
    """A route that answers by itself."""
    action: Config = {"status": status}
    if body is not None:
        action["body"] = {"inline_string": body}
    return {"match": match, "direct_response": action}


def jwt_authn(providers: Config, rules: list[Config]) -> Config:
    """The JWT filter."""
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {"@type": _JWT, "providers": providers, "rules": rules},
    }


def rule(match: Config, provider: str | None = None) -> Config:
    """A rule; without provider no token is needed."""
    return {"match": match} if provider is None else {"match": match, "requires": {"provider_name": provider}}


def file_log(path: str) -> Config:
    """An access log in Envoy's default format."""
    return {"name": "file", "typed_config": {"@type": _FILE_LOG, "path": path}}


#: Kinds of metadata that the configuration itself has, as `%METADATA(KIND:...)%` calls them.
METADATA_KINDS = ("ROUTE", "VIRTUAL_HOST", "CLUSTER", "UPSTREAM_HOST")


def labelled(owner: Config, text: str) -> Config:
    """A route, virtual host, cluster or endpoint with metadata: values of every type below `n`, `text` as `s`."""
    members = {
        "s": text,
        "o": {"deep": {"z": 1, "i": 7}, "a": [1, "b", None]},
        "l": ["x", 1],
        "b": True,
        "z": None,
    }
    return {**owner, "metadata": {"filter_metadata": {"n": {**members, "f": 1.5, "i": 3}}}}


def label_endpoints(one: Config, text: str) -> Config:
    """A cluster whose endpoints have such metadata."""
    localities = [
        {**locality, "lb_endpoints": [labelled(endpoint, text) for endpoint in locality["lb_endpoints"]]}
        for locality in one["load_assignment"]["endpoints"]
    ]
    return {**one, "load_assignment": {**one["load_assignment"], "endpoints": localities}}


#: What every listener needs at least: everything goes to the cluster `echo`.
EVERYTHING_TO_ECHO = [virtual_host("all", ["*"], [forward({"prefix": "/"})])]
