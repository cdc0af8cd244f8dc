"""Chunks, dates, request ids, status lines, requests: parts too small for a file each."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import Side
from fastproxy.http import octets
from fastproxy.http.chunks import encode_chunks
from fastproxy.http.dates import HttpDate
from fastproxy.http.errors import ProtocolError
from fastproxy.http.messages import Request
from fastproxy.http.request_id import new_request_id
from fastproxy.http.special import SPECIAL_REQUEST_NAMES
from fastproxy.http.status import status_line


def decode_chunks(data: bytes) -> tuple[bytes, bool]:
    body, ended = b"", False
    while data:
        assert not ended
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body += data[:length]
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]
        ended = length == 0
    return body, ended


@given(st.lists(st.binary(max_size=40)), st.booleans())
def test_chunks_hold_the_body_and_end_only_when_told(pieces: list[bytes], last: bool) -> None:
    """An empty piece must not become the chunk that ends the body (RFC 9112 section 7.1)."""
    assert decode_chunks(b"".join(encode_chunks(pieces, last=last))) == (b"".join(pieces), last)


def test_date_is_formatted_once_a_second() -> None:
    """RFC 9110 section 5.6.7: IMF-fixdate in GMT."""
    date = HttpDate()
    first = date.at(1_700_000_000.2)
    assert first == b"Tue, 14 Nov 2023 22:13:20 GMT"
    assert date.at(1_700_000_000.9) is first
    assert date.at(1_700_000_001.0) == b"Tue, 14 Nov 2023 22:13:21 GMT"
    assert date.at(1_699_999_999.0) == b"Tue, 14 Nov 2023 22:13:19 GMT"


def test_request_ids_are_version_4_uuids_and_differ() -> None:
    """RFC 9562 section 5.4; over several batches."""
    ids = [new_request_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    pattern = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(pattern.fullmatch(one) for one in ids)
    assert {one[19:20] for one in ids} == {b"8", b"9", b"a", b"b"}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (200, b"OK"),
        (302, b"Found"),
        (413, b"Payload Too Large"),
        (418, b"Unknown"),
        (503, b"Service Unavailable"),
        (999, b"Unknown"),
    ],
)
def test_status_lines_have_envoys_reasons(status: int, reason: bytes) -> None:
    """Any three digits pass (spec/http.md section 11.1)."""
    assert status_line(status) == b"HTTP/1.1 %d %b\r\n" % (status, reason)


def test_path_and_query_follow_the_target() -> None:
    """Rules, routes and the upstream see one path (S49)."""
    request = Request(b"HEAD", b"/a", {})
    request.set_target(b"/b?c?d")
    assert (request.target, request.path, request.query) == (b"/b?c?d", b"/b", b"c?d")
    assert request.is_head
    with pytest.raises(AttributeError):
        request.pathh = b""  # type: ignore[attr-defined]  # the point of the test


def test_protocol_errors_say_what_the_downstream_sees() -> None:
    """Status, code, flag; the fault is the downstream's."""
    error = ProtocolError("http1.codec_error")
    assert (error.reply_status, error.reply_flag, error.reply_body, error.side) == (
        400,
        "DPE",
        None,
        Side.DOWNSTREAM,
    )


def test_special_names_cover_what_the_fast_path_skips() -> None:
    """A head without these names goes unprocessed: a name that is missing here would pass unchecked."""
    needed = {
        b"connection", b"transfer-encoding", b"te", b"expect", b"upgrade", b"x-forwarded-for", b"x-forwarded-proto",
        b"x-request-id", b"referer", b"x-envoy-retry-on", b"x-forwarded-client-cert", b"x-envoy-internal",
    }  # fmt: skip
    assert needed <= SPECIAL_REQUEST_NAMES


@pytest.mark.parametrize(
    ("octet", "text"), [(octets.COMMA, b","), (octets.DOT, b"."), (octets.HASH, b"#"), (octets.PERCENT, b"%")]
)
def test_octets_are_what_their_names_say(octet: int, text: bytes) -> None:
    """RFC 3986 section 2.2 and 2.3."""
    assert bytes((octet,)) == text
