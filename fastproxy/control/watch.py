"""Watches the configuration file by content and asks for a reload when it has changed (`--watch-config`).

The file is read again every second by its name, so every way of replacing it is seen: written in place, renamed over,
or swapped as a symlink anywhere on the path (Kubernetes' `..data`). A file that is just being written changes from one
look to the next; a new content counts when it was seen twice.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from fastproxy.tasks import cancel_and_wait, spawn

#: Reading a file of some hundred KiB takes less than a millisecond.
POLL_INTERVAL_S: Final = 1.0
#: As much as the loader reads of a configuration, and one: what is larger is refused there.
_MAX_BYTES: Final = 64 * 1024 * 1024


class ConfigWatcher:
    """Looks at one file.

    Args:
        path: the file.
        on_change: called when there is a new content that has settled, and when the file is gone or unreadable, once.
        pause: waits until the next look, for tests.
    """

    def __init__(
        self,
        path: Path,
        on_change: Callable[[], None],
        *,
        pause: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._path = path
        self._on_change = on_change
        self._pause = pause or _pause
        self._task: asyncio.Task[None] | None = None
        self._in_force = self._last = look(path)

    def start(self) -> None:
        """Begin to watch; what the file holds now is what is in force."""
        self._task = spawn(self._watch(), name="config-watch")

    async def stop(self) -> None:
        """Stop watching."""
        await cancel_and_wait(self._task)

    async def _watch(self) -> None:
        while True:
            await self._pause()
            self.on_look(await asyncio.to_thread(look, self._path))

    def on_look(self, seen: bytes) -> None:
        """Take what the file looks like now."""
        settled, self._last = seen == self._last, seen
        if settled and seen != self._in_force:
            self._in_force = seen
            self._on_change()


def look(path: Path) -> bytes:
    """Return a digest of the file's content, or of why there is none."""
    try:
        content = b"no such regular file"
        # A named pipe would hang the thread.
        if path.is_file():
            with path.open("rb") as stream:
                content = stream.read(_MAX_BYTES)
    except OSError as error:
        content = str(error.errno).encode()
    return hashlib.sha256(content).digest()


async def _pause() -> None:
    await asyncio.sleep(POLL_INTERVAL_S)
