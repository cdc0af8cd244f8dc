"""Listeners as the configuration fixes them (Envoy `Listener`, `HttpConnectionManager`). Durations are seconds."""

from dataclasses import dataclass, field
from enum import Enum

from fastproxy.addresses import format_address
from fastproxy.filters.jwt_authn.settings import JwtAuthnSettings
from fastproxy.filters.settings import FilterSettings
from fastproxy.format.settings import BodyFormatSettings, HeaderRuleSettings, HeaderValueSettings
from fastproxy.http.name_case import KeptCaseSettings
from fastproxy.listener.addresses.settings import ListenAddress, Place, SocketOption, place_of
from fastproxy.listener.tcp_proxy.settings import TcpProxySettings
from fastproxy.listener.tls.settings import DownstreamTlsSettings
from fastproxy.match.settings import Fraction, HeaderMatch, MetadataMatch
from fastproxy.router.settings import RouteConfigurationSettings


class Compared(Enum):
    """What a comparison of an access log filter looks at."""

    STATUS = "status_code_filter"
    DURATION = "duration_filter"
    """Milliseconds since the request began."""


class Comparison(Enum):
    """How a comparison of an access log filter is done."""

    EQ = "EQ"
    GE = "GE"
    LE = "LE"
    NE = "NE"


@dataclass(frozen=True, slots=True)
class ComparisonFilter:
    """The status or the duration against a number (Envoy `StatusCodeFilter`, `DurationFilter`)."""

    compared: Compared
    comparison: Comparison
    number: int


@dataclass(frozen=True, slots=True)
class FlagFilter:
    """One of these response flags is set; with none given, any (Envoy `ResponseFlagFilter`)."""

    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class ConditionFilter:
    """A condition on the request (Envoy `HeaderFilter`, `RuntimeFilter`)."""

    condition: HeaderMatch | Fraction


@dataclass(frozen=True, slots=True)
class MetadataFilter:
    """A condition on dynamic metadata (Envoy `MetadataFilter`)."""

    match: MetadataMatch
    if_missing: bool = True
    """What holds where there is no such value."""


@dataclass(frozen=True, slots=True)
class GrpcStatusFilter:
    """The gRPC status is one of these, or none of them (Envoy `GrpcStatusFilter`)."""

    statuses: frozenset[int]
    exclude: bool = False


@dataclass(frozen=True, slots=True)
class CombinedFilter:
    """All of the conditions hold, or one does (Envoy `AndFilter`, `OrFilter`)."""

    filters: "tuple[LogFilterSettings, ...]"
    needs_all: bool = True


@dataclass(frozen=True, slots=True)
class NoHealthCheckFilter:
    """The request is no health check that the filter `health_check` knows (Envoy `NotHealthCheckFilter`)."""


#: When a request is logged, or a local reply mapped (Envoy `AccessLogFilter`).
LogFilterSettings = (
    ComparisonFilter
    | FlagFilter
    | ConditionFilter
    | MetadataFilter
    | GrpcStatusFilter
    | CombinedFilter
    | NoHealthCheckFilter
)


@dataclass(frozen=True, slots=True)
class AccessLogSettings:
    """One `access_log` entry: a file (or /dev/stdout, /dev/stderr) and a line format."""

    path: str
    text_format: str | None = None
    """None means Envoy's default line (spec/http.md section 14)."""
    json_format: dict[str, object] | None = None
    omit_empty: bool = False
    """Missing values are left out, not written as `-` or null."""
    filter: LogFilterSettings | None = None


@dataclass(frozen=True, slots=True)
class ReplyMapperSettings:
    """What becomes of some local replies (Envoy `ResponseMapper`)."""

    filter: LogFilterSettings
    status: int | None = None
    body: bytes | None = None
    headers: tuple[HeaderValueSettings, ...] = ()
    body_format: BodyFormatSettings | None = None
    """Instead of that for all replies."""


@dataclass(frozen=True, slots=True)
class LocalReplySettings:
    """`local_reply_config`: the first mapper whose filter holds, then the format."""

    mappers: tuple[ReplyMapperSettings, ...] = ()
    body_format: BodyFormatSettings | None = None


