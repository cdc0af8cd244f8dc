"""Reload in the control plane, with real sockets and worker processes: all of it in all workers, or nothing (S58)."""

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastproxy.config import ConfigError
from fastproxy.config.problems import ConfigProblem
from fastproxy.config.settings import AdminSettings, ProxySettings
from fastproxy.control import Configuration, ControlPlane
from fastproxy.control.admin import ServerState
from fastproxy.control.reload import unchangeable
from fastproxy.tasks import spawn
from tests.control.support import (
    Answer,
    ask,
    behaviour,
    cluster,
    jwk,
    jwks,
    key_server,
    listener,
    local_provider,
    options,
    provider,
    proxy_settings,
    until,
)


class Proxy:
    """A control plane whose next configuration the test decides."""

    def __init__(self, settings: ProxySettings, **more: Any) -> None:
        self.next: Configuration | ConfigError = Configuration(settings, behaviour())
        self.plane = ControlPlane(settings, behaviour(), options(**more), load=self.load)

    def load(self, in_force: Configuration) -> Configuration:
        if isinstance(self.next, ConfigError):
            raise self.next
        return self.next

    async def reload(self, settings: ProxySettings, mode: str = "serve") -> bool:
        """Ask for a reload as an operator does, and wait for its outcome."""
        self.next = Configuration(settings, behaviour(mode))
        return await self.reload_again()

    async def reload_again(self) -> bool:
        status = self.plane.overview.reload_status()
        before = (status.succeeded, status.failed)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: (status.succeeded, status.failed) != before)
        return status.succeeded > before[0]

    def port(self, position: int = 0) -> int:
        return list(self.plane.overview.listeners())[position].addresses[0][1]


@asynccontextmanager
async def proxy(settings: ProxySettings, **more: Any) -> AsyncIterator[Proxy]:
    made = Proxy(settings, **more)
    task = spawn(made.plane.run(), name="plane")
    try:
        await until(lambda: task.done() or made.plane.overview.state is ServerState.LIVE)
        if task.done():
            await task
        yield made
    finally:
        if not task.done():
            made.plane.request_shutdown("test ends")
            made.plane.request_shutdown("test ends")
        await task


async def everybody(port: int, concurrency: int) -> dict[int, dict[str, Any]]:
    """Ask until every worker has answered."""
    found: dict[int, dict[str, Any]] = {}
    while len(found) < concurrency:
        answer = await ask(port)
        found[answer["worker"]] = answer
    return found


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_s58_all_workers_switch_and_unchanged_listeners_keep_their_sockets() -> None:
    """The same port is open all the time, and every worker has the new configuration when the reload has succeeded."""
    async with proxy(proxy_settings(listener()), concurrency=2) as running:
        port = running.port()
        assert await running.reload(proxy_settings(listener(), clusters=(cluster("new", 80),)))
        found = await everybody(port, 2)

        assert running.port() == port
        assert {one["generation"] for one in found.values()} == {2}
        assert {json.dumps(one["endpoints"]) for one in found.values()} == {
            '{"new": [["127.0.0.1", 80, ""]]}'
        }
        assert running.plane.overview.reload_status().generation == 2
        assert len({one["pid"] for one in found.values()}) == 2


async def test_listeners_come_and_go() -> None:
    """A new address answers when the reload has succeeded, a removed one is refused."""
    async with proxy(proxy_settings(listener("one"))) as running:
        first = running.port()
        assert await running.reload(proxy_settings(listener("one"), listener("two")))
        second = running.port(1)
        assert (await ask(second))["generation"] == 2
        assert await running.reload(proxy_settings(listener("two")))
        assert running.port() == second
        assert (await ask(second))["generation"] == 3
        await until(lambda: not is_open(first))


async def test_s58_a_bad_file_changes_nothing_and_every_problem_is_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The old policy goes on; log and status page name all that is wrong."""
    async with proxy(proxy_settings(listener())) as running:
        problems = tuple(ConfigProblem("f.yaml", line, "a.b", f"problem {line}") for line in (3, 9))
        running.next = ConfigError(problems)
        assert not await running.reload_again()
        status = running.plane.overview.reload_status()

        assert (await ask(running.port()))["generation"] == 1
        assert (status.generation, status.failed, status.succeeded) == (1, 1, 0)
        assert "problem 3" in status.last_error[0]
        assert "problem 9" in status.last_error[1]
        assert "problem 9" in caplog.text
        assert await running.reload(proxy_settings(listener()))
        assert status.last_error == ()


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("refuse", "the access log cannot be opened"), ("mute", "worker 0 did not answer within 0.3 s")],
)
async def test_s58_one_worker_that_cannot_keeps_all_from_switching(mode: str, reason: str) -> None:
    """Half of the workers under a new policy would be no policy."""
    async with proxy(proxy_settings(listener()), concurrency=2, reload_timeout_s=0.3) as running:
        assert not await running.reload(proxy_settings(listener(), listener("more")), mode)
        found = await everybody(running.port(), 2)

        assert {one["generation"] for one in found.values()} == {1}
        assert running.plane.overview.reload_status().last_error == (reason,)
        assert len(list(running.plane.overview.listeners())) == 1
        assert await running.reload(proxy_settings(listener()))
        assert (await ask(running.port()))["generation"] == 2


async def test_a_worker_that_dies_while_it_prepares_is_replaced_by_one_of_the_new_generation() -> None:
    """Its successor waits for the outcome, so that it cannot miss it."""
    async with proxy(proxy_settings(listener()), restart_backoff_s=(0.01, 0.01)) as running:
        assert await running.reload(proxy_settings(listener()), "die")

        assert (await ask(running.port()))["generation"] == 2


async def test_a_later_worker_starts_with_the_generation_in_force() -> None:
    """A crash must not bring back an old policy."""
    async with proxy(proxy_settings(listener("a")), restart_backoff_s=(0.01, 0.01)) as running:
        assert await running.reload(proxy_settings(listener("a"), listener("b"), clusters=(cluster("c", 1),)))
        await ask(running.port(), "die")
        for position in (0, 1):
            answer = await ask(running.port(position))
            assert (answer["generation"], answer["endpoints"]) == (2, {"c": [["127.0.0.1", 1, ""]]})


async def test_an_address_in_use_refuses_the_reload() -> None:
    """It is found before any worker is asked."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        async with proxy(proxy_settings(listener("a"))) as running:
            assert not await running.reload(proxy_settings(listener("a"), listener("b", taken)))
            (error,) = running.plane.overview.reload_status().last_error
            assert f"cannot bind 127.0.0.1:{taken}" in error
            assert (await ask(running.port()))["generation"] == 1


