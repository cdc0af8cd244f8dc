"""A new process takes over from a running one, with real processes under load."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.load import LoadClient
from tests.e2e.support.proxies import (
    RunningProxy,
    fastproxy_command,
    free_ports,
    wait_until_ready,
    workers_of,
    write_config,
)
from tests.e2e.support.upstream import ScriptedUpstream
from tests.e2e.support.wire import PATIENCE_S
from tests.e2e.test_processes import simple_template


@contextmanager
def successor(proxy: RunningProxy, *options: str, config: Path | None = None) -> Iterator[RunningProxy]:
    """Another process on the same configuration and upgrade socket."""
    log_path = proxy.log_path.with_suffix(".successor.log")
    command = fastproxy_command(config or proxy.config_path, *options)
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    made = RunningProxy("successor", process, proxy.ports, log_path, proxy.config_path)
    try:
        yield made
    finally:
        made.stop()


async def ended(process: "subprocess.Popen[bytes]") -> int:
    return await asyncio.to_thread(process.wait, PATIENCE_S)


async def logged(proxy: RunningProxy, text: str) -> None:
    while text not in proxy.log():
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(("before", "after"), [("2", "2"), ("1", "3"), ("3", "1")])
async def test_an_upgrade_under_load_loses_no_request(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, tmp_path: Path, before: str, after: str
) -> None:
    """Whatever the number of workers: sockets that the new process has too many of are served all the same."""
    path = str(tmp_path / "upgrade.sock")
    proxy = start_fastproxy(simple_template(upstream.port), "--concurrency", before, "--upgrade-socket", path)
    assert Path(path).stat().st_mode & 0o777 == 0o600
    async with LoadClient(proxy.ports["plain"], keep_alive=6, fresh=3) as load:
        await load.answered(50)
        with successor(proxy, "--concurrency", after, "--upgrade-socket", path) as new:
            assert await ended(proxy.process) == 0
            await load.answered(200)
            assert new.admin("/ready") == (200, "LIVE\n")
            assert len(workers_of(new)) == int(after)
            await load.stop()

    assert load.report.failures == []
    assert "Traceback" not in proxy.log() + new.log()


async def test_sigusr2_starts_the_program_again_and_hands_over(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """As with nginx: install the new version, send the signal."""
    path = str(tmp_path / "upgrade.sock")
    proxy = start_fastproxy(simple_template(upstream.port), "--upgrade-socket", path)
    async with LoadClient(proxy.ports["plain"]) as load:
        proxy.process.send_signal(signal.SIGUSR2)
        assert await ended(proxy.process) == 0
        await load.answered(100)
        assert proxy.admin("/ready") == (200, "LIVE\n")
        found = re.search(r"process (\d+) was started to take over", proxy.log())
        assert found is not None
        pid = int(found[1])
        os.kill(pid, signal.SIGTERM)
        await load.stop()
    with suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            await asyncio.sleep(0.02)


async def test_a_new_process_that_fails_changes_nothing(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """The old one goes on until the new one serves; a bad file or a bad install must not stop the service."""
    path = str(tmp_path / "upgrade.sock")
    proxy = start_fastproxy(simple_template(upstream.port), "--upgrade-socket", path)
    bad = tmp_path / "bad.yaml"
    bad.write_text(proxy.config_path.read_text().replace("stat_prefix", "stat_prefixes"))
    in_use = tmp_path / "in-use.yaml"
    port = free_ports("taken")["taken"]
    write_config(simple_template(upstream.port)({**proxy.ports, "plain": port}), in_use)
    async with LoadClient(proxy.ports["plain"]) as load:
        for config in (bad, in_use):
            with (
                socket.create_server(("127.0.0.1", port)),
                successor(proxy, "--upgrade-socket", path, config=config) as new,
            ):
                assert await ended(new.process) == 1
        await load.answered(50)
        assert proxy.process.poll() is None
        assert proxy.admin("/ready") == (200, "LIVE\n")
        with successor(proxy, "--upgrade-socket", path) as new:
            assert await ended(proxy.process) == 0
            await load.answered(50)
            await load.stop()
    assert load.report.failures == []


async def test_without_the_socket_a_second_process_is_refused(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream
) -> None:
    """Two proxies on one port would share its requests by chance."""
    proxy = start_fastproxy(simple_template(upstream.port))
    proxy.process.send_signal(signal.SIGUSR2)
    await logged(proxy, "only with --upgrade-socket")
    with successor(proxy) as new:
        assert await ended(new.process) == 1
        assert "another process listens there" in new.log()
    assert proxy.process.poll() is None


def test_sockets_of_a_service_manager_are_used(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """systemd opens them before the service starts and keeps them over a restart: connections wait, none is refused."""
    ports = free_ports("admin", "plain")
    config = write_config(simple_template(upstream.port)(ports), tmp_path / "activated.yaml")
    log_path = tmp_path / "activated.log"
    with socket.create_server(("127.0.0.1", ports["plain"])) as listening:
        # A connection from before the start: it waits in the socket.
        early = socket.create_connection(("127.0.0.1", ports["plain"]))
        early.sendall(b"GET /early HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        script = (
            "import os, sys\n"
            f"os.dup2({listening.fileno()}, 3)\n"
            "os.set_inheritable(3, True)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='plain.socket')\n"
            "os.execv(sys.argv[1], sys.argv[1:])\n"
        )
        command = [sys.executable, "-c", script, *fastproxy_command(config, "--concurrency", "2")]
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, pass_fds=[listening.fileno()]
            )
    proxy = RunningProxy("activated", process, ports, log_path, config)
    try:
        wait_until_ready(proxy)
        early.settimeout(PATIENCE_S)
        assert early.recv(100).startswith(b"HTTP/1.1 200 ")
        early.close()
        environment = Path(f"/proc/{workers_of(proxy)[0]}/environ").read_bytes()
        assert b"LISTEN_" not in environment
    finally:
        proxy.stop()


async def test_a_service_manager_is_told_how_it_goes(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ready, reloading, the process that is the main one after an upgrade, stopping: systemd relies on each."""
    path = str(tmp_path / "upgrade.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify.sock"))
        manager.settimeout(PATIENCE_S)

        async def told() -> list[str]:
            return (await asyncio.to_thread(manager.recv, 4096)).decode().split("\n")

        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify.sock"))
        proxy = start_fastproxy(simple_template(upstream.port), "--upgrade-socket", path)
        assert (await told())[:2] == ["READY=1", f"MAINPID={proxy.process.pid}"]
        proxy.process.send_signal(signal.SIGHUP)
        assert (await told())[0] == "RELOADING=1"
        assert (await told())[0] == "READY=1"
        with successor(proxy, "--upgrade-socket", path) as new:
            heard = {line for _ in range(2) for line in await told() if line.startswith("MAINPID=")}
            assert heard == {f"MAINPID={new.process.pid}"}
            assert await ended(proxy.process) == 0
            new.process.terminate()
            assert await told() == ["STOPPING=1"]
