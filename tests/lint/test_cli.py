"""`fastproxy lint` as a user and a pipeline meet it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fastproxy.cli import cli
from tests.lint.support import CLEAN_PROVIDERS, text

NO_AUDIENCE = CLEAN_PROVIDERS.replace("  audiences: [api]\n", "")


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(cli, ["lint", *map(str, arguments)], prog_name="fastproxy")


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    path = tmp_path / "clean.yaml"
    path.write_text(text())
    return path


@pytest.fixture
def dangerous(tmp_path: Path) -> Path:
    path = tmp_path / "dangerous.yaml"
    path.write_text(text(providers=NO_AUDIENCE))
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.yaml"
    path.write_text("static_resources: {listenrs: []}")
    return path


def test_clean_file_says_nothing(clean: Path) -> None:
    """No news is good news, and a script can rely on it."""
    result = run("--strict", clean)

    assert (result.exit_code, result.output) == (0, "")


def test_warnings_go_to_stdout_and_do_not_fail_by_themselves(dangerous: Path) -> None:
    """Whoever begins with lint has warnings."""
    result = run("-c", dangerous)

    assert result.exit_code == 0
    assert result.stdout.startswith(f"{dangerous}:")
    assert "[no-audience]" in result.stdout
    assert result.stderr == "1 warning in 1 file\n"


def test_strict_fails_on_a_warning(dangerous: Path, clean: Path) -> None:
    """For pipelines; several files in one go."""
    assert run("--strict", clean, dangerous).exit_code == 1
    assert run("--strict", "--ignore", "no-audience", clean, dangerous).exit_code == 0


def test_file_that_does_not_load_is_an_error_as_with_validate(broken: Path, dangerous: Path) -> None:
    """The same words, on stderr, and the other files are judged all the same."""
    validated = CliRunner().invoke(cli, ["--mode", "validate", "-c", str(broken)])
    result = run(broken, dangerous)

    assert result.exit_code == 1
    assert result.stderr.startswith(validated.stderr)
    assert "[no-audience]" in result.stdout


def test_json(broken: Path, dangerous: Path) -> None:
    """Everything in one object, for other programs."""
    result = run("--json", "--strict", dangerous, broken)
    report = json.loads(result.stdout)

    assert result.exit_code == 1
    assert [warning["rule"] for warning in report["warnings"]] == ["no-audience"]
    assert set(report["warnings"][0]) == {"file", "line", "rule", "severity", "path", "what", "why", "fix"}
    assert report["errors"][0]["file"] == str(broken)


def test_json_of_a_clean_file(clean: Path) -> None:
    """An empty list is an answer, too."""
    assert json.loads(run("--json", clean).stdout) == {"errors": [], "warnings": []}


def test_json_file_has_no_comments(tmp_path: Path) -> None:
    """A text that looks like one silences nothing; `--ignore` does."""
    path = tmp_path / "admin.json"
    admin = {"address": {"socket_address": {"address": "0.0.0.0", "port_value": 0}}}
    path.write_text(json.dumps({"admin": admin, "node": {"id": "x # fastproxy: ignore-file[open-admin]"}}))

    assert "[open-admin]" in run(path).stdout
    assert run("--ignore", "open-admin", path).output == ""


@pytest.mark.parametrize(
    "arguments", [(), ("--ignore", "nonsense", "x"), ("--explain", "nonsense"), ("--nope",)]
)
def test_bad_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    """As everywhere in this command line."""
    assert run(*arguments).exit_code == 2


def test_help_says_what_the_exit_codes_mean() -> None:
    """It is the first thing that a pipeline needs."""
    assert "--strict" in run("--help").output
    assert "Exit codes: 0" in run("--help").output
