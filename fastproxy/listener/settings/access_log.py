"""Which requests are logged, where and how (Envoy `AccessLog`, `AccessLogFilter`)."""

from dataclasses import dataclass
from enum import Enum

from fastproxy.match.settings import Fraction, HeaderMatch, MetadataMatch


class Compared(Enum):
    """What a comparison of an access log filter looks at."""

    STATUS = "status_code_filter"
    DURATION = "duration_filter"
    """Milliseconds since the request began."""


class Comparison(Enum):
    """How a comparison of an access log filter is done."""

    EQ = "EQ"
    GE = "GE"
    LE = "LE"
    NE = "NE"


@dataclass(frozen=True, slots=True)
class ComparisonFilter:
    """The status or the duration against a number (Envoy `StatusCodeFilter`, `DurationFilter`)."""

    compared: Compared
    comparison: Comparison
    number: int


@dataclass(frozen=True, slots=True)
class FlagFilter:
    """One of these response flags is set; with none given, any (Envoy `ResponseFlagFilter`)."""

    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class ConditionFilter:
    """A condition on the request (Envoy `HeaderFilter`, `RuntimeFilter`)."""

    condition: HeaderMatch | Fraction


@dataclass(frozen=True, slots=True)
class MetadataFilter:
    """A condition on dynamic metadata (Envoy `MetadataFilter`)."""

    match: MetadataMatch
    if_missing: bool = True
    """What holds where there is no such value."""


@dataclass(frozen=True, slots=True)
class GrpcStatusFilter:
    """The gRPC status is one of these, or none of them (Envoy `GrpcStatusFilter`)."""

    statuses: frozenset[int]
    exclude: bool = False


@dataclass(frozen=True, slots=True)
class LogTypeFilter:
    """The line is written for one of these reasons, or for none of them (Envoy `LogTypeFilter`)."""

    types: frozenset[str]
    """As `%ACCESS_LOG_TYPE%` has them."""
    exclude: bool = False


@dataclass(frozen=True, slots=True)
class CombinedFilter:
    """All of the conditions hold, or one does (Envoy `AndFilter`, `OrFilter`)."""

    filters: "tuple[LogFilterSettings, ...]"
    needs_all: bool = True


@dataclass(frozen=True, slots=True)
class NoHealthCheckFilter:
    """The request is no health check that the filter `health_check` knows (Envoy `NotHealthCheckFilter`)."""


#: When a request is logged, or a local reply mapped (Envoy `AccessLogFilter`).
LogFilterSettings = (
    ComparisonFilter
    | FlagFilter
    | ConditionFilter
    | MetadataFilter
    | GrpcStatusFilter
    | LogTypeFilter
    | CombinedFilter
    | NoHealthCheckFilter
)


@dataclass(frozen=True, slots=True)
class AccessLogSettings:
    """One `access_log` entry: a file (or /dev/stdout, /dev/stderr) and a line format."""

    path: str
    text_format: str | None = None
    """None means Envoy's default line (spec/http.md section 14)."""
    json_format: dict[str, object] | None = None
    omit_empty: bool = False
    """Missing values are left out, not written as `-` or null."""
    filter: LogFilterSettings | None = None


@dataclass(frozen=True, slots=True)
class LogMoments:
    """When a request is logged besides its end (Envoy `HcmAccessLogOptions`)."""

    at_start: bool = False
    """`flush_access_log_on_new_request`."""
    at_tunnel: bool = False
    """`flush_log_on_tunnel_successfully_established`: its connection has changed to another protocol."""
    interval_s: float = 0.0
    """`access_log_flush_interval`: every so often while it is served; 0: not."""


AT_END = LogMoments()
