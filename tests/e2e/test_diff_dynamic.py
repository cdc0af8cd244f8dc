"""Clusters, listeners and routes in files beside Envoy: the same files, replaced by rename, the same answers."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.support.counting import named_upstreams
from tests.e2e.support.differences import MANY_RESOURCES, WHOLE_UPDATES
from tests.e2e.support.proxies import Config, Ports, RunningProxy
from tests.e2e.support.resources import (
    NODE,
    assignment,
    both,
    file_source,
    get,
    put,
    replace_text,
    stat,
    text_stat,
    typed,
    wait_for_answers,
    wait_for_stat,
)
from tests.e2e.support.templates import address, cluster, direct, forward, listener, virtual_host

CDS, LDS, RDS = "cluster_manager.cds", "listener_manager.lds", "http.plain.rds.table"


@dataclass
class Files:
    """The files of both proxies; listeners need ports, so each proxy has a file of its own for them."""

    directory: Path

    @property
    def clusters(self) -> Path:
        return self.directory / "cds.yaml"

    @property
    def routes(self) -> Path:
        return self.directory / "rds.yaml"

    @property
    def endpoints(self) -> Path:
        return self.directory / "eds.yaml"

    def listeners(self, ports: Ports) -> Path:
        return self.directory / f"lds-{ports['admin']}.yaml"

    def put_routes(self, version: str, *routes: Config, **more: object) -> None:
        table = {"name": "table", "virtual_hosts": [virtual_host("all", ["*"], list(routes))], **more}
        put(self.routes, version, typed("route", table))

    def put_clusters(self, version: str, *clusters: Config) -> None:
        put(self.clusters, version, *(typed("cluster", one) for one in clusters))


def rds(files: Files, name: str = "table") -> Config:
    return {"route_config_name": name, "config_source": file_source(files.routes)}


def with_rds(config: Config, files: Files, name: str = "table") -> Config:
    """A listener whose routes come from a file."""
    manager = config["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["route_config"]
    manager["rds"] = rds(files, name)
    return config


def plain(ports: Ports, files: Files) -> Config:
    return with_rds(listener("plain", ports["plain"], []), files)


@contextmanager
def dynamic_pair(files: Files, *more_listeners: str) -> Iterator[list[RunningProxy]]:
    """Both proxies with everything in files."""

    def template(ports: Ports) -> Config:
        put(files.listeners(ports), "1", typed("listener", plain(ports, files)))
        return {
            "node": NODE,
            "admin": {"address": address(ports["admin"])},
            "dynamic_resources": {
                "cds_config": file_source(files.clusters),
                "lds_config": file_source(files.listeners(ports)),
            },
        }

    with both(template, files.directory, ("plain", *more_listeners)) as proxies:
        yield proxies


def updates(proxy: RunningProxy, prefix: str, *names: str) -> dict[str, int]:
    return {name: stat(proxy, f"{prefix}.update_{name}") for name in names}


def test_routes_follow_their_file(tmp_path: Path) -> None:
    """Replaced, refused, emptied, not understood: answers and counters agree after each content."""
    files = Files(tmp_path)
    with named_upstreams("ab") as ports:
        files.put_clusters("1", cluster("a", ports["a"]), cluster("b", ports["b"]))
        files.put_routes("1", forward({"prefix": "/"}, "a"))
        with dynamic_pair(files) as proxies:
            changes: list[tuple[Callable[[], None], str]] = [
                (lambda: files.put_routes("2", forward({"prefix": "/"}, "b")), "b"),
                (lambda: files.put_routes("3", forward({"prefix": "/"}, "nobody")), "-"),
                (lambda: put(files.routes, "4", typed("route", {"name": "other"})), "-"),
                (lambda: replace_text(files.routes, "version_info: [\n"), "-"),
                (lambda: put(files.routes, "5"), "-"),
                (lambda: files.put_routes("6", {"match": {}, "route": {"cluster": "a"}}), "-"),
                (lambda: files.put_routes("7", forward({"prefix": "/"}, "no"), validate_clusters=True), "-"),
                (lambda: files.put_routes("8", forward({"prefix": "/"}, "a")), "a"),
            ]
            for number, (change, expected) in enumerate(changes, 2):
                change()
                for proxy in proxies:
                    wait_for_stat(proxy, f"{RDS}.update_attempt", number)
                    wait_for_answers(proxy, "/", expected)
            envoy, fastproxy = proxies
            names = ("attempt", "success", "failure", "rejected", "empty")
            assert updates(fastproxy, RDS, *names) == updates(envoy, RDS, *names)
            assert stat(fastproxy, f"{RDS}.config_reload") == stat(envoy, f"{RDS}.config_reload")
            assert stat(fastproxy, f"{RDS}.version") == stat(envoy, f"{RDS}.version")
            assert text_stat(fastproxy, f"{RDS}.version_text") == '"8"'
            for prefix in (
                "envoy_http_rds_update",
                "envoy_cluster_manager_cds_update_",
                "envoy_listener_manager_lds",
            ):
                wanted, found = (_samples(proxy, prefix) for proxy in proxies)
                assert wanted
                assert found == wanted


def _samples(proxy: RunningProxy, prefix: str) -> set[str]:
    """Counters in Prometheus' form, labels in one order."""
    found = set()
    for line in proxy.admin("/stats/prometheus")[1].splitlines():
        if line.startswith(prefix) and not any(word in line for word in ("_time", "_duration", "_bucket")):
            series, value = line.rsplit(" ", 1)
            name, _, labels = series.partition("{")
            found.add(f"{name} {sorted(filter(None, labels.rstrip('}').split(',')))} {float(value):g}")
    return found


