"""The import table of the packages, enforced: a package imports only what lies below it.

Whoever needs an import that this test refuses has found either a misplaced function or a missing parameter.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fastproxy"

#: Base modules: the standard library and each other, nothing else.
BASE = {
    "addresses",
    "build_info",
    "farewell",
    "log_format",
    "errors",
    "clock",
    "tasks",
    "stats",
    "timers",
    "logs",
    "shared_counts",
    "large_reads",
}

_DATA_PLANE = {"jwt", "http", "format", "match", "tls", "upstream", "router", "filters", "listener"}


@dataclass(frozen=True, slots=True)
class Layer:
    """What one package may import. Every package may import itself."""

    ours: frozenset[str]
    """Other packages of ours; "base" stands for all of BASE."""
    theirs: frozenset[str]
    """Packages that are neither ours nor the standard library's."""
    settings_of: frozenset[str] = frozenset()
    """Packages whose `settings` module is fine, for it is data only, and nothing else of them."""


def _layer(ours: str = "", theirs: str = "", settings_of: str = "") -> Layer:
    return Layer(frozenset(ours.split()), frozenset(theirs.split()), frozenset(settings_of.split()))


#: Lowest first.
LAYERS: dict[str, Layer] = {
    "base": _layer(),
    "jwt": _layer(theirs="cryptography orjson cachetools"),
    "http": _layer("base", "httptools"),
    "match": _layer("base http", "re2"),
    "format": _layer("base http match", "orjson"),
    "tls": _layer("base http match", "cryptography"),
    "upstream": _layer("base http tls", "httptools xxhash"),
    "router": _layer("base http format match upstream"),
    "filters": _layer("base http format match jwt", "orjson cachetools"),
    "listener": _layer("base http format match upstream filters router tls", "httptools orjson"),
    "config": _layer(
        " ".join(["base", *sorted(_DATA_PLANE)]),
        "google yaml envoy xds udpa validate re2 cryptography orjson",
    ),
    "lint": _layer("base config jwt match", "click re2", settings_of="filters router upstream listener tls"),
    "ipc": _layer("base config", "orjson"),
    "runtime": _layer(" ".join(["base", "config", "ipc", *sorted(_DATA_PLANE)])),
    "worker": _layer("base config ipc runtime", "uvloop"),
    "admin_log": _layer("base http listener"),
    "control": _layer(
        "base admin_log jwt config ipc match",
        "aiohttp cryptography grpc multidict orjson prometheus_client pycares re2 uvloop yarl",
        settings_of="upstream router filters listener tls",
    ),
    "demo": _layer("base jwt", "aiohttp click cryptography orjson rich yarl"),
    "advice": _layer("jwt"),
    "jwt_commands": _layer("base advice jwt", "aiohttp click orjson rich"),
    "serve": _layer("base config control", "uvloop"),
    "explain": _layer(
        " ".join(["base", "config", "control", "ipc", "advice", *sorted(_DATA_PLANE)]),
        "aiohttp click orjson rich uvloop",
    ),
    "cli": _layer("base config control demo explain jwt_commands lint serve", "click rich uvloop"),
    "__main__": _layer("cli"),
}


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement's target, dotted, and where it stands."""

    module: str
    line: int


def source_files() -> list[Path]:
    """Every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def imports_of(path: Path) -> Iterator[Import]:
    """Find every import, those inside functions and behind TYPE_CHECKING too."""
    package = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package[: len(package) - node.level]
                base = ".".join([*parents, base]).rstrip(".")
            # `from fastproxy import clock` names a module, too.
            names = [base] if base != "fastproxy" else [f"{base}.{alias.name}" for alias in node.names]
            yield from (Import(name, node.lineno) for name in names)


def layer_of(module: str) -> str | None:
    """Say which layer a module of ours belongs to; None for `fastproxy` itself, which holds the version."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] in {"__init__", "__version__"}:
        return None
    return "base" if parts[1] in BASE else parts[1]


