"""Tells the story on a terminal: coloured there, plain text in a pipe."""

import json
from typing import Any

from rich.console import Console
from rich.text import Text

from fastproxy.demo.exchange import Answer
from fastproxy.demo.story import Step

_TOKEN_FIELDS = ("access_token", "refresh_token")
#: What is shown of a token: enough to see that it is one, too little to use it.
_TOKEN_HEAD_CHARS = 24


class ConsoleReporter:
    """Prints steps, answers and verdicts."""

    def __init__(self, console: Console) -> None:
        """Tell the story on `console`."""
        self._console = console

    def step(self, number: int, step: Step) -> None:
        """Print the title and the commands."""
        self.line("")
        self.line(f"{number}. {step.title}", "bold cyan")
        for command in step.commands:
            first, *rest = command.split("\n")
            self.line(f"   $ {first}", "green")
            for line in rest:
                self.line(line, "green")

    def answer(self, answer: Answer) -> None:
        """Print the status line, the challenge if there is one, and the body."""
        self.line(f"   HTTP/1.1 {answer.status} {answer.reason}", "bold")
        if answer.challenge:
            self.line(f"   www-authenticate: {answer.challenge}")
        self.line("")
        for line in _body_text(answer).splitlines():
            self.line(f"   {line}")

    def verdict(self, problem: str) -> None:
        """Print whether it was as told."""
        if problem:
            self.line(f"   NOT AS TOLD: {problem}", "bold red")
        else:
            self.line("   as told", "dim")

    def note(self, text: str) -> None:
        """Print a remark."""
        self.line("")
        self.line(text, "italic")

    def line(self, text: str, style: str = "") -> None:
        """Print one line as it is: not wrapped, so that a command can be pasted, and without markup."""
        self._console.print(Text(text, style=style), soft_wrap=True)


def _body_text(answer: Answer) -> str:
    value: Any = answer.json()
    if isinstance(value, dict) and any(name in value for name in _TOKEN_FIELDS):
        shown = {name: _abridged(item) if name in _TOKEN_FIELDS else item for name, item in value.items()}
        return json.dumps(shown, indent=1)
    return printable(answer.body.decode("utf-8", "replace"))


def _abridged(token: object) -> str:
    text = str(token)
    return f"{text[:_TOKEN_HEAD_CHARS]}... ({len(text)} characters)"


def printable(text: str) -> str:
    """Escape what would move the cursor or change colours: the text comes from another process."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)
