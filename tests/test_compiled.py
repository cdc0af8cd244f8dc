"""Tests of the compiled build (hatch_build.py): when it compiles, what it refuses, and that the result works."""

import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest

import hatch_build
from hatch_build import CompilationError, CustomBuildHook

ROOT = Path(__file__).resolve().parent.parent
CONFIG: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "hatch"
]["build"]["targets"]["wheel"]["hooks"]["custom"]

needs_compiler = pytest.mark.skipif(
    bool(hatch_build.missing_tools()), reason="; ".join(hatch_build.missing_tools()) or "nothing is missing"
)


def make_hook(root: Path, **config: Any) -> CustomBuildHook:
    """The hook as hatchling makes it."""
    metadata: Any = None
    return CustomBuildHook(str(root), config, None, metadata, str(root / "dist"), "wheel")


def build_data() -> dict[str, Any]:
    """What hatchling hands to a hook, as far as the hook uses it."""
    return {"force_include": {}, "pure_python": True, "infer_tag": False}


def write_module(root: Path, source: str) -> str:
    """A package with one module; the module's path."""
    package = root / "sample"
    package.mkdir()
    (package / "__init__.py").write_text('"""A package."""\n')
    (package / "module.py").write_text(source)
    return "sample/module.py"


@pytest.mark.parametrize("value", ["", "0", "no", "False", " off "])
def test_without_the_switch_the_wheel_stays_pure(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has no compiler installs FastProxy all the same."""
    monkeypatch.setenv(hatch_build.SWITCH, value)
    data = build_data()
    hook = make_hook(ROOT, **CONFIG)
    hook.initialize("standard", data)

    assert data == build_data()
    assert hook.dependencies() == []


def test_an_editable_install_is_never_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Edits would have no effect, and nobody would know why."""
    monkeypatch.setenv(hatch_build.SWITCH, "1")
    data = build_data()
    make_hook(ROOT, **CONFIG).initialize("editable", data)

    assert data == build_data()


def test_an_unclear_switch_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator who wrote `yess` would run the slow form and believe otherwise."""
    monkeypatch.setenv(hatch_build.SWITCH, "yess")

    with pytest.raises(CompilationError, match="not 'yess'"):
        make_hook(ROOT, **CONFIG).initialize("standard", build_data())


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the switch on a pure wheel would be the wrong answer, and a traceback out of distutils no answer."""
    monkeypatch.setenv(hatch_build.SWITCH, "1")
    monkeypatch.setenv("CC", "no-such-compiler -pthread")

    with pytest.raises(CompilationError, match=r"lacks a C compiler \(no-such-compiler is not on the PATH"):
        make_hook(ROOT, **CONFIG).initialize("standard", build_data())


def test_missing_headers_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Distributions package them apart from Python: the usual reason why nothing compiles."""
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))

    assert any("-dev)" in missing for missing in hatch_build.missing_tools())


def test_every_listed_module_exists_and_none_is_a_package_marker() -> None:
    """A module that was renamed would silently stay interpreted."""
    modules = hatch_build.find_modules(ROOT, CONFIG["modules"], CONFIG["exclude"])

    assert "fastproxy/listener/connection.py" in modules
    assert not [module for module in modules if module.endswith(("__init__.py", "settings.py"))]
    with pytest.raises(CompilationError, match=r"'fastproxy/gone.*matches nothing"):
        hatch_build.find_modules(ROOT, ["fastproxy/gone.py"])


def test_listed_modules_may_be_run_from_a_wheel_of_their_own() -> None:
    """What starts a process or is found by its file must stay a file of source."""
    assert not {"fastproxy/worker.py", "fastproxy/cli.py", "fastproxy/build_info.py"} & set(
        hatch_build.find_modules(ROOT, CONFIG["modules"], CONFIG["exclude"])
    )


@needs_compiler
def test_a_compiled_module_is_found_before_its_source(tmp_path: Path) -> None:
    """Both lie side by side in the wheel: the one to run, and the one to read."""
    module = write_module(tmp_path, "def double(value: int) -> int:\n    return value * 2\n")
    built = hatch_build.compile_modules(tmp_path, [module], tmp_path / "work")
    for path in built:
        (tmp_path / "work" / "lib" / path).rename(tmp_path / path)

    program = "from sample import module; print(module.double(21), module.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    result, file = done.stdout.split()
    assert result == "42"
    assert file.endswith(".so")


@needs_compiler
def test_a_compiler_that_fails_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator learns that it was the C compiler, without a traceback through setuptools."""
    module = write_module(tmp_path, "def double(value: int) -> int:\n    return value * 2\n")
    monkeypatch.setenv("CC", "false")

    with pytest.raises(CompilationError, match="the C compiler failed"):
        hatch_build.compile_modules(tmp_path, [module], tmp_path / "work")


def test_a_type_error_stops_the_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """mypyc trusts the types; wrong ones are wrong machine code."""
    module = write_module(tmp_path, "def double(value: int) -> str:\n    return value * 2\n")

    with pytest.raises(CompilationError, match="mypyc refused"):
        hatch_build.compile_modules(tmp_path, [module], tmp_path / "work")
    assert "Incompatible return value type" in capsys.readouterr().out


_CALLED_BACK = """
class Reader:
    def __init__(self) -> None:
        self.fault: str | None = None

    def feed(self) -> None:
        self.fault = "broken"

    def parse(self) -> bool:
        {test}
            return False
        self.feed()
        return self.fault is None
"""


def test_an_attribute_that_a_call_may_set_is_not_taken_for_none(tmp_path: Path) -> None:
    """The compiled form would raise TypeError where the interpreted one works: refused requests went unanswered."""
    module = write_module(tmp_path, _CALLED_BACK.format(test="if self.fault is not None:"))

    with pytest.raises(CompilationError, match=r"Reader\.parse: self\.fault"):
        hatch_build.compile_modules(tmp_path, [module], tmp_path / "work")


@needs_compiler
def test_an_attribute_tested_through_a_local_is_read_anew(tmp_path: Path) -> None:
    """This is how to write it, in either form."""
    test = "fault = self.fault\n        if fault is not None:"
    module = write_module(tmp_path, _CALLED_BACK.format(test=test))

    assert hatch_build.compile_modules(tmp_path, [module], tmp_path / "work")
