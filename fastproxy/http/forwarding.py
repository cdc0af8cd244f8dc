"""The request headers that a proxy adds, removes and trusts (spec/http.md section 7).

`HeaderTrust` is built once per connection manager; `apply` runs once per request, before the filters.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from fastproxy.addresses import is_pipe, read_ip
from fastproxy.http.client_header import ClientHeader
from fastproxy.http.errors import ProtocolError
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import LocalReply, Request
from fastproxy.http.octets import HASH
from fastproxy.http.request_id import new_request_id

#: Control headers that only a trusted caller may send: removed from every external request.
EXTERNAL_REMOVED = frozenset(
    b"""x-envoy-upstream-rq-timeout-ms x-envoy-upstream-rq-per-try-timeout-ms
    x-envoy-upstream-rq-timeout-alt-response x-envoy-max-retries x-envoy-retry-on x-envoy-retry-grpc-on
    x-envoy-retriable-status-codes x-envoy-retriable-header-names x-envoy-hedge-on-per-try-timeout
    x-envoy-expected-rq-timeout-ms x-envoy-force-trace x-envoy-ip-tags x-envoy-upstream-alt-stat-name
    x-envoy-original-url x-envoy-upstream-stream-duration-ms x-envoy-internal x-forwarded-client-cert""".split()
)
# Not even from internal callers: who showed which certificate is not theirs to say. The other two are orders to a
# router (Envoy's takes them off), which this one does not follow: with the first any client could set a cluster's
# `max_stream_duration` aside.
_NEVER_TRUSTED = frozenset(
    (b"x-envoy-upstream-stream-duration-ms", b"x-envoy-upstream-alt-stat-name", b"x-forwarded-client-cert")
)
#: Removed as well where this proxy is the first one that a request meets.
EDGE_REMOVED = frozenset(
    b"""x-envoy-decorator-operation x-envoy-downstream-service-cluster x-envoy-downstream-service-node
    x-envoy-original-path x-envoy-original-host""".split()
)


class HeaderTrust:
    """Decides what a request may say about where it came from (Envoy `use_remote_address` and neighbours)."""

    __slots__ = (
        "_append_port",
        "_append_xff",
        "_client_headers",
        "_generate_request_id",
        "_hops",
        "_internal",
        "_keep_request_id",
        "_knows_inside",
        "_pipes_inside",
        "_removed",
        "_removed_inside",
        "_trusted",
        "_use_remote_address",
        "_via",
    )

    def __init__(
        self,
        *,
        use_remote_address: bool,
        xff_num_trusted_hops: int,
        skip_xff_append: bool,
        generate_request_id: bool,
        preserve_external_request_id: bool,
        append_x_forwarded_port: bool = False,
        internal_networks: Sequence[str] = (),
        internal_pipes: bool = False,
        trusted_networks: Sequence[str] = (),
        via: str = "",
        detects_by_extension: bool = False,
        client_headers: Sequence[ClientHeader | None] = (),
        keeps_client_cert: bool = False,
        internal_only: Sequence[str] = (),
    ) -> None:
        """`detects_by_extension`: an extension says how to read `x-forwarded-for`, and may append to it.

        `client_headers`: other headers that may name the client, in order; None stands for `x-forwarded-for`, which
        is not looked at if it is not among them. Without any it is the only one.

        `internal_networks`: `internal_address_config`; `trusted_networks`: `xff_trusted_cidrs`; both CIDR ranges.
        `internal_pipes`: peers on Unix domain sockets are internal, too (`internal_address_config.unix_sockets`).
        `internal_only`: names that are removed from external requests beside Envoy's own (`internal_only_headers`).
        `keeps_client_cert`: somebody else decides about `x-forwarded-client-cert`; else it is always removed.
        """
        self._use_remote_address = use_remote_address
        self._hops = xff_num_trusted_hops
        self._append_xff = (use_remote_address or detects_by_extension) and not skip_xff_append
        self._client_headers = tuple(client_headers)
        self._append_port = append_x_forwarded_port
        self._internal = tuple(ip_network(text, strict=False) for text in internal_networks)
        self._pipes_inside = internal_pipes
        self._knows_inside = bool(self._internal) or internal_pipes
        self._trusted = tuple(ip_network(text, strict=False) for text in trusted_networks)
        self._via = via.encode()
        self._generate_request_id = generate_request_id
        self._keep_request_id = preserve_external_request_id or not use_remote_address
        removed = EXTERNAL_REMOVED | EDGE_REMOVED if use_remote_address else EXTERNAL_REMOVED
        kept = frozenset((b"x-forwarded-client-cert",)) if keeps_client_cert else frozenset()
        self._removed = (removed | {name.encode() for name in internal_only}) - kept
        self._removed_inside = _NEVER_TRUSTED - kept

    def apply(self, request: Request) -> LocalReply | None:
        """Rewrite the forwarding headers of one request. Hot path: once per request.

        Returns:
            None to go on, or the answer to a request that does not name its client where it has to.
        """
        headers = request.headers
        peer, peer_port = request.remote_address
        # Over a Unix domain socket, which has no port, nobody knows an address.
        has_address = peer_port != 0 or not is_pipe(peer)
        appends = self._append_xff
        if not self._client_headers:
            was_alone = self._find_client(request)
            # Who is behind this proxy must learn of a peer that is not to be trusted (Envoy).
            appends = appends or (bool(self._trusted) and not _is_in(peer, self._trusted))
        else:
            found = self._ask_headers(request)
            if isinstance(found, LocalReply):
                return found
            was_alone, appends = found
        is_internal = self._knows_inside and was_alone and self._is_inside(request.remote_address[0])
        removed = self._removed_inside if is_internal else self._removed
        if not removed.isdisjoint(headers):
            for name in removed.intersection(headers):
                del headers[name]
        if b"referer" in headers:
            _check_referer(headers)
        if appends and has_address:
            _append_peer(headers, peer.encode())
        self._settle_scheme(request)
        if self._append_port and has_address and self._is_own_word(headers, b"x-forwarded-port"):
            headers[b"x-forwarded-port"] = b"%d" % request.downstream_local_address[1]
        if is_internal:
            headers[b"x-envoy-internal"] = b"true"
        elif self._use_remote_address and has_address:
            headers[b"x-envoy-external-address"] = request.remote_address[0].encode()
        keeps_id = self._keep_request_id or is_internal
        if self._generate_request_id and not (keeps_id and headers.get(b"x-request-id")):
            headers.pop(b"x-request-id", None)
            headers[b"x-request-id"] = new_request_id()
        if self._via:
            append_via(headers, self._via)
        return None

    def _ask_headers(self, request: Request) -> tuple[bool, bool] | LocalReply:
        """Settle `Request.remote_address` by the first header that names somebody.

        Returns:
            What `_find_client` returns, and whether to append the peer to `x-forwarded-for`; or the answer to a request
            that had to name somebody.
        """
        peer = request.remote_address
        appends = False
        for header in self._client_headers:
            if header is None:
                was_alone = self._find_client(request)
                appends = self._append_xff or (bool(self._trusted) and not _is_in(peer[0], self._trusted))
                # By value: a compiled tuple has no identity.
                if request.remote_address != peer:
                    return was_alone, appends
            else:
                address = header.read(request.headers)
                if address:
                    request.remote_address = (address, 0)
                    return header.is_trusted, False
                if header.refusal is not None:
                    return header.refusal
        return False, appends

    def _find_client(self, request: Request) -> bool:
        """Settle `Request.remote_address` (spec/http.md section 7.1).

        Returns:
            Whether the address is all that is known about the way here: only then may it be an internal one.
        """
        forwarded = request.headers.get(b"x-forwarded-for")
        if not isinstance(forwarded, bytes):
            return self._use_remote_address
        entries = forwarded.split(b",")
        if self._trusted:
            client = self._first_untrusted(request.remote_address[0], entries)
        else:
            at = self._hops if self._use_remote_address else self._hops + 1
            client = _plain_address(entries[-at]) if 0 < at <= len(entries) else ""
        if client:
            request.remote_address = (client, 0)
        return bool(client) and not self._use_remote_address and len(entries) == 1

    def _is_inside(self, address: str) -> bool:
        """Whether `internal_address_config` has an address."""
        return self._pipes_inside if is_pipe(address) else _is_in(address, self._internal)

    def _first_untrusted(self, peer: str, entries: list[bytes]) -> str:
        """Go back from one trusted proxy to the next; whoever the last of them names is the client.

        Where all are trusted it is the first of them.
        """
        if not _is_in(peer, self._trusted):
            return ""
        address = ""
        for entry in reversed(entries):
            address = _plain_address(entry)
            if not address or not _is_in(address, self._trusted):
                break
        return address

    def _is_own_word(self, headers: HeaderMap, name: bytes) -> bool:
        """Whether a header is this proxy's to set: nobody in front of it is trusted, or has set it."""
        return name not in headers or (self._use_remote_address and self._hops == 0)

    def _settle_scheme(self, request: Request) -> None:
        headers = request.headers
        known = headers.get(b"x-forwarded-proto")
        if not known:
            headers[b"x-forwarded-proto"] = request.scheme
        elif self._use_remote_address and (self._hops == 0 or known not in (b"http", b"https")):
            del headers[b"x-forwarded-proto"]
            headers[b"x-forwarded-proto"] = request.scheme
        else:
            request.scheme = _forwarded_scheme(headers, request.scheme)


