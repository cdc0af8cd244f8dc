"""Turning a LocalReply into headers (spec/http.md section 12)."""

from urllib.parse import quote_from_bytes

from fastproxy.http.headers import SINGLE_SLOT_RESPONSE_NAMES, HeaderMap, add_repeated, first
from fastproxy.http.messages import LocalReply, Request

# gRPC clients understand grpc-status, not HTTP codes (Envoy `Utility::httpToGrpcStatus`).
_GRPC_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


_TEXT = b"text/plain"


def grpc_status_of(status: int) -> int:
    """The gRPC status that stands for an HTTP status (Envoy's table); 200 alone says nothing, and is UNKNOWN."""
    return _GRPC_STATUS.get(status, 2)


def is_grpc(request: Request) -> bool:
    """Whether the request is gRPC: `content-type: application/grpc`, alone or with a `+` suffix."""
    content_type = request.headers.get(b"content-type")
    return isinstance(content_type, bytes) and (
        content_type == b"application/grpc" or content_type.startswith(b"application/grpc+")
    )


def told_grpc_status(request: Request) -> bytes | None:
    """The gRPC status that the response tells: in its trailers, where they are kept, else in its headers."""
    trailers = request.trailers
    if trailers is not None and trailers.response is not None:
        told = first(trailers.response, b"grpc-status")
        if told is not None:
            return told
    headers = request.response_headers
    return None if headers is None else first(headers, b"grpc-status")


class ReplyDraft:
    """A local reply on its way to the wire; made by `begin_reply`, changed by who may, ended by `finish_reply`."""

    __slots__ = ("body", "content_type", "has_own_type", "headers", "is_whole", "status")

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body
        self.headers: HeaderMap = {}
        self.content_type = _TEXT
        """What the body is, if no header says otherwise; another one than `text/plain` is meant."""
        self.has_own_type = False
        """A header about the body stays whatever `content_type` is."""
        self.is_whole = False
        """Nobody but filters may change it (`LocalReply.is_whole`)."""


def begin_reply(reply: LocalReply, request: Request) -> ReplyDraft:
    """Status, headers and body, with what the route does to the headers of responses.

    A route that answers by itself may change what it answers; what anybody else says, such as `www-authenticate`, is
    said in spite of the route (Envoy).
    """
    draft = ReplyDraft(reply.status, reply.body)
    headers = draft.headers
    if reply.content_type:
        draft.content_type = reply.content_type
    if reply.is_whole:
        draft.is_whole = True
        _add(headers, reply)
        return draft
    if reply.is_of_route:
        _add(headers, reply)
    if request.response_rules is not None:
        request.response_rules(request, headers)
    if not reply.is_of_route:
        for name, _ in reply.headers:
            headers.pop(name, None)
        _add(headers, reply)
    return draft


def finish_reply(draft: ReplyDraft, request: Request) -> tuple[int, HeaderMap, bytes]:
    """Status, headers and body as they are sent, framing included."""
    headers, body = draft.headers, draft.body
    if not draft.is_whole and is_grpc(request):
        headers[b"content-type"] = b"application/grpc"
        headers.setdefault(b"grpc-status", b"%d" % _GRPC_STATUS.get(draft.status, 2))
        if body and not request.is_head:
            headers[b"grpc-message"] = quote_from_bytes(body, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}").encode()
        headers[b"content-length"] = b"0"
        return 200, headers, b""
    if draft.status in (204, 304):
        # They have no body, and 204 no length either (RFC 9110 section 8.6): the next answer would begin with it.
        return draft.status, headers, b""
    headers[b"content-length"] = b"%d" % len(body)
    if body and (
        b"content-type" not in headers or (draft.content_type is not _TEXT and not draft.has_own_type)
    ):
        headers[b"content-type"] = draft.content_type
    return draft.status, headers, body


def _add(headers: HeaderMap, reply: LocalReply) -> None:
    for name, value in reply.headers:
        if name in headers:
            add_repeated(headers, name, value, SINGLE_SLOT_RESPONSE_NAMES)
        else:
            headers[name] = value
