"""Watched `local_jwks` files: every way of replacing them, bad content, and symmetric keys."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fastproxy.control.jwks_local import LocalSource, LocalWatcher
from fastproxy.filters.jwt_authn.settings import LocalJwksSettings
from fastproxy.ipc.messages import JwksUpdate
from fastproxy.jwt import JwkSet
from fastproxy.stats import StatsSink
from tests.control.support import jwk, jwks, local_provider

SECRET = {
    "kty": "oct",
    "kid": "s",
    "k": "YSBzeW1tZXRyaWMga2V5IG9mIGZvcnR5IGJ5dGVzLCBvciBuZWFybHk",
    "alg": "HS256",
}


class Watching:
    """A watcher that looks when it is told to."""

    def __init__(self, file: Path) -> None:
        self.settings = local_provider(file.read_bytes(), filename=str(file))
        self.updates: list[JwksUpdate] = []
        self._looks: asyncio.Queue[None] = asyncio.Queue()
        self._looked = asyncio.Event()
        self.watcher = LocalWatcher((self.settings,), self.updates.append, pause=self._pause)
        self.source = self.watcher.sources[self.settings.source_id]

    async def _pause(self) -> None:
        self._looked.set()
        await self._looks.get()

    async def look(self) -> None:
        """Let it read the file once, and wait until it has."""
        await self._looked.wait()
        self._looked.clear()
        self._looks.put_nowait(None)
        await self._looked.wait()


@asynccontextmanager
async def watching(file: Path) -> AsyncIterator[Watching]:
    running = Watching(file)
    running.watcher.start()
    try:
        yield running
    finally:
        await running.watcher.stop()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(jwk("a")))
    return path


async def test_file_written_in_place_reaches_all_workers(file: Path) -> None:
    """One message to all, under a higher epoch, so they switch together."""
    async with watching(file) as running:
        await running.look()
        assert running.updates == []
        new = jwks(jwk("b"))
        file.write_bytes(new)
        await running.look()

    assert running.updates == [JwksUpdate(running.settings.source_id, 2, new.decode())]
    assert running.watcher.snapshot() == running.updates


async def test_file_renamed_over_is_seen(file: Path, tmp_path: Path) -> None:
    """The usual atomic replacement; the old inode never changes."""
    async with watching(file) as running:
        (tmp_path / "next").write_bytes(jwks(jwk("b")))
        (tmp_path / "next").replace(file)
        await running.look()

    assert running.source.epoch == 2


async def test_kubernetes_symlink_swap_is_seen(tmp_path: Path) -> None:
    """jwks.json -> ..data/jwks.json, and ..data is swapped: neither link of ours nor its directory changes."""
    for version, kid in (("v1", "a"), ("v2", "b")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "jwks.json").write_bytes(jwks(jwk(kid)))
    (tmp_path / "..data").symlink_to("v1")
    file = tmp_path / "jwks.json"
    file.symlink_to("..data/jwks.json")
    async with watching(file) as running:
        await running.look()
        assert running.source.epoch == 1
        (tmp_path / "..data_tmp").symlink_to("v2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        await running.look()

    assert running.source.epoch == 2
    assert running.source.document.keys[0]["kid"] == "b"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "invalid JSON"), (b'{"keys":[', "invalid JSON"), (b'{"keys":[]}', "valid public key"), (b"<x/>", "HTML")],
)  # fmt: skip
async def test_s41_bad_file_never_replaces_good_keys(
    content: bytes, reason: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a file while it is written, an empty one, the wrong one: the reason is logged once, keys stay."""
    caplog.set_level(logging.INFO, logger="fastproxy")
    async with watching(file) as running:
        good = file.read_bytes()
        file.write_bytes(content)
        await running.look()
        assert caplog.text == ""  # perhaps just being written
        for _ in range(3):
            await running.look()
        assert running.updates == []
        assert caplog.text.count("stay in force") == 1
        assert reason in running.source.last_error
        file.write_bytes(good)
        await running.look()

    assert running.updates == []
    assert running.source.last_error == ""
    assert "is good again" in caplog.text


async def test_file_that_vanishes_keeps_the_keys(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A volume that is remounted must not lock everybody out."""
    async with watching(file) as running:
        file.unlink()
        await running.look()
        await running.look()
        assert "cannot be read: no such regular file" in caplog.text
        file.mkdir()
        await running.look()
        file.rmdir()
        file.write_bytes(jwks(jwk("b")))
        await running.look()

    assert running.source.epoch == 2


async def test_same_keys_in_another_spelling_are_no_change(file: Path) -> None:
    """A new epoch would throw cached verdicts away for nothing."""
    async with watching(file) as running:
        file.write_bytes(b"\n " + file.read_bytes() + b"\n")
        await running.look()

    assert running.updates == []
    assert running.source.reloads_good == 1


async def test_s4_symmetric_keys_of_local_files_are_kept(file: Path) -> None:
    """They are the operator's own; those of fetched sets are dropped."""
    async with watching(file) as running:
        file.write_bytes(jwks(SECRET, jwk("b", d="cHJpdmF0ZQ")))
        await running.look()

    (update,) = running.updates
    assert SECRET["k"] in update.jwks
    assert "cHJpdmF0ZQ" not in update.jwks


async def test_s53_logs_name_keys_and_show_none(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The secret is in the very file that is talked about."""
    caplog.set_level(logging.DEBUG, logger="fastproxy")
    async with watching(file) as running:
        file.write_bytes(jwks(SECRET))
        await running.look()

    assert "was replaced (epoch 2, 1 keys: s)" in caplog.text
    assert SECRET["k"] not in caplog.text
    assert SECRET["k"] not in repr(running.settings)


async def test_statistics_of_a_file(file: Path) -> None:
    """A file that is broken since last night is worth an alert."""
    source = LocalSource(local_provider(file.read_bytes(), filename=str(file)), _local(file))
    for _ in range(2):
        source.on_content(b"broken")
    sink = StatsSink()
    source.write_stats(sink)

    assert sink.counters == {"jwks.local.reload_success": 0, "jwks.local.reload_failed": 1}
    assert sink.gauges == {"jwks.local.epoch": 1, "jwks.local.keys": 1}


def _local(file: Path) -> LocalJwksSettings:
    return LocalJwksSettings(file.read_bytes(), f"file {file}", str(file))


def test_inline_keys_are_not_watched() -> None:
    """They cannot change."""
    assert LocalWatcher((local_provider(jwks(jwk("a"))),), lambda _: None).sources == {}


async def test_pem_file_is_watched_like_any_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first look finds what was loaded; then the key is replaced; then somebody puts the private one there."""
    old, new = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    file = tmp_path / "key.pem"
    file.write_bytes(old.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    async with watching(file) as running:
        await running.look()
        assert (running.updates, running.source.reloads_good) == ([], 0)

        file.write_bytes(new.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        await running.look()
        assert [update.epoch for update in running.updates] == [2]
        assert len(JwkSet.parse(running.updates[0].jwks.encode())) == 1

        file.write_bytes(new.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        await running.look()
        await running.look()
    assert len(running.updates) == 1
    assert "private key" in running.source.last_error
    assert "the keys that were read before stay in force" in caplog.text
