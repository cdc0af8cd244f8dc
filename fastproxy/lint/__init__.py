"""`fastproxy lint`: what is legal in a configuration, and dangerous.

A file is loaded as for serving (`fastproxy.config`), surveyed (`survey`), and every rule (`rules/`) looks at it; what
they find is placed on a line and compared with the silencing comments of the file (`silence`). Rules decide on frozen
settings and never raise. docs/lint.md says how to write one.
"""

from fastproxy.lint.check import LintWarning, lint
from fastproxy.lint.rule import Finding, Rule, Severity
from fastproxy.lint.rules import ALL_RULES

__all__ = ["ALL_RULES", "Finding", "LintWarning", "Rule", "Severity", "lint"]
