"""The command line as a user meets it: exit codes, messages, no tracebacks."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import fastproxy
import fastproxy.serve
from fastproxy import build_info
from fastproxy import cli as cli_module
from fastproxy.cli import cli, main
from tests.conftest import require_peer

MINIMAL = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: PORT}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(MINIMAL.replace("PORT", "0"))
    return path


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli, arguments, prog_name="fastproxy")


def test_no_arguments_is_bad_usage_with_help_on_stderr() -> None:
    """Exit code 2, so that a script with an empty variable fails."""
    result = run()

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "--config-path" in result.stderr
    assert "give a configuration with -c FILE" in result.stderr


def test_version() -> None:
    """The first question in a bug report."""
    assert run("--version").stdout == f"fastproxy, version {fastproxy.__version__} ({build_info.form()})\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_options_and_commands(flag: str) -> None:
    """Without importing the commands: the demo's imports are slow."""
    result = run(flag)

    assert result.exit_code == 0
    for word in ("--concurrency", "--drain-time-s", "--mode", "demo", "jwt"):
        assert word in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--nope",),
        ("-c", "x", "--concurrency", "-1"),
        ("-c", "x", "--concurrency", "many"),
        ("-c", "x", "-l", "loud"),
        ("-c", "x", "--mode", "init_only"),
        ("-c", "x", "--component-log-level", "a"),
        ("-c", "x", "--component-log-level", "a:loud"),
        ("-c", "x", "--drain-time-s", "-1"),
        ("nonsense",),
    ],
)
def test_bad_usage_is_exit_code_2_on_stderr(arguments: tuple[str, ...]) -> None:
    """1 is the configuration's fault, 2 the caller's."""
    result = run(*arguments)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error:" in result.stderr


def test_envoys_other_flags_are_accepted(config: Path) -> None:
    """A unit file written for Envoy goes on to work."""
    result = run(
        "-c", str(config), "--mode", "validate", "--base-id", "7", "--restart-epoch", "0", "--disable-hot-restart",
        "--parent-shutdown-time-s", "900", "--drain-strategy", "immediate", "--file-flush-interval-msec=100",
        "--service-zone", "z", "--service-node", "n", "--service-cluster", "c",
        "--base-id-path", "/nonexistent", "--use-dynamic-base-id", "--socket-path", "@x", "--socket-mode", "600",
        "--skip-hot-restart-on-no-parent", "--skip-hot-restart-parent-stats", "--local-address-ip-version", "v4",
        "--cpuset-threads", "--enable-mutex-tracing", "--enable-core-dump", "--enable-fine-grain-logging",
        "--skip-deprecated-logs", "--log-stacktrace-single-entry", "--disable-extensions", "envoy.filters.http.lua",
        "--stats-tag", "a:b", "--stats-tag", "c:d", "--log-format-escaped", "--reject-unknown-dynamic-fields",
        "--ignore-unknown-dynamic-fields", "--allow-unknown-static-fields", "--file-flush-min-size-kb=0",
        "--component-log-level", "upstream:debug,http:trace", "--drain-time-s", "3", "--log-level", "warn",
    )  # fmt: skip

    assert (result.exit_code, result.stdout) == (0, f"configuration '{config}' OK\n"), result.stderr


def test_every_flag_of_the_real_envoy_is_known() -> None:
    """Its own help is the list; one that is missing here stops a unit file that was written for it."""
    text = subprocess.run(
        [require_peer("envoy"), "--help"], capture_output=True, text=True, check=True
    ).stdout
    theirs = set(re.findall(r"^   (?:-\w[^,]*,  )?(--[a-z][a-z0-9-]+)", text, re.MULTILINE)) - {
        "--ignore_rest"
    }
    known = {name for option in cli.params for name in option.opts}

    assert len(theirs) > 40
    assert theirs - known == {"--help"}  # which every command has


