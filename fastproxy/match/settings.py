"""Conditions as the configuration fixes them (Envoy `RouteMatch`). Built by `fastproxy.config`."""

from dataclasses import dataclass
from enum import Enum


class PathKind(Enum):
    """The path forms of a `RouteMatch`."""

    PREFIX = "prefix"
    EXACT = "path"
    SEPARATED_PREFIX = "path_separated_prefix"
    REGEX = "safe_regex"


@dataclass(frozen=True, slots=True)
class PathMatch:
    """One path condition; compared with the path before `?`."""

    kind: PathKind
    value: str
    case_sensitive: bool = True


class StringKind(Enum):
    """The forms of a `StringMatcher`."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "safe_regex"


@dataclass(frozen=True, slots=True)
class StringMatch:
    """One condition on a text (Envoy `type.matcher.v3.StringMatcher`); a regular expression matches the whole of it."""

    kind: StringKind
    value: str
    ignore_case: bool = False
    """For ASCII letters; without effect on a regular expression, as in Envoy."""


@dataclass(frozen=True, slots=True)
class RangeMatch:
    """A whole number in `start` (included) to `end` (excluded) (Envoy `Int64Range`)."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """One condition on a request header (Envoy `HeaderMatcher`, spec/http.md section 8.2)."""

    name: str
    """Lower case; `:method`, `:path`, `:authority` and `:scheme` are parts of the request line."""
    value: StringMatch | RangeMatch | bool = True
    """A bool is `present_match`."""
    invert: bool = False
    missing_as_empty: bool = False
    """`treat_missing_header_as_empty`."""


@dataclass(frozen=True, slots=True)
class QueryMatch:
    """One condition on a query parameter (Envoy `QueryParameterMatcher`): its first value, not decoded."""

    name: str
    value: StringMatch | bool = True
    """A bool is `present_match`."""


@dataclass(frozen=True, slots=True)
class RegexSubstitution:
    """Every match of `pattern` is replaced (Envoy `RegexMatchAndSubstitute`)."""

    pattern: str
    substitution: str
    """`\\1` stands for the first group, `\\0` for the whole match, `\\\\` for a backslash, as in RE2."""


@dataclass(frozen=True, slots=True)
class Fraction:
    """A share of all requests (Envoy `FractionalPercent`, runtime value already applied)."""

    numerator: int
    denominator: int
    """100, 10,000 or 1,000,000."""


@dataclass(frozen=True, slots=True)
class NullMatch:
    """The value is null."""


@dataclass(frozen=True, slots=True)
class NumberMatch:
    """The value is a number in `start` (included) to `end` (excluded), or is `start` if there is no `end`."""

    start: float
    end: float | None = None


@dataclass(frozen=True, slots=True)
class PresentMatch:
    """There is a value; with `present` False nothing satisfies it, in Envoy neither: `invert` says "absent"."""

    present: bool = True


@dataclass(frozen=True, slots=True)
class ListMatch:
    """The value is a list, and one of its members satisfies the condition."""

    member: "ValueMatch"


@dataclass(frozen=True, slots=True)
class AnyMatch:
    """One of the conditions holds (`or_match`)."""

    conditions: tuple["ValueMatch", ...]


#: A condition on a value of dynamic metadata (Envoy `ValueMatcher`); a bool is `bool_match`.
ValueMatch = NullMatch | NumberMatch | StringMatch | bool | PresentMatch | ListMatch | AnyMatch


@dataclass(frozen=True, slots=True)
class MetadataMatch:
    """One condition on dynamic metadata (Envoy `type.matcher.v3.MetadataMatcher`)."""

    namespace: str
    """`filter`: who wrote it."""
    path: tuple[str, ...]
    value: ValueMatch
    invert: bool = False


@dataclass(frozen=True, slots=True)
class RequestConditions:
    """What a `RouteMatch` asks for besides the path; all of it must hold."""

    connect_only: bool = False
    """`connect_matcher`: the method is CONNECT; there is no path then."""
    headers: tuple[HeaderMatch, ...] = ()
    query_parameters: tuple[QueryMatch, ...] = ()
    grpc: bool = False
    """`grpc`: the request is gRPC."""
    fraction: Fraction | None = None
    """`runtime_fraction`: so many of the requests."""
    metadata: tuple[MetadataMatch, ...] = ()
    """`dynamic_metadata`."""
    has_client_certificate: bool | None = None
    """`tls_context`: the client gave a certificate that was verified, or it gave none; None does not ask."""
