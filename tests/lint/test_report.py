"""Rules as they are listed, explained and documented."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from fastproxy.cli import cli
from fastproxy.lint import ALL_RULES, Rule
from fastproxy.lint.check import SILENCE_RULES
from fastproxy.lint.report import as_list, as_markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "lint.md"
EVERY_RULE = (*ALL_RULES, *SILENCE_RULES)


def test_list_has_a_line_for_every_rule() -> None:
    """Name, severity, and what it finds."""
    lines = CliRunner().invoke(cli, ["lint", "--list-rules"]).stdout.splitlines()

    assert lines == as_list(EVERY_RULE).splitlines()
    assert [line.split()[0] for line in lines] == [rule.name for rule in EVERY_RULE]


@pytest.mark.parametrize("rule", EVERY_RULE, ids=lambda rule: rule.name)
def test_explanation_stands_in_the_documentation(rule: Rule) -> None:
    """One text, in both places."""
    explained = CliRunner().invoke(cli, ["lint", "--explain", rule.name]).stdout

    assert explained == as_markdown(rule)
    assert explained in PAGE.read_text(encoding="utf-8")
