"""Routes as the configuration fixes them (Envoy `config.route.v3`). Built by `fastproxy.config`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from fastproxy.format.settings import HeaderRuleSettings
from fastproxy.match.settings import Fraction, PathMatch, RegexSubstitution, RequestConditions
from fastproxy.upstream.balancer.settings import SubsetMatch


@dataclass(frozen=True, slots=True)
class HeaderHash:
    """Hash a request header (Envoy `HashPolicy.Header`); nothing if it is absent."""

    name: str
    """Lower case."""
    rewrite: RegexSubstitution | None = None


@dataclass(frozen=True, slots=True)
class CookieHash:
    """Hash a cookie (Envoy `HashPolicy.Cookie`)."""

    name: str
    ttl_s: float | None = None
    """An absent cookie is made, to live that long (0: for the session); None makes none."""
    path: str = ""
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SourceAddressHash:
    """Hash the client's address (Envoy `HashPolicy.ConnectionProperties.source_ip`)."""


@dataclass(frozen=True, slots=True)
class QueryHash:
    """Hash the first value of a query parameter, not decoded (Envoy `HashPolicy.QueryParameter`)."""

    name: str


@dataclass(frozen=True, slots=True)
class HashPolicy:
    """One entry of `RouteAction.hash_policy` (spec/clusters.md section 3.2)."""

    source: HeaderHash | CookieHash | SourceAddressHash | QueryHash
    terminal: bool = False
    """If there is a hash after this entry, the ones behind it are not asked."""


@dataclass(frozen=True, slots=True)
class MirrorPolicy:
    """Where to send a copy of the request (Envoy `RequestMirrorPolicy`, spec/http.md section 11.5)."""

    cluster: str = ""
    cluster_header: str = ""
    """The header that names the cluster, lower case, if `cluster` is empty."""
    fraction: Fraction | None = None
    keeps_host: bool = False
    """`disable_shadow_host_suffix_append`: without it the host gets `-shadow` appended."""
    host_rewrite_literal: str = ""


@dataclass(frozen=True, slots=True)
class WeightedCluster:
    """One entry of `WeightedCluster.clusters`."""

    cluster: str
    weight: int
    cluster_header: str = ""
    host_rewrite_literal: str = ""
    """Comes before the route's host rewrites."""
    filter_configs: Mapping[str, object] = field(default_factory=dict)
    """Those of the route, overridden by the entry's own."""
    request_headers: tuple[HeaderRuleSettings, ...] = ()
    """Those of the route and the entry's own, in the order in which they are applied."""
    response_headers: tuple[HeaderRuleSettings, ...] = ()
    subset: SubsetMatch | None = None
    """`metadata_match`; overrides the route's, key by key."""


@dataclass(frozen=True, slots=True)
class WeightedClusters:
    """Choose a cluster by chance or by what the request says (Envoy `WeightedCluster`)."""

    clusters: tuple[WeightedCluster, ...]
    header_name: str = ""
    """A header with an unsigned number that decides instead of chance; lower case."""
    uses_hash_policy: bool = False
    """The hash of `hash_policy` decides instead of chance."""


@dataclass(frozen=True, slots=True)
class ForwardAction:
    """`route`: send the request to a cluster (Envoy `RouteAction`).

    One of `cluster`, `cluster_header` and `weighted_clusters` is given, at most one host rewrite and at most one path
    rewrite.
    """

    cluster: str = ""
    timeout_s: float = 15.0
    """From the end of the request to the end of the response; 0 switches it off."""
    host_rewrite_literal: str = ""
    auto_host_rewrite: bool = False
    prefix_rewrite: str = ""
    cluster_not_found_status: int = 503
    cluster_header: str = ""
    """The header that names the cluster, lower case."""
    weighted_clusters: WeightedClusters | None = None
    host_rewrite_header: str = ""
    """The header that holds the new host, lower case."""
    host_rewrite_path_regex: RegexSubstitution | None = None
    """Makes the new host out of the path."""
    append_x_forwarded_host: bool = False
    """Leave the old host in `x-forwarded-host` when it is rewritten."""
    regex_rewrite: RegexSubstitution | None = None
    hash_policy: tuple[HashPolicy, ...] = ()
    subset: SubsetMatch | None = None
    """`metadata_match`: the subset of the cluster that requests go to; None is none."""
    mirrors: tuple[MirrorPolicy, ...] = ()
    idle_timeout_s: float | None = None
    """Instead of the connection manager's `stream_idle_timeout`; 0 switches it off."""
    max_stream_duration_s: float | None = None
    """From the request's first byte to the response's last; 0 switches it off, None leaves the listener's."""
    grpc_timeout_max_s: float | None = None
    """`grpc_timeout_header_max`: `grpc-timeout` limits the stream, up to this; 0 means without bound."""
    grpc_timeout_offset_s: float = 0.0
    """`grpc_timeout_header_offset`: what is taken off it."""


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
    regex_rewrite: RegexSubstitution | None = None


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
    conditions: RequestConditions = field(default_factory=RequestConditions)
    """What the match asks for besides the path."""
    request_headers: tuple[HeaderRuleSettings, ...] = ()
    """Of the route, its virtual host and the route table, in the order in which they are applied."""
    response_headers: tuple[HeaderRuleSettings, ...] = ()
    config_path: str = field(default="", compare=False, repr=False)
    """Where it stands in the configuration, for messages: `static_resources.listeners[0]`..."""


class TlsRequirement(Enum):
    """Which requests of a virtual host must have come over TLS (Envoy `VirtualHost.require_tls`)."""

    NONE = "NONE"
    EXTERNAL_ONLY = "EXTERNAL_ONLY"
    ALL = "ALL"


@dataclass(frozen=True, slots=True)
class VirtualHostSettings:
    """One entry of `RouteConfiguration.virtual_hosts`."""

    name: str
    domains: tuple[str, ...]
    """Exact names, `*.suffix`, `prefix.*` or `*`; lower case."""
    routes: tuple[RouteSettings, ...]
    require_tls: TlsRequirement = TlsRequirement.NONE
    config_path: str = field(default="", compare=False, repr=False)
    """Where it stands in the configuration, for messages: `static_resources.listeners[0]`..."""


@dataclass(frozen=True, slots=True)
class RouteConfigurationSettings:
    """A whole route table (`RouteConfiguration`)."""

    name: str
    virtual_hosts: tuple[VirtualHostSettings, ...]
    ignore_port_in_host_matching: bool = False
