"""Trailers: fields behind a chunked body (RFC 9110 section 6.5; Envoy `enable_trailers`).

They are kept apart from headers all the way. Nothing that decides about a message reads them, for they come when the
decision has been made; and what others would decide by is not passed on, lest a peer behind the proxy merge it into
the headers (RFC 9110 section 6.5.1, S46).
"""

from fastproxy.http.headers import HeaderMap, encode_head

#: Framing, routing, conditions, authentication, how to read the content, and where the request comes from.
_FORBIDDEN = frozenset(
    b"""accept-ranges age authentication-info authorization cache-control connection content-encoding content-length
    content-range content-type cookie date expect expires forwarded host http2-settings if-match if-modified-since
    if-none-match if-range if-unmodified-since keep-alive location max-forwards origin pragma proxy-authenticate
    proxy-authorization proxy-connection range referer retry-after set-cookie te trailer transfer-encoding upgrade
    vary via warning www-authenticate x-real-ip x-request-id""".split()
)
_FORBIDDEN_BEGINS = (b"x-forwarded-", b"x-envoy-")


class MessageTrailers:
    """The trailers of a request and of its response; None: there are none, or they were not kept."""

    __slots__ = ("request", "response")

    def __init__(self) -> None:
        self.request: HeaderMap | None = None
        self.response: HeaderMap | None = None


def remove_forbidden(fields: HeaderMap, identity: frozenset[bytes] = frozenset()) -> None:
    """Remove the fields that must not be trailers, and those of `identity`: names that only filters may set.

    An underscore counts as a hyphen: many an upstream reads it as one (S46).
    """
    for name in list(fields):
        plain = name.replace(b"_", b"-")
        if plain in _FORBIDDEN or plain.startswith(_FORBIDDEN_BEGINS) or plain in identity:
            del fields[name]


def encode_body_end(trailers: HeaderMap) -> bytes:
    """The last chunk of a body with its trailers (RFC 9112 section 7.1.2)."""
    return encode_head([b"0\r\n"], trailers)
