"""YAML text to nodes, by Envoy's scalar rules rather than YAML 1.1's (spec/http.md section 2.2).

Unquoted scalars are null, boolean or integer, and text otherwise: `1.1`, `1e3` and `2020-01-01` stay text, so a
version number needs no quotes. Built on the parser's events, not on its composer: libyaml composes recursively,
and a file of a million `[` would exhaust the C stack.
"""

import re
from typing import Any

import yaml

from fastproxy.config.nodes import (
    MAX_DEPTH,
    Entry,
    ListNode,
    MapNode,
    Node,
    Scalar,
    ScalarNode,
    SyntaxProblem,
    add_part,
)

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE_WORDS = frozenset({"y", "yes", "true", "on"})
_FALSE_WORDS = frozenset({"n", "no", "false", "off"})
_INTEGER = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))")
# Envoy hands integers beyond 32 bits on as text, so such a number is legal in a text field; so it is here.
_MAX_NUMBER = 2**31 - 1
_MIN_NUMBER = -(2**31)
_MAX_INTEGER_DIGITS = 64


def parse_yaml(text: str) -> Node:
    """Read the first document of `text`; later documents are not looked at, as in Envoy.

    Raises:
        SyntaxProblem: not YAML, empty, or larger than any configuration.
    """
    try:
        loader = _Loader(text)
    except (yaml.YAMLError, UnicodeError, ValueError) as exc:
        raise _syntax_problem(exc) from exc
    try:
        return _Composer(loader).compose()
    except (yaml.YAMLError, UnicodeError, ValueError) as exc:
        raise _syntax_problem(exc) from exc
    finally:
        loader.dispose()


def resolve_scalar(text: str) -> Scalar:
    """What an unquoted YAML scalar means to Envoy."""
    if text in _NULLS:
        return None
    # Envoy's YAML library takes all-lower, all-upper and Capitalised words, not `tRUE`.
    lower = text.lower()
    if text in {lower, text.upper(), text.capitalize()}:
        if lower in _TRUE_WORDS:
            return True
        if lower in _FALSE_WORDS:
            return False
    match = _INTEGER.fullmatch(text) if len(text) <= _MAX_INTEGER_DIGITS else None
    if match is None:
        return text
    sign, hexadecimal, octal, decimal = match.groups()
    number = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
    number = -number if sign == "-" else number
    if _MIN_NUMBER <= number <= _MAX_NUMBER:
        return number
    return str(number) if -(2**63) <= number < 2**63 else text


class _Composer:
    """Events to nodes, with an explicit stack."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._anchors: dict[str, Node] = {}

    def compose(self) -> Node:
        """Build the first document's tree."""
        self._skip_to_document()
        # One frame per open collection: the node, its anchor, and, in a mapping, the key that waits for its value.
        stack: list[tuple[ListNode | MapNode, str | None]] = []
        keys: list[tuple[int, str] | None] = []
        while True:
            event = self._loader.get_event()
            node, anchor = self._node_of(event), getattr(event, "anchor", None)
            if isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
                assert isinstance(node, ListNode | MapNode)
                if len(stack) >= MAX_DEPTH:
                    raise SyntaxProblem(node.line, f"nested deeper than {MAX_DEPTH} levels")
                stack.append((node, anchor))
                keys.append(None)
                continue
            if isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                node, anchor = stack.pop()
                keys.pop()
            assert node is not None
            # Registered only when complete: an alias inside its own anchor would make an endless tree.
            if anchor is not None and not isinstance(event, yaml.AliasEvent):
                self._anchors[anchor] = node
            if not stack:
                return node
            keys[-1] = self._attach(stack[-1][0], keys[-1], node, event)

    def _skip_to_document(self) -> None:
        while True:
            event = self._loader.get_event()
            if isinstance(event, yaml.StreamEndEvent):
                raise SyntaxProblem(None, "the file is empty", "An empty configuration is written as {}")
            if isinstance(event, yaml.DocumentStartEvent):
                return

    def _node_of(self, event: Any) -> Node | None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            return ScalarNode(line, event.value if _is_text(event) else resolve_scalar(event.value))
        if isinstance(event, yaml.SequenceStartEvent):
            return ListNode(line)
        if isinstance(event, yaml.MappingStartEvent):
            return MapNode(line)
        if isinstance(event, yaml.AliasEvent):
            name = str(event.anchor)
            node = self._anchors.get(name)
            if node is None:
                raise SyntaxProblem(
                    line,
                    f"the alias *{name[:40]} refers to nothing complete above it",
                    f"Put &{name[:40]} before it, and not around it",
                )
            return node
        return None

    def _attach(
        self, parent: ListNode | MapNode, key: tuple[int, str] | None, node: Node, event: Any
    ) -> tuple[int, str] | None:
        """Put a finished node into its parent; returns the key that now waits for a value."""
        if isinstance(parent, ListNode):
            parent.items.append(node)
            add_part(parent, node)
            return None
        line = event.start_mark.line + 1
        if key is not None:
            parent.entries.append(Entry(key[0], key[1], node))
            add_part(parent, node)
            return None
        if isinstance(event, yaml.ScalarEvent):
            # A key is its text: `1:` and `true:` name a field or a map entry, never a number or boolean.
            return line, str(event.value)
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            return line, node.value
        raise SyntaxProblem(line, "a mapping key must be plain text", "Lists and mappings cannot be keys")


def _is_text(event: Any) -> bool:
    # As in Envoy a tag (`!!str 5`) takes the quotes' place, and only the bare `!` means text.
    tag = event.tag
    return bool(tag == "!" if tag else event.style)


def _syntax_problem(exc: Exception) -> SyntaxProblem:
    mark = getattr(exc, "problem_mark", None) or getattr(exc, "context_mark", None)
    line = mark.line + 1 if mark is not None else None
    words = getattr(exc, "problem", None) or getattr(exc, "reason", None) or type(exc).__name__
    context = getattr(exc, "context", None)
    text = f"not valid YAML: {words}" + (f" ({context})" if context else "")
    # The commonest mistake, and the one libyaml words worst.
    tab = "\\t" in str(words) or "tab" in str(words)
    return SyntaxProblem(line, text, "Indent with spaces, not tabs" if tab else "")
