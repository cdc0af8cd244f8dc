"""Protobuf's well-known messages, whose text form is not a mapping of their fields.

Durations follow Envoy rather than protobuf: an object `{seconds, nanos}` is taken beside `"1.5s"`, and nothing
negative is. Wrappers take their bare value or `{value: ...}`.
"""

import re
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from fastproxy.config.nodes import ListNode, MapNode, Node, ScalarNode, describe
from fastproxy.config.problems import quote
from fastproxy.config.scalars import WrongValue, parse_scalar

_DURATION = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,9}))?s")
# What Envoy can count in nanoseconds, 292 years; protobuf itself would take ten thousand.
_MAX_SECONDS = 9_223_372_035
_DURATION_FIX = 'Write seconds with an "s", for example "5s" or "0.25s"'
# Three levels of protobuf messages for one of the file, and protobuf parses no more than 100.
_MAX_STRUCT_DEPTH = 25

WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)


def parse_duration(node: Node, message: Any) -> None:
    """Fill a `google.protobuf.Duration`.

    Raises:
        WrongValue: no duration, negative, or out of range.
    """
    if isinstance(node, MapNode):
        _parse_duration_object(node, message)
        return
    if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
        raise WrongValue(f"expected a duration, found {describe(node)}", _DURATION_FIX)
    match = _DURATION.fullmatch(node.value)
    if match is None:
        if node.value.startswith("-"):
            raise WrongValue("a duration must not be negative")
        raise WrongValue(f"{quote(node.value)} is not a duration", _DURATION_FIX)
    seconds = int(match[1])
    if seconds > _MAX_SECONDS:
        raise WrongValue("the duration is too long")
    message.seconds = seconds
    message.nanos = int((match[2] or "0").ljust(9, "0"))
    message.SetInParent()


def _parse_duration_object(node: MapNode, message: Any) -> None:
    fields = message.DESCRIPTOR.fields_by_name
    for entry in node.entries:
        if entry.key not in fields:
            raise WrongValue(f"a duration has no field {quote(entry.key)}", "It has seconds and nanos")
        value = parse_scalar(fields[entry.key], entry.value)
        if value < 0:
            raise WrongValue("a duration must not be negative")
        if value > (_MAX_SECONDS if entry.key == "seconds" else 999_999_999):
            raise WrongValue(f"{entry.key} is out of range")
        setattr(message, entry.key, value)
    message.SetInParent()


def parse_wrapper(node: Node, message: Any) -> None:
    """Fill a `google.protobuf.UInt32Value` and its like.

    Raises:
        WrongValue: not the value that it wraps.
    """
    if isinstance(node, MapNode) and [entry.key for entry in node.entries] == ["value"]:
        node = node.entries[0].value
    message.value = parse_scalar(message.DESCRIPTOR.fields_by_name["value"], node)
    message.SetInParent()


def parse_struct(node: Node, message: Any) -> None:
    """Fill a `google.protobuf.Struct`: a free-form mapping.

    Raises:
        WrongValue: not a mapping, or nested too deeply.
    """
    _fill_struct(node, message, 0)


def parse_value(node: Node, message: Any) -> None:
    """Fill a `google.protobuf.Value`: anything at all.

    Raises:
        WrongValue: nested too deeply.
    """
    _fill_value(node, message, 0)


def parse_list_value(node: Node, message: Any) -> None:
    """Fill a `google.protobuf.ListValue`.

    Raises:
        WrongValue: nested too deeply.
    """
    _fill_list(node, message, 0)


def parse_by_protobuf(node: Node, message: Message) -> None:
    """Fill a message whose JSON form is one string, `Timestamp` and `FieldMask`.

    Raises:
        WrongValue: not text, or not of that form.
    """
    if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
        raise WrongValue(f"expected text, found {describe(node)}")
    reader: Any = message
    try:
        reader.FromJsonString(node.value)
    except Exception as exc:  # the parsers of protobuf raise ValueError, AttributeError, OverflowError...
        raise WrongValue(f"{quote(node.value)} is not a {message.DESCRIPTOR.name}") from exc


def _fill_struct(node: Node, message: Any, depth: int) -> None:
    if not isinstance(node, MapNode):
        raise WrongValue(f"expected a mapping, found {describe(node)}")
    message.SetInParent()
    for entry in node.entries:
        # A duplicate key replaces the value, and must not merge into it.
        message.fields[entry.key].Clear()
        _fill_value(entry.value, message.fields[entry.key], depth + 1)


def _fill_list(node: Node, message: Any, depth: int) -> None:
    message.SetInParent()
    for item in node.items if isinstance(node, ListNode) else [node]:
        _fill_value(item, message.values.add(), depth + 1)


def _fill_value(node: Node, message: Any, depth: int) -> None:
    if depth > _MAX_STRUCT_DEPTH:
        raise WrongValue(f"nested deeper than {_MAX_STRUCT_DEPTH} levels")
    if isinstance(node, MapNode):
        _fill_struct(node, message.struct_value, depth)
    elif isinstance(node, ListNode):
        _fill_list(node, message.list_value, depth)
    elif node.value is None:
        message.null_value = 0
    elif isinstance(node.value, bool):
        message.bool_value = node.value
    elif isinstance(node.value, str):
        message.string_value = node.value
    else:
        try:
            message.number_value = float(node.value)
        except OverflowError as exc:
            raise WrongValue("the number is too large") from exc


#: How to fill each well-known message; `Any` is not here, for it needs the schema.
PARSERS: dict[str, Callable[[Node, Any], None]] = {
    "google.protobuf.Duration": parse_duration,
    "google.protobuf.Struct": parse_struct,
    "google.protobuf.Value": parse_value,
    "google.protobuf.ListValue": parse_list_value,
    "google.protobuf.Timestamp": parse_by_protobuf,
    "google.protobuf.FieldMask": parse_by_protobuf,
    **dict.fromkeys(WRAPPERS, parse_wrapper),
}
