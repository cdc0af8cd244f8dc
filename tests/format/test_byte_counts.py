"""Operators for bytes on the wire."""

import pytest

from fastproxy.format.byte_counts import BYTE_OPERATORS
from fastproxy.format.compile import compile_text
from fastproxy.format.context import FormatContext
from fastproxy.http.byte_counts import ByteCounts
from fastproxy.http.messages import Request


@pytest.mark.parametrize("name", sorted(BYTE_OPERATORS))
def test_nothing_was_counted(name: str) -> None:
    """A request that could not be read, or a format of another listener."""
    assert compile_text(f"%{name}%")(FormatContext(Request(b"", b"", {}), 0.0)) == "0"


def test_each_operator_reads_its_own_number() -> None:
    """Two that are mixed up would hardly be noticed."""
    request = Request(b"GET", b"/", {b"a": b"b"})
    request.response_headers = {b"x": b"y"}
    counts = request.byte_counts = ByteCounts()
    counts.begin(request)
    counts.received, counts.sent, counts.upstream_sent, counts.upstream_received = 11, 12, 13, 14
    counts.upstream_header_sent, counts.upstream_header_received = 15, 16

    def value(name: str) -> int:
        return int(compile_text(f"%{name}%")(FormatContext(request, 0.0)))

    assert [value(f"DOWNSTREAM_WIRE_BYTES_{way}") for way in ("RECEIVED", "SENT")] == [11, 12]
    assert [value(f"UPSTREAM_WIRE_BYTES_{way}") for way in ("SENT", "RECEIVED")] == [13, 14]
    for prefix in ("", "DECOMPRESSED_"):
        assert value(f"UPSTREAM_{prefix}HEADER_BYTES_SENT") == 15
        assert value(f"UPSTREAM_{prefix}HEADER_BYTES_RECEIVED") == 16
        assert value(f"DOWNSTREAM_{prefix}HEADER_BYTES_RECEIVED") == len(b"a:b\r\n")
        assert value(f"DOWNSTREAM_{prefix}HEADER_BYTES_SENT") == len(b"x: y\r\n")
