"""Reload of real processes under load: no request is lost, and none is served by half a policy (S58).

FASTPROXY_RELOADS sets the number of reloads of the long drill.
"""

import asyncio
import json
import os
import signal
import ssl
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from fastproxy.tasks import spawn
from tests.config.test_upstream_tls import make_pair
from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.load import LoadClient
from tests.e2e.support.proxies import Config, Ports, RunningProxy, resident_bytes, workers_of, write_config
from tests.e2e.support.templates import bootstrap, cluster, direct, forward, listener, virtual_host
from tests.e2e.support.upstream import ScriptedUpstream

_RELOADS = int(os.environ.get("FASTPROXY_RELOADS", "100"))


class Reloadable:
    """A proxy whose file the test changes: listener `plain` always, `extra` on demand, and a numbered answer."""

    def __init__(self, start: StartFastProxy, upstream: ScriptedUpstream, *options: str) -> None:
        self._upstream = upstream
        self.proxy: RunningProxy = start(self._first, *options)
        self.path = self.proxy.config_path

    def _first(self, ports: Ports) -> Config:
        self.ports = ports
        return self.config(0)

    def config(self, number: int, *, connect_timeout: str = "2s", more: Config | None = None) -> Config:
        routes = [direct({"path": "/number"}, 200, str(number)), forward({"prefix": "/"})]
        plain = listener("plain", self.ports["plain"], [virtual_host("all", ["*"], routes)])
        echo = cluster("echo", self._upstream.port, connect_timeout=connect_timeout)
        return bootstrap(self.ports["admin"], [plain, *([] if more is None else [more])], [echo])

    def status(self) -> dict[str, object]:
        code, body = self.proxy.admin("/reload_status")
        assert code == 200
        status: dict[str, object] = json.loads(body)
        return status

    async def reload(self, config: Config) -> dict[str, object]:
        """Write the file, send SIGHUP, wait for the outcome."""
        before = self.status()["reloads"]
        write_config(config, self.path)
        self.proxy.process.send_signal(signal.SIGHUP)
        return await self.outcome(before)

    async def outcome(self, before: object) -> dict[str, object]:
        for _ in count():
            status = await asyncio.to_thread(self.status)
            if status["reloads"] != before and not status["in_progress"]:
                return status
            await asyncio.sleep(0.005)
        raise AssertionError


def counter(proxy: RunningProxy, name: str) -> int:
    return int(proxy.admin(f"/stats?filter=^{name}$")[1].rpartition(": ")[2])


async def test_s58_a_hundred_reloads_under_load_lose_no_request(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream
) -> None:
    """Kept and new connections, changed routes every time and a changed cluster every third; memory stays bounded."""
    reloadable = Reloadable(start_fastproxy, upstream, "--concurrency", "2")
    proxy = reloadable.proxy
    workers = workers_of(proxy)
    sizes = []
    async with (
        LoadClient(proxy.ports["plain"]) as load,
        LoadClient(proxy.ports["plain"], keep_alive=2, fresh=1, path="/number") as numbers,
    ):
        for number in range(1, _RELOADS + 1):
            timeout = "2s" if number % 3 else "3s"
            status = await reloadable.reload(reloadable.config(number, connect_timeout=timeout))
            assert status["generation"] == number + 1, status
            if number % 10 == 0:
                await load.answered(20)
                sizes.append(max(resident_bytes(pid) for pid in workers))
        await numbers.answered(20)

    assert load.report.failures == []
    assert numbers.report.failures == []
    assert workers_of(proxy) == workers, "no worker was replaced"
    assert {int(body) for body in numbers.report.bodies} <= set(range(_RELOADS + 1))
    assert str(_RELOADS).encode() in numbers.report.bodies
    assert counter(proxy, "server.config_reload_success") == _RELOADS
    total = load.report.answered + numbers.report.answered
    assert counter(proxy, "http.plain.downstream_rq_total") == total, "counters survive every reload"
    half = len(sizes) // 2
    if half:
        # A generation of this file that stayed would be about half a MiB of objects; this allows for none of 50.
        assert sizes[-1] - sizes[half - 1] < 6 * 1024 * 1024, sizes


async def test_s58_a_bad_file_keeps_the_old_policy_and_says_why(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream
) -> None:
    """All its problems are shown at once, the dump shows what is served, and nobody notices."""
    reloadable = Reloadable(start_fastproxy, upstream)
    proxy = reloadable.proxy
    async with LoadClient(proxy.ports["plain"]) as load:
        bad = reloadable.config(7)
        bad["static_resources"]["clusters"][0]["no_such_field"] = 1
        bad["static_resources"]["listeners"][0]["neither_this"] = 1
        status = await reloadable.reload(bad)
        await load.answered(50)

    assert load.report.failures == []
    assert status["generation"] == 1
    attempt = status["last_attempt"]
    assert isinstance(attempt, dict)
    problems = "\n".join(attempt["problems"])
    assert "no_such_field" in problems
    assert "neither_this" in problems
    assert f"{reloadable.path}:" in problems, "file and line"
    assert "no_such_field" not in proxy.admin("/config_dump")[1]
    assert "NOT reloaded" in proxy.log()
    assert "Traceback" not in proxy.log()
    assert counter(proxy, "server.config_reload_failure") == 1
    status = await reloadable.reload(reloadable.config(8))
    assert status["generation"] == 2
    assert '"8"' in proxy.admin("/config_dump")[1]


