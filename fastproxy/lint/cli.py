"""`fastproxy lint`: the command line."""

from pathlib import Path

import click

from fastproxy.config import ConfigError, ConfigProblem, LoadOptions, load_config
from fastproxy.lint.check import SILENCE_RULES, LintWarning, lint
from fastproxy.lint.report import as_json, as_list, as_markdown
from fastproxy.lint.rules import ALL_RULES
from fastproxy.logs import printable

#: Names come from the file and are escaped; a line is a line, however long.
_MAX_LINE = 10_000
_NAMES = tuple(rule.name for rule in (*ALL_RULES, *SILENCE_RULES))


@click.command("lint", epilog="Rules, comments that silence them, and how to write one: docs/lint.md.")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-c", "--config-path", "paths", multiple=True, type=click.Path(path_type=Path), help="Another FILE."
)
@click.option("--strict", is_flag=True, help="Exit with 1 if there is a warning.")
@click.option("--json", "wants_json", is_flag=True, help="Print one JSON object instead of lines.")
@click.option(
    "--ignore", "ignored", multiple=True, type=click.Choice(_NAMES), metavar="RULE", help="Leave out RULE."
)
@click.option("--list-rules", is_flag=True, help="List the rules and exit.")
@click.option(
    "--explain", type=click.Choice(_NAMES), metavar="RULE", help="Tell everything about RULE and exit."
)
@click.pass_context
def lint_command(  # noqa: PLR0917 - click passes them by name
    ctx: click.Context,
    files: tuple[Path, ...],
    paths: tuple[Path, ...],
    strict: bool,
    wants_json: bool,
    ignored: tuple[str, ...],
    list_rules: bool,
    explain: str | None,
) -> None:
    """Warn about what is legal in configuration FILES, and dangerous.

    Exit codes: 0 no warning, or warnings without --strict; 1 warnings with --strict, or a file that does not load
    (as with --mode validate); 2 bad usage.
    """
    rules = (*ALL_RULES, *SILENCE_RULES)
    if list_rules:
        click.echo(as_list(rules))
        return
    if explain is not None:
        click.echo(next(as_markdown(rule) for rule in rules if rule.name == explain), nl=False)
        return
    wanted = dict.fromkeys((*paths, *files))
    if not wanted:
        raise click.UsageError("give a configuration: fastproxy lint FILE, or -c FILE")
    warnings: list[LintWarning] = []
    errors: list[ConfigProblem] = []
    options = LoadOptions(requires_node=False, checks_endpoints=True)
    for path in wanted:
        try:
            warnings += lint(load_config(path, options=options), ignored=ignored)
        except ConfigError as error:
            errors += error.problems
    if wants_json:
        click.echo(as_json(warnings, errors))
    else:
        for problem in errors:
            click.echo(str(problem), err=True)
        for warning in warnings:
            click.echo(printable(str(warning), _MAX_LINE))
        if warnings:
            files_with = len({warning.file for warning in warnings})
            click.echo(f"{_count(len(warnings), 'warning')} in {_count(files_with, 'file')}", err=True)
    ctx.exit(1 if errors or (strict and warnings) else 0)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
