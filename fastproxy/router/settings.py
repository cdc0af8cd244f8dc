"""Routes as the configuration fixes them (Envoy `config.route.v3`). Built by `fastproxy.config`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntFlag

from fastproxy.format.settings import BodyFormatSettings, HeaderRuleSettings
from fastproxy.match.settings import Fraction, HeaderMatch, PathMatch, RegexSubstitution, RequestConditions
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
    request_headers: tuple[HeaderRuleSettings, ...] = ()
    """`request_headers_mutations`: what is done to the headers of the copy alone."""


class RetryOn(IntFlag):
    """The conditions of `retry_on` (spec/http.md section 11.3)."""

    SERVER_ERROR = 1
    """`5xx`: such a response, or none at all."""
    GATEWAY_ERROR = 2
    """`gateway-error`: 502, 503 or 504, or no response at all."""
    RESET = 4
    RESET_BEFORE_REQUEST = 8
    CONNECT_FAILURE = 16
    RETRIABLE_4XX = 32
    """409."""
    RETRIABLE_STATUS_CODES = 64
    RETRIABLE_HEADERS = 128
    ENVOY_RATELIMITED = 256
    GRPC_CANCELLED = 512
    GRPC_DEADLINE_EXCEEDED = 1024
    GRPC_INTERNAL = 2048
    GRPC_RESOURCE_EXHAUSTED = 4096
    GRPC_UNAVAILABLE = 8192


_NEVER = RetryOn(0)
#: What `retry_on` and `x-envoy-retry-on` may say. HTTP/1.1 has no refused streams, and there is no HTTP/3.
RETRY_ON_WORDS: Mapping[str, RetryOn] = {
    "5xx": RetryOn.SERVER_ERROR,
    "gateway-error": RetryOn.GATEWAY_ERROR,
    "reset": RetryOn.RESET,
    "reset-before-request": RetryOn.RESET_BEFORE_REQUEST,
    "connect-failure": RetryOn.CONNECT_FAILURE,
    "retriable-4xx": RetryOn.RETRIABLE_4XX,
    "retriable-status-codes": RetryOn.RETRIABLE_STATUS_CODES,
    "retriable-headers": RetryOn.RETRIABLE_HEADERS,
    "envoy-ratelimited": RetryOn.ENVOY_RATELIMITED,
    "refused-stream": _NEVER,
    "http3-post-connect-failure": _NEVER,
}
#: What `retry_on` may say as well, and `x-envoy-retry-grpc-on`.
GRPC_RETRY_ON_WORDS: Mapping[str, RetryOn] = {
    "cancelled": RetryOn.GRPC_CANCELLED,
    "deadline-exceeded": RetryOn.GRPC_DEADLINE_EXCEEDED,
    "internal": RetryOn.GRPC_INTERNAL,
    "resource-exhausted": RetryOn.GRPC_RESOURCE_EXHAUSTED,
    "unavailable": RetryOn.GRPC_UNAVAILABLE,
}


def parse_retry_on(text: str, words: Mapping[str, RetryOn]) -> RetryOn:
    """The conditions in a list with commas; words that are not known mean nothing (Envoy)."""
    found = _NEVER
    for word in text.split(","):
        found |= words.get(word.strip(), _NEVER)
    return found


@dataclass(frozen=True, slots=True)
class ResetHeader:
    """A response header that says when to come again (`rate_limited_retry_back_off.reset_headers`)."""

    name: str
    """Lower case."""
    is_timestamp: bool = False
    """Unix time, and not seconds from now."""


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """When and how a request is tried again (Envoy `RetryPolicy`). Durations are seconds."""

    conditions: RetryOn = _NEVER
    max_retries: int = 1
    """`num_retries`: tries besides the first one."""
    per_try_timeout_s: float = 0.0
    """From the request's end to the response's head; 0 is none."""
    per_try_idle_timeout_s: float = 0.0
    """Without a byte in either direction; 0 is none."""
    base_interval_s: float = 0.025
    max_interval_s: float = 0.25
    reset_headers: tuple[ResetHeader, ...] = ()
    max_reset_s: float = 300.0
    """A longer pause than this is not what a reset header may ask for; it is not heeded then."""
    status_codes: frozenset[int] = frozenset()
    response_headers: tuple[HeaderMatch, ...] = ()
    """`retriable_headers`: one of them makes a response retriable."""
    request_headers: tuple[HeaderMatch, ...] = ()
    """`retriable_request_headers`: a request must have one of them, if there are any."""
    avoids_previous: bool = False
    """`previous_hosts`: choose another endpoint than those tried."""
    avoids_canaries: bool = False
    """`omit_canary_hosts`."""
    avoided_metadata: SubsetMatch | None = None
    """`omit_host_metadata`: avoid endpoints that have all of it."""
    max_selections: int = 1
    """`host_selection_retry_max_attempts`: how often to choose again for the sake of the above."""
    priority_update_frequency: int = 0
    """`previous_priorities`: leave out the priorities tried, anew after so many tries; 0 is never."""


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
class RouteUpgrade:
    """One entry of `RouteAction.upgrade_configs`; comes before what the connection manager says."""

    type: str
    """Lower case; `connect` for CONNECT."""
    enabled: bool = True
    connects_tcp: bool = False
    """`connect_config`: CONNECT ends here, and the cluster gets the tunnel's bytes alone."""


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
    path_rewrite: str = ""
    """A format of the whole path."""
    hash_policy: tuple[HashPolicy, ...] = ()
    subset: SubsetMatch | None = None
    """`metadata_match`: the subset of the cluster that requests go to; None is none."""
    mirrors: tuple[MirrorPolicy, ...] = ()
    retry: RetrySettings | None = None
    """Of the route, or else of its virtual host."""
    is_high_priority: bool = False
    """`priority`: which set of circuit breakers applies."""
    replay_limit_bytes: int | None = None
    """Body bytes kept for a retry; None: the listener's `per_connection_buffer_limit_bytes`."""
    tells_upstream_attempts: bool = False
    """`include_request_attempt_count`: say which try it is in `x-envoy-attempt-count`."""
    tells_downstream_attempts: bool = False
    """`include_attempt_count_in_response`: say how many tries it took."""
    upgrades: tuple[RouteUpgrade, ...] = ()
    idle_timeout_s: float | None = None
    """Instead of the connection manager's `stream_idle_timeout`; 0 switches it off."""
    max_stream_duration_s: float | None = None
    """From the request's first byte to the response's last; 0 switches it off, None leaves the listener's."""
    grpc_timeout_max_s: float | None = None
    """`grpc_timeout_header_max`: `grpc-timeout` limits the stream, up to this; 0 means without bound."""
    grpc_timeout_offset_s: float = 0.0
    """`grpc_timeout_header_offset`: what is taken off it."""
    grpc_route_timeout_max_s: float | None = None
    """The deprecated `max_grpc_timeout`: for gRPC requests `grpc-timeout`, up to this, is the timeout of the route; 0
    means without bound, None that the field is not there."""
    grpc_route_timeout_offset_s: float = 0.0
    """The deprecated `grpc_timeout_offset`: what is taken off it."""


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
    body_format: BodyFormatSettings | None = None
    """Writes what is sent; the body is what it calls `%LOCAL_REPLY_BODY%`."""


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
    stat_prefix: str = ""
    """Statistics of its own have names with this in them; empty: there are none."""
    metadata: str = ""
    """`filter_metadata` as a JSON object, for formats; empty if there is none."""


@dataclass(frozen=True, slots=True)
class VirtualClusterSettings:
    """Requests that are counted together (Envoy `VirtualCluster`)."""

    name: str
    headers: tuple[HeaderMatch, ...] = ()
    """All of them must hold."""


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
    virtual_clusters: tuple[VirtualClusterSettings, ...] = ()
    """The first whose conditions hold counts a request."""
    metadata: str = ""
    """`filter_metadata` as a JSON object, for formats; empty if there is none."""
    config_path: str = field(default="", compare=False, repr=False)
    """Where it stands in the configuration, for messages: `static_resources.listeners[0]`..."""


@dataclass(frozen=True, slots=True)
class RouteConfigurationSettings:
    """A whole route table (`RouteConfiguration`)."""

    name: str
    virtual_hosts: tuple[VirtualHostSettings, ...]
    ignore_port_in_host_matching: bool = False
    vhost_header: str = ""
    """The header that names the virtual host, lower case; empty: the host does."""
    internal_only_headers: tuple[str, ...] = ()
    """Lower case; removed from every request that is not internal, before routes and filters look at it."""
