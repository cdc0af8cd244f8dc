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
class RequestConditions:
    """What a `RouteMatch` asks for besides the path; all of it must hold."""

    connect_only: bool = False
    """`connect_matcher`: the method is CONNECT; there is no path then."""
    headers: tuple[HeaderMatch, ...] = ()
    query_parameters: tuple[QueryMatch, ...] = ()
