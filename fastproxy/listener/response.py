"""What a response head becomes on its way downstream (spec/http.md sections 5 and 7.4)."""

from fastproxy import clock
from fastproxy.http.dates import HttpDate
from fastproxy.http.forwarding import append_via
from fastproxy.http.headers import HeaderMap, encode_head
from fastproxy.http.messages import Request
from fastproxy.http.name_case import ProperCase
from fastproxy.http.status import status_line
from fastproxy.listener.settings import HttpConnectionManagerSettings, ServerHeader

_HOP_BY_HOP_RESPONSE = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)


class ResponseEncoder:
    """Completes and encodes heads; one for all connections of a listener."""

    __slots__ = (
        "_date",
        "_has_inside",
        "_has_options",
        "_name_case",
        "_request_id",
        "_server",
        "_server_name",
        "_via",
    )

    def __init__(self, settings: HttpConnectionManagerSettings) -> None:
        self._date = HttpDate()
        self._server_name = settings.server_name.encode()
        self._server = settings.server_header
        self._via = settings.via.encode()
        self._request_id = settings.always_set_request_id_in_response
        self._name_case = ProperCase() if settings.proper_case_words else None
        # Only who is inside can ask for a trace: of all others the header was removed.
        self._has_inside = bool(settings.internal_networks) or settings.internal_pipes
        self._has_options = bool(
            self._via
            or self._has_inside
            or self._request_id
            or self._name_case is not None
            or self._server is not ServerHeader.OVERWRITE
        )

    def frame(self, request: Request, status: int, headers: HeaderMap) -> bool:
        """Replace the upstream's framing by ours; says whether the body will be chunked. Hot path.

        May end the connection's keep-alive: an HTTP/1.0 peer learns the end of a body only from its close.
        """
        if not _HOP_BY_HOP_RESPONSE.isdisjoint(headers):
            for name in _HOP_BY_HOP_RESPONSE:
                headers.pop(name, None)
        if status == 204:
            # RFC 9110 section 8.6: no content-length with 204, not even 0.
            headers.pop(b"content-length", None)
        elif b"content-length" not in headers and status != 304:
            if request.version == "1.1":
                headers[b"transfer-encoding"] = b"chunked"
                return not request.is_head
            request.keep_alive = False
        return False

    def encode(self, request: Request, status: int, headers: HeaderMap) -> bytes:
        """Add what every response carries, encode, and let the request know of it. Hot path: once per response."""
        request.response_status = status
        request.response_headers = headers
        if b"date" not in headers:
            headers[b"date"] = self._date.at(clock.unix_time())
        if self._has_options:
            self._apply_options(request, headers)
        else:
            headers[b"server"] = self._server_name
        line = status_line(status)
        if request.version != "1.1":
            line = line.replace(b"HTTP/1.1", b"HTTP/1.0", 1)
            if request.keep_alive:
                headers[b"connection"] = b"keep-alive"
        if not request.keep_alive:
            headers[b"connection"] = b"close"
        names = request.names
        if names is not None and names.response is not None:
            headers = names.response.convert(headers)
            if names.response.reason:
                line = b"%s%d %s\r\n" % (line[:9], status, names.response.reason)
        elif self._name_case is not None:
            headers = self._name_case.convert(headers)
        return encode_head([line], headers)

    def encode_interim(self, headers: HeaderMap) -> bytes:
        """The head of a 100 (Continue) from the upstream, or without headers from here."""
        for name in _HOP_BY_HOP_RESPONSE:
            headers.pop(name, None)
        headers.pop(b"content-length", None)
        if self._name_case is not None:
            headers = self._name_case.convert(headers)
        return encode_head([status_line(100)], headers)

    def _apply_options(self, request: Request, headers: HeaderMap) -> None:
        """What only some files ask for (spec/http.md section 7.4)."""
        if self._server is ServerHeader.OVERWRITE:
            headers[b"server"] = self._server_name
        elif self._server is ServerHeader.APPEND_IF_ABSENT:
            headers.setdefault(b"server", self._server_name)
        if self._request_id or (self._has_inside and b"x-envoy-force-trace" in request.headers):
            request_id = request.headers.get(b"x-request-id")
            if request_id is not None:
                headers[b"x-request-id"] = request_id
        if self._via:
            append_via(headers, self._via)
