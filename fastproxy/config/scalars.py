"""One scalar of the file to one scalar of the schema, with Envoy's coercions (spec/http.md section 2.2)."""

import base64
import binascii
import difflib
import math
import re
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from fastproxy.config.nodes import Node, ScalarNode, describe
from fastproxy.config.problems import quote

_F = FieldDescriptor
_INT_RANGES = {
    _F.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    _F.CPPTYPE_UINT32: (0, 2**32 - 1),
    _F.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    _F.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,12}")
_HEXADECIMAL = re.compile(r"([+-]?)0[xX]([0-9a-fA-F]{1,16})")
_SPECIAL_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_TRUE_WORDS = frozenset({"true", "t", "yes", "y", "1"})
_FALSE_WORDS = frozenset({"false", "f", "no", "n", "0"})
_MAX_NUMBER_CHARS = 64


class WrongValue(Exception):
    """A value that the schema does not allow in its place."""

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix


def parse_scalar(field: FieldDescriptor, node: Node) -> Any:
    """The value of a field that is no message.

    Raises:
        WrongValue: a value of another kind, or out of range.
    """
    if not isinstance(node, ScalarNode):
        raise WrongValue(f"expected {_expected(field)}, found {describe(node)}")
    kind = field.cpp_type
    if kind in _INT_RANGES:
        return _parse_integer(node, *_INT_RANGES[kind])
    if kind == _F.CPPTYPE_BOOL:
        return _parse_bool(node)
    if kind in (_F.CPPTYPE_DOUBLE, _F.CPPTYPE_FLOAT):
        return _parse_float(node, single=kind == _F.CPPTYPE_FLOAT)
    if kind == _F.CPPTYPE_ENUM:
        assert field.enum_type is not None
        return _parse_enum(field.enum_type, node)
    return _parse_bytes(node) if field.type == _F.TYPE_BYTES else _parse_text(node)


def _expected(field: FieldDescriptor) -> str:
    kind = field.cpp_type
    if kind in _INT_RANGES:
        return "an integer"
    if kind == _F.CPPTYPE_BOOL:
        return "true or false"
    if kind == _F.CPPTYPE_ENUM:
        assert field.enum_type is not None
        return f"one of {_names(field.enum_type)}"
    return "a number" if kind in (_F.CPPTYPE_DOUBLE, _F.CPPTYPE_FLOAT) else "text"


def _parse_text(node: ScalarNode) -> str:
    if isinstance(node.value, str):
        if any("\ud800" <= char <= "\udfff" for char in node.value):
            raise WrongValue("text that is not valid Unicode")
        return node.value
    fix = "Put the value in quotes"
    if isinstance(node.value, bool):
        fix += "; without them yes, no, on, off, y and n are booleans, too"
    raise WrongValue(f"expected text, found {describe(node)}", fix)


def _parse_bytes(node: ScalarNode) -> bytes:
    fix = "Use inline_string for text" if isinstance(node.value, str) else "Put the value in quotes"
    if not isinstance(node.value, str):
        raise WrongValue(f"expected base64 text, found {describe(node)}", fix)
    text = node.value.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise WrongValue("not valid base64", fix) from exc


def _parse_bool(node: ScalarNode) -> bool:
    if isinstance(node.value, bool):
        return node.value
    if isinstance(node.value, str):
        word = node.value.lower()
        if word in _TRUE_WORDS:
            return True
        if word in _FALSE_WORDS:
            return False
        raise WrongValue(f"expected true or false, found {quote(node.value)}")
    raise WrongValue(f"expected true or false, found {describe(node)}")


def _parse_integer(node: ScalarNode, low: int, high: int) -> int:
    value = _number(node, "an integer")
    if isinstance(value, float):
        # NaN and the infinities are no integers either, and int() would raise on them.
        if not value.is_integer():
            raise WrongValue(f"expected an integer, found {value!r}")
        value = int(value)
    if not low <= value <= high:
        raise WrongValue(f"the number must be between {low} and {high}")
    return value


def _parse_float(node: ScalarNode, *, single: bool) -> float:
    if isinstance(node.value, str) and node.value in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[node.value]
    try:
        value = float(_number(node, "a number"))
    except OverflowError as exc:
        raise WrongValue("the number is too large") from exc
    if math.isinf(value) or (single and abs(value) > 3.4028234663852886e38):
        raise WrongValue("the number is too large")
    return value


def _number(node: ScalarNode, expected: str) -> int | float:
    value = node.value
    if isinstance(value, bool) or value is None:
        raise WrongValue(f"expected {expected}, found {describe(node)}")
    if isinstance(value, int | float):
        return value
    if len(value) <= _MAX_NUMBER_CHARS:
        digits = value[1:] if value[:1] in "+-" else value
        if digits.isascii() and digits.isdigit():
            return int(value)
        if (match := _HEXADECIMAL.fullmatch(value)) is not None:
            return int(match[1] + match[2], 16)
        if _NUMBER.fullmatch(value):
            return float(value)
    raise WrongValue(f"expected {expected}, found {quote(value)}")


def _parse_enum(enum: EnumDescriptor, node: ScalarNode) -> int:
    value = node.value
    if isinstance(value, str):
        found = enum.values_by_name.get(value)
        if found is not None:
            return int(found.number)
        wanted = value.upper()
        for name, entry in enum.values_by_name.items():
            if name.upper() == wanted:
                return int(entry.number)
        if _WHOLE_NUMBER.fullmatch(value):
            return _parse_integer(node, *_INT_RANGES[_F.CPPTYPE_INT32])
        near = difflib.get_close_matches(wanted.replace("-", "_"), list(enum.values_by_name), n=1)
        fix = f'Did you mean "{near[0]}"?' if near else ""
        raise WrongValue(f"{quote(value)} is not one of {_names(enum)}", fix)
    if isinstance(value, bool) or value is None:
        # `mode: off` and `policy: NO` are booleans in YAML; say so, it is hard to see.
        raise WrongValue(f"expected one of {_names(enum)}, found {describe(node)}", "Put the name in quotes")
    return _parse_integer(node, *_INT_RANGES[_F.CPPTYPE_INT32])


def _names(enum: EnumDescriptor) -> str:
    return ", ".join(enum.values_by_name)
