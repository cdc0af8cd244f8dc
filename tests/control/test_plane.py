"""The control plane as a whole, with real sockets, real worker processes and real signals."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fastproxy.config.settings import AdminSettings, ProxySettings
from fastproxy.control import ControlPlane, StartupError
from fastproxy.control.admin import ServerState
from fastproxy.tasks import spawn
from fastproxy.upstream.settings import ClusterSettings, DiscoveryType, EndpointSettings
from tests.control.support import (
    Answer,
    ask,
    behaviour,
    cluster,
    jwk,
    jwks,
    key_server,
    listener,
    options,
    provider,
    proxy_settings,
    until,
)


class Running:
    """A control plane that serves."""

    def __init__(self, plane: ControlPlane, task: "asyncio.Task[None]", admin: str) -> None:
        self.plane = plane
        self.task = task
        self.admin = admin

    @property
    def port(self) -> int:
        return next(iter(self.plane.overview.listeners())).addresses[0][1]

    async def get(self, path: str, method: str = "GET", **more: Any) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://{self.admin}{path}", **more) as response,
        ):
            return response.status, await response.text()


@asynccontextmanager
async def serving(
    settings: ProxySettings, tmp_path: Path, *, bootstrap: bytes = b"", wait: bool = True, **more: Any
) -> AsyncIterator[Running]:
    address = tmp_path / "admin-address"
    plane = ControlPlane(settings, bootstrap or behaviour(), options(admin_address_path=str(address), **more))
    task = spawn(plane.run(), name="plane")
    try:
        await until(
            lambda: (
                task.done() or (address.exists() and (not wait or plane.overview.state is ServerState.LIVE))
            )
        )
        if task.done():
            await task
        yield Running(plane, task, address.read_text())
    finally:
        if not task.done():
            plane.request_shutdown("test ends")
            plane.request_shutdown("test ends")
        await task


async def test_workers_serve_on_the_configured_listener(tmp_path: Path) -> None:
    """The socket was bound here and is served there."""
    async with serving(proxy_settings(listener(), admin=True), tmp_path, concurrency=2) as running:
        workers = {(await ask(running.port))["worker"] for _ in range(60)}

    assert workers == {0, 1}


async def test_dead_worker_is_replaced_and_connections_wait_for_it(tmp_path: Path) -> None:
    """Its listening socket stays open in the control plane, so nobody is refused meanwhile."""
    settings = proxy_settings(listener(), clusters=(cluster("c", 80),), admin=True)
    async with serving(settings, tmp_path, restart_backoff_s=(0.05, 0.05)) as running:
        before = await ask(running.port)
        await ask(running.port, "die")
        after = await ask(running.port)

    assert before["worker"] == after["worker"]
    assert before["pid"] != after["pid"]
    assert after["endpoints"] == {"c": [["127.0.0.1", 80, ""]]}


async def test_new_worker_gets_the_whole_state(tmp_path: Path) -> None:
    """Addresses, keys and log levels that were broadcast before it lived."""
    async with key_server(Answer(jwks(jwk("a")))) as keys:
        settings = proxy_settings(
            listener(providers=[provider()]), clusters=(cluster("keys", keys.port),), admin=True
        )
        async with serving(settings, tmp_path, restart_backoff_s=(0.01, 0.01)) as running:

            async def keys_arrived() -> bool:
                return bool((await ask(running.port))["jwks"])

            await until(keys_arrived)
            assert (await running.get("/logging?level=debug", "POST"))[0] == 200
            assert (await running.get("/logging?control.dns=error", "POST"))[0] == 200
            await ask(running.port, "die")
            state = await ask(running.port)
            await running.get("/logging?level=info", "POST")

    assert state["jwks"][provider().source_id][0] == 1
    assert state["log_level"] == "debug"
    assert state["levels"] == [["error", "control.dns"]]
    assert len(keys.requests) == 1


async def test_refresh_request_of_a_worker_reaches_the_key_server(tmp_path: Path) -> None:
    """The way of an unknown kid: worker, channel, fetch, all workers."""
    async with key_server(Answer(jwks(jwk("a")))) as keys:
        settings = proxy_settings(
            listener(providers=[provider()]), clusters=(cluster("keys", keys.port),), admin=True
        )
        async with serving(settings, tmp_path) as running:
            await until(lambda: len(keys.requests) == 1)

            async def epoch() -> int:
                return int((await ask(running.port))["jwks"].get(provider().source_id, [0])[0])

            async def first() -> bool:
                return await epoch() == 1

            async def second() -> bool:
                return await epoch() == 2

            await until(first)
            keys.answer = Answer(jwks(jwk("b")))
            await ask(running.port, f"refresh {provider().source_id}")
            await until(second)

    assert len(keys.requests) == 2


async def test_sigterm_lets_requests_in_flight_finish(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A deployment must not cost a single request."""
    caplog.set_level(logging.INFO, logger="fastproxy")
    async with serving(proxy_settings(listener(), admin=True), tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"hold\n")
        assert await reader.readline() == b"held\n"
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: running.plane.overview.state is ServerState.DRAINING)
        assert await running.get("/ready") == (503, "DRAINING\n")

        async def refused() -> bool:
            try:
                await ask(running.port)
            except OSError:
                return True
            return False

        await until(refused)
        assert not running.task.done()
        writer.write(b"\n")
        assert b'"worker"' in await reader.readline()
        writer.close()
        await running.task

    assert "SIGTERM: draining, at most 30 s" in caplog.text
    assert caplog.messages[-1] == "exiting"


