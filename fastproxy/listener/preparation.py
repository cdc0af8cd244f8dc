"""What happens to a parsed head before anything decides by it: host, path, connection and forwarding headers."""

from fastproxy.format.header_rules import build_header_rules
from fastproxy.http.client_header import ClientHeader
from fastproxy.http.errors import ProtocolError
from fastproxy.http.forwarding import HeaderTrust, check_target
from fastproxy.http.framing import (
    HOP_BY_HOP_REQUEST,
    is_target_authority,
    is_upgrade,
    remove_hop_by_hop,
    split_absolute_form,
    take_authority,
)
from fastproxy.http.headers import HeaderMap
from fastproxy.http.hosts import strip_port, strip_trailing_dot
from fastproxy.http.messages import LocalReply, Request
from fastproxy.http.octets import HASH
from fastproxy.http.paths import build_path_normalization, unescape_slashes
from fastproxy.http.request_id import new_request_id
from fastproxy.listener.client_cert_header import ClientCertHeader
from fastproxy.listener.settings import (
    EscapedSlashes,
    ForwardClientCert,
    HttpConnectionManagerSettings,
    StripPort,
    Underscores,
)
from fastproxy.listener.stats import HttpStats
from fastproxy.listener.trailer_rules import TrailerRules
from fastproxy.listener.upgrades import UPGRADE_REFUSED
from fastproxy.router.redirect import own_location

#: Hosts are remembered up to this number, so that a flood of made-up ones cannot grow the set; and up to this length,
#: for each could be as long as a whole head (RFC 1035 section 2.3.4, and a port).
_MAX_KNOWN_HOSTS = 1024
_MAX_KNOWN_BYTES = 255 + 6

_MISSING_HOST = LocalReply(400, details="missing_host_header", close=True)
#: To `OPTIONS *`, and to absolute targets where they are not allowed: routes are about paths (Envoy).
NO_PATH = LocalReply(404, details="absolute_path_rejected")


