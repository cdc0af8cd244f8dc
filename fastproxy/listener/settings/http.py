"""How HTTP is served (Envoy `HttpConnectionManager`). Durations are seconds."""

from dataclasses import dataclass, field
from enum import Enum

from fastproxy.filters.jwt_authn.settings import JwtAuthnSettings
from fastproxy.filters.settings import FilterSettings
from fastproxy.format.settings import HeaderRuleSettings
from fastproxy.http.name_case import KeptCaseSettings
from fastproxy.listener.settings.access_log import AT_END, AccessLogSettings, LogMoments
from fastproxy.listener.settings.local_reply import LocalReplySettings
from fastproxy.router.settings import RouteConfigurationSettings


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


@dataclass(frozen=True, slots=True)
class ClientHeaderSettings:
    """A header that names the client (Envoy `CustomHeaderConfig`)."""

    name: str
    is_trusted: bool = False
    """`allow_extension_to_set_address_as_trusted`."""
    reject_status: int = 0
    """`reject_with_status`; 0: a request without the header goes on."""


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
    log_moments: LogMoments = AT_END
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
    drain_timeout_s: float = 0.0
    """How long a connection whose time is over still takes one request, for a client that does not know it yet."""
    delayed_close_timeout_s: float = 1.0
    """How long a closed connection stays half open for its client to read the last answer; 0: not at all."""
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
    internal_pipes: bool = False
    """`internal_address_config.unix_sockets`: who comes over a Unix domain socket is internal."""
    xff_detection: XffDetectionSettings | None = None
    """`original_ip_detection_extensions`: how `x-forwarded-for` is read."""
    client_headers: tuple[ClientHeaderSettings | None, ...] = ()
    """`original_ip_detection_extensions`, if there are others: in order, None for `xff_detection`."""
    service_cluster: str = ""
    """With `add_user_agent`: what the upstream is told of this proxy, `node.cluster`."""
    service_node: str = ""
    """Likewise, `node.id`."""
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
    enable_trailers: bool = False
    """Trailers of requests are passed on to clusters that have the same option, those of responses to downstreams."""
    allow_custom_methods: bool = False
    """Any token is a method (RFC 9110 section 5.6.2)."""
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

    @property
    def looks_at_every_request(self) -> bool:
        """Whether each may be the last of its connection, take too long, or has to be measured or logged."""
        return bool(
            self.max_requests_per_connection
            or self.max_stream_duration_s
            or self.counts_bytes
            or self.log_moments.interval_s
        )

    def all_filters(self) -> tuple[HttpFilterSettings, ...]:
        """Those of every request, and those that upgrades have instead."""
        found = self.http_filters
        for upgrade in self.upgrades:
            found += upgrade.filters or ()
        return found