@dataclass(frozen=True, slots=True)
class HttpFilterSettings:
    """One `http_filters` entry but the router, which is always last and has no settings here."""

    name: str
    config: FilterSettings


@dataclass(frozen=True, slots=True)
class UpgradeSettings:
    """One entry of `HttpConnectionManager.upgrade_configs`."""

    type: str
    """Lower case; `connect` for CONNECT."""
    enabled: bool = True
    filters: tuple[HttpFilterSettings, ...] | None = None
    """Instead of the connection manager's; None keeps those."""


class ServerHeader(Enum):
    """What becomes of the `server` header of a response (`server_header_transformation`)."""

    OVERWRITE = "OVERWRITE"
    APPEND_IF_ABSENT = "APPEND_IF_ABSENT"
    PASS_THROUGH = "PASS_THROUGH"  # noqa: S105 - a choice's name


class Underscores(Enum):
    """What becomes of request headers with an underscore in their name (`headers_with_underscores_action`)."""

    ALLOW = "ALLOW"
    REJECT = "REJECT_REQUEST"
    DROP = "DROP_HEADER"


class EscapedSlashes(Enum):
    """What becomes of %2F and %5C in a path (`path_with_escaped_slashes_action`)."""

    KEEP = "KEEP_UNCHANGED"
    REJECT = "REJECT_REQUEST"
    REDIRECT = "UNESCAPE_AND_REDIRECT"
    FORWARD = "UNESCAPE_AND_FORWARD"


class StripPort(Enum):
    """Which port is cut off the host (`strip_matching_host_port`, `strip_any_host_port`)."""

    NONE = ""
    MATCHING = "matching"
    """The port that the connection was made to."""
    ANY = "any"


@dataclass(frozen=True, slots=True)
class XffDetectionSettings:
    """How an extension reads `x-forwarded-for` (Envoy `XffConfig`)."""

    num_trusted_hops: int = 0
    trusted_networks: tuple[str, ...] = ()
    """CIDR ranges; instead of a number of hops."""
    skip_append: bool = True


class ForwardClientCert(Enum):
    """What becomes of `x-forwarded-client-cert` (Envoy `ForwardClientCertDetails`)."""

    SANITIZE = "sanitize"
    FORWARD_ONLY = "forward_only"
    APPEND_FORWARD = "append_forward"
    SANITIZE_SET = "sanitize_set"
    ALWAYS_FORWARD_ONLY = "always_forward_only"


