"""What is wrong with a configuration file: where, what, and what to do about it.

Problems are collected, never raised one by one: an operator fixes a file in one round. Loading goes through
phases (text, schema, rules, meaning); a later phase stays quiet about a place that an earlier one has already
complained about, since its complaint would only be an echo.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fastproxy.errors import FastProxyError

# Configuration text is quoted back in messages; more than this tells nobody anything.
_MAX_QUOTED = 120


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing wrong with a configuration, or, as a warning, worth knowing."""

    file: str
    """As the user named it; empty when the configuration did not come from text."""
    line: int | None
    """Counted from 1."""
    path: str
    """Field path from the Bootstrap message, `static_resources.listeners[0].name`; empty for the whole file."""
    problem: str
    fix: str = ""
    """What to do, or empty."""

    def __str__(self) -> str:
        """`config.yaml:12: static_resources.clusters[0].name: problem. fix`."""
        parts = []
        if self.file:
            parts.append(f"{self.file}:{self.line}" if self.line is not None else self.file)
        if self.path:
            parts.append(self.path)
        parts.append(f"{self.problem}. {self.fix}" if self.fix else self.problem)
        return ": ".join(parts)


class ConfigError(FastProxyError):
    """A configuration cannot be used; `problems` holds everything that is wrong with it, in file order."""

    def __init__(self, problems: tuple[ConfigProblem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(slots=True)
class Place:
    """Where a value stood in the text, with the places of its parts.

    `children` is keyed by field name in a message, by index in a list, by key in a map.
    """

    file: str
    line: int | None
    children: dict[str | int, "Place"] = field(default_factory=dict)
    replaces: bool = False
    """Merging another file over this one replaces the value as a whole (`Any`, map entries) instead of merging it."""

    def child(self, key: str | int) -> "Place":
        """The place of a part; this place itself when the part was not written in the text."""
        return self.children.get(key, self)

    def merge(self, over: "Place") -> None:
        """Do to places what protobuf's MergeFrom does to values: lists append, messages merge, the rest is replaced."""
        shift = sum(1 for key in self.children if isinstance(key, int))
        for key, place in over.children.items():
            target = key + shift if isinstance(key, int) else key
            mine = self.children.get(target)
            if mine is None or place.replaces:
                self.children[target] = place
            else:
                mine.merge(place)
                mine.file, mine.line = place.file, place.line


class ProblemLog:
    """Collects the problems and warnings of one load."""

    def __init__(self) -> None:
        self._errors: dict[ConfigProblem, None] = {}
        self._warnings: dict[ConfigProblem, None] = {}
        self._tainted: set[str] = set()
        self._next_tainted: set[str] = set()
        self._shown: dict[str, str] = {}

    def show_as(self, path: str, shown: str) -> None:
        """What is below `path` comes from a file of its own, where it stands at `shown`."""
        self._shown[path] = shown

    def shown_paths(self) -> dict[str, str]:
        """All that `show_as` was told."""
        return dict(self._shown)

    @property
    def warnings(self) -> tuple[ConfigProblem, ...]:
        """Warnings in file order."""
        return tuple(sorted(self._warnings, key=_position))

    def error(self, place: Place, path: str, problem: str, fix: str = "") -> None:
        """Add a problem that makes the configuration unusable."""
        shown = show_path(path, self._shown)
        self._errors[ConfigProblem(place.file, place.line, shown, problem, fix)] = None
        self._next_tainted.update(_ancestors(path))

    def echo(self, place: Place, path: str, problem: str, fix: str = "") -> None:
        """Like `error`, unless an earlier phase found something wrong at this path or below it."""
        if path not in self._tainted:
            self.error(place, path, problem, fix)

    def warning(self, place: Place, path: str, problem: str, fix: str = "") -> None:
        """Add something the operator should know, which does not stop the load."""
        shown = show_path(path, self._shown)
        self._warnings[ConfigProblem(place.file, place.line, shown, problem, fix)] = None

    def include(self, errors: Iterable[ConfigProblem], warnings: Iterable[ConfigProblem] = ()) -> None:
        """Add what was found elsewhere."""
        self._errors.update(dict.fromkeys(errors))
        self._warnings.update(dict.fromkeys(warnings))

    def end_phase(self) -> None:
        """From now on `echo` is silent about the places that have problems already."""
        self._tainted |= self._next_tainted

    def tainted(self, path: str) -> bool:
        """Whether an earlier phase found something wrong at `path` or below it."""
        return path in self._tainted

    def raise_if_failed(self) -> None:
        """End the load if anything is wrong.

        Raises:
            ConfigError: with every problem, in file order.
        """
        if self._errors:
            raise ConfigError(tuple(sorted(self._errors, key=_position)))


def show_path(path: str, shown: Mapping[str, str]) -> str:
    """A path as its reader finds it in the file, given what stands in files of their own (`ProblemLog.show_as`)."""
    if shown:
        # The longest beginning counts: routes may have a file of their own, and so may the listener around them.
        for end in sorted((i for i, char in enumerate(path + ".") if char in ".["), reverse=True):
            if path[:end] in shown:
                return shown[path[:end]] + path[end:]
    return path


def quote(text: str) -> str:
    """Configuration text as it may appear in a message: escaped, in quotes, and cut."""
    cut = text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "..."
    return '"' + cut.encode("unicode_escape").decode("ascii") + '"'


def _position(problem: ConfigProblem) -> tuple[str, int]:
    return problem.file, problem.line or 0


def _ancestors(path: str) -> set[str]:
    return {path, ""} | {path[:i] for i, char in enumerate(path) if char in ".["}