async def test_a_watched_file_is_reloaded_when_its_content_changes(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """Kubernetes swaps a symlink on the path; an editor renames a new file over the old one. Both must be seen."""
    reloadable = Reloadable(start_fastproxy, upstream, "--watch-config")
    new = write_config(reloadable.config(1), tmp_path / "new.yaml")
    new.rename(reloadable.path)
    status = await reloadable.outcome({"succeeded": 0, "failed": 0})
    assert status["generation"] == 2

    target = write_config(reloadable.config(2), tmp_path / "target.yaml")
    link = tmp_path / "link.yaml"
    link.symlink_to(target)
    link.rename(reloadable.path)
    status = await reloadable.outcome({"succeeded": 1, "failed": 0})
    assert status["generation"] == 3
    async with LoadClient(reloadable.proxy.ports["plain"], path="/number") as load:
        await load.answered(5)
    assert load.report.bodies == {b"2"}


async def test_tls_connections_outlive_a_reload_and_other_tls_settings_drain_them(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """A handshake costs a hundred requests; but a connection must not outlive the terms that it was made under."""
    chain, key = make_pair(tmp_path)

    def tls_config(number: int, version: str) -> Config:
        config = reloadable.config(number)
        add_tls(config, version)
        return config

    def add_tls(config: Config, version: str) -> None:
        config["static_resources"]["listeners"][0]["filter_chains"][0]["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {
                    "tls_params": {"tls_minimum_protocol_version": version},
                    "tls_certificates": [
                        {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
                    ],
                },
            },
        }

    async def get() -> tuple[bytes, bytes]:
        writer.write(b"GET /number HTTP/1.1\r\nhost: a\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head, await reader.readexactly(length)

    reloadable = Reloadable(start_fastproxy, upstream)
    assert (await reloadable.reload(tls_config(1, "TLSv1_2")))["generation"] == 2
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(chain)
    reader, writer = await asyncio.open_connection("127.0.0.1", reloadable.ports["plain"], ssl=context)
    assert (await get())[1] == b"1"
    assert (await reloadable.reload(tls_config(2, "TLSv1_2")))["generation"] == 3
    head, body = await get()
    assert body == b"2"
    assert b"connection: close" not in head

    assert (await reloadable.reload(tls_config(3, "TLSv1_3")))["generation"] == 4
    head, body = await get()
    assert body == b"2", "what is drained ends by the rules it has"
    assert b"connection: close" in head
    assert await reader.read() == b""
    writer.close()
    assert "Traceback" not in reloadable.proxy.log()


async def test_a_listener_turns_to_tls_and_back_on_the_socket_that_it_has(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """Plain, the event loop accepts by itself; for TLS we do. No new client may find the port closed meanwhile."""
    chain, key = make_pair(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(chain)
    reloadable = Reloadable(start_fastproxy, upstream, "--concurrency", "2")
    proxy, port = reloadable.proxy, reloadable.ports["plain"]
    workers, inodes = workers_of(proxy), _listening(port)
    refused: list[OSError] = []
    over = asyncio.Event()

    async def knock() -> None:
        while not over.is_set():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
            except OSError as error:
                refused.append(error)
            await asyncio.sleep(0)

    async def get(tls: ssl.SSLContext | None) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        writer.write(b"GET /number HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer.rpartition(b"\r\n\r\n")[2]

    knocking = spawn(knock(), name="knock")
    for number in range(1, 7):
        config = reloadable.config(number)
        if number % 2:
            config["static_resources"]["listeners"][0]["filter_chains"][0]["transport_socket"] = {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                    "common_tls_context": {
                        "tls_certificates": [
                            {
                                "certificate_chain": {"filename": str(chain)},
                                "private_key": {"filename": str(key)},
                            }
                        ]
                    },
                },
            }
        assert (await reloadable.reload(config))["generation"] == number + 1
        assert await get(context if number % 2 else None) == str(number).encode()
        assert _listening(port) == inodes, "the sockets are kept"
    over.set()
    await knocking

    assert refused == []
    assert workers_of(proxy) == workers
    assert "Traceback" not in proxy.log()


def _listening(port: int) -> set[str]:
    """Inodes of the sockets that listen on a port of 127.0.0.1."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {line[9] for line in lines if line[1] == f"0100007F:{port:04X}" and line[3] == "0A"}


async def test_a_worker_that_is_killed_under_load_loses_only_what_it_was_serving(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream
) -> None:
    """Its socket stays open: nobody is refused, and connections that wait in it are served by its successor."""
    reloadable = Reloadable(start_fastproxy, upstream, "--concurrency", "2")
    proxy = reloadable.proxy
    clients = 6
    async with LoadClient(proxy.ports["plain"], keep_alive=0, fresh=clients) as load:
        await load.answered(50)
        victim = workers_of(proxy)[0]
        os.kill(victim, signal.SIGKILL)
        while len(workers_of(proxy)) < 2 or victim in workers_of(proxy):
            await asyncio.sleep(0.01)
        await load.answered(300)

    assert load.report.refused == 0
    assert len(load.report.failures) <= clients, load.report.failures


@pytest.mark.parametrize("concurrency", [2, 4])
async def test_new_connections_spread_over_the_workers(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, concurrency: int
) -> None:
    """The kernel chooses by a hash of the addresses, so no worker gets less than half of its part of 400."""
    reloadable = Reloadable(start_fastproxy, upstream, "--concurrency", str(concurrency))
    proxy = reloadable.proxy
    connections = 400
    pairs = [await asyncio.open_connection("127.0.0.1", proxy.ports["plain"]) for _ in range(connections)]
    try:
        while counter(proxy, "http.plain.downstream_cx_active") < connections:
            await asyncio.sleep(0.01)
        shares = sorted(_tcp_sockets(pid) for pid in workers_of(proxy))
    finally:
        for _, writer in pairs:
            writer.close()
    assert len(shares) == concurrency
    assert shares[0] >= connections / concurrency / 2, shares


def _tcp_sockets(pid: int) -> int:
    """Open sockets of a process; a few of them are no connections."""
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found += str(entry.readlink()).startswith("socket:")
    return found
