"""The head of a request as it goes upstream (RFC 9112 sections 3 and 6)."""

from fastproxy.http.headers import encode_head
from fastproxy.http.messages import Request
from fastproxy.http.name_case import NameCase

# These may go without a body and without saying so; any other method gets `content-length: 0` (Envoy).
_NO_LENGTH_METHODS = frozenset((b"GET", b"HEAD", b"DELETE", b"TRACE", b"CONNECT"))
_HOST = b" HTTP/1.1\r\nhost: "


def encode_request_head(request: Request, name_case: NameCase | None) -> bytes:
    """Settle the framing, and encode. Hot path: once per try.

    Args:
        request: what is asked for; its framing headers are replaced by what is true of the body that follows.
        name_case: how header names are to be written, unless their spelling was kept; None: in lower case.
    """
    headers = request.headers
    if request.content_length is None:
        headers[b"transfer-encoding"] = b"chunked"
    elif request.content_length == 0 and request.method not in _NO_LENGTH_METHODS and not request.upgrade:
        headers[b"content-length"] = b"0"
    host = _HOST
    if request.names is not None and request.names.request is not None:
        name_case = request.names.request
    if name_case is not None:
        headers = name_case.convert(headers)
        host = b" HTTP/1.1\r\n" + name_case.name(b"host") + b": "
    return encode_head([request.method, b" ", request.target, host, request.authority, b"\r\n"], headers)
