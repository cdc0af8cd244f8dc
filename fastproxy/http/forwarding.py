"""The request headers that a proxy adds, removes and trusts (spec/http.md section 7).

`HeaderTrust` is built once per connection manager; `apply` runs once per request, before the filters.
"""

from fastproxy.http.errors import ProtocolError
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request
from fastproxy.http.request_id import new_request_id

#: Control headers that only a trusted caller may send: removed from every external request.
EXTERNAL_REMOVED = frozenset(
    b"""x-envoy-upstream-rq-timeout-ms x-envoy-upstream-rq-per-try-timeout-ms
    x-envoy-upstream-rq-timeout-alt-response x-envoy-max-retries x-envoy-retry-on x-envoy-retry-grpc-on
    x-envoy-retriable-status-codes x-envoy-retriable-header-names x-envoy-hedge-on-per-try-timeout
    x-envoy-expected-rq-timeout-ms x-envoy-force-trace x-envoy-ip-tags x-envoy-upstream-alt-stat-name
    x-envoy-original-url x-envoy-internal x-forwarded-client-cert""".split()
)
#: Removed as well where this proxy is the first one that a request meets.
EDGE_REMOVED = frozenset(
    b"""x-envoy-decorator-operation x-envoy-downstream-service-cluster x-envoy-downstream-service-node
    x-envoy-original-path x-envoy-original-host""".split()
)


class HeaderTrust:
    """Decides what a request may say about where it came from (Envoy `use_remote_address` and neighbours)."""

    __slots__ = (
        "_append_xff",
        "_generate_request_id",
        "_hops",
        "_keep_request_id",
        "_removed",
        "_use_remote_address",
    )

    def __init__(
        self,
        *,
        use_remote_address: bool,
        xff_num_trusted_hops: int,
        skip_xff_append: bool,
        generate_request_id: bool,
        preserve_external_request_id: bool,
    ) -> None:
        self._use_remote_address = use_remote_address
        self._hops = xff_num_trusted_hops
        self._append_xff = use_remote_address and not skip_xff_append
        self._generate_request_id = generate_request_id
        self._keep_request_id = preserve_external_request_id or not use_remote_address
        self._removed = EXTERNAL_REMOVED | EDGE_REMOVED if use_remote_address else EXTERNAL_REMOVED

    def apply(self, request: Request) -> None:
        """Rewrite the forwarding headers of one request. Hot path: once per request."""
        headers = request.headers
        if not self._removed.isdisjoint(headers):
            for name in self._removed.intersection(headers):
                del headers[name]
        if b"referer" in headers:
            _check_referer(headers)
        if self._use_remote_address:
            self._apply_edge(request, headers)
        else:
            self._find_client(request)
            if b"x-forwarded-proto" not in headers:
                headers[b"x-forwarded-proto"] = request.scheme
            else:
                request.scheme = _forwarded_scheme(headers, request.scheme)
        if self._generate_request_id and (b"x-request-id" not in headers or not self._keep_request_id):
            headers.pop(b"x-request-id", None)
            headers[b"x-request-id"] = new_request_id()

    def _find_client(self, request: Request) -> None:
        """Settle `Request.remote_address` by trusted hops (spec/http.md section 7.1)."""
        at = self._hops if self._use_remote_address else self._hops + 1
        forwarded = request.headers.get(b"x-forwarded-for")
        if at and isinstance(forwarded, bytes):
            entries = forwarded.split(b",")
            client = _plain_address(entries[-at].strip()) if len(entries) >= at else ""
            if client and client != request.remote_address[0]:
                request.remote_address = (client, 0)

    def _apply_edge(self, request: Request, headers: HeaderMap) -> None:
        peer = request.remote_address[0].encode()
        self._find_client(request)
        if self._append_xff:
            known = headers.get(b"x-forwarded-for")
            headers[b"x-forwarded-for"] = (
                peer if not isinstance(known, bytes) or not known else known + b"," + peer
            )
        if self._hops == 0 or headers.get(b"x-forwarded-proto") not in (b"http", b"https"):
            headers.pop(b"x-forwarded-proto", None)
            headers[b"x-forwarded-proto"] = request.scheme
        else:
            request.scheme = _forwarded_scheme(headers, request.scheme)
        headers[b"x-envoy-external-address"] = request.remote_address[0].encode()


def _forwarded_scheme(headers: HeaderMap, default: bytes) -> bytes:
    value = headers[b"x-forwarded-proto"]
    return value if isinstance(value, bytes) and value in (b"http", b"https") else default


def _check_referer(headers: HeaderMap) -> None:
    """Drop a `referer` that is no plain URL, as Envoy does: it may carry credentials."""
    value = headers[b"referer"]
    if not isinstance(value, bytes) or b"#" in value or b"@" in value.partition(b"?")[0]:
        del headers[b"referer"]


def _plain_address(text: bytes) -> str:
    """An IP address as text, or an empty string if `text` is none."""
    from ipaddress import ip_address  # noqa: PLC0415  # only requests behind another proxy get here

    try:
        return str(ip_address(text.decode("ascii")))
    except ValueError:
        return ""


def check_target(target: bytes) -> None:
    """Refuse a request target that could be read in two ways (S49): a fragment has no place in a request.

    Raises:
        ProtocolError: 400 with an empty body, as in Envoy.
    """
    if b"#" in target:
        raise ProtocolError("path_normalization_failed", body=b"", flag="")


def rewrite_host(request: Request, host: bytes, *, tell: bool, append_forwarded_host: bool = False) -> None:
    """Send another `host` upstream.

    Args:
        request: its `authority` changes.
        host: the new one.
        tell: leave the old one in `x-envoy-original-host` (Envoy 1.40).
        append_forwarded_host: leave it in `x-forwarded-host`, too (Envoy `append_x_forwarded_host`).
    """
    if host == request.authority:
        return
    if append_forwarded_host:
        _append_forwarded_host(request.headers, request.authority)
    if tell:
        request.headers[b"x-envoy-original-host"] = request.authority
    request.authority = host


def _append_forwarded_host(headers: HeaderMap, host: bytes) -> None:
    known = headers.get(b"x-forwarded-host")
    if not isinstance(known, bytes) or not known:
        headers[b"x-forwarded-host"] = host
    elif known.rpartition(b",")[2].strip() != host:
        # Envoy: a proxy that appended the same host before us has said it already.
        headers[b"x-forwarded-host"] = known + b"," + host
