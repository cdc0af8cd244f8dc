"""The wheel's build hook: with `FASTPROXY_COMPILE=1` the modules that a request passes through are compiled.

mypyc turns them, unchanged, into C and a C compiler into extension modules; the wheel holds both forms of each, and
Python's import system prefers the compiled one. Without the switch nothing is compiled, and the wheel runs everywhere.
Which modules, and what it takes to build them, is said in pyproject.toml below `[tool.hatch.build...hooks.custom]`.

    python hatch_build.py    # says what is missing for a compiled build; exit status 0 if nothing is
"""

import contextlib
import itertools
import os
import re
import shlex
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWITCH = "FASTPROXY_COMPILE"

#: Type errors of modules that are only imported, and libraries without types, are no reason not to build: `make lint`
#: has judged them. `--config-file=` keeps the lint settings, which fail on more than errors, out of the build.
_MYPY_OPTIONS = (
    "--config-file=",
    "--explicit-package-bases",
    "--follow-imports=silent",
    "--ignore-missing-imports",
    "--no-warn-unused-ignores",
)


#: In mypyc's listing: a function, an attribute that is read, and a value that is taken for None.
_FUNCTION = re.compile(r"^def (\S+?)\(", re.MULTILINE)
_READ = re.compile(r"^ +(r\d+) = (?:borrow )?(\w+\.\w+)$", re.MULTILINE)
_TAKEN_FOR_NONE = re.compile(r"= (?:unbox|cast)\(None, (r\d+)\)$", re.MULTILINE)


class CompilationError(Exception):
    """The compiled form was asked for and cannot be built; the message is for whoever runs the build."""


def is_switched_on() -> bool:
    """Say whether the environment asks for the compiled form.

    Raises:
        CompilationError: the variable holds what is neither yes nor no.
    """
    value = os.environ.get(SWITCH, "").strip().lower()
    if value in {"", "0", "false", "no", "off"}:
        return False
    if value in {"1", "true", "yes", "on"}:
        return True
    raise CompilationError(f"{SWITCH} is 1 (compile) or 0 (do not), not {value!r}")


def missing_tools() -> list[str]:
    """Name what this machine lacks to compile extension modules; an empty list if it lacks nothing."""
    missing = []
    compiler = _compiler()
    if shutil.which(compiler) is None:
        missing.append(f"a C compiler ({compiler} is not on the PATH; CC names another)")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        missing.append(
            f"the C headers of Python {version} ({header}; packages call them python{version}-dev)"
        )
    return missing


def _compiler() -> str:
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    return shlex.split(command)[0]


