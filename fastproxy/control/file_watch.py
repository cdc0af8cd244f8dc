"""Follows files with resources: each new content is told once, when it is whole.

Every file is looked at four times a second by its name, so every way of replacing it is seen: renamed over, or swapped
as a symlink anywhere on the path (Kubernetes' `..data`). Only when its identity, size or times have changed it is read.

A file may just be being written. One that has taken another's place (the usual rename) counts when it looks the same
in two looks; one that is written in place, or has just appeared, when it has stood still for two seconds. Rename is the
only way that is safe whatever the writer does in between.
"""

import asyncio
import hashlib
import logging
import os
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from fastproxy import clock
from fastproxy.config import UnreadableFile, read_resource_file
from fastproxy.tasks import cancel_and_wait, spawn

_log = logging.getLogger("fastproxy.control.files")
POLL_INTERVAL_S: Final = 0.25
#: How long a file that is written in place must have stood still.
SETTLE_S: Final = 2.0

#: Device, inode, size, time of the last write and of the last change; None: there is no such regular file.
Signature = tuple[int, int, int, int, int] | None


class Settling:
    """Decides when a file that has changed may be read. Does not look at it itself.

    Args:
        signature: what the file looked like when its content was taken.
    """

    def __init__(self, signature: Signature) -> None:
        self._taken = self._last = signature
        self._still_since = 0.0

    def on_look(self, signature: Signature, now: float) -> bool:
        """Take what the file looks like; whether it has changed and should be read now. `now` is monotonic seconds."""
        if signature != self._last:
            self._last, self._still_since = signature, now
            return False
        if signature is None or signature == self._taken:
            return False
        return self._was_replaced(signature) or now - self._still_since >= SETTLE_S

    def on_taken(self, signature: Signature) -> None:
        """The content was taken while the file looked like this."""
        self._taken = signature

    def _was_replaced(self, signature: tuple[int, int, int, int, int]) -> bool:
        return self._taken is not None and signature[:2] != self._taken[:2]


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a file holds."""

    content: bytes
    digest: bytes


class FileWatch:
    """One follower of one file; `close` it when nobody asks any more."""

    def __init__(self, watcher: "FileWatcher", path: str, known: bytes | None) -> None:
        """Follow `path`; `known` is the digest of the content that need not be told, if there is one."""
        self._watcher = watcher
        self.path = path
        self._known = known
        self._news: FileContent | None = None
        self._arrived = asyncio.Event()

    async def next(self) -> FileContent:
        """Wait for another content than the last one; the first time, for any."""
        await self._arrived.wait()
        self._arrived.clear()
        assert self._news is not None
        self._known = self._news.digest
        return self._news

    def tell(self, news: FileContent) -> None:
        """There is a content; for the watcher to call."""
        self._news = news
        if news.digest == self._known:
            # Changed, and changed back before anybody looked.
            self._arrived.clear()
        else:
            self._arrived.set()

    def expects(self, digest: bytes) -> bool:
        """Whether a content can be taken at the first look, when nobody knows how long it has stood still."""
        return self._known is None or self._known == digest

    def close(self) -> None:
        """Follow no longer."""
        self._watcher.forget(self)


class _Followed:
    """One file and who follows it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.settling = Settling(None)
        self.content: FileContent | None = None
        self.watches: list[FileWatch] = []
        self.is_fresh = True
        """Nobody has looked yet: what is there is taken at once, unless it has changed since somebody read it."""


class FileWatcher:
    """Looks at all files that somebody follows.

    Args:
        pause: waits until the next look, for tests.
        now: monotonic seconds, for tests.
    """

    def __init__(
        self,
        *,
        pause: Callable[[], Awaitable[None]] | None = None,
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._pause = pause or _pause
        self._now = now
        self._files: dict[str, _Followed] = {}
        self._task: asyncio.Task[None] | None = None

    def follow(self, path: str, known: bytes | None = None) -> FileWatch:
        """Follow a file from now on.

        Args:
            path: its name.
            known: `digest_of` the content that the caller has; that is not told.
        """
        watch = FileWatch(self, path, known)
        followed = self._files.get(path)
        if followed is None:
            followed = self._files[path] = _Followed(path)
        followed.watches.append(watch)
        if followed.content is not None:
            watch.tell(followed.content)
        if self._task is None:
            self._task = spawn(self._run(), name="resource-files")
        return watch

    def forget(self, watch: FileWatch) -> None:
        """End a watch."""
        followed = self._files.get(watch.path)
        if followed is not None and watch in followed.watches:
            followed.watches.remove(watch)
            if not followed.watches:
                del self._files[watch.path]

    async def stop(self) -> None:
        """Look no longer."""
        await cancel_and_wait(self._task)
        self._task = None

    async def look(self) -> None:
        """Look at every file once, and tell what is new."""
        files = list(self._files.values())
        # In a thread: a file on a network share that hangs must hold up nothing else.
        found = await asyncio.to_thread(_look_at, files, self._now())
        for followed, content in found:
            followed.content = content
            for watch in followed.watches:
                watch.tell(content)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                # Unforeseen, so a bug; but the other files must be followed all the same.
                _log.exception("looking at files failed unexpectedly")
            await self._pause()


def digest_of(content: bytes) -> bytes:
    """What stands for a content in comparisons."""
    return hashlib.sha256(content).digest()


def _look_at(files: list[_Followed], now: float) -> list[tuple[_Followed, FileContent]]:
    found = []
    for followed in files:
        signature = _signature(followed.path)
        is_due, is_fresh = followed.settling.on_look(signature, now), followed.is_fresh
        followed.is_fresh = False
        if signature is None or not (is_due or is_fresh):
            continue
        try:
            content = read_resource_file(followed.path)
        except UnreadableFile:
            continue
        news = FileContent(content, digest_of(content))
        if is_fresh and not any(watch.expects(news.digest) for watch in followed.watches):
            continue
        if _signature(followed.path) == signature:
            followed.settling.on_taken(signature)
            found.append((followed, news))
    return found


def _signature(path: str) -> Signature:
    try:
        facts = os.stat(path)  # noqa: PTH116 the cheapest way, four times a second
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


async def _pause() -> None:
    await asyncio.sleep(POLL_INTERVAL_S)
