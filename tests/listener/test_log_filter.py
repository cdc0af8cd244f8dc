"""Access log filters: which finished requests are meant."""

from typing import Any

import pytest

from fastproxy.format.context import FormatContext
from fastproxy.http.messages import Request
from fastproxy.listener.log_filter import build_log_filter
from fastproxy.listener.settings import (
    CombinedFilter,
    Compared,
    Comparison,
    ComparisonFilter,
    ConditionFilter,
    FlagFilter,
    GrpcStatusFilter,
    LogFilterSettings,
    MetadataFilter,
)
from fastproxy.match.settings import Fraction, HeaderMatch, MetadataMatch, StringKind, StringMatch


def holds(settings: LogFilterSettings, **changes: Any) -> bool:
    request = Request(b"GET", b"/", {b"x-a": b"b"})
    request.start_monotonic = 10.0
    request.response_status = 503
    for name, value in changes.items():
        setattr(request, name, value)
    return build_log_filter(settings)(FormatContext(request, 10.25))


@pytest.mark.parametrize(
    ("comparison", "number", "expected"),
    [
        (Comparison.EQ, 503, True),
        (Comparison.EQ, 504, False),
        (Comparison.GE, 503, True),
        (Comparison.GE, 504, False),
        (Comparison.LE, 503, True),
        (Comparison.LE, 502, False),
        (Comparison.NE, 502, True),
        (Comparison.NE, 503, False),
    ],
)
def test_status(comparison: Comparison, number: int, expected: bool) -> None:
    """`status_code_filter`."""
    assert holds(ComparisonFilter(Compared.STATUS, comparison, number)) is expected


def test_duration() -> None:
    """Milliseconds since the request began."""
    assert holds(ComparisonFilter(Compared.DURATION, Comparison.GE, 250))
    assert not holds(ComparisonFilter(Compared.DURATION, Comparison.GE, 251))


def test_flags() -> None:
    """One of those given; with none given, any."""
    some, anything = FlagFilter(frozenset({"URX", "NR"})), FlagFilter(frozenset())
    assert holds(some, flags="UF,URX")
    assert not holds(some, flags="UF")
    assert not holds(some)
    assert holds(anything, flags="UF")
    assert not holds(anything)


def test_conditions_on_the_request() -> None:
    """Headers, and chance."""
    assert holds(ConditionFilter(HeaderMatch("x-a", StringMatch(StringKind.EXACT, "b"))))
    assert not holds(ConditionFilter(HeaderMatch("x-a", StringMatch(StringKind.EXACT, "c"))))
    assert holds(ConditionFilter(Fraction(100, 100)))
    assert not holds(ConditionFilter(Fraction(0, 100)))


def test_metadata() -> None:
    """What filters found out; `match_if_key_not_found` where they found nothing."""
    match = MetadataMatch("n", ("k",), StringMatch(StringKind.EXACT, "v"))
    for if_missing in (True, False):
        settings = MetadataFilter(match, if_missing)
        assert holds(settings) is if_missing
        assert holds(settings, dynamic_metadata={"n": {"k": "v"}})
        assert not holds(settings, dynamic_metadata={"n": {"k": "other"}})


def test_grpc_status() -> None:
    """From the response's headers, else from the HTTP status."""
    unavailable = GrpcStatusFilter(frozenset({14}))
    assert holds(unavailable)
    assert not holds(unavailable, response_status=200)
    assert holds(unavailable, response_status=200, response_headers={b"grpc-status": b"14"})
    assert holds(GrpcStatusFilter(frozenset({0}), exclude=True))
    # 200 alone says nothing about gRPC: UNKNOWN, as in Envoy.
    assert not holds(GrpcStatusFilter(frozenset({0})), response_status=200)
    assert holds(GrpcStatusFilter(frozenset({2})), response_status=200)
    assert not holds(
        GrpcStatusFilter(frozenset({0}), exclude=True),
        response_status=200,
        response_headers={b"grpc-status": b"0"},
    )


def test_combinations() -> None:
    """All, or one; of none all hold, as no request is a health check."""
    yes, no = FlagFilter(frozenset({"UF"})), FlagFilter(frozenset({"NR"}))
    assert holds(CombinedFilter((yes, yes)), flags="UF")
    assert not holds(CombinedFilter((yes, no)), flags="UF")
    assert holds(CombinedFilter((no, yes), needs_all=False), flags="UF")
    assert not holds(CombinedFilter((no, no), needs_all=False), flags="UF")
    assert holds(CombinedFilter(()))
