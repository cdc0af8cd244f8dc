"""Single rules against single values, those included that Envoy's schema uses rarely."""

import math
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from validate import validate_pb2

from fastproxy.config.nodes import ScalarNode
from fastproxy.config.rule_checks import check_duration, check_scalar
from fastproxy.config.scalars import WrongValue, parse_scalar
from fastproxy.config.schema import find_message


def rule(kind: str, text: dict[str, Any]) -> Any:
    """The rules of one kind with some members set."""
    rules = getattr(validate_pb2.FieldRules(), kind)
    for name, value in text.items():
        if isinstance(value, list):
            getattr(rules, name).extend(value)
        else:
            setattr(rules, name, value)
    return rules


def percent_value() -> Any:
    """A field of type double."""
    found = find_message("envoy.type.v3.Percent")
    assert found is not None
    return found.DESCRIPTOR.fields_by_name["value"]


@pytest.mark.parametrize(
    ("kind", "rules", "good", "bad"),
    [
        ("uint32", {"const": 5}, 5, 6),
        ("uint32", {"gt": 1, "lt": 3}, 2, 3),
        ("int32", {"gte": -1, "lte": 1}, -1, 2),
        ("uint32", {"lt": 3, "gt": 10}, 2, 5),
        ("uint32", {"lte": 3, "gte": 10}, 10, 9),
        ("double", {"gt": 0.0}, 0.1, 0.0),
        ("uint32", {"in": [1, 2]}, 2, 3),
        ("uint32", {"not_in": [1, 2]}, 3, 2),
        ("uint32", {"gte": 5, "ignore_empty": True}, 0, 4),
        ("bool", {"const": True}, True, False),
        ("string", {"const": "a"}, "a", "b"),
        ("string", {"len": 2}, "é" * 2, "a"),
        ("string", {"len_bytes": 2}, "é", "éé"),
        ("string", {"min_len": 2}, "ab", "a"),
        ("string", {"min_len": 1}, "a", ""),
        ("string", {"max_len": 2}, "ab", "abc"),
        ("string", {"min_bytes": 2}, "é", "a"),
        ("string", {"max_bytes": 2}, "é", "éa"),
        ("string", {"prefix": "/"}, "/a", "a"),
        ("string", {"suffix": "/"}, "a/", "a"),
        ("string", {"contains": "b"}, "abc", "ac"),
        ("string", {"not_contains": "b"}, "ac", "abc"),
        ("string", {"pattern": "^a+$"}, "aa", "ab"),
        ("string", {"in": ["a"]}, "a", "b"),
        ("string", {"not_in": ["a"]}, "b", "a"),
        ("string", {"ipv4": True}, "1.2.3.4", "::1"),
        ("string", {"well_known_regex": 1}, "x-a", "x a"),
        ("bytes", {"len": 2}, b"ab", b"a"),
        ("bytes", {"min_len": 2}, b"ab", b"a"),
        ("bytes", {"prefix": b"a"}, b"ab", b"b"),
        ("bytes", {"pattern": "^a+$"}, b"aa", b"b"),
        ("bytes", {"ipv4": True}, b"abcd", b"abc"),
        ("bytes", {"ip": True}, b"abcd", b"abc"),
    ],
)
def test_each_rule_holds_and_is_violated(kind: str, rules: dict[str, Any], good: object, bad: object) -> None:
    """The generic checker stands between a wrong number and a running proxy."""
    assert check_scalar(kind, rule(kind, rules), good) is None
    assert check_scalar(kind, rule(kind, rules), bad) is not None


@pytest.mark.parametrize(
    ("rules", "good", "bad"),
    [({"defined_only": True}, 0, 99), ({"const": 1}, 1, 0), ({"in": [1]}, 1, 0), ({"not_in": [0]}, 1, 0)],
)
def test_enum_rules(rules: dict[str, Any], good: int, bad: int) -> None:
    """Complaints name values, not numbers."""
    found = find_message("envoy.config.cluster.v3.Cluster")
    assert found is not None
    enum = found.DESCRIPTOR.fields_by_name["lb_policy"].enum_type

    assert check_scalar("enum", rule("enum", rules), good, enum) is None
    complaint = check_scalar("enum", rule("enum", rules), bad, enum)
    assert complaint is not None
    assert "LEAST_REQUEST" in complaint or "ROUND_ROBIN" in complaint


def test_duration_rules_speak_in_seconds() -> None:
    """`{seconds: 0, nanos: 1000000}` in the schema is 0.001s to a reader."""
    rules = validate_pb2.FieldRules().duration
    rules.gte.nanos = 1_000_000

    assert check_duration(rules, Duration(nanos=1_000_000)) is None
    assert check_duration(rules, Duration(nanos=5)) == "must be at least 0.001s"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0.5", 0.5), (5, 5.0), ("1e3", 1000.0), ("NaN", math.nan), ("-Infinity", -math.inf), (".5", 0.5)],
)
def test_numbers_with_fractions(value: Any, expected: float) -> None:
    """`0.5` reaches the schema as text, by the YAML rules."""
    number = parse_scalar(percent_value(), ScalarNode(1, value))

    assert number == expected or (math.isnan(number) and math.isnan(expected))


@pytest.mark.parametrize("value", ["1e999", 10**400, "abc", True, None, "1" * 100, "٣"])
def test_what_is_no_number_with_fractions(value: Any) -> None:
    """Infinity by overflow is no percentage."""
    with pytest.raises(WrongValue):
        parse_scalar(percent_value(), ScalarNode(1, value))
