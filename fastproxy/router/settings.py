"""Routes as the configuration fixes them (Envoy `config.route.v3`). Built by `fastproxy.config`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastproxy.format.settings import HeaderRuleSettings
from fastproxy.match.settings import PathMatch


@dataclass(frozen=True, slots=True)
class ForwardAction:
    """`route`: send the request to a cluster (Envoy `RouteAction`)."""

    cluster: str
    timeout_s: float = 15.0
    """From the end of the request to the end of the response; 0 switches it off."""
    host_rewrite_literal: str = ""
    auto_host_rewrite: bool = False
    prefix_rewrite: str = ""
    cluster_not_found_status: int = 503


@dataclass(frozen=True, slots=True)
class RedirectAction:
    """`redirect`: answer with a `location` (Envoy `RedirectAction`, spec/http.md section 9.2)."""

    status: int = 301
    https_redirect: bool = False
    scheme_redirect: str = ""
    host_redirect: str = ""
    port_redirect: int = 0
    path_redirect: str = ""
    prefix_rewrite: str = ""
    strip_query: bool = False


@dataclass(frozen=True, slots=True)
class DirectResponseAction:
    """`direct_response`: answer from the configuration."""

    status: int
    body: bytes = b""


RouteActionSettings = ForwardAction | RedirectAction | DirectResponseAction


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """One entry of `VirtualHost.routes`."""

    match: PathMatch
    action: RouteActionSettings
    name: str = ""
    filter_configs: Mapping[str, object] = field(default_factory=dict)
    """By filter name: what this route, or else its virtual host or route table, says about a filter."""
    request_headers: tuple[HeaderRuleSettings, ...] = ()
    """Of the route, its virtual host and the route table, in the order in which they are applied."""
    response_headers: tuple[HeaderRuleSettings, ...] = ()
    config_path: str = field(default="", compare=False, repr=False)
    """Where it stands in the configuration, for messages: `static_resources.listeners[0]`..."""


@dataclass(frozen=True, slots=True)
class VirtualHostSettings:
    """One entry of `RouteConfiguration.virtual_hosts`."""

    name: str
    domains: tuple[str, ...]
    """Exact names, `*.suffix`, `prefix.*` or `*`; lower case."""
    routes: tuple[RouteSettings, ...]
    config_path: str = field(default="", compare=False, repr=False)
    """Where it stands in the configuration, for messages: `static_resources.listeners[0]`..."""


@dataclass(frozen=True, slots=True)
class RouteConfigurationSettings:
    """A whole route table (`RouteConfiguration`)."""

    name: str
    virtual_hosts: tuple[VirtualHostSettings, ...]
    ignore_port_in_host_matching: bool = False
