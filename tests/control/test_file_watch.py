"""Files are told once, whole, and whichever way they were replaced."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fastproxy.control.file_watch import SETTLE_S, FileContent, FileWatch, FileWatcher, Settling, digest_of
from fastproxy.tasks import spawn

OLD = (1, 10, 5, 100, 100)
NEW_INODE = (1, 11, 5, 200, 200)
SAME_INODE = (1, 10, 9, 200, 200)


def looks(*signatures: tuple[int, int, int, int, int] | None, every_s: float = 0.25) -> list[bool]:
    settling = Settling(OLD)
    return [settling.on_look(one, number * every_s) for number, one in enumerate(signatures)]


def test_a_replaced_file_counts_when_it_looks_the_same_twice() -> None:
    """Rename is the usual way, and nobody wants to wait for it."""
    assert looks(OLD, NEW_INODE, NEW_INODE) == [False, False, True]


def test_a_file_written_in_place_counts_when_it_has_stood_still() -> None:
    """A writer that pauses for a moment must not be mistaken for one that has finished."""
    found = looks(*[SAME_INODE] * 12)
    assert found.index(True) == SETTLE_S / 0.25
    still = [(1, 10, size, size, size) for size in range(12)]
    assert not any(looks(*still)), "it grows with every look"


def test_a_file_that_has_just_appeared_counts_when_it_has_stood_still() -> None:
    """It may be being written as well."""
    settling = Settling(None)
    assert not settling.on_look(OLD, 0.0)
    assert not settling.on_look(OLD, SETTLE_S / 2)
    assert settling.on_look(OLD, SETTLE_S)


def test_a_file_that_is_gone_is_no_news() -> None:
    """What it said stays in force."""
    assert looks(None, None, None, OLD, OLD) == [False] * 5


class Clock:
    """Time that passes with every look."""

    def __init__(self) -> None:
        self.now = 0.0


@asynccontextmanager
async def watcher(clock: Clock) -> AsyncIterator[FileWatcher]:
    async def forever() -> None:
        await asyncio.Event().wait()

    made = FileWatcher(pause=forever, now=lambda: clock.now)
    try:
        yield made
    finally:
        await made.stop()


async def news_of(watch: FileWatch, files: FileWatcher, clock: Clock) -> FileContent | None:
    """What four looks within a second bring."""
    for _ in range(4):
        clock.now += 0.25
        await files.look()
    task = spawn(watch.next(), name="next")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if not task.done():
        task.cancel()
        return None
    news: FileContent = task.result()
    return news


def put(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


async def test_every_way_of_replacing_a_file_is_seen(tmp_path: Path) -> None:
    """Rename, a symlink on the path (Kubernetes), and writing in place, which takes longer."""
    clock, path = Clock(), tmp_path / "a.yaml"
    path.write_text("one")
    async with watcher(clock) as files:
        watch = files.follow(str(path))
        assert (await watch.next()).content == b"one"
        put(path, "two")
        assert (await news_of(watch, files, clock)) == FileContent(b"two", digest_of(b"two"))
        assert await news_of(watch, files, clock) is None, "told once"
        put(path, "two")
        assert await news_of(watch, files, clock) is None, "the same again is no news"

        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "b.yaml").write_text(name)
        link = tmp_path / "data"
        link.symlink_to("first")
        linked = files.follow(str(link / "b.yaml"))
        await files.look()
        assert (await linked.next()).content == b"first"
        swapped = tmp_path / "swap"
        swapped.symlink_to("second")
        swapped.rename(link)
        news = await news_of(linked, files, clock)
        assert news is not None
        assert news.content == b"second"

        path.write_text("three, in place")
        assert await news_of(watch, files, clock) is None
        assert await news_of(watch, files, clock) is None
        news = await news_of(watch, files, clock)
        assert news is not None
        assert news.content == b"three, in place"


async def test_a_half_written_file_never_takes_effect(tmp_path: Path) -> None:
    """A writer that adds a line every second is waited for, to the end."""
    clock, path = Clock(), tmp_path / "a.yaml"
    path.write_text("whole")
    async with watcher(clock) as files:
        watch = files.follow(str(path))
        await watch.next()
        with path.open("w") as stream:
            for line in range(5):
                stream.write(f"{line}\n")
                stream.flush()
                assert await news_of(watch, files, clock) is None
        clock.now += SETTLE_S
        news = await news_of(watch, files, clock)
        assert news is not None
        assert news.content == b"0\n1\n2\n3\n4\n"


async def test_a_known_content_is_not_told_and_followers_share_a_file(tmp_path: Path) -> None:
    """Who has loaded a file knows it; who comes later gets what is there at once."""
    clock, path = Clock(), tmp_path / "a.yaml"
    path.write_text("one")
    async with watcher(clock) as files:
        knows = files.follow(str(path), digest_of(b"one"))
        other = files.follow(str(path))
        assert (await other.next()).content == b"one"
        later = files.follow(str(path))
        assert (await later.next()).content == b"one"
        assert await news_of(knows, files, clock) is None
        other.close()
        later.close()
        put(path, "two")
        news = await news_of(knows, files, clock)
        assert news is not None
        assert news.content == b"two"


@pytest.mark.parametrize("kind", ["pipe", "directory", "missing"])
async def test_only_regular_files_are_news(tmp_path: Path, kind: str) -> None:
    """A named pipe must not hang the watcher; what is no file says nothing."""
    clock, path = Clock(), tmp_path / "a.yaml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    async with watcher(clock) as files:
        watch = files.follow(str(path))
        assert await news_of(watch, files, clock) is None
        clock.now += SETTLE_S
        if kind == "missing":
            path.write_text("there")
            assert await news_of(watch, files, clock) is None
            clock.now += SETTLE_S
            news = await news_of(watch, files, clock)
            assert news is not None
            assert news.content == b"there"
