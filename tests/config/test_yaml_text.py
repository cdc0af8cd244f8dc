"""Envoy's scalar rules and the bounds on what is read at all."""

import pytest

from fastproxy.config.nodes import ListNode, MapNode, Node, ScalarNode, SyntaxProblem
from fastproxy.config.yaml_text import parse_yaml


def plain(node: Node) -> object:
    """Nodes as Python values."""
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    if isinstance(node, MapNode):
        return {entry.key: plain(entry.value) for entry in node.entries}
    return node.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(word, True) for word in ("true", "True", "TRUE", "yes", "Yes", "on", "ON", "y", "Y")],
        *[(word, False) for word in ("false", "False", "FALSE", "no", "No", "off", "OFF", "n", "N")],
        *[(word, None) for word in ("null", "Null", "NULL", "~", "")],
        ("10", 10),
        ("-10", -10),
        ("+10", 10),
        ("0x10", 16),
        ("0123", 83),
        ("0", 0),
        ("089", "089"),
        ("5000000000", "5000000000"),
        ("0xffffffffff", "1099511627775"),
        ("1.1", "1.1"),
        (".5", ".5"),
        ("1e3", "1e3"),
        ("NaN", "NaN"),
        ("1_000", "1_000"),
        ("2020-01-01", "2020-01-01"),
        ("12:30:45", "12:30:45"),
        ("tRUE", "tRUE"),
        ('"1"', "1"),
        ("'true'", "true"),
        ('"null"', "null"),
        ("|-\n  5", "5"),
        ("!!str 5", 5),
        ("!!int '5'", 5),
        ("!other 'true'", True),
        ("! 5", "5"),
        ("plain words", "plain words"),
    ],
)
def test_unquoted_scalars_are_null_boolean_integer_or_text(text: str, value: object) -> None:
    """A stock YAML 1.1 loader makes a float of `1.1` and a date of `2020-01-01`; Envoy's files rely on text."""
    node = parse_yaml(f"key: {text}")

    found = plain(node)

    assert found == {"key": value}
    assert type(found["key"]) is type(value)


def test_only_the_first_document_is_read() -> None:
    """Envoy does the same, and files with a second document exist."""
    assert plain(parse_yaml("a: 1\n---\nb: 2\n")) == {"a": 1}


def test_keys_are_text_whatever_they_look_like() -> None:
    """`on:` as a map key names an entry `on`, not `True`."""
    assert plain(parse_yaml("{on: 1, 5: 2, null: 3}")) == {"on": 1, "5": 2, "null": 3}


def test_lines_are_where_the_key_stands() -> None:
    """They are what the operator looks for."""
    node = parse_yaml("a: 1\n\nb:\n  - x\n  - y\n")

    assert isinstance(node, MapNode)
    assert [entry.line for entry in node.entries] == [1, 3]
    inner = node.entries[1].value
    assert isinstance(inner, ListNode)
    assert [item.line for item in inner.items] == [4, 5]


def test_an_alias_stands_for_what_its_anchor_holds() -> None:
    """Files share matchers and header lists this way."""
    assert plain(parse_yaml("a: &x {b: [1]}\nc: *x\n")) == {"a": {"b": [1]}, "c": {"b": [1]}}


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n"])
def test_an_empty_file_is_an_error_that_says_so(text: str) -> None:
    """A truncated file must not be taken for an empty configuration."""
    with pytest.raises(SyntaxProblem, match="empty"):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1\nb: 2\n", 2),
        ("a: *x", 1),
        ("a: &x [*x]", 1),
        ("? [1]\n: 2", 1),
        ("a:\n\t- 1", 2),
        ('a: "\\q"', 1),
        ("a: \x01", None),
    ],
)
def test_what_is_not_yaml_is_reported_with_its_line(text: str, line: int | None) -> None:
    """Anything but SyntaxProblem here would reach the operator as a traceback."""
    with pytest.raises(SyntaxProblem) as caught:
        parse_yaml(text)

    assert caught.value.line == line
    assert caught.value.problem


def test_a_bomb_of_aliases_is_refused_without_unfolding_it() -> None:
    """Ten lines stand for ten billion values (CWE-776)."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]

    with pytest.raises(SyntaxProblem, match="more than"):
        parse_yaml("\n".join(lines))


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 50_000, "- " * 50_000, "? " * 50_000])
def test_deep_nesting_is_refused_and_does_not_exhaust_the_stack(text: str) -> None:
    """libyaml's own composer recurses in C."""
    with pytest.raises(SyntaxProblem):
        parse_yaml(text)


def test_depth_is_counted_through_aliases() -> None:
    """Each line is shallow, their sum is not."""
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 100)]

    with pytest.raises(SyntaxProblem, match="deeper"):
        parse_yaml("\n".join(lines))


def test_a_scalar_document_is_a_node_too() -> None:
    """That it is no configuration is for the decoder to say."""
    assert isinstance(parse_yaml("hello"), ScalarNode)