def layer_of_file(path: Path) -> str | None:
    """Say which layer a file belongs to."""
    return layer_of(".".join(path.relative_to(ROOT).with_suffix("").parts))


def problem_with(name: str, layer: Layer, imported: Import) -> str | None:
    """Say why a layer may not import something, or None if it may."""
    module = imported.module
    top = module.split(".")[0]
    if top in sys.stdlib_module_names:
        return None
    if top != "fastproxy":
        if top in layer.theirs:
            return None
        return f"{name} may not import {top}; its foreign packages are: {_listed(layer.theirs)}"
    target = layer_of(module)
    if target is None or target == name or target in layer.ours:
        return None
    if target in layer.settings_of and module.endswith(".settings"):
        return None
    if target not in LAYERS:
        return f"fastproxy.{target} has no row in LAYERS (tests/test_layers.py); add it where it belongs"
    return f"{name} may not import {module}; of ours it may import: {_listed(layer.ours)}"


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_from_the_layers_below_it(path: Path) -> None:
    """Otherwise the packages grow together, and none can be read, tested or replaced alone."""
    name = layer_of_file(path)
    if name is None:
        layer = LAYERS["base"]
    else:
        assert name in LAYERS, f"fastproxy.{name} has no row in LAYERS; add it where it belongs"
        layer = LAYERS[name]

    problems = [
        f"{path.relative_to(ROOT)}:{imported.line}: {problem}"
        for imported in imports_of(path)
        if (problem := problem_with(name or "base", layer, imported)) is not None
    ]

    assert not problems, "\n" + "\n".join(problems)


def test_layers_only_name_layers_below_them() -> None:
    """A table with a cycle would allow what it is there to prevent."""
    order = list(LAYERS)
    for position, (name, layer) in enumerate(LAYERS.items()):
        above = (layer.ours | layer.settings_of) - set(order[:position])
        assert not above, f"{name} names {_listed(above)}, which does not lie below it"


def test_only_config_reads_protobuf_and_yaml() -> None:
    """Everything else works on frozen settings: the schema may change without touching the data path."""
    schema = {"google", "yaml", "envoy", "xds", "udpa", "validate"}
    assert [name for name, layer in LAYERS.items() if layer.theirs & schema] == ["config"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import yaml", ["yaml"]),
        ("from fastproxy.http import headers", ["fastproxy.http"]),
        ("from fastproxy import clock, tasks", ["fastproxy.clock", "fastproxy.tasks"]),
        ("from . import keys", ["fastproxy.jwt"]),
        ("from .keys import Key", ["fastproxy.jwt.keys"]),
        ("from ..http.headers import Headers", ["fastproxy.http.headers"]),
        ("def f():\n    import aiohttp", ["aiohttp"]),
    ],
)
def test_every_form_of_import_is_seen(
    source: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form that is overlooked is a hole in the table."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "fastproxy" / "jwt" / "module.py"
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")

    assert [imported.module for imported in imports_of(path)] == expected


@pytest.mark.parametrize(
    ("layer", "module", "allowed"),
    [
        ("jwt", "base64", True),
        ("jwt", "cryptography.hazmat.primitives", True),
        ("jwt", "fastproxy.clock", False),
        ("jwt", "fastproxy.errors", False),
        ("router", "fastproxy.upstream.cluster", True),
        ("upstream", "fastproxy.router.table", False),
        ("filters", "fastproxy.upstream.cluster", False),
        ("listener", "google.protobuf", False),
        ("control", "fastproxy.upstream.settings", True),
        ("control", "fastproxy.upstream.pool", False),
        ("control", "fastproxy.worker", False),
        ("worker", "fastproxy.control", False),
        ("base", "orjson", False),
        ("http", "fastproxy.nowhere", False),
    ],
)
def test_table_allows_and_forbids_what_it_should(layer: str, module: str, allowed: bool) -> None:
    """The rules themselves, or a mistake in this file would pass for a clean tree."""
    problem = problem_with(layer, LAYERS[layer], Import(module, 1))

    assert (problem is None) == allowed, problem
