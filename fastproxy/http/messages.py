"""One request, as everything after the parser sees it."""

from collections.abc import Callable, Mapping
from random import SystemRandom
from typing import Any, Protocol

from fastproxy.http.byte_counts import ByteCounts
from fastproxy.http.connection_info import NO_CONNECTION, ConnectionInfo, UpstreamLink
from fastproxy.http.headers import HeaderMap
from fastproxy.http.name_case import MessageNames
from fastproxy.http.trailers import MessageTrailers

_random = SystemRandom()


class BodySource(Protocol):
    """Where the body of a request comes from, for a filter that needs all of it."""

    async def collect_body(self, limit_bytes: int) -> None:
        """Return when the body is complete, or is longer than `limit_bytes`; until then it is kept."""


class BodyTransform(Protocol):
    """Changes the body of a response on its way, for a filter that has announced it on the head."""

    def transform(self, body: list[bytes], *, complete: bool) -> list[bytes]:
        """What to send instead of these pieces; `complete`: they are the last."""


class RequestCounting(Protocol):
    """Statistics that the request belongs to besides those of its cluster."""

    virtual_cluster: str
    """Envoy's name for one of them; empty if there is none."""

    def on_sent(self) -> None:
        """A try of the request has got a connection to an upstream."""


class Request:
    """A request head and what becomes known about the request on its way. One object per request.

    `headers` never holds `host`: it is `authority`. Hop-by-hop headers are gone before the first filter runs, so
    that a name listed in `Connection` cannot delete what a filter adds.
    """

    __slots__ = (
        "authority",
        "body_complete",
        "body_passed",
        "body_source",
        "body_transform",
        "byte_counts",
        "bytes_received",
        "bytes_sent",
        "cluster_metadata",
        "complete_monotonic",
        "compression",
        "connection",
        "content_length",
        "counting",
        "details",
        "dynamic_metadata",
        "expects_continue",
        "filter_configs",
        "filter_notes",
        "flags",
        "has_body",
        "headers",
        "host_metadata",
        "is_head",
        "is_plain",
        "keep_alive",
        "log_target",
        "method",
        "names",
        "original_path",
        "path",
        "query",
        "random_value",
        "remote_address",
        "response_has_body",
        "response_headers",
        "response_monotonic",
        "response_rules",
        "response_status",
        "retries",
        "route",
        "route_is_stale",
        "route_metadata",
        "route_name",
        "scheme",
        "sent_monotonic",
        "set_cookies",
        "start_monotonic",
        "start_unix",
        "target",
        "trailers",
        "transport_failure",
        "upgrade",
        "upstream_cluster",
        "upstream_host",
        "upstream_host_name",
        "upstream_link",
        "upstream_metadata",
        "version",
        "waiting_body",
    )

    def __init__(  # noqa: PLR0915  # one line a slot
        self, method: bytes, target: bytes, headers: HeaderMap, connection: ConnectionInfo = NO_CONNECTION
    ) -> None:
        self.connection = connection
        """What is known about the connection that the request came over."""
        self.remote_address = connection.remote_address
        """Whom the request comes from, as far as it can be trusted: for logs, address rules and hashing. The direct
        peer until `HeaderTrust.apply` has looked at `x-forwarded-for`; the port is 0 when it is not known."""
        self.scheme = b"http" if connection.tls is None else b"https"
        self.method = method
        self.target = target
        """Path with query as forwarded; `path` and `query` follow it (see `set_target`)."""
        self.headers = headers
        self.path = b""
        self.query = b""
        self.authority = b""
        self.version = "1.1"
        self.is_head = method == b"HEAD"
        self.content_length: int | None = 0
        """None: a body of unknown length follows, chunked."""
        self.is_plain = False
        """The head has none of `SPECIAL_REQUEST_NAMES`."""
        self.has_body = False
        self.body_complete = False
        """All of the body has been read."""
        self.body_passed = False
        """All of the body has been handed to the exchange."""
        self.waiting_body: list[bytes] = []
        """Body bytes that were read and not yet passed on: at most one read, for reading pauses while they wait."""
        self.body_source: BodySource | None = None
        """Brings the rest of the body; set for filters that make the request wait."""
        self.expects_continue = False
        self.upgrade = b""
        """The protocol that the request asks to switch to, lower case; `connect` for CONNECT, empty for most."""
        self.keep_alive = True
        self.route: object = None
        """The router's: what the request was routed to; None if nothing matched."""
        self.route_name = ""
        self.original_path = b""
        """The target before a rewrite."""
        self.log_target = b""
        """The target without its secrets, if a filter found some in the query (S53)."""
        self.dynamic_metadata: dict[str, dict[str, Any]] | None = None
        self.route_metadata: Mapping[str, object] | None = None
        """`metadata` of its route, for formats; None if that has none."""
        self.host_metadata: Mapping[str, object] | None = None
        """`metadata` of its virtual host."""
        self.cluster_metadata: Mapping[str, object] | None = None
        """`metadata` of its cluster."""
        self.upstream_metadata: Mapping[str, object] | None = None
        """`metadata` of the endpoint that it was sent to, the last one if it was tried again."""
        self.filter_configs: Mapping[str, object] | None = None
        """What the route says about filters, by filter name (`typed_per_filter_config`); None if it says nothing."""
        self.filter_notes: dict[str, object] | None = None
        """What filters remember of the request for its response, by filter name; None if none does."""
        self.route_is_stale = False
        """A filter changed what routes may go by: the route has to be selected once more (`clear_route_cache`)."""
        self.random_value = -1
        """What `draw` has drawn; -1 before that."""
        self.start_monotonic = 0.0
        self.start_unix = 0.0
        self.complete_monotonic = 0.0
        """When the last byte of its body was read; 0 without a body, or before that."""
        self.sent_monotonic = 0.0
        """When the last byte of it was sent upstream; 0 before that."""
        self.response_monotonic = 0.0
        """When the head of the upstream's response was read; 0 before that."""
        self.byte_counts: ByteCounts | None = None
        """Its bytes on the wire; None if no format asks for them."""
        self.bytes_received = 0
        self.bytes_sent = 0
        self.flags = ""
        self.details = ""
        self.response_status = 0
        self.response_headers: HeaderMap | None = None
        self.response_has_body = False
        """For filters that look at response heads."""
        self.body_transform: BodyTransform | None = None
        """Set by such a filter: changes the body of the response, whose `content-length` is gone then."""
        self.names: MessageNames | None = None
        """How the peers wrote header names, where that is kept (`preserve_case`)."""
        self.trailers: MessageTrailers | None = None
        """What came behind its body or that of its response, where that is kept (`enable_trailers`)."""
        self.compression: object = None
        """What compressors remember of the request."""
        self.response_rules: ResponseHook | None = None
        """What the route does to the headers of a response, also of one that the proxy gives itself."""
        self.counting: RequestCounting | None = None
        """What else counts it; None for most."""
        self.set_cookies: list[bytes] | None = None
        """Values of `set-cookie` that the upstream's response is to carry besides its own."""
        self.retries = 0
        """How often it was tried again."""
        self.upstream_cluster = ""
        self.upstream_host = ""
        self.upstream_host_name = ""
        """The name by which the endpoint was found; empty if it has none."""
        self.upstream_link: UpstreamLink | None = None
        """The connection that it was sent over, the last one if it was tried again."""
        self.transport_failure = ""
        """Why the last connection attempt failed, for logs."""

    @property
    def direct_remote_address(self) -> tuple[str, int]:
        """The peer, or whom a PROXY header names in its place."""
        return self.connection.remote_address

    @property
    def downstream_local_address(self) -> tuple[str, int]:
        """Where the connection that it came over was accepted."""
        return self.connection.local_address

    def set_target(self, target: bytes) -> None:
        """Set path and query together: rules, routes, filters and the upstream see one path (S49)."""
        self.target = target
        self.path, _, self.query = target.partition(b"?")

    def draw(self) -> int:
        """A random number below 2**64 that stays the same for this request.

        One draw for all shares of one request, as in Envoy: routes for 30 % and for 50 % in a row get 30 % and 20 %.
        """
        if self.random_value < 0:
            self.random_value = _random.getrandbits(64)
        return self.random_value


#: Changes the headers of a response to a request.
ResponseHook = Callable[[Request, HeaderMap], None]


class LocalReply:
    """An answer that the proxy gives itself. `details` and `flag` are for the access log only.

    Immutable by convention: one object may answer many requests.
    """

    __slots__ = (
        "body",
        "close",
        "content_type",
        "details",
        "flag",
        "headers",
        "is_of_route",
        "is_whole",
        "status",
    )

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        *,
        details: str,
        flag: str = "",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        close: bool = False,
        is_of_route: bool = False,
        content_type: bytes = b"",
        is_whole: bool = False,
    ) -> None:
        """`is_of_route`: a route's own answer, whose headers the header rules of that route may change.

        `is_whole`: what a filter says in the upstream's place, to which neither the route's header rules nor
        `local_reply_config` nor gRPC add anything; other filters see it as they see an upstream's response.

        `content_type`: what the body is, whatever those rules say; empty: text, unless they say something else.
        """
        self.status = status
        self.body = body
        self.details = details
        self.flag = flag
        self.headers = headers
        self.close = close
        self.is_of_route = is_of_route
        self.content_type = content_type
        self.is_whole = is_whole

    def __repr__(self) -> str:
        return f"LocalReply({self.status}, {self.details!r})"
