"""Key sets on disk: a restart during an outage works, and a planted or damaged file does not."""

import asyncio
import json
import logging
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fastproxy import clock
from fastproxy.control.jwks_fetcher import JwksFetcher
from fastproxy.control.jwks_http import JwksHttpClient
from fastproxy.control.jwks_snapshot import Snapshot, SnapshotRefused, SnapshotStore
from fastproxy.control.jwks_source import JwksMessage
from fastproxy.filters.jwt_authn.settings import ProviderSettings
from fastproxy.ipc.messages import EndpointAddress, JwksFetchFailed, JwksUpdate
from tests.control.support import Answer, KeyServer, cluster, jwk, jwks, key_server, provider, until

NOW = 1_700_000_000.0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    return folder


def snapshot(text: str = "{}", fetched_at: float = NOW) -> Snapshot:
    return Snapshot("source", fetched_at, 600.0, text)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """The directory is made if its parent is there."""
    store = SnapshotStore(str(tmp_path / "new"))
    store.save(snapshot("old"))
    store.save(snapshot("new"))

    assert store.load("source", NOW + 5) == snapshot("new")
    assert store.load("other", NOW) is None


def test_files_are_for_the_owner_alone_and_nothing_is_left_over(tmp_path: Path) -> None:
    """Whoever can write a snapshot can sign tokens."""
    folder = tmp_path / "new"
    SnapshotStore(str(folder)).save(snapshot())

    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"[]", "no key snapshot"),
        (b'{"version":2}', "no key snapshot"),
        (b'{"version":1}', "damaged"),
        (b'{"version":1,"source_id":"source","fetched_at":"x","lifetime_s":1,"jwks":"{}"}', "damaged"),
        (b'{"version":1,"source_id":"b","fetched_at":1,"lifetime_s":1,"jwks":"{}"}', "another key source"),
        (b'{"version":1,"source_id":"source","fetched_at":9e12,"lifetime_s":1,"jwks":"{}"}', "future"),
    ],
)
def test_damaged_file_is_refused(content: bytes, reason: str, directory: Path) -> None:
    """Half a file after a crash, another version, a clock that was wrong: start without keys."""
    store = SnapshotStore(str(directory))
    store.save(snapshot())
    (file,) = directory.iterdir()
    file.write_bytes(content)

    with pytest.raises(SnapshotRefused, match=reason):
        store.load("source", NOW)


def test_file_that_others_can_write_is_refused(directory: Path) -> None:
    """A planted key set would make any token good."""
    store = SnapshotStore(str(directory))
    store.save(snapshot())
    (file,) = directory.iterdir()
    file.chmod(0o660)
    with pytest.raises(SnapshotRefused, match="can be written by other users"):
        store.load("source", NOW)
    file.chmod(0o600)
    directory.chmod(0o777)
    with pytest.raises(SnapshotRefused, match="can be written by other users"):
        store.load("source", NOW)


def test_symlinks_and_pipes_are_refused(directory: Path, tmp_path: Path) -> None:
    """A link leads to a file of somebody else's choice; a pipe would hang the start."""
    store = SnapshotStore(str(directory))
    store.save(snapshot())
    (file,) = directory.iterdir()
    target = tmp_path / "target"
    file.rename(target)
    file.symlink_to(target)
    with pytest.raises(SnapshotRefused):
        store.load("source", NOW)
    file.unlink()
    os.mkfifo(file, 0o600)
    with pytest.raises(SnapshotRefused, match="not a regular file"):
        store.load("source", NOW)


@asynccontextmanager
async def fetcher(
    settings: ProviderSettings, server: KeyServer, directory: Path
) -> AsyncIterator[tuple[JwksFetcher, "asyncio.Queue[JwksMessage]"]]:
    messages: asyncio.Queue[JwksMessage] = asyncio.Queue()
    client = JwksHttpClient(
        {"keys": cluster("keys", server.port)}, lambda _: [EndpointAddress("127.0.0.1", server.port, "")]
    )
    running = JwksFetcher(
        (settings,), client, messages.put_nowait, snapshots=SnapshotStore(str(directory)), cooldown_s=0.0
    )
    running.start()
    try:
        yield running, messages
    finally:
        await running.stop()


