"""Modules and functions stay small enough to be read at one sitting (style.md section 10).

A second look is due at the limit: either there is a seam to cut along, or a reason, which is written down here.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fastproxy"

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60

#: Longer than that. Module -> why.
LONG_MODULES = {
    "router/forward.py": "one exchange with an upstream is one state machine, and all its transitions have one home",
}
#: Longer than that. Module and function -> why.
LONG_FUNCTIONS = {
    "http/messages.py Request.__init__": "one line for each attribute: compiled code tests one that is set elsewhere "
    "at every use (bench/data_path.py)",
}


def modules() -> Iterator[tuple[str, str]]:
    """Every module's name below fastproxy/, with its text."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), path.read_text(encoding="utf-8")


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Every function below a node by its dotted name, with its number of lines from `def` to its end."""
    for child in ast.iter_child_nodes(node):
        name = prefix
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}{child.name}."
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            assert child.end_lineno is not None
            yield name[:-1], child.end_lineno - child.lineno + 1
        yield from functions(child, name)


def long_modules() -> dict[str, int]:
    """Modules above the limit, with their lengths."""
    found = {name: text.count("\n") for name, text in modules()}
    return {name: lines for name, lines in found.items() if lines > MAX_MODULE_LINES}


def long_functions() -> dict[str, int]:
    """Functions above the limit, with their lengths."""
    return {
        f"{module} {name}": lines
        for module, text in modules()
        for name, lines in functions(ast.parse(text))
        if lines > MAX_FUNCTION_LINES
    }


def test_no_module_grows_beyond_a_second_look() -> None:
    """What has several reasons to change is changed by several people at once."""
    assert {name: lines for name, lines in long_modules().items() if name not in LONG_MODULES} == {}


def test_no_function_grows_beyond_a_screen() -> None:
    """What does not fit a screen is not seen as a whole."""
    assert {name: lines for name, lines in long_functions().items() if name not in LONG_FUNCTIONS} == {}


def test_no_exception_outlives_its_need() -> None:
    """What has become short must not grow again unnoticed."""
    assert LONG_MODULES.keys() - long_modules().keys() == set()
    assert LONG_FUNCTIONS.keys() - long_functions().keys() == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f():\n    pass\n", [("f", 2)]),
        ("class C:\n    async def m(self):\n        pass\n", [("C.m", 2)]),
        ("def f():\n    def g():\n        pass\n    return g\n", [("f", 4), ("f.g", 2)]),
        ("if True:\n    def f(): ...\n", [("f", 1)]),
        ("@decorated\ndef f(\n    a,\n): ...\n", [("f", 3)]),
    ],
)
def test_every_function_is_measured(source: str, expected: list[tuple[str, int]]) -> None:
    """A form that is overlooked could grow for ever."""
    assert list(functions(ast.parse(source))) == expected
