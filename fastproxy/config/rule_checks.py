"""One value against one set of `validate` rules; the answer is a complaint in words, or None.

The rule messages are proto2, so a rule that was not given is told from a rule of zero by `HasField`.
"""

from typing import Any

import re2

from fastproxy.config.formats import TEXT_FORMATS, check_header_text

_NANO = 1_000_000_000
_HEADER_NAME_RULE = 1
_NUMBER_RULES = frozenset(
    kind + size for kind in ("int", "uint", "sint", "fixed", "sfixed") for size in ("32", "64")
) | {"float", "double"}


def check_scalar(kind: str, rules: Any, value: Any, enum: Any = None) -> str | None:
    """Check a scalar; `kind` names the member of `validate.FieldRules` that is set."""
    if getattr(rules, "ignore_empty", False) and not value:
        return None
    if kind in _NUMBER_RULES:
        return check_range(rules, value, lambda limit: limit, str)
    if kind == "string":
        return _check_text(rules, value)
    if kind == "bytes":
        return _check_bytes(rules, value)
    if kind == "enum":
        return _check_enum(rules, value, enum)
    if kind == "bool" and rules.HasField("const") and value != rules.const:
        return f"must be {str(rules.const).lower()}"
    return None


def check_duration(rules: Any, value: Any) -> str | None:
    """Check a `google.protobuf.Duration` or `Timestamp` that is set."""
    return check_range(rules, _nanos(value), _nanos, _seconds)


def check_range(rules: Any, value: Any, number: Any, show: Any) -> str | None:
    """The rules that numbers, durations and timestamps share.

    Args:
        rules: a rules message with `const`, `lt`, `lte`, `gt`, `gte`, `in`, `not_in`.
        value: what to check, comparable.
        number: turns a limit in the rules into something comparable with `value`.
        show: turns a limit into words.
    """
    if rules.HasField("const") and value != number(rules.const):
        return f"must be {show(number(rules.const))}"
    low, low_open, high, high_open = None, False, None, False
    if rules.HasField("gt"):
        low, low_open = number(rules.gt), True
    if rules.HasField("gte"):
        low = number(rules.gte)
    if rules.HasField("lt"):
        high, high_open = number(rules.lt), True
    if rules.HasField("lte"):
        high = number(rules.lte)
    above = low is None or (value > low if low_open else value >= low)
    below = high is None or (value < high if high_open else value <= high)
    # Limits that cross mean "outside of": `lt: 0, gt: 10`.
    crossed = low is not None and high is not None and low > high
    if not ((above or below) if crossed else (above and below)):
        words = []
        if low is not None:
            words.append(f"{'greater than' if low_open else 'at least'} {show(low)}")
        if high is not None:
            words.append(f"{'less than' if high_open else 'at most'} {show(high)}")
        return "must be " + (" or " if crossed else " and ").join(words)
    return _check_sets(rules, value, number)


def _check_sets(rules: Any, value: Any, number: Any = lambda entry: entry) -> str | None:
    allowed = getattr(rules, "in")
    if len(allowed) and value not in [number(entry) for entry in allowed]:
        return "must be one of " + ", ".join(str(number(entry)) for entry in allowed)
    if value in [number(entry) for entry in rules.not_in]:
        return "must not be this value"
    return None


def _check_text(rules: Any, value: str) -> str | None:
    sizes = (("", len(value), "characters"), ("_bytes", len(value.encode()), "bytes"))
    for suffix, size, unit in sizes:
        exact = "len" + suffix
        least = "min_bytes" if suffix else "min_len"
        most = "max_bytes" if suffix else "max_len"
        if (problem := _check_size(rules, size, unit, (exact, least, most))) is not None:
            return problem
    if (problem := _check_parts(rules, value, "text")) is not None:
        return problem
    if rules.HasField("not_contains") and rules.not_contains in value:
        return f"must not contain {rules.not_contains!r}"
    if rules.HasField("pattern") and re2.search(rules.pattern, value) is None:
        return f"must match the pattern {rules.pattern}"
    kind = rules.WhichOneof("well_known")
    if kind == "well_known_regex":
        if not rules.well_known_regex:
            return None
        return check_header_text(
            value, is_name=rules.well_known_regex == _HEADER_NAME_RULE, strict=rules.strict
        )
    if kind is not None and getattr(rules, kind):
        words, test = TEXT_FORMATS[kind]
        return None if test(value) else f"must be {words}"
    return None


def _check_bytes(rules: Any, value: bytes) -> str | None:
    if (problem := _check_size(rules, len(value), "bytes", ("len", "min_len", "max_len"))) is not None:
        return problem
    if (problem := _check_parts(rules, value, "data")) is not None:
        return problem
    if rules.HasField("pattern") and re2.search(rules.pattern.encode(), value) is None:
        return f"must match the pattern {rules.pattern}"
    kind = rules.WhichOneof("well_known")
    if (
        kind is not None
        and getattr(rules, kind)
        and len(value) not in {"ip": (4, 16), "ipv4": (4,)}.get(kind, (16,))
    ):
        return "must be an IP address in network byte order"
    return None


def _check_parts(rules: Any, value: Any, noun: str) -> str | None:
    if rules.HasField("const") and value != rules.const:
        return f"must be {rules.const!r}"
    if rules.HasField("prefix") and not value.startswith(rules.prefix):
        return f"must start with {rules.prefix!r}"
    if rules.HasField("suffix") and not value.endswith(rules.suffix):
        return f"must end with {rules.suffix!r}"
    if rules.HasField("contains") and rules.contains not in value:
        return f"must be {noun} that contains {rules.contains!r}"
    return _check_sets(rules, value)


def _check_size(rules: Any, size: int, unit: str, names: tuple[str, str, str]) -> str | None:
    exact, least, most = names
    if rules.HasField(exact) and size != getattr(rules, exact):
        return f"must be exactly {getattr(rules, exact)} {unit} long"
    if rules.HasField(least) and size < getattr(rules, least):
        if size == 0:
            return "must not be empty"
        return f"must be at least {getattr(rules, least)} {unit} long"
    if rules.HasField(most) and size > getattr(rules, most):
        return f"must be at most {getattr(rules, most)} {unit} long"
    return None


def _check_enum(rules: Any, value: int, enum: Any) -> str | None:
    if rules.HasField("const") and value != rules.const:
        return f"must be {_enum_name(enum, rules.const)}"
    if rules.defined_only and enum is not None and value not in enum.values_by_number:
        return f"{value} is not one of {', '.join(enum.values_by_name)}"
    allowed = list(getattr(rules, "in"))
    if allowed and value not in allowed:
        return "must be one of " + ", ".join(_enum_name(enum, entry) for entry in allowed)
    if value in rules.not_in:
        return f"must not be {_enum_name(enum, value)}"
    return None


def _enum_name(enum: Any, number: int) -> str:
    entry = enum.values_by_number.get(number) if enum is not None else None
    return str(number) if entry is None else str(entry.name)


def _nanos(value: Any) -> int:
    return int(value.seconds) * _NANO + int(value.nanos)


def _seconds(nanos: int) -> str:
    return f"{nanos / _NANO:.9f}".rstrip("0").rstrip(".") + "s"
