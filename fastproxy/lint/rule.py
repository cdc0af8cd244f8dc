"""What a rule is, and what it finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from fastproxy.lint.survey import Survey


class Severity(Enum):
    """How bad it is when the rule is right."""

    HIGH = "high"
    """Somebody without a token, or with a forged identity, gets through."""
    MEDIUM = "medium"
    """Somebody with a token gets further than meant, or a defence is missing."""
    LOW = "low"
    """Secrets travel or lie where they should not, or the file does not mean what it seems to."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that a rule has found."""

    path: str
    """Field path from the Bootstrap; settings carry theirs as `config_path`."""
    what: str
    """What is the matter with this very place: no capital at the start, no stop at the end."""
    fix: str = ""
    """Instead of the rule's own, where more can be said."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with everything that is said about it. Texts are whole sentences."""

    name: str
    """Lower case with dashes; what silencing comments say."""
    severity: Severity
    summary: str
    """What it finds, for lists: a phrase without a stop."""
    why: str
    """One sentence: what can happen."""
    fix: str
    """What to do, without a stop."""
    details: str
    """Where the danger has been seen before, and when it is right to silence the rule."""
    example: str
    """YAML that it finds fault with."""
    check: Callable[[Survey], Iterator[Finding]]