@dataclass(frozen=True, slots=True)
class HttpConnectionManagerSettings:
    """How HTTP is served on a listener (Envoy `HttpConnectionManager`)."""

    stat_prefix: str
    route_config: RouteConfigurationSettings
    http_filters: tuple[HttpFilterSettings, ...] = ()
    access_logs: tuple[AccessLogSettings, ...] = ()
    server_name: str = "fastproxy"
    use_remote_address: bool = False
    xff_num_trusted_hops: int = 0
    skip_xff_append: bool = False
    generate_request_id: bool = True
    preserve_external_request_id: bool = False
    max_request_headers_bytes: int = 60 * 1024
    max_headers_count: int = 100
    idle_timeout_s: float = 3600.0
    """`common_http_protocol_options.idle_timeout`: an idle downstream connection is closed after it; 0 = never."""
    stream_idle_timeout_s: float = 300.0
    request_timeout_s: float = 0.0
    request_headers_timeout_s: float = 0.0
    accept_http_10: bool = False
    default_host_for_http_10: str = ""
    normalize_path: bool = False
    merge_slashes: bool = False
    forward_client_cert: ForwardClientCert = ForwardClientCert.SANITIZE
    client_cert_details: frozenset[str] = frozenset()
    """`set_current_client_cert_details`: of `subject`, `cert`, `chain`, `dns`, `uri`, those that are set."""
    suppress_envoy_headers: bool = False
    """From the router filter's config."""
    append_x_forwarded_port: bool = False
    internal_networks: tuple[str, ...] = ()
    """`internal_address_config.cidr_ranges`."""
    xff_detection: XffDetectionSettings | None = None
    """`original_ip_detection_extensions`."""
    early_rules: tuple[HeaderRuleSettings, ...] = ()
    """`early_header_mutation_extensions`, one level for each mutation."""
    via: str = ""
    always_set_request_id_in_response: bool = False
    server_header: ServerHeader = ServerHeader.OVERWRITE
    allow_chunked_length: bool = False
    """A chunked request may say a length, too; it is dropped. Otherwise such a request is refused."""
    proxy_100_continue: bool = False
    """The upstream says whether it wants the body of a request with `expect: 100-continue`."""
    proper_case_words: bool = False
    """`header_key_format`: names of response headers are written like `Content-Type`."""
    counts_bytes: bool = False
    """Some format asks for bytes on the wire, or of headers."""
    kept_case: KeptCaseSettings | None = None
    """`header_key_format`: names of request headers are passed on as the downstream writes them."""
    underscores: Underscores = Underscores.ALLOW
    escaped_slashes: EscapedSlashes = EscapedSlashes.KEEP
    strip_port: StripPort = StripPort.NONE
    strip_trailing_host_dot: bool = False
    announces_connections: bool = True
    """`add_proxy_protocol_connection_state`: upstreams that want a PROXY header are told the downstream's addresses."""
    allow_absolute_url: bool = True
    local_replies: LocalReplySettings | None = None
    upgrades: tuple[UpgradeSettings, ...] = ()
    max_requests_per_connection: int = 0
    """The answer to the last one closes the connection; 0 is no limit."""
    max_connection_duration_s: float = 0.0
    """A connection takes no new request after it; 0 is no limit."""
    max_stream_duration_s: float = 0.0
    """From the request's head to the end of the response, where the route says nothing; 0 is no limit."""
    config_path: str = field(default="", compare=False, repr=False)
    """Where it stands in the configuration, for messages: `static_resources.listeners[0]`..."""

    @property
    def jwt_authn(self) -> tuple[JwtAuthnSettings, ...]:
        """The `jwt_authn` filters, in order."""
        return tuple(one.config for one in self.http_filters if isinstance(one.config, JwtAuthnSettings))

    def all_filters(self) -> tuple[HttpFilterSettings, ...]:
        """Those of every request, and those that upgrades have instead."""
        found = self.http_filters
        for upgrade in self.upgrades:
            found += upgrade.filters or ()
        return found


#: What serves the connections of a filter chain: its last network filter.
NetworkFilterSettings = HttpConnectionManagerSettings | TcpProxySettings


class SourceType(Enum):
    """Where a connection comes from (Envoy `FilterChainMatch.ConnectionSourceType`)."""

    ANY = "any"
    SAME_IP_OR_LOOPBACK = "same_ip_or_loopback"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class FilterChainMatchSettings:
    """Which connections a filter chain serves (Envoy `FilterChainMatch`); what is empty fits everything."""

    destination_port: int = 0
    prefix_ranges: tuple[str, ...] = ()
    """Networks of the local address, `192.0.2.0/24`."""
    server_names: tuple[str, ...] = ()
    """Lower case; `*.example.com` fits every name below."""
    transport_protocol: str = ""
    """`tls`, `raw_buffer`."""
    application_protocols: tuple[str, ...] = ()
    direct_source_prefix_ranges: tuple[str, ...] = ()
    """Networks of the TCP peer; `source_prefix_ranges` are of the peer that a PROXY header names."""
    source_type: SourceType = SourceType.ANY
    source_prefix_ranges: tuple[str, ...] = ()
    source_ports: tuple[int, ...] = ()


MATCHES_ALL = FilterChainMatchSettings()


@dataclass(frozen=True, slots=True)
class FilterChainSettings:
    """One way to serve a connection (Envoy `FilterChain`)."""

    network: NetworkFilterSettings
    name: str = ""
    match: FilterChainMatchSettings = MATCHES_ALL
    tls: DownstreamTlsSettings | None = None
    """None: what comes is served as it is."""
    handshake_timeout_s: float = 0.0
    """`transport_socket_connect_timeout`; 0: the listener's own bound."""


@dataclass(frozen=True, slots=True)
class TlsInspectorSettings:
    """The listener filter that looks at a ClientHello (Envoy `TlsInspector`)."""

    max_client_hello_bytes: int = 16 * 1024
    refuses_malformed: bool = False
    """`close_connection_on_client_hello_parsing_errors`; False: such a connection counts as plain."""


