"""All rules over one loaded configuration: findings become warnings with a line, less those that are silenced."""

import difflib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastproxy.config import LoadedConfig, locate, show_path
from fastproxy.config.load import INLINE_NAME
from fastproxy.config.problems import quote
from fastproxy.lint.rule import Finding, Rule, Severity
from fastproxy.lint.rules import ALL_RULES
from fastproxy.lint.silence import read_silences
from fastproxy.lint.survey import Survey

#: What has comments; anything else is JSON.
_YAML = frozenset({".yaml", ".yml"})


@dataclass(frozen=True, slots=True)
class LintWarning:
    """What a rule has to say about a line."""

    file: str
    line: int | None
    rule: str
    severity: Severity
    path: str
    """Field path; empty for a comment."""
    what: str
    why: str
    fix: str

    def __str__(self) -> str:
        """`file:line: [rule] path: what. why. Fix: ...`, one line."""
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        path = f"{self.path}: " if self.path else ""
        return f"{where}: [{self.rule}] {path}{self.what}. {self.why}. Fix: {self.fix}."


def _nothing(_survey: Survey) -> Iterator[Finding]:
    return iter(())


UNKNOWN_SILENCE: Final = Rule(
    name="unknown-silence",
    severity=Severity.LOW,
    summary="a silencing comment that names no rule",
    why="It silences nothing, and what it was written for may be reported, or may never have been",
    fix="Write # fastproxy: ignore[rule-name]; fastproxy lint --list-rules has the names",
    details="Cannot be silenced.",
    example="# fastproxy: ignore[no-audiance]",
    check=_nothing,
)
UNUSED_SILENCE: Final = Rule(
    name="unused-silence",
    severity=Severity.LOW,
    summary="a silencing comment that silences nothing",
    why="It would hide the next mistake of that kind on its line",
    fix="Remove it",
    details="Cannot be silenced.",
    example="audiences: [api]   # fastproxy: ignore[no-audience]",
    check=_nothing,
)
#: The rules about silencing comments; they look at the text, not at the configuration.
SILENCE_RULES: Final = (UNKNOWN_SILENCE, UNUSED_SILENCE)


def lint(
    loaded: LoadedConfig, *, rules: Iterable[Rule] = ALL_RULES, ignored: Collection[str] = ()
) -> tuple[LintWarning, ...]:
    """Judge a configuration.

    Args:
        loaded: as `load_config` returned it.
        rules: those to apply.
        ignored: names of rules that shall say nothing.

    Returns:
        Warnings in file order, none of them twice.
    """
    survey = Survey(
        loaded.settings,
        is_written=lambda path: locate(loaded.places, path).is_written,
        line_of=lambda path: _line_of(loaded, path),
    )
    warnings: dict[tuple[str, int | None, str, str], LintWarning] = {}
    for rule in rules:
        for finding in rule.check(survey):
            warning = _place(loaded, rule, finding)
            # A part that is used twice (a YAML alias) is one mistake.
            warnings.setdefault((warning.file, warning.line, warning.rule, warning.what), warning)
    kept = list(warnings.values())
    for file, text in loaded.texts.items():
        if file == INLINE_NAME or Path(file).suffix.lower() in _YAML:
            kept = _silence(file, text, kept)
    return tuple(
        sorted(
            (warning for warning in kept if warning.rule not in ignored),
            key=lambda warning: (warning.file, warning.line or 0, warning.rule, warning.what),
        )
    )


def _place(loaded: LoadedConfig, rule: Rule, finding: Finding) -> LintWarning:
    position = locate(loaded.places, finding.path)
    return LintWarning(
        position.file,
        position.line,
        rule.name,
        rule.severity,
        show_path(finding.path, loaded.shown_paths),
        finding.what,
        rule.why,
        finding.fix or rule.fix,
    )


def _line_of(loaded: LoadedConfig, path: str) -> str:
    line = locate(loaded.places, path).line
    return "" if line is None else f" (line {line})"


def _silence(file: str, text: str, warnings: list[LintWarning]) -> list[LintWarning]:
    """Drop what the comments of a file silence, and add what is wrong with those comments."""
    silences, malformed = read_silences(text)
    known = {rule.name for rule in ALL_RULES}
    kept = []
    for warning in warnings:
        found = [one for one in silences if warning.file == file and one.silences(warning.rule, warning.line)]
        for one in found:
            one.is_used = True
        if not found:
            kept.append(warning)
    kept += [
        _about_comment(
            file, one.line, UNKNOWN_SILENCE, f"{quote(one.text)} is not ignore[...] or ignore-file[...]"
        )
        for one in malformed
    ]
    for one in silences:
        if one.rule not in known:
            near = difflib.get_close_matches(one.rule, known, n=1)
            what = f"there is no rule {quote(one.rule)} that could be silenced"
            fix = f"Did you mean {near[0]}" if near else ""
            kept.append(_about_comment(file, one.line, UNKNOWN_SILENCE, what, fix))
        elif not one.is_used:
            where = "this file" if one.target is None else f"line {one.target}"
            what = f"{one.rule} has nothing to say about {where}"
            kept.append(_about_comment(file, one.line, UNUSED_SILENCE, what))
    return kept


def _about_comment(file: str, line: int, rule: Rule, what: str, fix: str = "") -> LintWarning:
    return LintWarning(file, line, rule.name, rule.severity, "", what, rule.why, fix or rule.fix)