@pytest.mark.parametrize(("given", "workers"), [("0", 1), ("1", 1), ("3", 3)])
def test_no_workers_are_one(monkeypatch: pytest.MonkeyPatch, given: str, workers: int) -> None:
    """`--concurrency 0` is Envoy's one worker: whoever divides the cores by something may get there."""
    requests: list[Any] = []

    def remember(request: Any) -> int:
        requests.append(request)
        return 0

    monkeypatch.setattr(fastproxy.serve, "serve", remember)

    assert run("-c", "x", "--concurrency", given).exit_code == 0
    assert requests[0].options.concurrency == workers


def test_flags_reach_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag that is taken and forgotten is worse than one that is refused."""
    requests: list[Any] = []

    def remember(request: Any) -> int:
        requests.append(request)
        return 0

    monkeypatch.setattr(fastproxy.serve, "serve", remember)

    result = run(
        "--config-path", "a.yaml", "--config-yaml", "{}", "--log-level", "WARN", "--log-path", "log",
        "--component-log-level", "upstream:debug,fastproxy.http:trace", "--log-format", "%v",
        "--admin-address-path", "admin", "--drain-time-s", "3", "--drain-strategy", "IMMEDIATE",
        "--file-flush-interval-msec", "250", "--file-flush-min-size-kb", "2", "--service-node", "n",
        "--service-cluster", "c", "--service-zone", "z", "--allow-unknown-fields", "--ignore-unknown-dynamic-fields",
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    (request,) = requests
    options = request.options
    assert (str(request.config_path), request.config_yaml) == ("a.yaml", "{}")
    assert (request.service_node, request.service_cluster, request.service_zone) == ("n", "c", "z")
    assert (request.allow_unknown_fields, request.allow_unknown_resource_fields) == (True, True)
    assert (options.log_level, options.log_path, options.log_format) == ("warning", "log", "%v")
    assert options.component_log_levels == {"upstream": "debug", "http": "trace"}
    assert (options.drain_time_s, options.drains_at_once) == (3.0, True)
    assert options.access_log_flush == (0.25, 2048)
    assert options.admin_address_path == "admin"
    assert options.command_line["drain_strategy"] == "Immediate"


@pytest.mark.parametrize("flag", ["--allow-unknown-fields", "--allow-unknown-static-fields"])
def test_unknown_fields_may_be_allowed_and_are_told_all_the_same(tmp_path: Path, flag: str) -> None:
    """Both of Envoy's names for it; what FastProxy does not support stays an error."""
    path = tmp_path / "config.yaml"
    path.write_text("static_resources: {clusters: [{name: a, foo: 1}]}\n")
    other = tmp_path / "other.yaml"
    other.write_text("hds_config: {api_type: GRPC}\nfoo: 1\n")

    assert run("-c", str(path), "--mode", "validate").exit_code == 1
    allowed = run("-c", str(path), "--mode", "validate", flag)
    refused = run("-c", str(other), "--mode", "validate", flag)

    assert allowed.exit_code == 0
    assert 'unknown field "foo"' in allowed.stderr
    assert refused.exit_code == 1
    assert "hds_config" in refused.stderr


def test_empty_text_on_the_command_line_is_none(config: Path) -> None:
    """A script writes `--config-yaml ""` when it has nothing to merge; Envoy takes it."""
    result = run("-c", str(config), "--config-yaml", "", "--mode", "validate")

    assert (result.exit_code, result.stdout) == (0, f"configuration '{config}' OK\n"), result.stderr
    assert run("--config-yaml", "").exit_code == 2


def test_validate_says_ok_on_stdout(config: Path) -> None:
    """Envoy's words; pipelines look for them."""
    result = run("-c", str(config), "--mode", "validate")

    assert (result.exit_code, result.stdout) == (0, f"configuration '{config}' OK\n"), result.stderr


def test_an_empty_file_name_is_none() -> None:
    """`-c "$CONFIG"` with a variable that is not set; Envoy says the same."""
    result = run("-c", "")

    assert result.exit_code == 2
    assert "give a configuration with -c FILE" in result.stderr
    assert run("-c", "", "--config-yaml", "{}", "--mode", "validate").exit_code == 0


