"""What an operator can get wrong: each mistake is named, with exit code 1 or 2, and never with a traceback."""

import copy
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support.proxies import Config, fastproxy_command, free_ports, write_config
from tests.e2e.support.templates import EVERYTHING_TO_ECHO, bootstrap, cluster, jwt_authn, listener, rule
from tests.e2e.support.tokens import ISSUER


def run(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Start FastProxy and wait for its end."""
    return subprocess.run(
        fastproxy_command(path, *options), capture_output=True, text=True, timeout=60, check=False
    )


def good_config() -> Config:
    """A sound configuration to break."""
    ports = free_ports("admin", "plain", "upstream")
    provider = {"issuer": ISSUER, "local_jwks": {"inline_string": "see below"}}
    filters = [jwt_authn({"p": provider}, [rule({"prefix": "/"}, "p")])]
    with_jwt = listener("plain", ports["plain"], copy.deepcopy(EVERYTHING_TO_ECHO), filters=filters)
    return bootstrap(ports["admin"], [with_jwt], [cluster("echo", ports["upstream"])])


def without_jwt() -> Config:
    """The same without the filter."""
    config = good_config()
    del _manager(config)["http_filters"][0]
    return config


def _manager(config: Config) -> Any:
    chain = config["static_resources"]["listeners"][0]["filter_chains"][0]
    return chain["filters"][0]["typed_config"]


def _unknown_field(config: Config) -> None:
    _manager(config)["stat_prefixx"] = "x"


def _wrong_type(config: Config) -> None:
    config["static_resources"]["clusters"][0]["connect_timeout"] = "soon"


def _missing_cluster(config: Config) -> None:
    config["static_resources"]["clusters"][0]["name"] = "other"


def _unknown_filter(config: Config) -> None:
    _manager(config)["http_filters"].insert(0, {"name": "lua", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}})  # fmt: skip


def _bad_regex(config: Config) -> None:
    _manager(config)["route_config"]["virtual_hosts"][0]["routes"][0]["match"] = {
        "safe_regex": {"regex": "(?<=a)b"}
    }


def _two_catch_alls(config: Config) -> None:
    hosts = _manager(config)["route_config"]["virtual_hosts"]
    hosts.append({**copy.deepcopy(hosts[0]), "name": "second"})


MISTAKES: list[tuple[Callable[[Config], None], list[str]]] = [
    (_unknown_field, ["stat_prefixx", "stat_prefix"]),
    (_wrong_type, ["connect_timeout", "soon"]),
    (_missing_cluster, ["echo", "cluster"]),
    (_unknown_filter, ["lua", "jwt_authn"]),
    (_bad_regex, ["regex"]),
    (_two_catch_alls, ["*"]),
]


@pytest.mark.parametrize(
    ("break_it", "words"), MISTAKES, ids=[mistake.__name__.strip("_") for mistake, _ in MISTAKES]
)
def test_a_mistake_in_the_file_is_named(
    tmp_path: Path, break_it: Callable[[Config], None], words: list[str]
) -> None:
    """File, line and field: the operator should not have to guess."""
    config = without_jwt()
    break_it(config)
    path = write_config(config, tmp_path / "config.yaml")

    result = run(path)

    assert result.returncode == 1, result.stderr
    assert "config.yaml:" in result.stderr
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr + result.stdout


def test_broken_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    """A tab or a missing quote is the most common mistake of all."""
    path = tmp_path / "config.yaml"
    path.write_text("admin:\n  address: [1, 2\nstatic_resources: {}\n")

    result = run(path)

    assert result.returncode == 1
    assert "config.yaml:3" in result.stderr or "config.yaml:2" in result.stderr, result.stderr
    assert "Traceback" not in result.stderr


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """Fixing one error per start is a waste of a deployment."""
    config = without_jwt()
    _unknown_field(config)
    _wrong_type(config)
    path = write_config(config, tmp_path / "config.yaml")

    result = run(path)

    assert result.returncode == 1
    assert "stat_prefixx" in result.stderr
    assert "connect_timeout" in result.stderr


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The path in the message is the one that was tried."""
    result = run(tmp_path / "absent.yaml")

    assert result.returncode in {1, 2}
    assert "absent.yaml" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("content", [None, "not json", '{"keys": []}'], ids=["absent", "not-json", "no-key"])
def test_local_keys_that_cannot_be_read_are_named(tmp_path: Path, content: str | None) -> None:
    """Without keys every request would be refused; better not to start."""
    keys = tmp_path / "keys.json"
    if content is not None:
        keys.write_text(content)
    config = good_config()
    _manager(config)["http_filters"][0]["typed_config"]["providers"]["p"]["local_jwks"] = {
        "filename": str(keys)
    }
    path = write_config(config, tmp_path / "config.yaml")

    result = run(path)

    assert result.returncode == 1, result.stderr
    assert "keys.json" in result.stderr if content is None else "jwks" in result.stderr.lower()
    assert "Traceback" not in result.stderr


def _listener_address(config: Config) -> Any:
    return config["static_resources"]["listeners"][0]["address"]["socket_address"]


def _admin_address(config: Config) -> Any:
    return config["admin"]["address"]["socket_address"]


@pytest.mark.parametrize("address", [_listener_address, _admin_address])
def test_a_port_in_use_is_named(address: Callable[[Config], Any], tmp_path: Path) -> None:
    """Which port, and that somebody else has it."""
    config = without_jwt()
    port = address(config)["port_value"]
    path = write_config(config, tmp_path / "config.yaml")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()

        result = run(path)

    assert result.returncode == 1, result.stderr
    assert str(port) in result.stderr
    assert "Traceback" not in result.stderr


def test_validate_says_ok_and_starts_nothing(tmp_path: Path) -> None:
    """A pipeline checks a file before it is rolled out."""
    path = write_config(without_jwt(), tmp_path / "config.yaml")

    result = run(path, "--mode", "validate")

    assert result.returncode == 0, result.stderr
    assert f"configuration '{path}' OK" in result.stdout


def test_an_unknown_option_is_a_usage_error(tmp_path: Path) -> None:
    """2 tells a script that the command line is wrong, not the file."""
    path = write_config(without_jwt(), tmp_path / "config.yaml")

    result = run(path, "--no-such-option")

    assert result.returncode == 2
    assert "--no-such-option" in result.stderr
