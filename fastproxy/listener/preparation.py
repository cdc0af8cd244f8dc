"""What happens to a parsed head before anything decides by it: host, path, connection and forwarding headers."""

from fastproxy.http.errors import ProtocolError
from fastproxy.http.forwarding import HeaderTrust, check_target
from fastproxy.http.framing import (
    HOP_BY_HOP_REQUEST,
    is_upgrade,
    remove_hop_by_hop,
    split_absolute_form,
    take_authority,
)
from fastproxy.http.headers import HeaderValue
from fastproxy.http.messages import LocalReply, Request
from fastproxy.http.paths import build_path_normalization
from fastproxy.http.request_id import new_request_id
from fastproxy.listener.settings import HttpConnectionManagerSettings

#: Hosts are remembered up to this number, so that a flood of made-up ones cannot grow the set.
_MAX_KNOWN_HOSTS = 1024

_MISSING_HOST = LocalReply(400, details="missing_host_header", close=True)
_UPGRADE_REFUSED = LocalReply(403, details="upgrade_failed", close=True)


class RequestPreparation:
    """The connection manager's own rules, compiled from its settings."""

    __slots__ = ("_accept_http_10", "_default_host", "_known_hosts", "_normalize", "_plain_trust", "_trust")

    def __init__(self, settings: HttpConnectionManagerSettings) -> None:
        self._accept_http_10 = settings.accept_http_10
        self._default_host = settings.default_host_for_http_10.encode()
        self._normalize = build_path_normalization(
            normalize_path=settings.normalize_path, merge_slashes=settings.merge_slashes
        )
        self._known_hosts: set[HeaderValue | None] = set()
        # Only then does a head without special names need nothing but a scheme and an id.
        self._plain_trust = settings.generate_request_id and not settings.use_remote_address
        self._trust = HeaderTrust(
            use_remote_address=settings.use_remote_address,
            xff_num_trusted_hops=settings.xff_num_trusted_hops,
            skip_xff_append=settings.skip_xff_append,
            generate_request_id=settings.generate_request_id,
            preserve_external_request_id=settings.preserve_external_request_id,
        )

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
            and authority in self._known_hosts
            and target[:1] == b"/"
            and b"#" not in target
        ):
            # The usual head: nothing to remove, nothing to distrust, a host that was checked before.
            del headers[b"host"]
            request.authority = authority  # type: ignore[assignment]  # known hosts are bytes
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
        if request.method == b"CONNECT":
            # No route matches it; what follows would be the tunnel's bytes.
            request.keep_alive = False
        authority = take_authority(headers)
        target = request.target
        if target[:1] != b"/":
            authority, target = _special_target(request, authority)
        if authority is None:
            return _MISSING_HOST
        self._remember_host(authority)
        request.authority = authority
        check_target(target)
        request.set_target(target if self._normalize is None else self._normalize(target))
        if not HOP_BY_HOP_REQUEST.isdisjoint(headers):
            reply = _take_connection_headers(request)
            if reply is not None:
                return reply
        self._trust.apply(request)
        return None

    def _remember_host(self, authority: bytes) -> None:
        if len(self._known_hosts) >= _MAX_KNOWN_HOSTS:
            self._known_hosts.clear()
        self._known_hosts.add(authority)

    def _check_version(self, request: Request) -> None:
        if request.version != "1.0" or not self._accept_http_10:
            raise ProtocolError("low_version", status=426, flag="")
        connection = request.headers.get(b"connection")
        request.keep_alive = connection is not None and b"keep-alive" in _tokens(connection)
        if b"host" not in request.headers and self._default_host:
            request.headers[b"host"] = self._default_host


def _special_target(request: Request, authority: bytes | None) -> tuple[bytes | None, bytes]:
    """Request targets in another than origin form (RFC 9112 section 3.2)."""
    target = request.target
    is_special = request.method == b"CONNECT" or (target == b"*" and request.method == b"OPTIONS")
    if is_special or authority is None:
        return authority, target
    return split_absolute_form(target)


def _take_connection_headers(request: Request) -> LocalReply | None:
    headers = request.headers
    connection = headers.get(b"connection")
    if connection is not None and request.version == "1.1" and b"close" in _tokens(connection):
        request.keep_alive = False
    if is_upgrade(headers):
        upgrade = headers[b"upgrade"]
        # `h2c` is never honoured, its headers go and the request is served as it is (RFC 9113 section 3.1).
        # With a body it is refused: llhttp takes what follows for the new protocol.
        if not isinstance(upgrade, bytes) or upgrade.lower() != b"h2c" or request.has_body:
            return _UPGRADE_REFUSED
    expect = headers.get(b"expect")
    # An HTTP/1.0 peer would take the interim response for the answer (RFC 9110 section 10.1.1).
    request.expects_continue = (
        request.version == "1.1" and isinstance(expect, bytes) and expect.lower() == b"100-continue"
    )
    remove_hop_by_hop(request)
    return None


def _tokens(value: bytes | list[bytes]) -> set[bytes]:
    text = value if isinstance(value, bytes) else b",".join(value)
    return {token.strip() for token in text.lower().split(b",")}
