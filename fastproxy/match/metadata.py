"""Conditions on dynamic metadata, compiled (Envoy `MetadataMatcher`; spec/http.md section 8.2).

Metadata is what filters found out about a request; `jwt_authn` writes the claims of a token that it has verified.
Values are JSON: None, bool, int, float, str, list, dict.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fastproxy.http.messages import Request
from fastproxy.match.settings import (
    AnyMatch,
    ListMatch,
    MetadataMatch,
    NullMatch,
    NumberMatch,
    PresentMatch,
    StringMatch,
    ValueMatch,
)
from fastproxy.match.string import build_string_matcher

#: Says whether a value satisfies a condition; `ABSENT` stands for no value.
ValueMatcher = Callable[[Any], bool]


class _Absent:
    """The type of `ABSENT`."""

    __slots__ = ()


#: What a path leads to where nothing is; it is not null.
ABSENT = _Absent()


def build_metadata_matcher(match: MetadataMatch) -> Callable[[Request], bool]:
    """Compile one condition.

    Raises:
        ValueError: a regular expression is not valid RE2; the text is RE2's own message.
    """
    namespace, path, invert = match.namespace, match.path, match.invert
    matches = build_value_matcher(match.value)

    def matches_metadata(request: Request) -> bool:
        metadata = request.dynamic_metadata
        found = ABSENT if metadata is None else find_value(metadata.get(namespace, ABSENT), path)
        return matches(found) is not invert

    return matches_metadata


def find_value(value: Any, path: tuple[str, ...]) -> Any:
    """Follow `path` through objects; `ABSENT` if it leads nowhere."""
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return ABSENT
        value = value[key]
    return value


def build_value_matcher(match: ValueMatch) -> ValueMatcher:
    """Compile a condition on one value; another type than it asks for never satisfies it.

    Raises:
        ValueError: a regular expression is not valid RE2; the text is RE2's own message.
    """
    if isinstance(match, bool):
        return lambda value: value is match
    if isinstance(match, StringMatch):
        return _build_text(match)
    if isinstance(match, NumberMatch):
        return _build_number(match)
    if isinstance(match, PresentMatch):
        present = match.present
        return lambda value: present and value is not ABSENT
    if isinstance(match, ListMatch):
        member = build_value_matcher(match.member)
        return lambda value: isinstance(value, list) and any(member(one) for one in value)
    if isinstance(match, AnyMatch):
        matchers = tuple(build_value_matcher(one) for one in match.conditions)
        return lambda value: any(matches(value) for matches in matchers)
    assert isinstance(match, NullMatch)
    return lambda value: value is None


def _build_text(match: StringMatch) -> ValueMatcher:
    matches = build_string_matcher(match)

    def matches_text(value: Any) -> bool:
        # A lone surrogate has no UTF-8; such a value is nobody's name.
        return isinstance(value, str) and matches(value.encode("utf-8", "surrogatepass"))

    return matches_text


def _build_number(match: NumberMatch) -> ValueMatcher:
    start, end = match.start, match.end

    def matches_number(value: Any) -> bool:
        # JSON true is no number, though Python's True is one.
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return value == start if end is None else start <= value < end

    return matches_number
