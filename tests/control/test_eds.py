"""EDS clusters follow their files: what is good takes effect, what is not leaves everything as it was."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastproxy.control.dns import DiscoveryService
from fastproxy.control.eds import EndpointFiles
from fastproxy.control.file_watch import FileWatcher
from fastproxy.control.health.service import HealthService
from fastproxy.control.health.tools import HealthListener
from fastproxy.ipc.messages import ClusterEndpoints, EndpointAddress
from fastproxy.stats import StatsSink
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    DiscoveredEndpoint,
    DiscoveryType,
    EdsSettings,
    EndpointTraits,
    HealthStatus,
    Locality,
)

TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


def eds_cluster(name: str, path: Path, **more: float) -> ClusterSettings:
    return ClusterSettings(name, DiscoveryType.EDS, eds=EdsSettings(str(path), name, **more))


def write(path: Path, version: str, **clusters: list[int | dict[str, object]]) -> None:
    """Replace the file by rename, as everybody should."""
    resources = [
        {
            "@type": TYPE,
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [_endpoint(one) for one in entries]}],
        }
        for name, entries in clusters.items()
    ]
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"version_info": version, "resources": resources}))
    new.rename(path)


def _endpoint(entry: int | dict[str, object]) -> dict[str, object]:
    more = {"port": entry} if isinstance(entry, int) else dict(entry)
    port = more.pop("port")
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"endpoint": {"address": address}, **more}


@dataclass
class World:
    """A discovery service over files, and a hand that makes it look."""

    service: DiscoveryService
    watcher: FileWatcher
    files: EndpointFiles
    published: list[ClusterEndpoints] = field(default_factory=list)

    def ports(self, cluster: str) -> list[int]:
        return [one.port for one in self.service.endpoints(cluster)]

    def stats(self) -> StatsSink:
        sink = StatsSink()
        for cluster in self.service.clusters.values():
            cluster.write_stats(sink)
        return sink

    def number(self, name: str) -> int:
        return self.stats().counters[name]

    async def attempts(self, cluster: str, number: int) -> None:
        """Look until so many contents of the file were tried."""
        for _ in count():
            if self.number(f"cluster.{cluster}.update_attempt") >= number:
                return
            await self.watcher.look()
            await asyncio.sleep(0.001)


async def _forever() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def world(*clusters: ClusterSettings) -> AsyncIterator[World]:
    watcher = FileWatcher(pause=_forever)
    files = EndpointFiles(watcher)
    published: list[ClusterEndpoints] = []
    service = DiscoveryService(clusters, published.append, files=files)
    made = World(service, watcher, files, published)
    service.start()
    try:
        yield made
    finally:
        await made.service.stop()
        await watcher.stop()


async def test_the_file_is_followed_and_bad_contents_change_nothing(tmp_path: Path) -> None:
    """Every way in which a file can be of no use counts as Envoy counts it, and the endpoints stay."""
    path = tmp_path / "eds.json"
    write(path, "1", a=[80, 81])
    async with world(eds_cluster("a", path)) as made:
        await made.service.wait_initialised(10)
        assert made.ports("a") == [80, 81]
        write(path, "2", a=[81, 82])
        await made.attempts("a", 2)
        assert made.ports("a") == [81, 82]
        assert [len(one.endpoints) for one in made.published] == [2, 2]

        path.with_suffix(".new").write_text('{"version_info": "3", "resources": [')
        path.with_suffix(".new").rename(path)
        await made.attempts("a", 3)
        write(path, "4", other=[90])
        await made.attempts("a", 4)
        write(path, "5", a=[90, {"port": 0}])
        await made.attempts("a", 5)
        assert made.ports("a") == [81, 82]
        error = made.service.clusters["a"].updates.last_error
        assert f"{path}:1: resources[0].endpoints[0]" in error
        assert "must not be 0" in error
        sink = made.stats()
        assert sink.texts["cluster.a.version_text"] == "2"

        write(path, "6")
        await made.attempts("a", 6)
        write(path, "7", a=[81, 82])
        await made.attempts("a", 7)
        assert made.ports("a") == [81, 82]
        write(path, "8", a=[])
        await made.attempts("a", 8)
        assert made.ports("a") == []
        sink = made.stats()
        found = {
            name: sink.counters[f"cluster.a.update_{name}"]
            for name in ("attempt", "success", "failure", "rejected", "empty", "no_rebuild")
        }
        assert found == {
            "attempt": 8, "success": 5, "failure": 1, "rejected": 2, "empty": 1, "no_rebuild": 1
        }  # fmt: skip
        assert sink.texts["cluster.a.version_text"] == "8"
        assert made.service.clusters["a"].updates.last_error == ""
        path.unlink()
        await made.watcher.look()
        await made.watcher.look()
        assert made.number("cluster.a.update_attempt") == 8


async def test_a_policy_of_the_file_reaches_the_workers(tmp_path: Path) -> None:
    """Through discovery and health; it is a change also if the endpoints are the same."""
    path = tmp_path / "eds.json"
    configured = eds_cluster("a", path)
    write(path, "1", a=[80])
    told: list[ClusterEndpoints] = []
    health = HealthService((configured,), HealthListener(told.append, lambda _message: None))
    async with world(configured) as made:
        made.service._publish = health.on_discovered
        await made.service.wait_initialised(10)
        text = json.loads(path.read_text())
        text["resources"][0]["policy"] = {"overprovisioning_factor": 200, "weighted_priority_health": True}
        path.with_suffix(".new").write_text(json.dumps(text))
        path.with_suffix(".new").rename(path)
        await made.attempts("a", 2)
        write(path, "3", a=[80])
        await made.attempts("a", 3)
    assert [(one.overprovisioning_factor, one.weighted_priority_health) for one in told] == [
        (140, False),
        (200, True),
        (140, False),
    ]


async def test_clusters_share_a_file_and_it_is_parsed_once(tmp_path: Path) -> None:
    """A thousand clusters in one file must not mean a thousand parses of a large file."""
    path = tmp_path / "eds.json"
    write(path, "1", a=[80], b=[90])
    async with world(eds_cluster("a", path), eds_cluster("b", path), eds_cluster("c", path)) as made:
        await made.service.wait_initialised(10)
        assert (made.ports("a"), made.ports("b"), made.ports("c")) == ([80], [90], [])
        assert made.number("cluster.c.update_rejected") == 1
        assert "no assignment for 'c'" in made.service.clusters["c"].updates.last_error
        assert len(made.files._known) == 1


async def test_a_missing_file_is_waited_for_as_long_as_the_cluster_says(tmp_path: Path) -> None:
    """Then the cluster has no endpoints, until the file is there."""
    path = tmp_path / "eds.json"
    async with world(eds_cluster("a", path, initial_fetch_timeout_s=0.01)) as made:
        await made.service.wait_initialised(10)
        assert made.number("cluster.a.init_fetch_timeout") == 1
        assert made.ports("a") == []
        write(path, "1", a=[80])
        await made.attempts("a", 1)
        assert made.ports("a") == [80]


async def test_a_reload_keeps_following_for_clusters_that_stay(tmp_path: Path) -> None:
    """What did not change keeps its endpoints without a moment of none; a changed cluster begins anew."""
    path = tmp_path / "eds.json"
    write(path, "1", a=[80], b=[90])
    same, other = eds_cluster("a", path), eds_cluster("b", path)
    async with world(same, other) as made:
        await made.service.wait_initialised(10)
        old = made.service
        changed = replace(other, connect_timeout_s=1.0)
        new = DiscoveryService((same, changed), made.published.append, files=made.files, previous=old)
        new.start()
        await new.wait_initialised(10)
        assert [one.settings.name for one in new.take_over(old)] == ["b"]
        await old.stop()
        made.service = new
        assert (made.ports("a"), made.ports("b")) == ([80], [90])
        write(path, "2", a=[81], b=[91])
        await made.attempts("a", 2)
        await made.attempts("b", 2)
        assert (made.ports("a"), made.ports("b")) == ([81], [91])


_HEALTH = st.sampled_from(["UNKNOWN", "HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"])
_SETS = st.dictionaries(st.integers(1, 9), st.tuples(st.integers(1, 5), _HEALTH), max_size=6)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_SETS, min_size=1, max_size=6))
def test_a_random_sequence_of_updates_leaves_exactly_the_last_set(
    tmp_path: Path, sequence: list[dict[int, tuple[int, str]]]
) -> None:
    """Through the file, discovery and health to a worker's cluster: no endpoint too many, none too few, none stale."""

    async def play() -> None:
        path = tmp_path / "eds.json"
        path.unlink(missing_ok=True)
        configured = eds_cluster("a", path)
        cluster = Cluster(configured)

        def take(message: ClusterEndpoints) -> None:
            cluster.update_endpoints([_discovered(entry) for entry in message.endpoints])

        health = HealthService((configured,), HealthListener(take, lambda _message: None))
        watcher = FileWatcher(pause=_forever)
        service = DiscoveryService((configured,), health.on_discovered, files=EndpointFiles(watcher))
        made = World(service, watcher, EndpointFiles(watcher))
        for number, wanted in enumerate(sequence, 1):
            entries: list[int | dict[str, object]] = [
                {"port": port, "load_balancing_weight": weight, "health_status": status}
                for port, (weight, status) in wanted.items()
            ]
            write(path, str(number), a=entries)
            if number == 1:
                service.start()
                await service.wait_initialised(10)
            await made.attempts("a", number)
        await service.stop()
        await watcher.stop()
        assert {
            one.address.port: (one.traits.weight, one.traits.health.value) for one in cluster.endpoints
        } == {port: (weight, status) for port, (weight, status) in sequence[-1].items()}

    asyncio.run(play())


def _discovered(entry: EndpointAddress) -> DiscoveredEndpoint:
    return DiscoveredEndpoint(
        Address(entry.host, entry.port, entry.hostname),
        EndpointTraits(entry.weight, entry.priority, Locality(), 0, HealthStatus(entry.health)),
    )
