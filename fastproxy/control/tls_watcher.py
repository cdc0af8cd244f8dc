"""TLS files of listeners and clusters, watched by content: good ones get to all workers, bad ones to none.

Files are read again every few seconds by their names, so every way of replacing one is seen: written in place, renamed
over, or swapped as a symlink anywhere on the path. A certificate and its key are two files, and between their changes
they do not fit: what is broken must look the same twice before it is worth an error, and what is in force stays.
"""

import asyncio
import hashlib
import logging
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastproxy.config import ConfigError, rebuild_tls
from fastproxy.config.tls_update import TlsUpdate
from fastproxy.ipc.messages import TlsFilesUpdate
from fastproxy.stats import StatsSink
from fastproxy.tasks import cancel_and_wait, spawn

_log = logging.getLogger("fastproxy.control.tls")
#: Two seconds after a change is soon enough for a rotation, and reading a few files costs next to nothing.
POLL_INTERVAL_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class TlsState:
    """What is in force."""

    update: TlsUpdate
    epoch: int
    last_error: str
    """Why what the files hold now is not used; empty if it is."""


class TlsWatcher:
    """Keeps the TLS files of listeners and clusters current.

    Args:
        bootstrap: the configuration that names them, serialised.
        files: what they held when it was loaded.
        broadcast: tells all workers.
        on_update: the control plane's own use of certificates follows.
        pause: waits until the files are to be read again, for tests.
    """

    def __init__(
        self,
        bootstrap: bytes,
        files: Mapping[str, bytes],
        broadcast: Callable[[TlsFilesUpdate], None],
        *,
        on_update: Callable[[TlsUpdate], None] | None = None,
        pause: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._broadcast = broadcast
        self._on_update = on_update
        self._pause = pause or _pause
        self._files = dict(files)
        self._state: TlsState | None = None
        self._seen = _digest(self._files)
        self._suspect = b""
        self._task: asyncio.Task[None] | None = None
        self.reloads_good = self.reloads_failed = 0
        self.last_error = ""
        self.epoch = 1

    def start(self) -> None:
        """Begin watching; without files there is nothing to do."""
        if self._files:
            self._task = spawn(self._watch(), name="tls-files")

    def end(self) -> None:
        """Tell the workers nothing more, from now on; `stop` waits for the rest."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """Stop watching; workers keep what they have."""
        await cancel_and_wait(self._task)

    def snapshot(self) -> list[TlsFilesUpdate]:
        """What a worker that starts must be told: it does not read the files itself."""
        return [self._message()] if self._files else []

    def state(self) -> TlsState:
        """What is in force, for /certs."""
        if (
            self._state is None
            or self._state.epoch != self.epoch
            or self._state.last_error != self.last_error
        ):
            update = rebuild_tls(self._bootstrap, self._files)
            self._state = TlsState(update, self.epoch, self.last_error)
        return self._state

    def write_stats(self, sink: StatsSink) -> None:
        """Add `tls_files.*`."""
        if self._files:
            sink.counter("tls_files.reload_success", self.reloads_good)
            sink.counter("tls_files.reload_failed", self.reloads_failed)
            sink.gauge("tls_files.epoch", self.epoch)

    def check(self) -> None:
        """Read the files, and put what they hold into force if it changed and is good."""
        contents = {name: _read(name) for name in self._files}
        seen = _digest(contents)
        if seen == self._seen:
            self._suspect = b""
            return
        try:
            update = rebuild_tls(self._bootstrap)
        except ConfigError as error:
            self._on_bad(seen, error)
            return
        # What was just tried is what counts, should a file have changed meanwhile.
        self._seen, self._suspect = _digest(update.files), b""
        self._files = update.files
        self.epoch += 1
        self.reloads_good += 1
        self.last_error = ""
        _log.info("certificates were read again (epoch %d): %s", self.epoch, ", ".join(update.files))
        if self._on_update is not None:
            self._on_update(update)
        self._broadcast(self._message())

    def _on_bad(self, seen: bytes, error: ConfigError) -> None:
        if seen != self._suspect:
            self._suspect = seen
            return
        self._seen = seen
        self.reloads_failed += 1
        self.last_error = "; ".join(str(problem) for problem in error.problems)
        _log.error("changed certificates cannot be used, those in force stay: %s", self.last_error)

    def _message(self) -> TlsFilesUpdate:
        return TlsFilesUpdate(
            self.epoch, {name: b64encode(content).decode() for name, content in self._files.items()}
        )

    async def _watch(self) -> None:
        while True:
            await self._pause()
            # In a thread: a file on a network share that hangs must hold up nothing else.
            changed = await asyncio.to_thread(self._has_changed)
            if changed or self._suspect:
                self.check()

    def _has_changed(self) -> bool:
        return _digest({name: _read(name) for name in self._files}) != self._seen


def _digest(contents: Mapping[str, bytes]) -> bytes:
    whole = hashlib.sha256()
    for name in sorted(contents):
        for part in (name.encode("utf-8", "surrogateescape"), contents[name]):
            whole.update(len(part).to_bytes(8, "big") + part)
    return whole.digest()


def _read(name: str) -> bytes:
    path = Path(name)
    try:
        # A named pipe would hang the thread.
        return path.read_bytes() if path.is_file() else b""
    except (OSError, ValueError):
        return b""


async def _pause() -> None:
    await asyncio.sleep(POLL_INTERVAL_S)
