"""The text of a configuration as a tree with line numbers, before anything knows what it means.

YAML and JSON both end here; `decode` turns the tree into protobuf messages. The tree may share parts (YAML
aliases), so every node knows how large and how deep it is when written out: a few lines of nested aliases can
stand for billions of nodes, and must be refused without walking them.
"""

from dataclasses import dataclass, field

# A real configuration with ten thousand routes has a few hundred thousand nodes.
MAX_NODES = 1_000_000
# Envoy's own configurations stay below 40; protobuf parses at most 100 levels of messages.
MAX_DEPTH = 64
MAX_TEXT_BYTES = 32 * 1024 * 1024

Scalar = None | bool | int | float | str


class SyntaxProblem(Exception):
    """The text is not YAML or JSON, or it is larger than any configuration has reason to be."""

    def __init__(self, line: int | None, problem: str, fix: str = "") -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem
        self.fix = fix


@dataclass(slots=True)
class ScalarNode:
    """A single value."""

    line: int
    value: Scalar
    size: int = 1
    depth: int = 1


@dataclass(slots=True)
class ListNode:
    """A sequence."""

    line: int
    items: list["Node"] = field(default_factory=list)
    size: int = 1
    depth: int = 1


@dataclass(slots=True)
class Entry:
    """One `key: value` of a mapping; keys are kept as written, duplicates included."""

    line: int
    key: str
    value: "Node"


@dataclass(slots=True)
class MapNode:
    """A mapping."""

    line: int
    entries: list[Entry] = field(default_factory=list)
    size: int = 1
    depth: int = 1


Node = ScalarNode | ListNode | MapNode


def add_part(parent: ListNode | MapNode, part: Node) -> None:
    """Account for a part that was put into `parent`.

    Raises:
        SyntaxProblem: the tree is too deep, or too large once its aliases are written out.
    """
    parent.size += part.size
    parent.depth = max(parent.depth, part.depth + 1)
    if parent.size > MAX_NODES:
        raise SyntaxProblem(
            parent.line, f"more than {MAX_NODES} values (aliases counted as often as they are used)"
        )
    if parent.depth > MAX_DEPTH:
        raise SyntaxProblem(parent.line, f"nested deeper than {MAX_DEPTH} levels")


def describe(node: Node) -> str:
    """What a node is, in words for a message; never what it says."""
    if isinstance(node, ListNode):
        return "a list"
    if isinstance(node, MapNode):
        return "a mapping"
    if node.value is None:
        return "null"
    if isinstance(node.value, bool):
        return f"the boolean {str(node.value).lower()}"
    if isinstance(node.value, str):
        return "text"
    return f"the number {str(node.value)[:40]}"
