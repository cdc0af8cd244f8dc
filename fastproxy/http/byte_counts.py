"""Bytes on the wire of one request and its response, for formats that ask for them (`%..._WIRE_BYTES_...%`).

One object per downstream connection, begun anew with each request that it serves; there is none unless some format of
the listener asks for such a number. Header bytes are counted as Envoy does: of what is received name, value, colon and
line end of each line, of what is sent the lines as they are; neither has the first line or the empty one.
"""

from typing import Protocol

from fastproxy.http.headers import HeaderMap, lines


class CountedRequest(Protocol):
    """What there is to count of a request."""

    method: bytes
    target: bytes
    headers: HeaderMap
    bytes_received: int
    """Of its body."""


#: Spaces, version and line end of a request line, and the line end behind the head.
_REST_OF_HEAD = len(b"  HTTP/1.1\r\n\r\n")


def received_header_bytes(headers: HeaderMap) -> int:
    """Header bytes of a head that was read, as it was read."""
    return sum(len(name) + len(value) + 3 for name, value in lines(headers))


def sent_header_bytes(headers: HeaderMap) -> int:
    """Header bytes of a head that was written."""
    return sum(len(name) + len(value) + 4 for name, value in lines(headers))


class ByteCounts:
    """Numbers of the request that is being served, or was the last one."""

    __slots__ = (
        "_charged",
        "_head_bytes",
        "header_received",
        "is_followed",
        "received",
        "sent",
        "trailers_sent",
        "upstream_header_received",
        "upstream_header_sent",
        "upstream_received",
        "upstream_sent",
    )

    def __init__(self) -> None:
        self.received = 0
        """By the connection, since it was opened."""
        self.is_followed = False
        """More has been read than the request being served."""
        self._charged = 0
        """Of these, what earlier requests had."""
        self._head_bytes = 0
        self.header_received = 0
        self.trailers_sent = 0
        self.sent = 0
        self.upstream_sent = 0
        self.upstream_header_sent = 0
        self.upstream_received = 0
        self.upstream_header_received = 0
        """Of all tries together."""

    def begin(self, request: CountedRequest) -> None:
        """Start counting for a request whose headers are as they were read."""
        headers = request.headers
        self.header_received = received_header_bytes(headers)
        first_line = len(request.method) + len(request.target)
        self._head_bytes = first_line + sent_header_bytes(headers) + _REST_OF_HEAD
        self.sent = self.trailers_sent = 0
        self.upstream_sent = self.upstream_header_sent = 0
        self.upstream_received = self.upstream_header_received = 0

    def wire_received(self, request: CountedRequest) -> int:
        """Bytes of the request so far.

        With more requests behind it in what was read, its size follows from its head and body: the line between it and
        the next one was not looked for.
        """
        if self.is_followed:
            return self._head_bytes + request.bytes_received
        return self.received - self._charged

    def end(self, request: CountedRequest) -> None:
        """The request has ended: the rest belongs to the next one."""
        self._charged += self.wire_received(request)

    def add_response(self, size: int, headers: HeaderMap | None) -> None:
        """Something was read from the upstream, with the headers of a response among it, or without."""
        self.upstream_received += size
        if headers is not None:
            self.upstream_header_received += received_header_bytes(headers)

    def add_request_trailers(self, trailers: HeaderMap) -> None:
        """Trailers came from the downstream."""
        self.header_received += received_header_bytes(trailers)

    def add_response_trailers(self, trailers: HeaderMap) -> None:
        """Trailers came from the upstream."""
        self.upstream_header_received += received_header_bytes(trailers)

    def add_sent_trailers(self, trailers: HeaderMap, *, upstream: bool) -> None:
        """Trailers are about to go upstream, or downstream."""
        size = sent_header_bytes(trailers)
        if upstream:
            self.upstream_header_sent += size
        else:
            self.trailers_sent += size

    def add_request_head(self, head: bytes) -> None:
        """A head is about to go upstream."""
        self.upstream_header_sent += len(head) - head.index(b"\r\n") - 4
