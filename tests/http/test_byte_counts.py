"""Bytes of one request after the other on one connection."""

from fastproxy.http.byte_counts import ByteCounts, received_header_bytes, sent_header_bytes
from fastproxy.http.messages import Request

WIRE = b"GET /x HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nx-a: 2\r\n\r\n"


def request() -> Request:
    return Request(b"GET", b"/x", {b"host": b"a", b"x-a": [b"1", b"2"]})


def test_headers_are_counted_line_by_line() -> None:
    """Read: name, value, colon and line end; written: the lines as they are."""
    headers = request().headers
    assert received_header_bytes(headers) == len(b"host:a\r\nx-a:1\r\nx-a:2\r\n")
    assert sent_header_bytes(headers) == len(b"host: a\r\nx-a: 1\r\nx-a: 2\r\n")
    assert (received_header_bytes({}), sent_header_bytes({})) == (0, 0)


def test_what_is_read_belongs_to_the_request_being_served() -> None:
    """From the end of the one before, whatever separates them."""
    counts, one = ByteCounts(), request()
    counts.received = len(WIRE)
    counts.begin(one)
    assert counts.wire_received(one) == len(WIRE)
    counts.end(one)
    counts.received += len(WIRE) + 2
    counts.begin(one)
    assert counts.wire_received(one) == len(WIRE) + 2


def test_pipelined_requests_share_what_was_read() -> None:
    """Each has its own size; nothing is counted twice or lost."""
    counts, first, second = ByteCounts(), request(), request()
    counts.received = 2 * len(WIRE) + 7
    first.bytes_received = 5
    counts.begin(first)
    counts.is_followed = True
    assert counts.wire_received(first) == len(WIRE) + 5
    counts.end(first)
    counts.begin(second)
    counts.is_followed = False
    assert counts.wire_received(second) == len(WIRE) + 2


def test_a_new_request_begins_at_nothing() -> None:
    """Tries of one request add up, those of the last one are gone."""
    counts = ByteCounts()
    counts.begin(request())
    for _ in range(2):
        counts.add_request_head(WIRE)
        counts.upstream_sent += len(WIRE)
        counts.add_response(30, {b"a": b"b"})
    counts.add_response(10, None)
    assert counts.upstream_header_sent == 2 * len(b"host: a\r\nx-a: 1\r\nx-a: 2\r\n")
    assert (counts.upstream_received, counts.upstream_header_received) == (70, 10)
    counts.begin(request())
    assert (counts.upstream_sent, counts.upstream_header_sent) == (0, 0)
    assert (counts.upstream_received, counts.upstream_header_received) == (0, 0)
