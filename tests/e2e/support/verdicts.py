"""What Envoy says about a file without running it, beside what FastProxy says."""

import json
import subprocess
from pathlib import Path
from typing import Any

from fastproxy.config import ConfigError, LoadOptions, load_config
from tests.conftest import require_peer
from tests.e2e.support.proxies import RunningProxy, envoy_command, free_ports, wait_until_ready


def envoy_takes(path: Path, *options: str) -> bool:
    """Whether `envoy --mode validate` accepts a file."""
    command = [
        str(require_peer("envoy")), "--mode", "validate", "-c", str(path), "-l", "off",
        "--service-node", "n", "--service-cluster", "c", "--disable-hot-restart", *options,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def fastproxy_takes(path: Path, config_yaml: str | None = None) -> bool:
    """Whether FastProxy accepts a file."""
    try:
        load_config(path, config_yaml=config_yaml, options=LoadOptions(requires_node=False))
    except ConfigError:
        return False
    return True


def envoy_dump(path: Path, *options: str) -> Any:
    """The bootstrap message that Envoy has made of a file without an `admin` (one is added), as JSON."""
    require_peer("envoy")
    ports = free_ports("admin")
    address = f"{{socket_address: {{address: 127.0.0.1, port_value: {ports['admin']}}}}}"
    path.write_text(f"{path.read_text()}admin: {{address: {address}}}\n")
    log_path = path.with_suffix(".log")
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*envoy_command(path), *options], stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    proxy = RunningProxy("envoy", process, ports, log_path, path)
    try:
        wait_until_ready(proxy)
        status, body = proxy.admin("/config_dump")
        assert status == 200
        return json.loads(body)["configs"][0]["bootstrap"]
    finally:
        proxy.stop()
