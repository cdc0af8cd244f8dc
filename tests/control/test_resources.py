"""What the follower of files with resources hands to a reload, and what it remembers of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastproxy.config import ResourceKind, Resources, ResourceSource
from fastproxy.config.dynamic.resources import ResourceFile
from fastproxy.config.settings import ProxySettings
from fastproxy.control import Configuration
from fastproxy.control.change_counts import ChangeCounts
from fastproxy.control.file_watch import FileWatcher
from fastproxy.control.resources import ResourceFollower
from fastproxy.stats import StatsSink
from tests.control.support import cluster, listener, proxy_settings, until

CDS, RDS = "cluster_manager.cds.", "http.in.rds.t."


def content(version: str, *resources: object) -> bytes:
    return json.dumps({"version_info": version, "resources": list(resources)}).encode()


ANYTHING = {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "a"}


@dataclass
class World:
    follower: ResourceFollower
    clusters: Path
    routes: Path
    requests: list[None]

    def put(self, path: Path, text: bytes) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(text)
        new.rename(path)

    def adopt(self, clusters: bytes, routes: bytes) -> None:
        """A configuration that was loaded from these contents is in force."""
        self.follower.adopt(
            Resources(
                (
                    ResourceSource(ResourceKind.CLUSTERS, str(self.clusters), CDS),
                    ResourceSource(ResourceKind.ROUTES, str(self.routes), RDS),
                ),
                {str(self.clusters): _file(clusters), str(self.routes): _file(routes)},
            )
        )

    def numbers(self, prefix: str) -> dict[str, int]:
        sink = StatsSink()
        self.follower.write_stats(sink)
        return {
            name: sink.counters[f"{prefix}update_{name}"]
            for name in ("attempt", "success", "failure", "rejected")
        }

    def errors(self) -> list[tuple[str, ...]]:
        return [one.last_error for one in self.follower.status()]


def _file(text: bytes) -> ResourceFile:
    parsed = json.loads(text)
    return ResourceFile(text, parsed["version_info"], not parsed["resources"])


@asynccontextmanager
async def world(directory: Path) -> AsyncIterator[World]:
    async def soon() -> None:
        await asyncio.sleep(0.001)

    watcher = FileWatcher(pause=soon)
    requests: list[None] = []
    made = World(
        ResourceFollower(watcher, lambda: requests.append(None)),
        directory / "cds.json",
        directory / "rds.json",
        requests,
    )
    made.put(made.clusters, content("c1", ANYTHING))
    made.put(made.routes, content("r1", ANYTHING))
    made.adopt(content("c1", ANYTHING), content("r1", ANYTHING))
    try:
        yield made
    finally:
        await made.follower.stop()
        await watcher.stop()


async def test_a_change_is_handed_over_once_and_counted_when_it_is_in_force(tmp_path: Path) -> None:
    """The numbers are those of Envoy: an attempt for each content, and a success when it takes effect."""
    async with world(tmp_path) as made:
        assert made.numbers(CDS) == {"attempt": 1, "success": 1, "failure": 0, "rejected": 0}
        new = content("c2", ANYTHING)
        made.put(made.clusters, new)
        await until(lambda: bool(made.requests))
        assert made.follower.take() == {str(made.clusters): new}
        assert made.follower.take() == {}
        made.adopt(new, content("r1", ANYTHING))
        assert made.numbers(CDS) == {"attempt": 2, "success": 2, "failure": 0, "rejected": 0}
        assert made.numbers(RDS)["attempt"] == 1
        made.adopt(new, content("r1", ANYTHING))
        assert made.numbers(CDS)["attempt"] == 2, "a reload that brings nothing new is no update"


async def test_what_was_rejected_is_tried_again_with_the_next_change(tmp_path: Path) -> None:
    """Listeners may be written a moment before the clusters that they need."""
    async with world(tmp_path) as made:
        early = content("r2", ANYTHING)
        made.put(made.routes, early)
        await until(lambda: bool(made.requests))
        assert made.follower.take()
        made.follower.on_rejected(str(made.routes), early, ["f:1: a", "f:2: b"])
        assert made.numbers(RDS)["rejected"] == 1
        assert made.errors() == [(), ("f:1: a", "f:2: b")]
        assert made.follower.rejected == {str(made.routes): early}
        made.adopt(content("c1", ANYTHING), early)
        assert made.follower.rejected == {}
        assert made.errors() == [(), ()]


async def test_a_content_that_is_no_response_is_not_even_tried(tmp_path: Path) -> None:
    """It counts as a failure, and when the file is as it was, nothing is wrong any more."""
    async with world(tmp_path) as made:
        made.put(made.clusters, b'{"resources": [')
        await until(lambda: made.numbers(CDS)["failure"] == 1)
        assert made.requests == []
        assert str(made.clusters) in made.errors()[0][0]
        made.put(made.clusters, content("c1", ANYTHING))
        await until(lambda: made.errors()[0] == ())


async def test_an_empty_file_changes_routes_never_and_clusters_always(tmp_path: Path) -> None:
    """`resources: []` removes every cluster, and says nothing about a route table, as in Envoy."""
    async with world(tmp_path) as made:
        made.put(made.routes, content("r2"))
        await until(lambda: made.numbers(RDS)["success"] == 2)
        assert made.requests == []
        made.put(made.clusters, content("c2"))
        await until(lambda: bool(made.requests))
        assert list(made.follower.take()) == [str(made.clusters)]


async def test_clusters_are_tried_before_the_routes_that_need_them(tmp_path: Path) -> None:
    """Whichever file was written first."""
    async with world(tmp_path) as made:
        made.put(made.routes, content("r2", ANYTHING))
        await until(lambda: len(made.requests) == 1)
        made.put(made.clusters, content("c2", ANYTHING))
        await until(lambda: len(made.requests) == 2)
        assert list(made.follower.take()) == [str(made.clusters), str(made.routes)]


def test_what_came_and_went_is_counted() -> None:
    """Of clusters and listeners, over all reloads."""
    counts = ChangeCounts()
    old = Configuration(proxy_settings(listener("a"), clusters=(cluster("x"), cluster("y"))), b"")
    new = Configuration(proxy_settings(listener("a", 1), clusters=(cluster("y", 80), cluster("z"))), b"")
    counts.count(old, new)
    assert counts == ChangeCounts(1, 1, 1, 0)
    counts.count(new, Configuration(ProxySettings(), b""))
    assert counts == ChangeCounts(1, 3, 1, 1)
