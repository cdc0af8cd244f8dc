"""Every file in `configs/` is a promise to a reader who copies it: it must load, here and in Envoy."""

import json
import subprocess
from pathlib import Path

import pytest

from fastproxy.config import load_config
from tests.conftest import require_peer

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))

#: Files that Envoy 1.40 refuses, and the words it uses. It stands in docs/differences-from-envoy.md, too.
REFUSED_BY_ENVOY = {
    "envoy-jwt.yaml": "Didn't find a registered implementation for 'envoy.transport_sockets.tls'"
}


@pytest.fixture(autouse=True)
def _in_the_repository_root(monkeypatch: pytest.MonkeyPatch, started_in: Path) -> None:
    """File names inside a configuration are relative to where the proxy is started."""
    monkeypatch.chdir(started_in)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configuration_loads(path: Path) -> None:
    """A broken example is worse than none: the reader looks for the mistake in their own change."""
    loaded = load_config(path)

    assert loaded.settings.listeners
    assert loaded.settings.clusters


@pytest.mark.peer("envoy")
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configuration_is_valid_for_envoy(path: Path) -> None:
    """The files are Envoy's: whoever leaves FastProxy must be able to take them along."""
    done = subprocess.run(
        [require_peer("envoy"), "--mode", "validate", "-c", path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    if path.name in REFUSED_BY_ENVOY:
        assert REFUSED_BY_ENVOY[path.name] in done.stderr
    else:
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.strip() == f"configuration '{path}' OK"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configuration_begins_with_what_it_is_for(path: Path) -> None:
    """A reader chooses a file by its first lines."""
    if path.name == "envoy-jwt.yaml":
        pytest.skip("kept as it was published")
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_every_configuration_is_listed_in_the_readme() -> None:
    """A file nobody finds helps nobody."""
    listed = (ROOT / "configs" / "README.md").read_text(encoding="utf-8")

    assert [path.name for path in CONFIGS if f"({path.name})" not in listed] == []


def test_example_key_set_holds_no_private_key() -> None:
    """Published keys are copied into real deployments; what can sign must not be among them."""
    keys = json.loads((ROOT / "configs" / "local-jwks.json").read_text(encoding="utf-8"))["keys"]

    private = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
    assert [sorted(private & key.keys()) for key in keys] == [[]]
