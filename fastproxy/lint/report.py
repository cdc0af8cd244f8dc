"""What rules and warnings look like on a screen, in JSON and on the documentation page."""

import json
from collections.abc import Iterable

from fastproxy.config import ConfigProblem
from fastproxy.lint.check import LintWarning
from fastproxy.lint.rule import Rule


def as_json(warnings: Iterable[LintWarning], errors: Iterable[ConfigProblem] = ()) -> str:
    """Everything as one JSON object: `errors` of files that do not load, and `warnings`."""
    report = {
        "errors": [
            {"file": one.file, "line": one.line, "path": one.path, "problem": one.problem, "fix": one.fix}
            for one in errors
        ],
        "warnings": [
            {
                "file": one.file,
                "line": one.line,
                "rule": one.rule,
                "severity": one.severity.value,
                "path": one.path,
                "what": one.what,
                "why": one.why,
                "fix": one.fix,
            }
            for one in warnings
        ],
    }
    return json.dumps(report, indent=2)


def as_list(rules: Iterable[Rule]) -> str:
    """One rule a line: name, severity, summary."""
    every = list(rules)
    width = max(len(rule.name) for rule in every)
    return "\n".join(f"{rule.name:{width}}  {rule.severity.value:6}  {rule.summary}" for rule in every)


def as_markdown(rule: Rule) -> str:
    """A rule in full: what `--explain` prints, and what stands in docs/lint.md."""
    return (
        f"### {rule.name}\n\n"
        f"Severity {rule.severity.value}: {rule.summary}.\n\n"
        f"```yaml\n{rule.example}\n```\n\n"
        f"{rule.why}. {rule.details}\n\n"
        f"**Fix:** {rule.fix}.\n"
    )
