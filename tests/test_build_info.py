"""Tests of which form runs; `make test-compiled` runs them once more against the compiled one."""

import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec

import pytest

import fastproxy
from fastproxy import build_info
from fastproxy.listener import connection

EXPECTED = os.environ.get("FASTPROXY_EXPECT_FORM", "interpreted")


def test_the_form_under_test_is_the_one_that_was_meant() -> None:
    """A run against the compiled form that silently imports the source would prove nothing."""
    assert build_info.form() == EXPECTED
    assert str(connection.__file__).endswith(tuple(EXTENSION_SUFFIXES)) == (EXPECTED == "compiled")


def test_child_processes_run_the_same_form() -> None:
    """Workers are children of the control plane; so are the proxies that tests start."""
    done = subprocess.run(
        [sys.executable, "-m", "fastproxy", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout == f"fastproxy, version {fastproxy.__version__} ({EXPECTED})\n"


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("/site/fastproxy/listener/connection.py", "interpreted"),
        (f"/site/fastproxy/listener/connection{EXTENSION_SUFFIXES[0]}", "compiled"),
        (None, "interpreted"),
    ],
)
def test_the_file_that_would_be_loaded_tells_the_form(
    origin: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel holds both forms of a module; what counts is which one the import system takes."""
    spec = ModuleSpec("fastproxy.listener.connection", None, origin=origin)
    monkeypatch.setattr(build_info, "find_spec", lambda _name: spec)

    assert build_info.form() == expected


def test_asking_for_the_form_imports_nothing_heavy() -> None:
    """`fastproxy --version` answers at once."""
    program = "import sys; from fastproxy.build_info import form; form(); print('httptools' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
