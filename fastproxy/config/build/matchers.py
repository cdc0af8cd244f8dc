"""`StringMatcher`, and the conditions of a `RouteMatch` besides its path."""

from fastproxy.config.build.path_match import build_regex
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.match.settings import (
    HeaderMatch,
    QueryMatch,
    RangeMatch,
    RequestConditions,
    StringKind,
    StringMatch,
)

_PLAIN_KINDS = (StringKind.EXACT, StringKind.PREFIX, StringKind.SUFFIX, StringKind.CONTAINS)
# The forms of a HeaderMatcher from before there was string_match; still very common.
_LEGACY_KINDS = {
    "exact_match": StringKind.EXACT,
    "prefix_match": StringKind.PREFIX,
    "suffix_match": StringKind.SUFFIX,
    "contains_match": StringKind.CONTAINS,
}


def build_string_match(matcher: View) -> StringMatch | None:
    """One condition on text; None when it has a form that is not supported (reported)."""
    ignore_case = matcher.flag("ignore_case")
    kind = matcher.selected("match_pattern")
    if kind == "safe_regex":
        if ignore_case:
            matcher.warn("has no effect on safe_regex", "Begin the regex with (?i)", field="ignore_case")
        return StringMatch(StringKind.REGEX, build_regex(matcher.child_or_empty("safe_regex")))
    for known in _PLAIN_KINDS:
        if kind == known.value:
            return StringMatch(known, matcher.text(known.value), ignore_case)
    if kind is not None:
        matcher.unsupported(kind, fix="Use exact, prefix, suffix, contains or safe_regex")
    return None


def build_conditions(match: View) -> RequestConditions | None:
    """All conditions of a `RouteMatch` but its path; None when one of them is not supported (reported)."""
    headers = [build_header_match(view) for view in match.children("headers")]
    parameters = [_build_query_match(view) for view in match.children("query_parameters")]
    if None in headers or None in parameters:
        return None
    return RequestConditions(
        connect_only=match.selected("path_specifier") == "connect_matcher",
        headers=tuple(header for header in headers if header is not None),
        query_parameters=tuple(parameter for parameter in parameters if parameter is not None),
    )


def build_header_matches(owner: View, field: str) -> tuple[HeaderMatch, ...]:
    """A list of `HeaderMatcher`; those of a form that is not supported are reported, and left out."""
    found = [build_header_match(view) for view in owner.children(field)]
    return tuple(match for match in found if match is not None)


def build_query_matches(owner: View, field: str) -> tuple[QueryMatch, ...]:
    """A list of `QueryParameterMatcher`; those of a form that is not supported are reported, and left out."""
    found = [_build_query_match(view) for view in owner.children(field)]
    return tuple(match for match in found if match is not None)


def build_header_match(view: View) -> HeaderMatch | None:
    """One condition on a header; None when it has a form that is not supported (reported)."""
    name = view.text("name").lower()
    kind = view.selected("header_match_specifier")
    value: StringMatch | RangeMatch | bool | None = True
    if kind == "present_match":
        value = view.flag(kind)
    elif kind == "string_match":
        value = build_string_match(view.child_or_empty(kind))
    elif kind == "safe_regex_match":
        value = StringMatch(StringKind.REGEX, build_regex(view.child_or_empty(kind)))
    elif kind == "range_match":
        range_ = view.child_or_empty(kind)
        value = RangeMatch(range_.integer("start"), range_.integer("end"))
        if value.start >= value.end:
            range_.warn("never matches: the range is empty; its end is not part of it")
    elif kind is not None:
        value = StringMatch(_LEGACY_KINDS[kind], view.text(kind))
    invert, missing_as_empty = view.flag("invert_match"), view.flag("treat_missing_header_as_empty")
    if value is None:
        return None
    return HeaderMatch(name, value, invert, missing_as_empty)


def _build_query_match(view: View) -> QueryMatch | None:
    name = view.text("name")
    kind = view.selected("query_parameter_match_specifier")
    value: StringMatch | bool | None = True
    if kind == "present_match":
        value = view.flag(kind)
    elif kind == "string_match":
        value = build_string_match(view.child_or_empty(kind))
    if "%" in name:
        view.warn(
            f"{quote(name)} is compared with the name as it stands in the query, not decoded", field="name"
        )
    return None if value is None else QueryMatch(name, value)
