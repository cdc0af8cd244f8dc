"""Conditions on a finished request, or on a local reply about to be sent, compiled (Envoy `AccessLogFilter`)."""

import operator
from collections.abc import Callable
from dataclasses import replace

from fastproxy.filters.health_check.filter import HEALTH_CHECK_NOTE
from fastproxy.format.context import NO_LOG_TYPE, FormatContext
from fastproxy.http.local_reply import grpc_status_of, told_grpc_status
from fastproxy.listener.settings import (
    CombinedFilter,
    Compared,
    Comparison,
    ComparisonFilter,
    ConditionFilter,
    FlagFilter,
    GrpcStatusFilter,
    LogFilterSettings,
    LogTypeFilter,
    MetadataFilter,
    NoHealthCheckFilter,
)
from fastproxy.match.fraction import build_fraction_matcher
from fastproxy.match.metadata import build_metadata_matcher
from fastproxy.match.request import RequestMatcher, build_request_matcher
from fastproxy.match.settings import Fraction, PresentMatch, RequestConditions

#: Says whether a condition holds.
LogFilter = Callable[[FormatContext], bool]

_COMPARISONS: dict[Comparison, Callable[[int, int], bool]] = {
    Comparison.EQ: operator.eq,
    Comparison.GE: operator.ge,
    Comparison.LE: operator.le,
    Comparison.NE: operator.ne,
}


def build_log_filter(settings: LogFilterSettings) -> LogFilter:
    """Compile one condition."""
    if isinstance(settings, ComparisonFilter):
        return _compare(settings)
    if isinstance(settings, FlagFilter):
        return _flags(settings.flags)
    if isinstance(settings, MetadataFilter):
        return _metadata(settings)
    if isinstance(settings, GrpcStatusFilter):
        return _grpc_status(settings)
    if isinstance(settings, LogTypeFilter):
        return _log_type(settings.types, exclude=settings.exclude)
    if isinstance(settings, NoHealthCheckFilter):
        return _is_no_health_check
    if isinstance(settings, CombinedFilter):
        return _combine(settings)
    return _condition(settings)


def _compare(settings: ComparisonFilter) -> LogFilter:
    compare, number = _COMPARISONS[settings.comparison], settings.number
    if settings.compared is Compared.STATUS:
        return lambda context: compare(context.request.response_status, number)
    return lambda context: compare(int((context.now - context.request.start_monotonic) * 1000), number)


def _flags(wanted: frozenset[str]) -> LogFilter:
    if not wanted:
        return lambda context: context.request.flags != ""
    return lambda context: not wanted.isdisjoint(context.request.flags.split(","))


def _condition(settings: ConditionFilter) -> LogFilter:
    condition = settings.condition
    matches: RequestMatcher | None
    if isinstance(condition, Fraction):
        matches = build_fraction_matcher(condition)
    else:
        matches = build_request_matcher(RequestConditions(headers=(condition,)))
    assert matches is not None
    return lambda context: matches(context.request)


def _metadata(settings: MetadataFilter) -> LogFilter:
    is_there = build_metadata_matcher(replace(settings.match, value=PresentMatch(), invert=False))
    matches, if_missing = build_metadata_matcher(settings.match), settings.if_missing
    return lambda context: matches(context.request) if is_there(context.request) else if_missing


def _grpc_status(settings: GrpcStatusFilter) -> LogFilter:
    statuses, exclude = settings.statuses, settings.exclude

    def holds(context: FormatContext) -> bool:
        request = context.request
        told = told_grpc_status(request)
        status = int(told) if told is not None and told.isdigit() else grpc_status_of(request.response_status)
        return (status in statuses) is not exclude

    return holds


def _log_type(types: frozenset[str], *, exclude: bool) -> LogFilter:
    # A local reply is judged before it is logged.
    return lambda context: ((context.log_type or NO_LOG_TYPE) in types) is not exclude


def _is_no_health_check(context: FormatContext) -> bool:
    notes = context.request.filter_notes
    return notes is None or HEALTH_CHECK_NOTE not in notes


def _combine(settings: CombinedFilter) -> LogFilter:
    filters = tuple(build_log_filter(one) for one in settings.filters)
    if settings.needs_all:
        return lambda context: all(one(context) for one in filters)
    return lambda context: any(one(context) for one in filters)