async def test_drain_time_bounds_the_wait(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A client that never finishes must not keep the process."""
    async with serving(proxy_settings(listener(), admin=True), tmp_path, drain_time_s=0.2) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"hold\n")
        await reader.readline()
        running.plane.request_shutdown("test")
        await running.task
        writer.close()

    assert "requests were still in flight" in caplog.text


async def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Ctrl-C twice is what people do."""
    async with serving(proxy_settings(listener(), admin=True), tmp_path, drain_time_s=3600) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"hold\n")
        await reader.readline()
        os.kill(os.getpid(), signal.SIGINT)
        await until(lambda: running.plane.overview.state is ServerState.DRAINING)
        os.kill(os.getpid(), signal.SIGINT)
        await running.task
        writer.close()


async def test_quitquitquit_drains_and_ends(tmp_path: Path) -> None:
    """POST only: a link must not stop a proxy."""
    async with serving(proxy_settings(listener(), admin=True), tmp_path) as running:
        assert await running.get("/quitquitquit") == (405, "Method GET not allowed, POST required.")
        assert await running.get("/quitquitquit", "POST") == (200, "OK\n")
        await running.task


async def test_sigusr1_reopens_logs(tmp_path: Path) -> None:
    """logrotate sends it."""
    async with serving(proxy_settings(listener(), admin=True), tmp_path) as running:
        os.kill(os.getpid(), signal.SIGUSR1)

        async def reopened() -> bool:
            return bool((await ask(running.port))["reopened"])

        await until(reopened)


async def test_admin_answers_before_traffic_is_served(tmp_path: Path) -> None:
    """Orchestrators ask /ready from the first second."""
    started = asyncio.Event()

    async def never(_name: str, _family: socket.AddressFamily) -> list[str]:
        started.set()
        await asyncio.Event().wait()
        return []

    dns = ClusterSettings("c", DiscoveryType.STRICT_DNS, (EndpointSettings("a.test", 80),))
    address = tmp_path / "admin-address"
    plane = ControlPlane(
        proxy_settings(listener(), clusters=(dns,), admin=True),
        behaviour(),
        options(admin_address_path=str(address), first_resolution_timeout_s=3600),
        lookup=never,
    )
    task = spawn(plane.run(), name="plane")
    await started.wait()
    running = Running(plane, task, address.read_text())
    answer = await running.get("/ready")
    refused = False
    try:
        await asyncio.open_connection("127.0.0.1", running.port)
    except ConnectionRefusedError:
        refused = True
    plane.request_shutdown("test")
    await task

    assert answer == (503, "PRE_INITIALIZING\n")
    assert refused