def test_clusters_come_change_and_go(tmp_path: Path) -> None:
    """A route to a cluster that has gone answers 503 as in Envoy, and works again when it is back."""
    files = Files(tmp_path)
    with named_upstreams("ab") as ports:
        one, two = cluster("one", ports["a"]), cluster("two", ports["b"])
        files.put_clusters("1", one, two)
        files.put_routes("1", forward({"prefix": "/two"}, "two"), forward({"prefix": "/"}, "one"))
        with dynamic_pair(files) as proxies:
            for version, clusters, answers in (
                ("2", [one], ("a", "-")),
                ("3", [cluster("one", ports["b"]), two], ("b", "b")),
                ("4", [], ("-", "-")),
                ("5", [one, two], ("a", "b")),
            ):
                files.put_clusters(version, *clusters)
                for proxy in proxies:
                    wait_for_stat(proxy, f"{CDS}.update_success", int(version))
                    wait_for_answers(proxy, "/", answers[0])
                    wait_for_answers(proxy, "/two", answers[1])
            envoy, fastproxy = proxies
            assert get(fastproxy, "/two") == get(envoy, "/two")
            names = ("attempt", "success", "failure", "rejected")
            assert updates(fastproxy, CDS, *names) == updates(envoy, CDS, *names)
            for name in ("cluster_added", "cluster_removed", "cluster_modified", "active_clusters"):
                full = f"cluster_manager.{name}"
                assert stat(fastproxy, full) == stat(envoy, full), full


