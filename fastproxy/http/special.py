"""The request header names that need a second look.

A head that has none of them, which is the usual one, passes with a single set operation: it is HTTP/1.1, has no body
but one framed by `content-length`, and brings nothing that must be removed or trusted.
"""

from fastproxy.http.forwarding import EDGE_REMOVED, EXTERNAL_REMOVED
from fastproxy.http.framing import HOP_BY_HOP_REQUEST

SPECIAL_REQUEST_NAMES = (
    HOP_BY_HOP_REQUEST
    | EXTERNAL_REMOVED
    | EDGE_REMOVED
    | {b"referer", b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id"}
)