class RequestPreparation:
    """The connection manager's own rules, compiled from its settings."""

    __slots__ = (
        "_accept_http_10",
        "_allow_absolute_url",
        "_client_cert",
        "_default_host",
        "_early_rules",
        "_escaped_slashes",
        "_known_hosts",
        "_normalize",
        "_plain_trust",
        "_service_cluster",
        "_service_node",
        "_stats",
        "_strip_dot",
        "_strip_port",
        "_trust",
        "_underscores",
    )

    def __init__(self, settings: HttpConnectionManagerSettings, stats: HttpStats) -> None:
        self._stats = stats
        self._accept_http_10 = settings.accept_http_10
        self._default_host = settings.default_host_for_http_10.encode()
        self._normalize = build_path_normalization(
            normalize_path=settings.normalize_path, merge_slashes=settings.merge_slashes
        )
        self._allow_absolute_url = settings.allow_absolute_url
        self._strip_port = settings.strip_port
        self._strip_dot = settings.strip_trailing_host_dot
        self._underscores = settings.underscores
        self._escaped_slashes = settings.escaped_slashes
        self._early_rules = build_header_rules(settings.early_rules)
        self._known_hosts: dict[object, bytes] = {}
        """Hosts as received that are good, and what is left of them."""
        # Only then does a head without special names need nothing but a scheme and an id.
        self._client_cert = (
            None
            if settings.forward_client_cert is ForwardClientCert.SANITIZE
            else ClientCertHeader(settings.forward_client_cert, settings.client_cert_details)
        )
        self._plain_trust = (
            settings.generate_request_id
            and not settings.use_remote_address
            and not settings.append_x_forwarded_port
            and settings.xff_detection is None
            and not settings.client_headers
            and not settings.service_cluster
            and not settings.via
            and self._underscores is Underscores.ALLOW
            and self._escaped_slashes is EscapedSlashes.KEEP
            and self._early_rules is None
            and self._client_cert is None
            and not settings.route_config.internal_only_headers
        )
        self._trust = _build_trust(settings)
        self._service_cluster = settings.service_cluster.encode()
        self._service_node = settings.service_node.encode()

    def prepare(self, request: Request) -> LocalReply | None:
        """Settle what the request asks for, and from whom. Hot path: once per request.

        Returns:
            None to go on, or the reply that ends the request here.

        Raises:
            ProtocolError: the head breaks HTTP/1 or could be read in two ways.
        """
        headers = request.headers
        target = request.target
        authority = headers.get(b"host")
        if (
            request.is_plain
            and self._plain_trust
            and (known_host := self._known_hosts.get(authority)) is not None
            and target[:1] == b"/"
            and HASH not in target
        ):
            # The usual head: nothing to remove, nothing to distrust, a host that was checked before.
            del headers[b"host"]
            request.authority = known_host
            if self._normalize is not None:
                target = self._normalize(target)
            request.target = target
            request.path, _, request.query = target.partition(b"?")
            headers[b"x-forwarded-proto"] = request.scheme
            headers[b"x-request-id"] = new_request_id()
            return None
        return self._prepare_in_full(request)

    def _prepare_in_full(self, request: Request) -> LocalReply | None:
        headers = request.headers
        if request.version != "1.1":
            self._check_version(request)
        if self._underscores is not Underscores.ALLOW:
            self.check_underscores(headers)
        if request.upgrade:
            # Whatever the answer: what follows may be another protocol's bytes, so no request is read from them (S51).
            request.keep_alive = False
        authority = take_authority(headers)
        target = request.target
        if request.method == b"CONNECT":
            return self._prepare_connect(request)
        if target[:1] != b"/":
            if _has_no_path(request, authority) or (not self._allow_absolute_url and b"://" in target):
                request.authority = authority or b""
                return NO_PATH
            if authority is not None:
                authority, target = split_absolute_form(target)
        if authority is None:
            return _MISSING_HOST
        request.authority = self._settle_host(request, authority)
        check_target(target)
        redirects = self._settle_path(request, target)
        if not HOP_BY_HOP_REQUEST.isdisjoint(headers):
            reply = _take_connection_headers(request)
            if reply is not None:
                return reply
        refusal = self._apply_trust(request)
        if refusal is not None:
            return refusal
        return _redirect_to_path(request) if redirects else None

    def _prepare_connect(self, request: Request) -> LocalReply | None:
        """CONNECT has an authority for its target, whatever `host` says, and no path (RFC 9110 section 9.3.6)."""
        if b"transfer-encoding" in request.headers:
            raise ProtocolError("http1.invalid_transfer_encoding", status=501)
        if request.has_body:
            raise ProtocolError("http1.body_disallowed")
        request.headers.pop(b"content-length", None)
        if not is_target_authority(request.target, needs_port=True):
            raise ProtocolError("http1.invalid_url")
        request.authority = self._settle_host(request, request.target)
        remove_hop_by_hop(request)
        return self._apply_trust(request)

    def _apply_trust(self, request: Request) -> LocalReply | None:
        """Settle what the request may say about where it comes from, whatever its method (S61)."""
        refusal = self._trust.apply(request)
        if refusal is not None:
            self._stats.downstream_rq_rejected_via_ip_detection += 1
            return refusal
        if self._service_cluster:
            self._introduce(request.headers)
        if self._client_cert is not None:
            self._client_cert.apply(request)
        if self._early_rules is not None:
            self._early_rules.apply_to_request(request)
        return None

    def _introduce(self, headers: HeaderMap) -> None:
        """Tell the upstream who calls (Envoy `add_user_agent`); who called here is not told then."""
        headers[b"x-envoy-downstream-service-cluster"] = self._service_cluster
        if not headers.get(b"user-agent"):
            headers[b"user-agent"] = self._service_cluster
        if self._service_node:
            headers[b"x-envoy-downstream-service-node"] = self._service_node

    def _settle_host(self, request: Request, received: bytes) -> bytes:
        """The host that routes, filters and the upstream see."""
        host = strip_trailing_dot(received) if self._strip_dot else received
        if self._strip_port is StripPort.ANY:
            host = strip_port(host)
        elif self._strip_port is StripPort.MATCHING and b":" in host:
            # Another connection may have another port: such a host is looked at every time.
            return strip_port(host, request.downstream_local_address[1])
        if len(received) <= _MAX_KNOWN_BYTES:
            if len(self._known_hosts) >= _MAX_KNOWN_HOSTS:
                self._known_hosts.clear()
            self._known_hosts[received] = host
        return host

    def _settle_path(self, request: Request, target: bytes) -> bool:
        """The path that rules, routes, filters and the upstream see (S49); whether the client is to ask for it."""
        action = self._escaped_slashes
        redirects = False
        if action is not EscapedSlashes.KEEP:
            unescaped = unescape_slashes(target)
            if unescaped != target:
                if action is EscapedSlashes.REJECT:
                    raise ProtocolError("path_normalization_failed", body=b"", flag="")
                redirects = action is EscapedSlashes.REDIRECT
                target = unescaped
        request.set_target(target if self._normalize is None else self._normalize(target))
        return redirects

    def build_trailer_rules(
        self, settings: HttpConnectionManagerSettings, identity_headers: frozenset[bytes]
    ) -> TrailerRules | None:
        """What becomes of trailers, in which names are treated as in headers; None: they are dropped."""
        if not settings.enable_trailers:
            return None
        checks = self._underscores is not Underscores.ALLOW
        return TrailerRules(identity_headers, self.check_underscores if checks else None)

    def check_underscores(self, headers: HeaderMap) -> None:
        """Treat names of headers or trailers like `x_user`, which is `x-user` to many an upstream (S46).

        Raises:
            ProtocolError: there is one, and requests with one are rejected.
        """
        found = [name for name in headers if b"_" in name]
        if found and self._underscores is Underscores.REJECT:
            self._stats.requests_rejected_with_underscores_in_headers += 1
            raise ProtocolError("http1.unexpected_underscore")
        self._stats.dropped_headers_with_underscores += len(found)
        for name in found:
            del headers[name]

    def _check_version(self, request: Request) -> None:
        if request.version != "1.0" or not self._accept_http_10:
            raise ProtocolError("low_version", status=426)
        connection = request.headers.get(b"connection")
        if connection is None or b"keep-alive" not in _tokens(connection):
            request.keep_alive = False
        if b"host" not in request.headers and self._default_host:
            request.headers[b"host"] = self._default_host


