"""The explanation for a terminal: the verdict and what to do first, then how it came about."""

from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.text import Text

from fastproxy.advice.words import escape
from fastproxy.explain.checks import ALSO, FAIL, PASS
from fastproxy.explain.report import ALLOWED, NOT_JUDGED, FilterReport, Report, TokenReport

#: A line and its style.
Line = tuple[str, str]

_STYLES: Final = {PASS: "green", FAIL: "bold red", ALSO: "red"}


def print_report(report: Report, console: Console) -> None:
    """Print it; nothing in it is taken for markup."""
    for text, style in _lines(report):
        # What came from a token was escaped before; this is the last door, and it is shut once more.
        console.print(Text(escape(text), style=style))


def make_console() -> Console:
    """Colours on a terminal, plain text elsewhere."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def _lines(report: Report) -> Iterator[Line]:
    yield from _verdict(report)
    yield from _indented("why", report.cause)
    yield from (("       " + line, "") for line in report.details)
    if report.fix:
        yield from _indented("fix", report.fix, "bold")
    yield "", ""
    yield f"request       {report.request}", ""
    yield f"judged as of  {report.at}", ""
    yield f"listener      {report.listener}", ""
    yield f"virtual host  {report.virtual_host or 'none of this host'}", ""
    yield f"route         {report.route or 'none'}", ""
    for one in report.filters:
        yield from _filter(one)
    if report.upstream is not None:
        yield from _upstream(report)
    if report.notes:
        yield "", ""
        yield from ((f"note: {note}", "yellow") for note in report.notes)


def _verdict(report: Report) -> Iterator[Line]:
    if report.verdict == NOT_JUDGED:
        yield "CANNOT BE JUDGED", "bold yellow"
    elif report.verdict == ALLOWED:
        answer = f"to cluster {report.upstream['cluster']}" if report.upstream else f"{report.status}"
        yield f"ALLOWED: {answer}", "bold green"
    else:
        yield f"REFUSED: {report.status} {report.body}".rstrip(), "bold red"


def _indented(name: str, text: str, style: str = "") -> Iterator[Line]:
    yield f"  {name}: {text}", style


def _filter(one: FilterReport) -> Iterator[Line]:
    yield f"filter        {one.name}: {one.result}", ""
    for rule in one.rules:
        state = "matches" if rule.matched else "does not match"
        yield f"  rule {rule.number}: {state}: {rule.text}", "" if rule.matched else "dim"
    if one.requirement:
        yield f"  requires {one.requirement}", ""
    for token in one.tokens:
        yield from _token(token)


def _token(token: TokenReport) -> Iterator[Line]:
    key = f" by key {token.key}" if token.key is not None else ""
    yield f"  provider {token.provider}, token in {token.place}: {token.result}{key}", ""
    yield f"    keys: {token.keys}", ""
    width = max(len(check.name) for check in token.checks)
    for check in token.checks:
        yield (
            f"    {check.state:<11} {check.name:<{width}}  {check.detail}".rstrip(),
            _STYLES.get(check.state, "dim"),
        )


def _upstream(report: Report) -> Iterator[Line]:
    upstream = report.upstream or {}
    yield f"the upstream  cluster {upstream.get('cluster', '')} would get:", ""
    if "request_line" not in upstream:
        yield "  (the cluster has no endpoint here)", ""
        return
    yield f"  {upstream['request_line']}", ""
    for name, value in upstream["headers"]:
        yield f"  {name}: {value}", ""
