"""Turning a LocalReply into headers (spec/http.md section 12)."""

from urllib.parse import quote_from_bytes

from fastproxy.http.headers import SINGLE_SLOT_RESPONSE_NAMES, HeaderMap, add_repeated
from fastproxy.http.messages import LocalReply, Request

# gRPC clients understand grpc-status, not HTTP codes (Envoy `Utility::httpToGrpcStatus`).
_GRPC_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


def is_grpc(request: Request) -> bool:
    """Whether the request is gRPC: `content-type: application/grpc`, alone or with a `+` suffix."""
    content_type = request.headers.get(b"content-type")
    return isinstance(content_type, bytes) and (
        content_type == b"application/grpc" or content_type.startswith(b"application/grpc+")
    )


def local_reply_parts(reply: LocalReply, request: Request | None) -> tuple[int, HeaderMap, bytes]:
    """Status, headers and body of a local reply to `request` (None: the head could not be parsed)."""
    if request is not None and is_grpc(request):
        headers: HeaderMap = {
            b"content-type": b"application/grpc",
            b"grpc-status": str(_GRPC_STATUS.get(reply.status, 2)).encode(),
        }
        if reply.body:
            headers[b"grpc-message"] = quote_from_bytes(
                reply.body, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}"
            ).encode()
        _add(headers, reply)
        headers[b"content-length"] = b"0"
        return 200, headers, b""
    headers = {}
    _add(headers, reply)
    if reply.status != 204:
        headers[b"content-length"] = b"%d" % len(reply.body)
    if reply.body:
        headers.setdefault(b"content-type", b"text/plain")
    return reply.status, headers, reply.body


def _add(headers: HeaderMap, reply: LocalReply) -> None:
    for name, value in reply.headers:
        if name in headers:
            add_repeated(headers, name, value, SINGLE_SLOT_RESPONSE_NAMES)
        else:
            headers[name] = value
