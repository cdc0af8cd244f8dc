"""Silencing comments: `# fastproxy: ignore[rule]` and `# fastproxy: ignore-file[rule]`.

A comment behind a value speaks of its line; one on a line of its own speaks of the next line that is not a comment.
Both take several names, and a reason may follow the bracket. Only YAML has comments.
"""

import re
from dataclasses import dataclass, field

_COMMENT = re.compile(r"(?:^|(?<=\s))#\s*fastproxy:\s*(?P<text>ignore.*)$")
_FORM = re.compile(r"(?P<kind>ignore|ignore-file)\s*\[(?P<names>[^\[\]]*)\]")


@dataclass(slots=True)
class Silence:
    """One rule name of one comment."""

    line: int
    """Of the comment, counted from 1."""
    rule: str
    target: int | None
    """The line that it speaks of; None: the whole file."""
    is_used: bool = field(default=False)

    def silences(self, rule: str, line: int | None) -> bool:
        """Whether a warning of this rule at this line is meant."""
        return rule == self.rule and (self.target is None or self.target == line)


@dataclass(frozen=True, slots=True)
class Malformed:
    """A comment that begins like a silencing one and is none."""

    line: int
    text: str


def read_silences(text: str) -> tuple[list[Silence], list[Malformed]]:
    """Find the silencing comments of a YAML text."""
    found: list[Silence] = []
    malformed: list[Malformed] = []
    lines = text.splitlines()
    for index, line in enumerate(lines):
        match = _COMMENT.search(line)
        if match is None:
            continue
        form = _FORM.match(match["text"])
        names = [name.strip() for name in form["names"].split(",")] if form is not None else []
        if form is None or not all(names):
            malformed.append(Malformed(index + 1, match["text"]))
            continue
        target = None if form["kind"] == "ignore-file" else _target(lines, index, match.start())
        found += [Silence(index + 1, name, target) for name in names]
    return found, malformed


def _target(lines: list[str], index: int, start: int) -> int:
    if lines[index][:start].strip():
        return index + 1
    for after in range(index + 1, len(lines)):
        stripped = lines[after].strip()
        if stripped and not stripped.startswith("#"):
            return after + 1
    return index + 1