def test_a_cluster_of_inline_routes_may_go_as_with_envoy(tmp_path: Path) -> None:
    """A listener that is in force is not judged again because a cluster has gone."""
    files = Files(tmp_path)
    with named_upstreams("a") as ports:
        files.put_clusters("1", cluster("one", ports["a"]))
        files.put_routes("1", forward({"prefix": "/"}, "one"))
        with dynamic_pair(files) as proxies:
            for proxy in proxies:
                inline = listener(
                    "plain",
                    proxy.ports["plain"],
                    [virtual_host("all", ["*"], [forward({"prefix": "/"}, "one")])],
                )
                put(files.listeners(proxy.ports), "2", typed("listener", inline))
                wait_for_stat(proxy, f"{LDS}.update_success", 2)
                wait_for_answers(proxy, "/", "a")
            files.put_clusters("2")
            for proxy in proxies:
                wait_for_stat(proxy, f"{CDS}.update_success", 2)
                wait_for_answers(proxy, "/", "-")
            unknown = virtual_host("all", ["*"], [forward({"prefix": "/"}, "two")])
            for proxy in proxies:
                changed = listener("plain", proxy.ports["plain"], [unknown])
                put(files.listeners(proxy.ports), "3", typed("listener", changed))
                wait_for_stat(proxy, f"{LDS}.update_rejected", 1)
            files.put_clusters("3", cluster("one", ports["a"]))
            for proxy in proxies:
                wait_for_answers(proxy, "/", "a")


def test_listeners_come_and_go(tmp_path: Path) -> None:
    """A new listener answers, a removed one is refused; the counters are Envoy's."""
    files = Files(tmp_path)
    with named_upstreams("a") as ports:
        files.put_clusters("1", cluster("one", ports["a"]))
        files.put_routes("1", forward({"prefix": "/"}, "one"))
        with dynamic_pair(files) as proxies:
            for proxy in proxies:
                more = [virtual_host("all", ["*"], [direct({"prefix": "/"}, 200, "second")])]
                second = listener("second", 0, more)
                path = files.listeners(proxy.ports)
                put(path, "2", typed("listener", plain(proxy.ports, files)), typed("listener", second))
                wait_for_stat(proxy, f"{LDS}.update_success", 2)
                found = dict(line.split("::", 1) for line in proxy.admin("/listeners")[1].splitlines())
                assert set(found) == {"plain", "second"}
                proxy.ports["second"] = int(found["second"].rpartition(":")[2])
                assert get(proxy, "/", "second") == (200, "second")
                put(path, "3", typed("listener", plain(proxy.ports, files)))
                wait_for_stat(proxy, f"{LDS}.update_success", 3)
                wait_for_answers(proxy, "/", "a")
                assert proxy.admin("/listeners")[1].splitlines() == [
                    f"plain::127.0.0.1:{proxy.ports['plain']}"
                ]
            envoy, fastproxy = proxies
            for name in ("listener_added", "listener_removed", "listener_modified", "total_listeners_active"):
                one = f"listener_manager.{name}"
                assert stat(fastproxy, one) == stat(envoy, one), one


def test_an_update_with_a_mistake_is_not_used_in_part(tmp_path: Path) -> None:
    """Envoy takes what is right of it, and counts it as rejected all the same."""
    assert WHOLE_UPDATES.id == "whole-updates"
    files = Files(tmp_path)
    with named_upstreams("ab") as ports:
        files.put_clusters("1", cluster("one", ports["a"]))
        files.put_routes("1", forward({"prefix": "/"}, "one"))
        with dynamic_pair(files) as (envoy, fastproxy):
            bad = {**cluster("bad"), "type": "STATIC", "connect_timeout": "-1s"}
            files.put_clusters("2", cluster("one", ports["b"]), cluster("twin"), cluster("twin"))
            for proxy in (envoy, fastproxy):
                wait_for_stat(proxy, f"{CDS}.update_rejected", 1)
            wait_for_answers(envoy, "/", "b")
            wait_for_answers(fastproxy, "/", "a")
            assert text_stat(fastproxy, f"{CDS}.version_text") == '"1"'
            status = json.loads(fastproxy.admin("/reload_status")[1])
            (clusters,) = [one for one in status["resources"] if one["kind"] == "cds"]
            assert clusters["version_info"] == "1"
            assert any(
                one.startswith(f"{files.clusters}:") and "resources[2].name" in one
                for one in clusters["problems"]
            ), clusters
            assert "duplicate cluster" in fastproxy.log()
            files.put_clusters("3", cluster("one", ports["b"]), bad)
            wait_for_stat(fastproxy, f"{CDS}.update_attempt", 3)
            wait_for_answers(fastproxy, "/", "a")
            files.put_clusters("4", cluster("one", ports["b"]))
            wait_for_stat(fastproxy, f"{CDS}.update_success", 2)
            wait_for_answers(fastproxy, "/", "b")
            status = json.loads(fastproxy.admin("/reload_status")[1])
            assert all(one["problems"] == [] for one in status["resources"])


