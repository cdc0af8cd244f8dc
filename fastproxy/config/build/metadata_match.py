"""`MetadataMatcher` and `ValueMatcher`: conditions on what filters found out about a request."""

from fastproxy.config.build.matchers import build_string_match
from fastproxy.config.view import View
from fastproxy.match.settings import (
    AnyMatch,
    ListMatch,
    MetadataMatch,
    NullMatch,
    NumberMatch,
    PresentMatch,
    ValueMatch,
)


def build_metadata_match(view: View) -> MetadataMatch | None:
    """One condition; None when it has a form that is not supported (reported)."""
    path = tuple(segment.text("key") for segment in view.children("path"))
    value = build_value_match(view.child_or_empty("value"))
    namespace, invert = view.text("filter"), view.flag("invert")
    return None if value is None else MetadataMatch(namespace, path, value, invert)


def build_value_match(view: View) -> ValueMatch | None:
    """One condition on a value; None when it has a form that is not supported (reported)."""
    kind = view.selected("match_pattern")
    if kind == "null_match":
        view.accept(kind)
        return NullMatch()
    if kind == "double_match":
        return _build_number(view.child_or_empty(kind))
    if kind == "string_match":
        return build_string_match(view.child_or_empty(kind))
    if kind == "bool_match":
        return view.flag(kind)
    if kind == "present_match":
        present = view.flag(kind)
        if not present:
            view.warn(
                "nothing satisfies present_match: false",
                "Use present_match: true with invert: true",
                field=kind,
            )
        return PresentMatch(present)
    if kind == "list_match":
        member = build_value_match(view.child_or_empty(kind).child_or_empty("one_of"))
        return None if member is None else ListMatch(member)
    if kind == "or_match":
        return _build_any(view.child_or_empty(kind))
    return None


def _build_number(view: View) -> NumberMatch:
    if view.selected("match_pattern") == "range":
        range_ = view.child_or_empty("range")
        return NumberMatch(range_.number("start"), range_.number("end"))
    return NumberMatch(view.number("exact"))


def _build_any(view: View) -> AnyMatch | None:
    found = [build_value_match(one) for one in view.children("value_matchers")]
    conditions = tuple(one for one in found if one is not None)
    return AnyMatch(conditions) if len(conditions) == len(found) else None