_Networks = tuple[IPv4Network | IPv6Network, ...]


def _is_in(text: str, networks: _Networks) -> bool:
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _append_peer(headers: HeaderMap, peer: bytes) -> None:
    known = headers.get(b"x-forwarded-for")
    headers[b"x-forwarded-for"] = peer if not isinstance(known, bytes) or not known else known + b"," + peer


def append_via(headers: HeaderMap, via: bytes) -> None:
    """Say in `via` that the message passed here (RFC 9110 section 7.6.3)."""
    known = headers.get(b"via")
    headers[b"via"] = known + b", " + via if isinstance(known, bytes) and known else via


def _forwarded_scheme(headers: HeaderMap, default: bytes) -> bytes:
    value = headers[b"x-forwarded-proto"]
    return value if isinstance(value, bytes) and value in (b"http", b"https") else default


# No user before the host, and nothing after a `#` (RFC 9110 section 10.1.3): an absolute URL.
_REFERER_URL = re.compile(
    rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?"
    rb"(?:[/?][^#\x00-\x20\x7f-\xff]*)?"
)
# Its first segment has no colon (RFC 3986 section 4.2): a path.
_REFERER_PATH = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=@%?-]*(?:/[A-Za-z0-9._~!$&'()*+,;=@%?:/-]*)?")


def _check_referer(headers: HeaderMap) -> None:
    """Drop a `referer` that is neither a plain URL nor a path, as Envoy does: it may carry credentials."""
    value = headers[b"referer"]
    if isinstance(value, bytes):
        found = _REFERER_URL.fullmatch(value)
        if found is not None and int(found.group(1) or 0) < 1 << 16:
            return
        if _REFERER_PATH.fullmatch(value) is not None:
            return
    del headers[b"referer"]


def _plain_address(text: bytes) -> str:
    """An entry of `x-forwarded-for` as an IP address, or an empty string if it is none."""
    try:
        return read_ip(text.strip().decode("ascii"))
    except UnicodeDecodeError:
        return ""


def check_target(target: bytes) -> None:
    """Refuse a request target that could be read in two ways (S49): a fragment has no place in a request.

    Raises:
        ProtocolError: 400 with an empty body, as in Envoy.
    """
    if HASH in target:
        raise ProtocolError("path_normalization_failed", body=b"", flag="")


def rewrite_host(request: Request, host: bytes, *, tell: bool, append_forwarded_host: bool = False) -> None:
    """Send another `host` upstream. One that is the same counts as another, as in Envoy.

    Args:
        request: its `authority` changes.
        host: the new one.
        tell: leave the old one in `x-envoy-original-host` (Envoy 1.40).
        append_forwarded_host: leave it in `x-forwarded-host`, too (Envoy `append_x_forwarded_host`).
    """
    if tell:
        request.headers[b"x-envoy-original-host"] = request.authority
    if append_forwarded_host:
        _append_forwarded_host(request.headers, request.authority)
    request.authority = host


def _append_forwarded_host(headers: HeaderMap, host: bytes) -> None:
    known = headers.get(b"x-forwarded-host")
    if not isinstance(known, bytes) or not known:
        headers[b"x-forwarded-host"] = host
    elif known.rpartition(b",")[2].strip() != host:
        # Envoy: a proxy that appended the same host before us has said it already.
        headers[b"x-forwarded-host"] = known + b"," + host
