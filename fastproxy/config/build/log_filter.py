"""`AccessLogFilter`: which requests are logged, and which local replies are mapped."""

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.matchers import build_header_match
from fastproxy.config.build.metadata_match import build_metadata_match
from fastproxy.config.problems import quote
from fastproxy.config.view import View
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
from fastproxy.match.settings import Fraction

_GRPC_STATUSES = (
    "OK", "CANCELED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
_KNOWN = (
    "status_code_filter, duration_filter, not_health_check_filter, runtime_filter, and_filter, or_filter, "
    "header_filter, response_flag_filter, grpc_status_filter, metadata_filter, log_type_filter"
)


def build_log_filter(view: View, context: BuildContext) -> LogFilterSettings | None:
    """One filter; None when it has a form that is not supported (reported)."""
    kind = view.selected("filter_specifier")
    if kind is None:
        return None
    inner = view.child_or_empty(kind)
    if kind in (Compared.STATUS.value, Compared.DURATION.value):
        return _build_comparison(inner.child_or_empty("comparison"), Compared(kind), context)
    if kind == "not_health_check_filter":
        return NoHealthCheckFilter()
    if kind in ("and_filter", "or_filter"):
        found = [build_log_filter(one, context) for one in inner.children("filters")]
        filters = tuple(one for one in found if one is not None)
        return CombinedFilter(filters, kind == "and_filter") if len(filters) == len(found) else None
    if kind == "header_filter":
        header = build_header_match(inner.child_or_empty("header"))
        return None if header is None else ConditionFilter(header)
    if kind == "runtime_filter":
        return _build_runtime(inner, context)
    if kind == "response_flag_filter":
        return FlagFilter(frozenset(inner.texts("flags")))
    if kind == "grpc_status_filter":
        names = inner.choices("statuses")
        statuses = frozenset(_GRPC_STATUSES.index(name) for name in names if name in _GRPC_STATUSES)
        return GrpcStatusFilter(statuses, inner.flag("exclude"))
    if kind == "metadata_filter":
        match = build_metadata_match(inner.child_or_empty("matcher"))
        if_missing = inner.flag_or("match_if_key_not_found", default=True)
        return None if match is None else MetadataFilter(match, if_missing)
    if kind == "log_type_filter":
        return LogTypeFilter(frozenset(inner.choices("types")), inner.flag("exclude"))
    inner.accept(*(field.name for field, _ in inner.message.ListFields()))
    view.unsupported(kind, fix=f"Use one of {_KNOWN}")
    return None


def _build_comparison(view: View, compared: Compared, context: BuildContext) -> ComparisonFilter:
    value = view.child_or_empty("value")
    number, key = value.integer("default_value"), value.text("runtime_key")
    override = context.runtime.read(key) if key else None
    if isinstance(override, int) and not isinstance(override, bool) and override >= 0:
        number = override
    elif override is not None:
        value.error(f"the runtime key {quote(key)} has a value that is no whole number", field="runtime_key")
    return ComparisonFilter(compared, Comparison(view.choice("op")), number)


def _build_runtime(view: View, context: BuildContext) -> ConditionFilter:
    """A share of all requests; Envoy goes by the request id, so that all proxies on the way log the same ones."""
    view.without_effect("use_independent_randomness", "chance decides for each request by itself")
    sampled = view.child_or_empty("percent_sampled")
    numerator = sampled.integer("numerator")
    denominator = _DENOMINATORS.get(sampled.choice("denominator"), 100)
    key = view.text("runtime_key")
    override = context.runtime.read(key)
    if isinstance(override, int) and not isinstance(override, bool) and override >= 0:
        numerator, denominator = override, 100
    elif override is not None:
        view.error(
            f"the runtime key {quote(key)} has a value that is no whole percentage", field="runtime_key"
        )
    return ConditionFilter(Fraction(numerator, denominator))
