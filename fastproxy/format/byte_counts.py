"""Operators for bytes on the wire and of headers (spec/http.md section 10)."""

from collections.abc import Callable

from fastproxy.format.context import FormatContext, Operator
from fastproxy.http.byte_counts import ByteCounts, sent_header_bytes


def _count(read: Callable[[ByteCounts], int]) -> Operator:
    def operator(context: FormatContext) -> int:
        counts = context.request.byte_counts
        return 0 if counts is None else read(counts)

    return operator


def _wire_received(context: FormatContext) -> int:
    request = context.request
    return 0 if request.byte_counts is None else request.byte_counts.wire_received(request)


def _header_sent(context: FormatContext) -> int:
    request = context.request
    headers, counts = request.response_headers, request.byte_counts
    sent = 0 if headers is None else sent_header_bytes(headers)
    return sent if counts is None else sent + counts.trailers_sent


_UPSTREAM_RECEIVED = _count(lambda counts: counts.upstream_header_received)
_UPSTREAM_SENT = _count(lambda counts: counts.upstream_header_sent)
_RECEIVED = _count(lambda counts: counts.header_received)

#: Operators without argument, by name. HTTP/1 does not compress headers.
BYTE_OPERATORS: dict[str, Operator] = {
    "DOWNSTREAM_WIRE_BYTES_RECEIVED": _wire_received,
    "DOWNSTREAM_WIRE_BYTES_SENT": _count(lambda counts: counts.sent),
    "DOWNSTREAM_HEADER_BYTES_RECEIVED": _RECEIVED,
    "DOWNSTREAM_HEADER_BYTES_SENT": _header_sent,
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": _RECEIVED,
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT": _header_sent,
    "UPSTREAM_WIRE_BYTES_SENT": _count(lambda counts: counts.upstream_sent),
    "UPSTREAM_WIRE_BYTES_RECEIVED": _count(lambda counts: counts.upstream_received),
    "UPSTREAM_HEADER_BYTES_SENT": _UPSTREAM_SENT,
    "UPSTREAM_HEADER_BYTES_RECEIVED": _UPSTREAM_RECEIVED,
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT": _UPSTREAM_SENT,
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": _UPSTREAM_RECEIVED,
}