async def test_unchanged_key_sources_keep_their_keys_and_changed_ones_go_on_from_their_epoch() -> None:
    """The first costs no fetch; the second must not look older than what the workers have."""
    async with key_server(Answer(jwks(jwk("a")))) as keys:
        clusters = (cluster("keys", keys.port),)
        first = proxy_settings(listener(providers=[provider()]), clusters=clusters)
        source = provider().source_id
        async with proxy(first) as running:

            async def epoch() -> int:
                return int((await ask(running.port()))["jwks"].get(source, [0])[0])

            async def fetched() -> bool:
                return await epoch() >= 1

            await until(fetched)
            assert await running.reload(first)
            answer = await ask(running.port())
            assert answer["kept"] == [source]
            assert (answer["jwks"][source][0], len(keys.requests)) == (1, 1)

            changed = provider(cache_duration_s=60.0)
            assert await running.reload(proxy_settings(listener(providers=[changed]), clusters=clusters))

            async def renewed() -> bool:
                return await epoch() >= 2

            await until(renewed)
            assert (await ask(running.port()))["kept"] == []
            assert len(keys.requests) == 2

            gone = proxy_settings(listener(), clusters=clusters)
            assert await running.reload(gone)
            assert (await ask(running.port()))["jwks"] == {}
            stats = await running.plane.overview.collect_stats()
            assert stats.counters["jwks.p.fetch_success"] == 2, "counters of what is gone stay"


async def test_a_key_source_whose_cluster_changed_is_another_source() -> None:
    """Keys from where the operator no longer looks must not stay in force."""
    async with key_server(Answer(jwks(jwk("a")))) as old, key_server(Answer(jwks(jwk("b")))) as new:
        listeners = listener(providers=[provider()])
        async with proxy(proxy_settings(listeners, clusters=(cluster("keys", old.port),))) as running:
            source = provider().source_id

            async def has(kid: str) -> bool:
                return f'"{kid}"' in json.dumps((await ask(running.port()))["jwks"].get(source, "")).replace(
                    "\\", ""
                )

            async def has_old() -> bool:
                return await has("a")

            async def has_new() -> bool:
                return await has("b")

            await until(has_old)
            assert await running.reload(proxy_settings(listeners, clusters=(cluster("keys", new.port),)))
            assert (await ask(running.port()))["kept"] == []
            await until(has_new)


async def test_keys_of_a_file_change_with_the_rules_that_use_them(tmp_path: Path) -> None:
    """The file is read with the configuration; its watcher would notice only later."""
    file = tmp_path / "keys.json"
    file.write_bytes(jwks(jwk("old")))
    before = local_provider(file.read_bytes(), filename=str(file))
    async with proxy(proxy_settings(listener(providers=[before]))) as running:
        file.write_bytes(jwks(jwk("new")))
        after = local_provider(file.read_bytes(), filename=str(file))
        assert await running.reload(proxy_settings(listener(providers=[after])))

        epoch, document = (await ask(running.port()))["jwks"][before.source_id]
        assert epoch == 2
        assert "new" in document


async def test_requests_that_come_during_a_reload_are_one_more_reload(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An editor that writes a file ten times must not cause ten reloads, and the last content must count."""
    caplog.set_level(logging.INFO)
    async with proxy(proxy_settings(listener())) as running:
        status = running.plane.overview.reload_status()
        for _ in range(10):
            os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: status.succeeded >= 1 and not status.in_progress)
        await asyncio.sleep(0)
        assert status.succeeded <= 2


async def test_a_shutdown_during_a_reload_is_not_held_up() -> None:
    """A worker that does not answer must not keep the proxy from ending."""
    async with proxy(proxy_settings(listener())) as running:
        running.next = Configuration(proxy_settings(listener(), listener("b")), behaviour("mute"))
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: running.plane.overview.reload_status().in_progress)


async def test_what_a_configuration_warns_of_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Files with resources may change every second, and an operator must find what is new."""
    async with proxy(proxy_settings(listener("one")), warnings=("odd: first",)) as made:
        for warnings in (("odd: first",), ("odd: first", "odd: second"), ("odd: first", "odd: second")):
            made.next = Configuration(proxy_settings(listener("one")), behaviour(), warnings)
            assert await made.reload_again()
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("odd")]
    assert told == ["odd: first", "odd: second"]


def test_the_admin_address_cannot_be_reloaded() -> None:
    """It is said in words, and before anything else happens."""
    old = proxy_settings(listener(), admin=True)
    (problem,) = unchangeable(old, replace(old, admin=AdminSettings("127.0.0.1", 9999)))
    assert "admin" in problem
    assert "restart" in problem
    assert unchangeable(old, old) == []
