"""Endpoints in files beside Envoy: the same file, replaced by rename, and the same answers and numbers."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.support.counting import named_upstreams
from tests.e2e.support.differences import MANY_RESOURCES
from tests.e2e.support.proxies import Config, Ports, RunningProxy
from tests.e2e.support.resources import (
    NODE,
    assignment,
    both,
    file_source,
    put,
    replace_text,
    stat,
    text_stat,
    typed,
    wait_for_answers,
    wait_for_stat,
)
from tests.e2e.support.templates import address, bootstrap, forward, listener, virtual_host

_COUNTERS = ("attempt", "success", "failure", "rejected", "empty", "no_rebuild")


@contextmanager
def eds_pair(directory: Path, path: Path, **more: object) -> Iterator[list[RunningProxy]]:
    """Both proxies with the EDS cluster `one`, whose endpoints the file calls `svc`."""

    def template(ports: Ports) -> Config:
        cluster = {
            "name": "one",
            "type": "EDS",
            "connect_timeout": "2s",
            "eds_cluster_config": {"service_name": "svc", "eds_config": file_source(path)},
            **more,
        }
        routes = [virtual_host("all", ["*"], [forward({"prefix": "/"}, "one")])]
        config = bootstrap(ports["admin"], [listener("plain", ports["plain"], routes)], [cluster])
        return {"node": NODE, **config}

    with both(template, directory) as proxies:
        yield proxies


def counters(proxy: RunningProxy) -> dict[str, int]:
    return {name: stat(proxy, f"cluster.one.update_{name}") for name in _COUNTERS}


def test_endpoints_follow_the_file_as_with_envoy(tmp_path: Path) -> None:
    """Added, removed, emptied, named wrongly, not understood: answers and counters agree after each content."""
    path = tmp_path / "eds.yaml"
    with named_upstreams("abc") as ports:
        put(path, "1", assignment("svc", ports["a"]))
        with eds_pair(tmp_path, path) as proxies:
            steps: list[tuple[Callable[[], None], str]] = [
                (lambda: put(path, "2", assignment("svc", ports["b"], ports["c"])), "bc"),
                (lambda: put(path, "3", assignment("other", ports["a"])), "bc"),
                (lambda: put(path, "4", typed("cluster", {"name": "svc"})), "bc"),
                (lambda: put(path, "5"), "bc"),
                (lambda: replace_text(path, "version_info: [\n"), "bc"),
                (lambda: put(path, "6", assignment("svc", ports["c"])), "c"),
                (lambda: put(path, "7", assignment("svc", ports["c"])), "c"),
                (lambda: put(path, "8", assignment("svc")), "-"),
                (lambda: put(path, "9", assignment("svc", ports["a"], health_status="DRAINING")), "a"),
                (lambda: put(path, "10", assignment("svc", ports["a"], load_balancing_weight=3)), "a"),
            ]
            for proxy in proxies:
                wait_for_answers(proxy, "/", "a")
            for number, (change, answers) in enumerate(steps, 2):
                change()
                for proxy in proxies:
                    wait_for_stat(proxy, "cluster.one.update_attempt", number)
                    wait_for_answers(proxy, "/", answers)
            envoy, fastproxy = proxies
            assert counters(fastproxy) == counters(envoy)
            for name in ("membership_total", "membership_healthy", "membership_change", "version"):
                assert stat(fastproxy, f"cluster.one.{name}") == stat(envoy, f"cluster.one.{name}"), name
            assert text_stat(fastproxy, "cluster.one.version_text") == '"10"'
            assert text_stat(envoy, "cluster.one.version_text") == '"10"'
            put(path, "11", assignment("svc", 0))
            wait_for_stat(fastproxy, "cluster.one.update_rejected", 3)
            (status,) = json.loads(fastproxy.admin("/reload_status")[1])["resources"]
            assert (status["kind"], status["name"], status["version_info"]) == ("eds", "one", "10")
            assert status["problems"][0].startswith(
                f"{path}:10: resources[0].endpoints[0].lb_endpoints[0]"
            ), status


def test_a_file_with_several_assignments(tmp_path: Path) -> None:
    """Envoy refuses it; here it serves the clusters that it names."""
    assert MANY_RESOURCES.id == "many-resources"
    path = tmp_path / "eds.yaml"
    with named_upstreams("ab") as ports:
        put(path, "1", assignment("svc", ports["a"]))
        with eds_pair(tmp_path, path) as (envoy, fastproxy):
            put(path, "2", assignment("x", ports["a"]), assignment("svc", ports["b"]))
            wait_for_stat(envoy, "cluster.one.update_rejected", 1)
            wait_for_answers(envoy, "/", "a")
            wait_for_answers(fastproxy, "/", "b")


def test_the_admin_pages_show_what_envoy_shows(tmp_path: Path) -> None:
    """`/clusters` in both forms."""
    path = tmp_path / "eds.yaml"
    with named_upstreams("a") as ports:
        put(path, "1", assignment("svc", ports["a"], health_status="DEGRADED"))
        with eds_pair(tmp_path, path) as proxies:
            texts, objects = [], []
            for proxy in proxies:
                lines = proxy.admin("/clusters")[1].splitlines()
                texts.append({line for line in lines if "::cx_" not in line and "::rq_" not in line})
                status = json.loads(proxy.admin("/clusters?format=json")[1])["cluster_statuses"][0]
                for host in status["host_statuses"]:
                    del host["stats"]
                    host.pop("hostname", None)
                objects.append(status)
            assert texts[1] == texts[0]
            assert "one::eds_service_name::svc" in texts[1]
            assert objects[1] == objects[0]


def test_removed_endpoints_that_pass_their_checks_stay_unless_that_is_ignored(tmp_path: Path) -> None:
    """`ignore_health_on_host_removal` decides whether discovery or the checks have the last word."""
    check = {
        "timeout": "1s",
        "interval": "0.1s",
        "no_traffic_interval": "0.1s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/hc"},
    }
    for ignored, expected in ((False, "ab"), (True, "b")):
        directory = tmp_path / str(ignored)
        directory.mkdir()
        path = directory / "eds.yaml"
        with named_upstreams("ab") as ports:
            put(path, "1", assignment("svc", ports["a"], ports["b"]))
            more = {"health_checks": [check], "ignore_health_on_host_removal": ignored}
            with eds_pair(directory, path, **more) as proxies:
                for proxy in proxies:
                    wait_for_answers(proxy, "/", "ab")
                put(path, "2", assignment("svc", ports["b"]))
                for proxy in proxies:
                    wait_for_stat(proxy, "cluster.one.update_success", 2)
                    wait_for_answers(proxy, "/", expected)


def test_priorities_and_localities_of_a_file_count(tmp_path: Path) -> None:
    """Requests go to the first priority that has somebody."""
    path = tmp_path / "eds.yaml"

    def two(healthy: str) -> Config:
        return typed(
            "endpoint",
            {
                "cluster_name": "svc",
                "endpoints": [
                    {
                        "locality": {"zone": name},
                        "priority": priority,
                        "lb_endpoints": [
                            {
                                "endpoint": {"address": address(ports[name])},
                                "health_status": "HEALTHY" if name in healthy else "UNHEALTHY",
                            }
                        ],
                    }
                    for priority, name in enumerate("ab")
                ],
            },
        )

    with named_upstreams("ab") as ports:
        put(path, "1", two("ab"))
        with eds_pair(tmp_path, path) as proxies:
            for version, (healthy, expected) in enumerate([("ab", "a"), ("b", "b"), ("a", "a")], 1):
                put(path, str(version), two(healthy))
                for proxy in proxies:
                    wait_for_answers(proxy, "/", expected)


def test_the_overprovisioning_factor_of_a_file_counts(tmp_path: Path) -> None:
    """Half of priority 0 is healthy: with 200 % it takes all requests, with the usual 140 % it does not."""
    path = tmp_path / "eds.yaml"
    with named_upstreams("abc") as ports:

        def write(version: str, **policy: object) -> None:
            levels = [[("a", "HEALTHY"), ("b", "UNHEALTHY")], [("c", "HEALTHY")]]
            endpoints = [
                {
                    "priority": priority,
                    "lb_endpoints": [
                        {"endpoint": {"address": address(ports[name])}, "health_status": health}
                        for name, health in level
                    ],
                }
                for priority, level in enumerate(levels)
            ]
            resource = {"cluster_name": "svc", "endpoints": endpoints, **policy}
            put(path, version, typed("endpoint", resource))

        write("1")
        with eds_pair(tmp_path, path) as proxies:
            steps = (("2", 200, "a"), ("3", 140, "ac"))
            for version, factor, expected in steps:
                write(version, policy={"overprovisioning_factor": factor})
                for proxy in proxies:
                    wait_for_stat(proxy, "cluster.one.update_success", int(version))
                    wait_for_answers(proxy, "/", expected)
                    dump = json.loads(proxy.admin("/config_dump?include_eds")[1])["configs"]
                    (shown,) = [one for one in dump if one["@type"].endswith("EndpointsConfigDump")]
                    (entry,) = shown["static_endpoint_configs"]
                    assert entry["endpoint_config"]["policy"]["overprovisioning_factor"] == factor