def test_one_file_can_hold_several_route_tables(tmp_path: Path) -> None:
    """Envoy refuses such a file."""
    assert MANY_RESOURCES.id == "many-resources"
    files = Files(tmp_path)
    with named_upstreams("ab") as ports:
        files.put_clusters("1", cluster("a", ports["a"]), cluster("b", ports["b"]))
        files.put_routes("1", forward({"prefix": "/"}, "a"))
        with dynamic_pair(files) as (envoy, fastproxy):
            tables = [
                {"name": name, "virtual_hosts": [virtual_host("all", ["*"], [forward({"prefix": "/"}, to)])]}
                for name, to in (("other", "a"), ("table", "b"))
            ]
            put(files.routes, "2", *(typed("route", one) for one in tables))
            wait_for_stat(envoy, f"{RDS}.update_rejected", 1)
            wait_for_answers(envoy, "/", "a")
            wait_for_answers(fastproxy, "/", "b")


def _dump(proxy: RunningProxy, path: str = "/config_dump?include_eds") -> dict[str, Any]:
    configs = json.loads(proxy.admin(path)[1])["configs"]
    return {one["@type"].rpartition(".")[2]: one for one in configs}


def _comparable(dump: dict[str, Any]) -> dict[str, Any]:
    """Without times, and lists in the order of their text: Envoy's is that of a hash table."""
    found = {}
    for key, value in dump.items():
        if isinstance(value, list):
            entries = [
                {name: one for name, one in entry.items() if name != "last_updated"} for entry in value
            ]
            found[key] = sorted(entries, key=lambda one: json.dumps(one, sort_keys=True))
        else:
            found[key] = value
    return found


def test_the_dump_shows_what_envoy_shows(tmp_path: Path) -> None:
    """Versions, dynamic clusters, listeners and routes, and the endpoints of all clusters."""
    files = Files(tmp_path)
    with named_upstreams("a") as ports:
        put(files.endpoints, "e1", assignment("svc", ports["a"], load_balancing_weight=2))
        followed = {
            "name": "followed",
            "type": "EDS",
            "eds_cluster_config": {"service_name": "svc", "eds_config": file_source(files.endpoints)},
        }
        files.put_clusters("c1", cluster("one", ports["a"]), followed)
        files.put_routes("r1", forward({"prefix": "/"}, "followed"))
        with dynamic_pair(files) as proxies:
            for proxy in proxies:
                wait_for_answers(proxy, "/", "a")
            envoy, fastproxy = (_dump(proxy) for proxy in proxies)
            for kind in ("ClustersConfigDump", "RoutesConfigDump"):
                wanted, found = _comparable(envoy[kind]), _comparable(fastproxy[kind])
                assert {key: found[key] for key in wanted} == wanted, kind
            kind = "EndpointsConfigDump"
            assert _comparable(fastproxy[kind]) == _comparable(envoy[kind])
            (listener_dump,) = fastproxy["ListenersConfigDump"]["dynamic_listeners"]
            assert listener_dump["name"] == "plain"
            assert listener_dump["active_state"]["version_info"] == "1"
            shown = json.dumps(listener_dump)
            assert '"rds"' in shown
            assert "route_config_name" in shown
            assert "EndpointsConfigDump" not in _dump(proxies[1], "/config_dump")
            texts = [
                sorted(line for line in proxy.admin("/clusters")[1].splitlines() if "added_via_api" in line)
                for proxy in proxies
            ]
            assert texts[0] == texts[1] == ["followed::added_via_api::true", "one::added_via_api::true"]
