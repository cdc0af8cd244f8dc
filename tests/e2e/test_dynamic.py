"""Files with resources under load, in real processes: no request is lost, none is answered by half an update (S58)."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.counting import named_upstreams
from tests.e2e.support.load import LoadClient
from tests.e2e.support.proxies import Config, Ports, RunningProxy, workers_of
from tests.e2e.support.resources import (
    NODE,
    assignment,
    file_source,
    get,
    put,
    replace_text,
    stat,
    typed,
    wait_for_stat,
)
from tests.e2e.support.templates import address, cluster, direct, forward, listener, virtual_host

_EDS_CHANGES = int(os.environ.get("FASTPROXY_EDS_CHANGES", "50"))
_RELOADS = int(os.environ.get("FASTPROXY_RESOURCE_RELOADS", "20"))
CDS, LDS, RDS = "cluster_manager.cds", "listener_manager.lds", "http.plain.rds.table"


class Files:
    """A proxy's files: the cluster `followed` has its endpoints in one, and routes go to it."""

    def __init__(self, directory: Path) -> None:
        self.clusters = directory / "cds.yaml"
        self.listeners = directory / "lds.yaml"
        self.routes = directory / "rds.yaml"
        self.endpoints = directory / "eds.yaml"

    def put_first(self, *ports: int) -> None:
        """Version 1 of all that a start needs."""
        self.put_endpoints(1, *ports)
        self.put_clusters(1)
        self.put_routes(1)

    def put_endpoints(self, version: int, *ports: int) -> None:
        put(self.endpoints, str(version), assignment("followed", *ports))

    def put_clusters(self, version: int, *more: Config) -> None:
        followed = {
            "name": "followed",
            "type": "EDS",
            "eds_cluster_config": {"eds_config": file_source(self.endpoints)},
        }
        put(self.clusters, str(version), *(typed("cluster", one) for one in (followed, *more)))

    def put_routes(self, version: int, *more: Config) -> None:
        routes = [direct({"path": "/number"}, 200, str(version)), *more, forward({"prefix": "/"}, "followed")]
        hosts = [virtual_host("all", ["*"], routes)]
        put(self.routes, str(version), typed("route", {"name": "table", "virtual_hosts": hosts}))

    def template(self, ports: Ports) -> Config:
        plain = listener("plain", ports["plain"], [])
        manager = plain["filter_chains"][0]["filters"][0]["typed_config"]
        del manager["route_config"]
        manager["rds"] = {"route_config_name": "table", "config_source": file_source(self.routes)}
        put(self.listeners, "1", typed("listener", plain))
        return {
            "node": NODE,
            "admin": {"address": address(ports["admin"])},
            "dynamic_resources": {
                "cds_config": file_source(self.clusters),
                "lds_config": file_source(self.listeners),
            },
        }


async def counted(proxy: RunningProxy, name: str, value: int) -> None:
    """Until a counter has reached a value, without holding up the load."""
    for _ in count():
        if await asyncio.to_thread(stat, proxy, name) >= value:
            return
        await asyncio.sleep(0.01)


async def test_s58_seventy_changed_files_under_load_lose_no_request(
    start_fastproxy: StartFastProxy, tmp_path: Path
) -> None:
    """Endpoints that come and go, clusters and routes that change between them, kept and new connections."""
    files = Files(tmp_path)
    with named_upstreams("abc") as ports:
        letters = list(ports.values())
        files.put_first(*letters)
        proxy = start_fastproxy(files.template, "--concurrency", "2")
        workers = workers_of(proxy)
        reloads = routes = clusters = 0
        async with (
            LoadClient(proxy.ports["plain"]) as load,
            LoadClient(proxy.ports["plain"], keep_alive=2, fresh=1, path="/number") as numbers,
        ):
            for number in range(2, _EDS_CHANGES + 2):
                gone = number % len(letters)
                files.put_endpoints(number, *(one for index, one in enumerate(letters) if index != gone))
                if reloads * _EDS_CHANGES < _RELOADS * (number - 1):
                    reloads += 1
                    if reloads % 2:
                        routes += 1
                        files.put_routes(routes + 1)
                        await counted(proxy, f"{RDS}.update_success", routes + 1)
                    else:
                        clusters += 1
                        files.put_clusters(clusters + 1, cluster(f"more{clusters}", letters[0]))
                        await counted(proxy, f"{CDS}.update_success", clusters + 1)
                await counted(proxy, "cluster.followed.update_success", number)
            await load.answered(50)
            await numbers.answered(20)

        assert load.report.failures == []
        assert numbers.report.failures == []
        assert load.report.bodies == {b"a", b"b", b"c"}
        assert {int(body) for body in numbers.report.bodies} <= set(range(1, routes + 2))
        assert str(routes + 1).encode() in numbers.report.bodies
        assert reloads == _RELOADS
        assert stat(proxy, "server.config_reload_success") == _RELOADS
        assert stat(proxy, "server.config_generation") == _RELOADS + 1
        assert workers_of(proxy) == workers, "no worker was replaced"
        assert stat(proxy, "cluster.followed.update_rejected") == 0
        assert stat(proxy, "cluster.followed.update_attempt") == _EDS_CHANGES + 1
        total = load.report.answered + numbers.report.answered
        assert stat(proxy, "http.plain.downstream_rq_total") == total, "counters survive every reload"
        assert "Traceback" not in proxy.log()


