"""The watched configuration file: every way of replacing it, and none of its half-written states."""

from pathlib import Path

import pytest

from fastproxy.control.watch import ConfigWatcher, look
from tests.control.support import until


class Watched:
    """A watcher that looks when the test says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changes = 0
        self.watcher = ConfigWatcher(path, self._count)

    def _count(self) -> None:
        self.changes += 1

    def look(self, times: int = 2) -> int:
        for _ in range(times):
            self.watcher.on_look(look(self.path))
        return self.changes


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    path = tmp_path / "config.yaml"
    path.write_text("one")
    return Watched(path)


def test_a_change_counts_once_when_it_was_seen_twice(watched: Watched) -> None:
    """A file that is just being written looks different at every look."""
    assert watched.look() == 0
    watched.path.write_text("tw")
    assert watched.look(1) == 0
    watched.path.write_text("two")
    assert watched.look(1) == 0
    assert watched.look(1) == 1
    assert watched.look(5) == 1


def test_the_same_content_again_is_no_change(watched: Watched) -> None:
    """`touch`, and a controller that writes what was there, cost nothing."""
    watched.path.write_text("one")
    assert watched.look() == 0


def test_a_swapped_symlink_anywhere_on_the_path_is_seen(tmp_path: Path) -> None:
    """Kubernetes mounts a ConfigMap as `file -> ..data/file` and swaps `..data`."""
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(name)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    watched = Watched(tmp_path / "config.yaml")
    (tmp_path / "..data_tmp").symlink_to("v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    assert watched.look() == 1


def test_a_file_that_is_gone_is_one_change(watched: Watched) -> None:
    """The reload says what is wrong; saying it every second would help nobody."""
    watched.path.unlink()
    assert watched.look(5) == 1
    watched.path.write_text("one")
    assert watched.look(5) == 2


async def test_it_looks_by_itself(tmp_path: Path) -> None:
    """A task does, until it is stopped."""
    path = tmp_path / "config.yaml"
    path.write_text("one")
    changes: list[int] = []

    async def at_once() -> None:
        return

    watcher = ConfigWatcher(path, lambda: changes.append(1), pause=at_once)
    watcher.start()
    path.write_text("two")
    await until(lambda: bool(changes))
    await watcher.stop()