def _build_trust(settings: HttpConnectionManagerSettings) -> HeaderTrust:
    detection = settings.xff_detection
    return HeaderTrust(
        use_remote_address=settings.use_remote_address,
        xff_num_trusted_hops=(
            settings.xff_num_trusted_hops if detection is None else detection.num_trusted_hops
        ),
        skip_xff_append=settings.skip_xff_append if detection is None else detection.skip_append,
        generate_request_id=settings.generate_request_id,
        preserve_external_request_id=settings.preserve_external_request_id,
        append_x_forwarded_port=settings.append_x_forwarded_port,
        internal_networks=settings.internal_networks,
        internal_pipes=settings.internal_pipes,
        trusted_networks=() if detection is None else detection.trusted_networks,
        via=settings.via,
        detects_by_extension=detection is not None,
        client_headers=[
            None
            if one is None
            else ClientHeader(one.name, is_trusted=one.is_trusted, reject_status=one.reject_status)
            for one in settings.client_headers
        ],
        keeps_client_cert=settings.forward_client_cert is not ForwardClientCert.SANITIZE,
        internal_only=settings.route_config.internal_only_headers,
    )


def _has_no_path(request: Request, authority: bytes | None) -> bool:
    """`OPTIONS *` is about the server and not about a resource (RFC 9112 section 3.2.4)."""
    return authority is not None and request.target == b"*" and request.method == b"OPTIONS"


def _take_connection_headers(request: Request) -> LocalReply | None:
    headers = request.headers
    connection = headers.get(b"connection")
    if connection is not None and request.version == "1.1" and b"close" in _tokens(connection):
        request.keep_alive = False
    if is_upgrade(headers) and request.has_body:
        # Where the body ends and the new protocol begins is what two parsers can disagree on.
        return UPGRADE_REFUSED
    expect = headers.get(b"expect")
    # An HTTP/1.0 peer would take the interim response for the answer (RFC 9110 section 10.1.1).
    request.expects_continue = (
        request.version == "1.1" and isinstance(expect, bytes) and expect.lower() == b"100-continue"
    )
    remove_hop_by_hop(request)
    return None


def _redirect_to_path(request: Request) -> LocalReply:
    """Send the client to the path that was settled on."""
    location = request.target
    if location[1:2] in (b"/", b"\\"):
        # `//host/` has a browser go to another host, and so has `/\host/`: anybody could choose which.
        location = own_location(request)
    return LocalReply(307, details="path_normalization_failed", headers=((b"location", location),))


def _tokens(value: bytes | list[bytes]) -> set[bytes]:
    text = value if isinstance(value, bytes) else b",".join(value)
    return {token.strip() for token in text.lower().split(b",")}
