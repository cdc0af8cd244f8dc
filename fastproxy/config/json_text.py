"""JSON text to nodes (RFC 8259, and a comma before the end), with line numbers.

Strict where Python's own reader is lenient (`NaN`).
"""

import re
from bisect import bisect_right
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in CPython, missing in typeshed

from fastproxy.config.nodes import (
    MAX_DEPTH,
    Entry,
    ListNode,
    MapNode,
    Node,
    ScalarNode,
    SyntaxProblem,
    add_part,
)

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS: tuple[tuple[str, bool | None], ...] = (("true", True), ("false", False), ("null", None))
# Python refuses to convert longer ones anyway (int_max_str_digits); no field holds more than 20.
_MAX_NUMBER_CHARS = 400


def parse_json(text: str) -> Node:
    """Read one JSON value.

    Raises:
        SyntaxProblem: not JSON, empty, or larger than any configuration.
    """
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]

    def read(self) -> Node:
        self._skip()
        if self._at == len(self._text):
            raise SyntaxProblem(None, "the file is empty", "An empty configuration is written as {}")
        node = self._value(0)
        self._skip()
        if self._at != len(self._text):
            raise self._problem("text after the end of the value")
        return node

    def _value(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._problem(f"nested deeper than {MAX_DEPTH} levels")
        char = self._peek()
        if char == "{":
            return self._object(depth)
        if char == "[":
            return self._array(depth)
        line = self._line()
        if char == '"':
            return ScalarNode(line, self._string())
        for word, value in _WORDS:
            if self._text.startswith(word, self._at):
                self._at += len(word)
                return ScalarNode(line, value)
        match = _NUMBER.match(self._text, self._at)
        if match is None or len(match[0]) > _MAX_NUMBER_CHARS:
            raise self._problem("a value was expected")
        self._at = match.end()
        whole = match[1] is None and match[2] is None
        return ScalarNode(line, int(match[0]) if whole else float(match[0]))

    def _object(self, depth: int) -> MapNode:
        node = MapNode(self._line())
        self._at += 1
        self._skip()
        while self._peek() != "}":
            line = self._line()
            if self._peek() != '"':
                raise self._problem("a field name in double quotes was expected")
            key = self._string()
            self._skip()
            self._expect(":")
            value = self._value(depth + 1)
            node.entries.append(Entry(line, key, value))
            add_part(node, value)
            self._skip()
            self._separator("}")
        self._at += 1
        return node

    def _array(self, depth: int) -> ListNode:
        node = ListNode(self._line())
        self._at += 1
        self._skip()
        while self._peek() != "]":
            item = self._value(depth + 1)
            node.items.append(item)
            add_part(node, item)
            self._skip()
            self._separator("]")
        self._at += 1
        return node

    def _string(self) -> str:
        try:
            value, self._at = scanstring(self._text, self._at + 1, True)
        except ValueError as exc:
            raise self._problem("a string that is not closed or not escaped properly") from exc
        text = str(value)
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise self._problem("half of a surrogate pair in a string")
        return text

    def _separator(self, end: str) -> None:
        # One comma may stand before the end, as Envoy has it: people leave it there when they remove the last entry.
        if self._peek() != end:
            self._expect(",")

    def _expect(self, char: str) -> None:
        if self._peek() != char:
            raise self._problem(f"{char!r} was expected")
        self._at += 1
        self._skip()

    def _peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _line(self) -> int:
        return bisect_right(self._newlines, self._at) + 1

    def _problem(self, text: str) -> SyntaxProblem:
        return SyntaxProblem(self._line(), f"not valid JSON: {text}")