@dataclass(frozen=True, slots=True)
class ProxyProtocolSettings:
    """The listener filter that takes a PROXY header off a connection (Envoy `ProxyProtocol`)."""

    optional: bool = False
    """`allow_requests_without_proxy_protocol`."""
    versions: frozenset[int] = frozenset((1, 2))
    """Without `disallowed_versions`."""


ListenerFilterSettings = TlsInspectorSettings | ProxyProtocolSettings


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One listening address and what serves it (Envoy `Listener`)."""

    name: str
    host: str
    """IP literal, or the path of a Unix domain socket; see `ListenAddress`."""
    port: int
    """0 lets the system choose; a Unix domain socket has none."""
    filter_chains: tuple[FilterChainSettings, ...]
    default_filter_chain: FilterChainSettings | None = None
    """Serves what no chain matches; None: such a connection is cut."""
    listener_filters: tuple[ListenerFilterSettings, ...] = ()
    """What looks at the first bytes, in order."""
    listener_filters_timeout_s: float = 15.0
    """How long the peer may take to send what they wait for; 0 = any time."""
    continues_on_listener_filters_timeout: bool = False
    max_connections: int | None = None
    """`envoy.resource_limits.listener.NAME.connection_limit`, of all workers together; None: no limit."""
    counts_globally: bool = True
    """False (`ignore_global_conn_limit`): the limit of the whole proxy does not hold here."""
    buffer_limit_bytes: int = 1024 * 1024
    """`per_connection_buffer_limit_bytes`: high-water mark of the downstream write buffer."""
    tcp_backlog: int = 4096
    ipv4_compat: bool = False
    pipe_mode: int = 0
    """`pipe.mode`: permissions of the file; 0: what the process's umask leaves."""
    additional_addresses: tuple[ListenAddress, ...] = ()
    socket_options: tuple[SocketOption, ...] = ()
    """Of the first address; those of the others are theirs."""
    binds: bool = True
    """`bind_to_port`; False: it is there, and nothing reaches it."""
    shares_socket: bool = False
    """`enable_reuse_port: false`: the workers accept from one socket."""
    stat_prefix: str = ""
    """Instead of the address in names of statistics."""
    is_inbound: bool = False
    """`traffic_direction: INBOUND`: `/drain_listeners?inboundonly` stops it."""
    config_path: str = field(default="", compare=False, repr=False)
    """Where it stands in the configuration, for messages: `static_resources.listeners[0]`..."""

    def chains(self) -> tuple[FilterChainSettings, ...]:
        """Every filter chain; their positions here name them in messages between processes."""
        return (
            self.filter_chains
            if self.default_filter_chain is None
            else (*self.filter_chains, self.default_filter_chain)
        )

    def addresses(self) -> tuple[ListenAddress, ...]:
        """Every address, the first one first."""
        first = ListenAddress(self.host, self.port, self.ipv4_compat, self.pipe_mode, self.socket_options)
        return (first, *self.additional_addresses)

    def places(self) -> tuple[tuple[ListenAddress, Place], ...]:
        """The addresses where it listens, each with what names it; none if it does not bind."""
        found = self.addresses() if self.binds else ()
        return tuple((one, place_of(self.name, one, position)) for position, one in enumerate(found))

    def http_managers(self) -> tuple[HttpConnectionManagerSettings, ...]:
        """What serves HTTP here, in the order of the chains."""
        networks = (chain.network for chain in self.chains())
        return tuple(one for one in networks if isinstance(one, HttpConnectionManagerSettings))

    def tcp_proxies(self) -> tuple[TcpProxySettings, ...]:
        """What passes connections on as they are, in the order of the chains."""
        return tuple(chain.network for chain in self.chains() if isinstance(chain.network, TcpProxySettings))

    @property
    def http(self) -> HttpConnectionManagerSettings:
        """What serves HTTP in the first chain that does; most listeners have one chain."""
        return self.http_managers()[0]

    @property
    def stat_address(self) -> str:
        """What Envoy writes in names of statistics: the prefix, or as in `127.0.0.1_8080`, `[__1]_8080`."""
        return (self.stat_prefix or format_address(self.host, self.port)).replace(":", "_")
