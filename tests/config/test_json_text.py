"""JSON, strictly, with lines."""

import pytest

from fastproxy.config.json_text import parse_json
from fastproxy.config.nodes import MapNode, SyntaxProblem
from tests.config.test_yaml_text import plain


def test_values_keep_their_json_types() -> None:
    """YAML's rules for words do not hold inside JSON."""
    text = '{"a": [1, -2.5, 1e2, true, false, null, "yes", "\\u00e9\\ud83d\\ude00"], "b": {}, "c": []}'

    assert plain(parse_json(text)) == {
        "a": [1, -2.5, 100.0, True, False, None, "yes", "é\U0001f600"],
        "b": {},
        "c": [],
    }


@pytest.mark.parametrize(("text", "value"), [("[1,]", [1]), ('{"a": 1 , }', {"a": 1}), ("[[],]", [[]])])
def test_one_comma_before_the_end_is_taken(text: str, value: object) -> None:
    """Envoy takes it, so files with it exist."""
    assert plain(parse_json(text)) == value


def test_lines_are_where_the_key_stands() -> None:
    """They are what the operator looks for."""
    node = parse_json('{\n  "a": 1,\n\n  "b": 2\n}')

    assert isinstance(node, MapNode)
    assert [entry.line for entry in node.entries] == [2, 4]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[",
        "[1,,]",
        "[,]",
        "{,}",
        '{"a": 1,,}',
        '{"a" 1}',
        '{"a": 1 "b": 2}',
        "{a: 1}",
        "[NaN]",
        "[Infinity]",
        "[01]",
        "[+1]",
        "[.5]",
        '"open',
        '"tab\there"',
        '"\\ud800"',
        "[1] 2",
        "tru",
        "",
        "  ",
        "'a'",
        "[" + "1" * 500 + "]",
        "// comment\n{}",
    ],
)
def test_what_is_not_json_is_reported(text: str) -> None:
    """Python's own reader takes NaN, and reports others with its own exceptions."""
    with pytest.raises(SyntaxProblem):
        parse_json(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_deep_nesting_is_refused_without_recursion_error(text: str) -> None:
    """RecursionError is no ValueError and would pass every handler."""
    with pytest.raises(SyntaxProblem, match="deeper"):
        parse_json(text)
