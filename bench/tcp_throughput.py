"""A large transfer and small messages through a TCP proxy: bytes per CPU second, microseconds of CPU per round trip.

    python bench/tcp_throughput.py [MIB]

FastProxy with one worker, then HAProxy with one thread if it is installed; the same upstream and client for both.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastproxy import clock

BLOCK = b"x" * (1 << 20)
ROUND_TRIPS = 5000
_TCP = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its children so far."""
    total = 0.0
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(entry.name) == pid or int(fields[1]) == pid:
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


@contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """A proxy, once it accepts connections."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = clock.monotonic() + 20
            while True:
                with suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
                if clock.monotonic() > deadline or process.poll() is not None:
                    sys.exit(f"{command[0]} does not listen")
            yield process.pid
        finally:
            process.terminate()


def serve(server: socket.socket, mib: int) -> None:
    """Answer `G` with the transfer and `P` with a byte, on every connection."""

    def on_connection(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            while asked := sock.recv(1):
                if asked == b"P":
                    sock.sendall(b"p")
                    continue
                for _ in range(mib):
                    sock.sendall(BLOCK)
                sock.shutdown(socket.SHUT_WR)

    while True:
        try:
            sock, _ = server.accept()
        except OSError:
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=on_connection, args=(sock,), daemon=True).start()


def measure(name: str, port: int, pid: int, mib: int) -> None:
    """Both measurements, one line."""
    buffer = bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        before, started = cpu_s(pid), clock.monotonic()
        sock.sendall(b"G")
        received = 0
        while size := sock.recv_into(buffer):
            received += size
        used, took = cpu_s(pid) - before, clock.monotonic() - started
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        before = cpu_s(pid)
        for _ in range(ROUND_TRIPS):
            sock.sendall(b"P")
            sock.recv(1)
        per_trip = (cpu_s(pid) - before) / ROUND_TRIPS * 1e6
    print(
        f"{name:10} {received >> 20} MiB in {took:.2f} s, {received / max(used, 0.01) / 1e9:.2f} GB per CPU second; "
        f"{per_trip:.0f} us of CPU per small round trip"
    )


def main() -> None:
    """Measure what is there."""
    mib = int(sys.argv[1]) if len(sys.argv) > 1 else 2048
    with (
        socket.create_server(("127.0.0.1", 0), backlog=64) as server,
        tempfile.TemporaryDirectory() as directory,
    ):
        upstream = server.getsockname()[1]
        threading.Thread(target=serve, args=(server, mib), daemon=True).start()
        port = free_port()
        config = Path(directory, "tcp.yaml")
        config.write_text(
            "static_resources:\n"
            f"  listeners: [{{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}, filter_chains: "
            f'[{{filters: [{{name: t, typed_config: {{"@type": {_TCP}, stat_prefix: t, cluster: up}}}}]}}]}}]\n'
            "  clusters: [{name: up, type: STATIC, load_assignment: {cluster_name: up, endpoints: [{lb_endpoints: "
            f"[{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]}}}}]\n"
        )
        with running(
            [sys.executable, "-m", "fastproxy", "-c", str(config), "--concurrency", "1"], port
        ) as pid:
            measure("fastproxy", port, pid, mib)
        haproxy = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
        if haproxy is None:
            print("haproxy    not installed")
            return
        port = free_port()
        other = Path(directory, "haproxy.cfg")
        other.write_text(
            "global\n  nbthread 1\ndefaults\n  mode tcp\n  option splice-auto\n  timeout connect 5s\n"
            "  timeout client 60s\n  timeout server 60s\n"
            f"listen t\n  bind 127.0.0.1:{port}\n  server s 127.0.0.1:{upstream}\n"
        )
        with running([haproxy, "-f", str(other)], port) as pid:
            measure("haproxy", port, pid, mib)


if __name__ == "__main__":
    main()