def test_validate_of_yaml_on_the_command_line() -> None:
    """`--config-yaml` alone is a configuration."""
    result = run("--config-yaml", MINIMAL.replace("PORT", "0"), "--mode", "validate")

    assert (result.exit_code, result.stdout) == (0, "configuration '--config-yaml' OK\n"), result.stderr


@pytest.mark.parametrize("mode", ["validate", "serve"])
def test_bad_configuration_is_exit_code_1_with_every_problem(tmp_path: Path, mode: str) -> None:
    """One problem a line, with its line number, on stderr."""
    path = tmp_path / "bad.yaml"
    path.write_text("static_resources:\n  listenerz: []\n  clusterz: []\n")
    finished = subprocess.run(
        [sys.executable, "-m", "fastproxy", "-c", path, "--mode", mode],
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 1
    assert finished.stdout == ""
    assert "listenerz" in finished.stderr
    assert "clusterz" in finished.stderr
    assert "bad.yaml:2" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_missing_file_is_exit_code_1() -> None:
    """The commonest mistake gets a sentence, not a traceback."""
    result = run("-c", "/nonexistent.yaml", "--mode", "validate")

    assert result.exit_code == 1
    assert "/nonexistent.yaml" in result.stderr


def test_port_in_use_is_exit_code_1_and_names_the_address(tmp_path: Path) -> None:
    """And says what to do about it."""
    path = tmp_path / "config.yaml"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path.write_text(MINIMAL.replace("PORT", str(port)))
        finished = subprocess.run(
            [sys.executable, "-m", "fastproxy", "-c", path, "--log-path", tmp_path / "log"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert finished.returncode == 1
    assert f"cannot bind 127.0.0.1:{port}: Address already in use" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert f"127.0.0.1:{port}" in (tmp_path / "log").read_text()


def test_unwritable_log_file_is_exit_code_1(config: Path) -> None:
    """Before anything is started."""
    result = run("-c", str(config), "--log-path", "/nonexistent/log")

    assert result.exit_code == 1
    assert "cannot open the log file /nonexistent/log" in result.stderr


def test_unexpected_error_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever happens, no traceback reaches a user."""

    def fail(_flags: dict[str, Any]) -> int:
        raise RuntimeError("boom")

    monkeypatch.setattr(cli_module, "_serve_or_validate", fail)
    with pytest.raises(SystemExit) as caught:
        main(["-c", "x"])

    assert caught.value.code == 1
    assert "fastproxy: unexpected error: RuntimeError: boom" in capsys.readouterr().err


def test_subcommands_are_imported_when_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """And take part in the same help."""
    monkeypatch.setattr(
        cli_module, "import_module", lambda _name: type("M", (), {"jwt_group": click.Group("jwt")})
    )

    assert "Usage: fastproxy jwt" in run("jwt", "--help").stdout


def test_serves_until_sigterm(config: Path, tmp_path: Path) -> None:
    """The whole way once: process, workers, listener, admin, signal, exit code 0."""
    address, log = tmp_path / "admin", tmp_path / "log"
    process = subprocess.Popen(
        [sys.executable, "-m", "fastproxy", "-c", config, "--concurrency", "1", "--log-path", log,
         "--admin-address-path", address, "--service-node", "n", "--service-cluster", "c", "--service-zone", "z"],
        cwd=tmp_path,
    )  # fmt: skip
    try:
        while True:
            assert process.poll() is None, log.read_text()
            if log.exists() and "starting main dispatch loop" in log.read_text():
                break
            time.sleep(0.02)
        with urllib.request.urlopen(f"http://{address.read_text()}/server_info") as answer:
            node = json.load(answer)["node"]
        # The file says nothing about the node.
        assert (node["id"], node["cluster"], node["locality"]["zone"]) == ("n", "c", "z")
        with urllib.request.urlopen(f"http://{address.read_text()}/listeners?format=json") as answer:
            listeners = json.load(answer)
        port = listeners["listener_statuses"][0]["local_address"]["socket_address"]["port_value"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            assert answer.status == 200
        with urllib.request.urlopen(f"http://{address.read_text()}/config_dump") as answer:
            assert len(json.load(answer)["configs"]) >= 3
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
