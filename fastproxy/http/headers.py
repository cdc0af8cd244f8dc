"""Header maps: lower-case names to values, in order of first appearance.

A name that appeared once maps to `bytes`. A name that may repeat and did maps to a list, and is encoded as one line
per value (RFC 9110 section 5.3 allows the lines of one name to be brought together). The names of
`SINGLE_SLOT_REQUEST_NAMES` and `SINGLE_SLOT_RESPONSE_NAMES` never hold a list: Envoy joins their values with a comma.
"""

from collections.abc import Iterator

HeaderValue = bytes | list[bytes]
HeaderMap = dict[bytes, HeaderValue]

#: Envoy's inline request headers (spec/http.md section 5): repeated values are joined with `,`.
SINGLE_SLOT_REQUEST_NAMES = frozenset(
    b"""accept accept-encoding access-control-request-headers access-control-request-method
    access-control-request-private-network authorization cache-control cdn-loop connection content-encoding
    content-length content-type expect grpc-accept-encoding grpc-timeout host if-match if-modified-since
    if-none-match if-range if-unmodified-since keep-alive origin pragma proxy-connection referer te
    transfer-encoding upgrade user-agent via x-client-trace-id x-envoy-attempt-count
    x-envoy-decorator-operation x-envoy-downstream-service-cluster x-envoy-downstream-service-node
    x-envoy-expected-rq-timeout-ms x-envoy-external-address x-envoy-force-trace x-envoy-hedge-on-per-try-timeout
    x-envoy-internal x-envoy-ip-tags x-envoy-is-timeout-retry x-envoy-max-retries x-envoy-original-host
    x-envoy-original-path
    x-envoy-original-url x-envoy-retriable-header-names x-envoy-retriable-status-codes x-envoy-retry-grpc-on
    x-envoy-retry-on x-envoy-upstream-alt-stat-name x-envoy-upstream-rq-per-try-timeout-ms
    x-envoy-upstream-rq-timeout-alt-response x-envoy-upstream-rq-timeout-ms x-envoy-upstream-stream-duration-ms
    x-forwarded-client-cert x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto
    x-request-id""".split()
)

#: Envoy's inline response headers.
SINGLE_SLOT_RESPONSE_NAMES = frozenset(
    b"""access-control-allow-credentials access-control-allow-headers access-control-allow-methods
    access-control-allow-origin access-control-allow-private-network access-control-expose-headers
    access-control-max-age age cache-control connection content-encoding content-length content-type date etag
    expires grpc-message grpc-status keep-alive last-modified location proxy-connection server
    transfer-encoding upgrade vary via x-envoy-attempt-count x-envoy-decorator-operation x-envoy-degraded
    x-envoy-immediate-health-check-fail x-envoy-ratelimited x-envoy-upstream-canary
    x-envoy-upstream-healthchecked-cluster x-envoy-upstream-service-time x-request-id""".split()
)

#: They say where a message ends and what becomes of the connection. FastProxy settles that itself: a length that does
#: not fit the body would let one message be read as two (S51).
FRAMING_NAMES = frozenset(
    b"connection content-length keep-alive proxy-connection te transfer-encoding upgrade".split()
)

# An empty line of one of these is a second line all the same, and may be what another parser goes by (S51).
_COUNTED_NAMES = FRAMING_NAMES | {b"host"}


def add_repeated(headers: HeaderMap, name: bytes, value: bytes, single_slot: frozenset[bytes]) -> None:
    """Add a value to a name that the map already holds: joined, or as one more line."""
    known = headers[name]
    if isinstance(known, list):
        known.append(value)
    elif name in single_slot:
        if (known and value) or name in _COUNTED_NAMES:
            headers[name] = known + b"," + value
        else:
            # As in Envoy: a comma for nothing would be one entry more in a list such as `x-forwarded-for`.
            headers[name] = known or value
    else:
        headers[name] = [known, value]


def append(headers: HeaderMap, name: bytes, value: bytes) -> None:
    """Add one request header value after those that are there."""
    if name in headers:
        add_repeated(headers, name, value, SINGLE_SLOT_REQUEST_NAMES)
    else:
        headers[name] = value


def values(headers: HeaderMap, name: bytes) -> list[bytes]:
    """All values of a name, in order; an empty list if it is absent."""
    found = headers.get(name)
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


def first(headers: HeaderMap, name: bytes) -> bytes | None:
    """The first value of a name, or None."""
    found = headers.get(name)
    return found[0] if isinstance(found, list) else found


def lines(headers: HeaderMap) -> Iterator[tuple[bytes, bytes]]:
    """Every header line, repeated names once per value."""
    for name, value in headers.items():
        if isinstance(value, list):
            for one in value:
                yield name, one
        else:
            yield name, value


def encode_head(start: list[bytes], headers: HeaderMap) -> bytes:
    """A head, or a trailer section, up to the empty line that ends it.

    Hot path: twice per request. One join over all pieces: a join for every line takes a third more when compiled.

    Args:
        start: the pieces of what comes first, its line end among them; header lines are added to the list.
        headers: what to write, in this order.
    """
    for name, value in headers.items():
        if isinstance(value, list):
            for one in value:
                start += (name, b": ", one, b"\r\n")
        else:
            start.append(name)
            start.append(b": ")
            start.append(value)
            start.append(b"\r\n")
    start.append(b"\r\n")
    return b"".join(start)


def count_header_bytes(headers: HeaderMap) -> int:
    """How long the header lines are, without the last line end."""
    return max(sum(len(name) + len(value) + 4 for name, value in lines(headers)) - 2, 0)