def test_listeners_may_be_written_before_the_clusters_that_they_need(
    start_fastproxy: StartFastProxy, tmp_path: Path
) -> None:
    """The listener is refused at first, and taken with the cluster; nobody has to touch its file again."""
    files = Files(tmp_path)
    with named_upstreams("a") as ports:
        files.put_first(ports["a"])
        proxy = start_fastproxy(files.template)
        inline = listener(
            "plain", proxy.ports["plain"], [virtual_host("all", ["*"], [forward({"prefix": "/"}, "late")])]
        )
        put(files.listeners, "2", typed("listener", inline))
        wait_for_stat(proxy, f"{LDS}.update_rejected", 1)
        assert get(proxy, "/") == (200, "a")
        files.put_clusters(2, cluster("late", ports["a"]))
        wait_for_stat(proxy, f"{LDS}.update_success", 2)
        wait_for_stat(proxy, f"{CDS}.update_success", 2)
        assert get(proxy, "/number") == (200, "a"), "the new listener has other routes"
        assert stat(proxy, "server.config_reload_success") == 1, "both came with one reload"


def test_sighup_reads_every_file_and_a_change_reads_only_its_own(
    start_fastproxy: StartFastProxy, tmp_path: Path
) -> None:
    """An operator who edits the configuration decides when that takes effect."""
    files = Files(tmp_path)
    with named_upstreams("a") as ports:
        files.put_first(ports["a"])
        proxy = start_fastproxy(files.template)
        written = proxy.config_path.read_text()
        config = yaml.safe_load(written)
        config["static_resources"] = {"clusters": [cluster("static", ports["a"])]}
        replace_text(proxy.config_path, yaml.safe_dump(config))
        files.put_routes(2)
        wait_for_stat(proxy, f"{RDS}.update_success", 2)
        assert "static::" not in proxy.admin("/clusters")[1]
        proxy.process.send_signal(signal.SIGHUP)
        wait_for_stat(proxy, "server.config_reload_success", 2)
        assert "static::added_via_api::false" in proxy.admin("/clusters")[1]
        assert stat(proxy, f"{RDS}.update_success") == 2
        files.put_routes(3)
        wait_for_stat(proxy, f"{RDS}.update_success", 3)
        assert "static::" in proxy.admin("/clusters")[1], "the configuration in force is built upon"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda files: files.clusters.unlink(), "cannot be read: No such file or directory"),
        (lambda files: files.clusters.write_text("version_info: '1'\n"), "there are no resources"),
        (
            lambda files: put(files.routes, "1", typed("cluster", {"name": "table"})),
            "expected envoy.config.route",
        ),
    ],
)
def test_a_file_that_is_of_no_use_at_the_start_ends_it_with_a_line(
    tmp_path: Path, spoil: Callable[[Files], None], words: str
) -> None:
    """Whoever deploys must not find out later that the proxy serves nobody."""
    files = Files(tmp_path)
    files.put_first(1)
    path = tmp_path / "main.yaml"
    path.write_text(yaml.safe_dump(files.template({"admin": 1, "plain": 2})))
    command = [sys.executable, "-m", "fastproxy", "-c", str(path)]
    good = subprocess.run([*command, "--mode", "validate"], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    spoil(files)
    for options in ([], ["--mode", "validate"]):
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr


async def test_a_symlinked_directory_is_swapped_as_kubernetes_does(
    start_fastproxy: StartFastProxy, tmp_path: Path
) -> None:
    """A ConfigMap: `..data` points to a directory, and is renamed over; the names of the files never change."""
    files = Files(tmp_path / "..data")
    with named_upstreams("ab") as ports:
        for version, letter in (("v1", "a"), ("v2", "b")):
            (tmp_path / version).mkdir()
            own = Files(tmp_path / version)
            own.endpoints = files.endpoints
            own.put_clusters(1)
            put(tmp_path / version / "eds.yaml", version, assignment("followed", ports[letter]))
            own.put_routes(int(version[1]))
        (tmp_path / "..data").symlink_to("v1")
        proxy = start_fastproxy(files.template)
        (tmp_path / "v2" / "lds.yaml").write_text((tmp_path / "v1" / "lds.yaml").read_text())
        assert await asyncio.to_thread(get, proxy, "/") == (200, "a")
        (tmp_path / "swap").symlink_to("v2")
        (tmp_path / "swap").rename(tmp_path / "..data")
        await counted(proxy, f"{RDS}.update_success", 2)
        await counted(proxy, "cluster.followed.update_success", 2)
        assert await asyncio.to_thread(get, proxy, "/number") == (200, "2")
        status = json.loads(proxy.admin("/reload_status")[1])
        assert [one["kind"] for one in status["resources"]] == ["cds", "lds", "rds", "eds"]
        assert all(one["problems"] == [] for one in status["resources"])