async def test_dns_that_does_not_answer_delays_the_start_only_for_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A dead resolver must not keep a proxy down whose other clusters are fine."""

    async def never(_name: str, _family: socket.AddressFamily) -> list[str]:
        await asyncio.Event().wait()
        return []

    dns = ClusterSettings("c", DiscoveryType.STRICT_DNS, (EndpointSettings("a.test", 80),))
    plane = ControlPlane(
        proxy_settings(listener(), clusters=(dns,)),
        behaviour(),
        options(first_resolution_timeout_s=0.05),
        lookup=never,
    )
    task = spawn(plane.run(), name="plane")
    await until(lambda: plane.overview.state is ServerState.LIVE)
    plane.request_shutdown("test")
    await task

    assert "some clusters have no DNS answer yet" in caplog.text


async def test_worker_that_cannot_start_fails_the_start_with_its_reason(tmp_path: Path) -> None:
    """And leaves nothing running."""
    with pytest.raises(StartupError, match="no worker could start: local JWKS cannot be read"):
        async with serving(proxy_settings(listener()), tmp_path, bootstrap=behaviour("fail")):
            pass


async def test_port_in_use_fails_the_start(tmp_path: Path) -> None:
    """For listeners and for the admin interface alike."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=f"cannot bind 127.0.0.1:{port}"):
            await ControlPlane(proxy_settings(listener(port=port)), b"", options()).run()
        with pytest.raises(StartupError, match="the admin interface"):
            await ControlPlane(ProxySettings(admin=AdminSettings("127.0.0.1", port)), b"", options()).run()


async def test_start_up_milestones_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """People, and their scripts, look for Envoy's words."""
    caplog.set_level(logging.INFO, logger="fastproxy")
    async with serving(
        proxy_settings(listener(), admin=True), tmp_path, warnings=("a.yaml:3: odd",)
    ) as running:
        port = running.port

    text = "\n".join(caplog.messages)
    milestones = [
        "a.yaml:3: odd",
        "ML-DSA signatures: ",
        f"listener 'main' on 127.0.0.1:{port}",
        "admin address: 127.0.0.1:",
        "all clusters initialized",
        "all dependencies initialized. starting 1 workers",
        "starting main dispatch loop",
        "exiting",
    ]
    positions = [text.index(milestone) for milestone in milestones]
    assert positions == sorted(positions)


async def test_s64_admin_on_a_public_address_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reaches it can stop the proxy."""
    plane = ControlPlane(ProxySettings(admin=AdminSettings("0.0.0.0", 0)), behaviour(), options())
    task = spawn(plane.run(), name="plane")
    await until(lambda: plane.overview.state is ServerState.LIVE)
    plane.request_shutdown("test")
    await task

    assert "not a loopback address" in caplog.text


async def test_stats_are_summed_over_workers_and_survive_them(tmp_path: Path) -> None:
    """One proxy, one number, whichever worker served."""
    async with serving(
        proxy_settings(listener(), admin=True), tmp_path, concurrency=2, restart_backoff_s=(0.01, 0.01)
    ) as running:
        for _ in range(5):
            await ask(running.port)
        path = "/stats?filter=^http.ingress.downstream_cx_(active|total)$"
        before = await running.get(path)
        await ask(running.port, "die")
        await until(
            lambda: running.plane._supervisor.restarts == 1 and running.plane._supervisor.ready_count == 2
        )
        after = await running.get(path)

    assert before == (200, "http.ingress.downstream_cx_active: 0\nhttp.ingress.downstream_cx_total: 5\n")
    assert after == before  # the visit that killed its worker was not reported any more


async def test_worker_that_does_not_answer_does_not_hang_the_statistics(tmp_path: Path) -> None:
    """A stopped worker is counted with its last report."""
    async with serving(proxy_settings(listener(), admin=True), tmp_path) as running:
        running.plane._stats._timeout_s = 0.05
        await ask(running.port)
        first = await running.get("/stats?filter=^http.ingress.downstream_cx_total")
        (pid,) = running.plane._supervisor.pids()
        os.kill(pid, signal.SIGSTOP)
        second, third = await asyncio.gather(
            running.get("/stats?filter=^http.ingress.downstream_cx_total"),
            running.get("/stats?filter=^http.ingress.downstream_cx_total"),
        )
        os.kill(pid, signal.SIGCONT)

    assert first == second == third == (200, "http.ingress.downstream_cx_total: 1\n")