def find_modules(root: Path, patterns: Iterable[str], exclude: Iterable[str] = ()) -> list[str]:
    """Files below `root` that match and are not excluded, relative to it, sorted; package markers never are.

    Raises:
        CompilationError: a pattern matches nothing: the file was renamed, and would silently stay interpreted.
    """

    def expand(globs: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for pattern in globs:
            matching = {str(path.relative_to(root)) for path in root.glob(pattern)}
            if not matching:
                raise CompilationError(
                    f"{pattern!r}, which pyproject.toml lists for compiling, matches nothing"
                )
            found |= matching
        return found

    wanted = expand(patterns) - expand(exclude)
    return sorted(path for path in wanted if not path.endswith("__init__.py"))


def find_false_nones(listing: str) -> list[str]:
    """Find attributes that compiled code would take for None although a call may have set them since they were tested.

    After `if self.fault is not None: return` mypy holds `self.fault` to be None for the rest of the function, whatever
    is called in between. The interpreter looks again. Compiled code believes mypy, and raises TypeError where it is
    wrong. The way out is to test a local variable instead.

    Args:
        listing: mypyc's intermediate code (`ops.txt`).

    Returns:
        "function: object.attribute" for each such place.
    """
    found = []
    starts = [*(match.start() for match in _FUNCTION.finditer(listing)), len(listing)]
    for start, end in itertools.pairwise(starts):
        text = listing[start:end]
        reads = dict(_READ.findall(text))
        name = _FUNCTION.findall(text)[0]
        found += [
            f"{name}: {reads[register]}" for register in _TAKEN_FOR_NONE.findall(text) if register in reads
        ]
    return found


def compile_modules(root: Path, modules: list[str], work: Path) -> list[Path]:
    """Compile modules of the project at `root`; temporary files and results go below `work`.

    Returns:
        The extension modules, relative to `work / "lib"`, where they lie as they have to lie in the wheel.

    Raises:
        CompilationError: mypyc or the C compiler refused; they have said why on the standard streams.
    """
    try:
        # mypyc derives module names from paths, relative to the working directory.
        with contextlib.chdir(root):
            extensions = _generate_c(modules, work / "c")
            _check_generated(work / "c")
            _compile_c(extensions, work)
    except SystemExit as error:
        raise CompilationError("mypyc refused the source; see above") from error
    library = work / "lib"
    return sorted(path.relative_to(library) for path in library.rglob("*") if path.is_file())


def _generate_c(modules: list[str], target: Path) -> list[Any]:
    # Only now: a build without the switch has neither of them. setuptools comes first, for it replaces distutils.
    import setuptools  # noqa: F401, PLC0415

    # isort: split
    from mypyc.build import mypycify  # noqa: PLC0415

    # One library for all: calls between modules become direct calls of C functions.
    return list(mypycify([*_MYPY_OPTIONS, *modules], group_name="fastproxy", target_dir=str(target)))


def _check_generated(target: Path) -> None:
    found = find_false_nones((target / "ops.txt").read_text(encoding="utf-8"))
    if found:
        raise CompilationError("attributes that a call may set are taken for None: " + ", ".join(found))


def _compile_c(extensions: list[Any], work: Path) -> None:
    from setuptools import Distribution  # noqa: PLC0415
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415

    for extension in extensions:
        # For mypyc's own developers: a newer compiler with a new warning must not break an operator's build.
        extension.extra_compile_args = [flag for flag in extension.extra_compile_args if flag != "-Werror"]
    command = build_ext(Distribution({"name": "fastproxy", "ext_modules": extensions}))
    command.build_lib = str(work / "lib")
    command.build_temp = str(work / "tmp")
    command.ensure_finalized()
    try:
        command.run()
    except Exception as error:  # of setuptools or of distutils, as Python's version will have it
        raise CompilationError(f"the C compiler failed: {error}") from error


class CustomBuildHook(BuildHookInterface[Any]):
    """What hatchling calls when it builds a wheel."""

    _work: tempfile.TemporaryDirectory[str] | None = None

    def dependencies(self) -> list[str]:
        """Name what the build environment needs besides hatchling.

        The project's own dependencies are among it: mypyc makes better code where it knows their types.
        """
        if not is_switched_on():
            return []
        return [*self.config["requires"], *self.metadata.core.dependencies]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, if asked to, and put the results into the wheel. An editable install stays interpreted."""
        if version == "editable" or not is_switched_on():
            return
        if missing := missing_tools():
            raise CompilationError(f"{SWITCH} is set, but this machine lacks " + " and ".join(missing))
        root = Path(self.root)
        modules = find_modules(root, self.config["modules"], self.config["exclude"])
        self.app.display_info(f"compiling {len(modules)} modules, about half a minute")
        self._work = tempfile.TemporaryDirectory(prefix="fastproxy-compile-")
        work = Path(self._work.name)
        for path in compile_modules(root, modules, work):
            build_data["force_include"][str(work / "lib" / path)] = str(path)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary files."""
        if self._work is not None:
            self._work.cleanup()
            self._work = None


def main() -> int:
    """Say what is missing."""
    missing = missing_tools()
    for what in missing:
        print(what)  # noqa: T201
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