async def test_restart_during_an_outage_has_the_keys_of_the_last_run(directory: Path) -> None:
    """The reason for the whole: a deployment and an outage may meet."""
    settings, body = provider(), jwks(jwk("a"))
    async with key_server(Answer(body)) as server:
        async with fetcher(settings, server, directory) as (_, messages):
            await messages.get()
            await until(lambda: any(directory.glob("*.json")))
        server.answer = Answer(b"", status=503)
        async with fetcher(settings, server, directory) as (running, messages):
            (update,) = running.snapshot()
            source = running.sources[settings.source_id]
            assert isinstance(await messages.get(), JwksFetchFailed)
            assert source.from_snapshot
            assert (update.epoch, update.jwks) == (1, body.decode())
            assert running.snapshot() == [update]

            server.answer = Answer(body)
            running.on_refresh_request(settings.source_id)
            assert await messages.get() == update
            assert not source.from_snapshot


async def test_s42_restart_does_not_prolong_the_life_of_keys(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """max_stale counts from the original fetch; else a crash loop would keep revoked keys for ever."""
    settings = provider(cache_duration_s=300.0, max_stale_s=100.0)
    async with key_server(Answer(jwks(jwk("a")))) as server:
        async with fetcher(settings, server, directory) as (_, messages):
            await messages.get()
            await until(lambda: any(directory.glob("*.json")))
        fetched_at = clock.unix_time()
        server.answer = Answer(b"", status=503)
        monkeypatch.setattr(clock, "unix_time", lambda: fetched_at + 350.0)
        async with fetcher(settings, server, directory) as (running, messages):
            source = running.sources[settings.source_id]
            assert source.schedule.is_stale(clock.monotonic())
            limit = source.schedule.stale_until
            assert limit is not None
            assert 40.0 < limit - clock.monotonic() < 51.0
        monkeypatch.setattr(clock, "unix_time", lambda: fetched_at + 401.0)
        async with fetcher(settings, server, directory) as (running, messages):
            assert running.snapshot() == []


async def test_s4_s16_no_private_and_no_symmetric_key_reaches_the_disk(directory: Path) -> None:
    """A source that publishes them is already in trouble; copies on disk would be worse."""
    body = jwks(jwk("a", d="cHJpdmF0ZQ"), {"kty": "oct", "kid": "s", "k": "c3ltbWV0cmlj"})
    async with (
        key_server(Answer(body)) as server,
        fetcher(provider(), server, directory) as (_, messages),
    ):
        await messages.get()
        await until(lambda: any(directory.glob("*.json")))

    (file,) = directory.iterdir()
    assert b"cHJpdmF0ZQ" not in file.read_bytes()
    assert b"c3ltbWV0cmlj" not in file.read_bytes()


async def test_symmetric_keys_in_a_snapshot_are_not_used(directory: Path) -> None:
    """S4 holds whatever somebody wrote into the file."""
    store = SnapshotStore(str(directory))
    body = jwks({"kty": "oct", "kid": "s", "k": "c3ltbWV0cmljc3ltbWV0cmljc3ltbWV0cmlj"})
    store.save(Snapshot(provider().source_id, clock.unix_time(), 600.0, body.decode()))
    async with (
        key_server(Answer(b"", status=503)) as server,
        fetcher(provider(), server, directory) as (running, _),
    ):
        assert running.snapshot() == []


async def test_damaged_snapshot_is_a_warning_and_the_fetch_goes_on(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a spare copy; nothing may depend on it."""
    caplog.set_level(logging.WARNING, logger="fastproxy")
    store = SnapshotStore(str(directory))
    store.save(Snapshot(provider().source_id, 1.0, 1.0, "x"))
    (file,) = directory.iterdir()
    file.write_text(json.dumps({"version": 1, "secret": "s3cret"}))
    async with (
        key_server(Answer(jwks(jwk("a")))) as server,
        fetcher(provider(), server, directory) as (_, messages),
    ):
        assert isinstance(await messages.get(), JwksUpdate)

    assert "provider 'p': the key snapshot is not used:" in caplog.text
    assert "s3cret" not in caplog.text


async def test_directory_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The keys are there; only the next start is poorer."""
    caplog.set_level(logging.WARNING, logger="fastproxy")
    async with (
        key_server(Answer(jwks(jwk("a")))) as server,
        fetcher(provider(), server, tmp_path / "no" / "such") as (_, messages),
    ):
        assert isinstance(await messages.get(), JwksUpdate)
        await until(lambda: "the key snapshot cannot be written: No such file" in caplog.text)
