"""The files in deploy/: they are well formed, name options that exist, and hold a configuration that loads."""

import re
import shlex
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from fastproxy.cli import cli
from fastproxy.config import load_config

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
SERVICE = DEPLOY / "systemd" / "fastproxy.service"


class Unit(RawConfigParser):
    """A systemd unit; keys may come more than once, the last one is kept here."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, delimiters=("=",), comment_prefixes=("#",))
        self.read(path)

    def optionxform(self, optionstr: str) -> str:
        """Names are case sensitive."""
        return optionstr


def check_command(arguments: list[str]) -> None:
    """Options exist and have usable values: everything but the file, which is not here."""
    options = [one for one in arguments if one.startswith("-")]
    known = {name for parameter in cli.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert set(options) <= known, set(options) - known
    result = CliRunner().invoke(cli, [*arguments, "--mode", "validate"])
    assert result.exit_code != 2, result.output


def objects() -> dict[str, Any]:
    found = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return {one["kind"]: one for one in found}


def test_commands_of_the_service_are_commands_of_ours() -> None:
    """A renamed option would be found by operators, at a start that fails."""
    service = Unit(SERVICE)["Service"]
    for key in ("ExecStart", "ExecStartPre"):
        program, *arguments = shlex.split(service[key])
        assert program.endswith("/bin/fastproxy")
        check_command([one.replace("/etc/fastproxy/config.yaml", "/nowhere.yaml") for one in arguments])
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    drain_s = float(shlex.split(service["ExecStart"])[-1])
    assert float(service["TimeoutStopSec"]) > drain_s


def test_units_are_what_systemd_understands(tmp_path: Path) -> None:
    """As far as this machine has systemd to ask."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    true = shutil.which("true")
    assert true is not None
    for path in (DEPLOY / "systemd").iterdir():
        # The program is not installed at its place here; everything else is judged as it is.
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/fastproxy/bin/fastproxy", true))
    units = sorted(str(path) for path in tmp_path.iterdir())
    result = subprocess.run(
        [analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    complaints = [line for line in result.stderr.splitlines() if "fastproxy" in line]
    assert complaints == []


def test_the_image_runs_a_command_of_ours_and_is_not_root() -> None:
    """Kubernetes checks the user only if it is a number."""
    text = (DEPLOY / "Containerfile").read_text()
    command = re.search(r"^CMD (\[.*\])$", text, re.MULTILINE)
    assert command is not None
    arguments = yaml.safe_load(command[1])
    check_command([one.replace("/etc/fastproxy/config.yaml", "/nowhere.yaml") for one in arguments])
    assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE)
    for source in re.findall(r"-r (\S+)", text):
        assert (ROOT / source).exists()


def test_the_configuration_of_the_config_map_loads(tmp_path: Path) -> None:
    """It is the first thing that people change."""
    path = tmp_path / "config.yaml"
    path.write_text(objects()["ConfigMap"]["data"]["config.yaml"])
    loaded = load_config(path)

    assert loaded.warnings == ()
    ports = {one.port for one in loaded.settings.listeners} | {
        loaded.settings.admin.port if loaded.settings.admin else 0
    }
    (container,) = objects()["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert {port["containerPort"] for port in container["ports"]} == ports


def test_the_pod_has_time_to_drain_and_its_parts_fit_together() -> None:
    """A pod that is killed while it drains loses what it was serving."""
    found = objects()
    pod = found["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    check_command([one.replace("/etc/fastproxy/config.yaml", "/nowhere.yaml") for one in container["args"]])
    drain_s = float(container["args"][container["args"].index("--drain-time-s") + 1])
    pre_stop_s = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["spec"]["terminationGracePeriodSeconds"] > drain_s + pre_stop_s

    labels = pod["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    names = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] in names
    assert found["Service"]["spec"]["ports"][0]["targetPort"] in names
    (volume,) = pod["spec"]["volumes"]
    assert volume["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]
    assert all("subPath" not in mount for mount in container["volumeMounts"])
