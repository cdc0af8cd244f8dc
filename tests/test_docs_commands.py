"""What the documentation shows is what happens: commands print what stands below them, and what is named is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_layers import BASE, LAYERS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "configs" / "README.md",
]
_BLOCK = re.compile(r"^```(?:console)?\n(\$ .*?)^```", re.MULTILINE | re.DOTALL)
#: Commands that need nothing but files of the repository.
_TRIED = re.compile(r"fastproxy (?:explain|lint|jwt|--mode validate)\b.*\bconfigs/")
_NAMED = re.compile(r"`((?:fastproxy|tests|bench|configs|deploy|docs)/[\w./-]+)`")
#: Made by what the page describes.
_MADE = {"bench/results/", "bench/results/tokens/"}


def _commands() -> list[object]:
    """Each command with what stands below it."""
    found: list[object] = []
    for page in PAGES:
        for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                if _TRIED.match(command):
                    found.append(pytest.param(command, output.strip(), id=f"{page.name}: {command[:60]}"))
    return found


@pytest.mark.parametrize(("command", "expected"), _commands())
def test_command_prints_what_the_page_says(command: str, expected: str) -> None:
    """A page may show the beginning alone; what it shows must be true to the letter."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert expected
    assert done.stdout[: len(expected)] == expected


def test_commands_are_found() -> None:
    """With none the test above would hold whatever the pages say."""
    assert len(_commands()) >= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    """A reader who is sent to a file that has moved gives up."""
    named = set(_NAMED.findall(page.read_text(encoding="utf-8"))) - _MADE

    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_package_is_in_the_map_of_the_code() -> None:
    """docs/development.md is where a newcomer learns what lives where; its order is that of the imports."""
    text = (ROOT / "docs" / "development.md").read_text(encoding="utf-8")
    rows = [row for row in re.findall(r"^\| (.+?) \|", text, re.MULTILINE) if "`" in row]
    listed = [re.sub(r"/$|\.py$", "", name) for row in rows for name in re.findall(r"`([\w./ ]+)`", row)]
    base, *packages = [name for name in listed if set(name.split()) <= BASE or name in LAYERS]

    assert set(base.split()) == BASE
    assert packages == [name for name in LAYERS if name not in {"base", "__main__"}]
