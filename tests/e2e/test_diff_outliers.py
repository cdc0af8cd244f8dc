"""Outlier detection beside Envoy: who is ejected, what is counted, shown and written down."""

import http.client
import json
import re
from pathlib import Path
from time import sleep
from typing import Any

from fastproxy.clock import monotonic
from tests.e2e.support.health_world import World, stat, wait_for_answers, world
from tests.e2e.support.proxies import RunningProxy
from tests.e2e.support.wire import PATIENCE_S

EJECTING = {
    "outlier_detection": {
        "consecutive_5xx": 3,
        "max_ejection_percent": 50,
        "interval": "0.2s",
        "base_ejection_time": "600s",
    }
}


def test_outliers_are_ejected_as_with_envoy(tmp_path: Path) -> None:
    """After three failures in a row, and no more than half of them; flags and counters agree."""
    with world(tmp_path, {"web": EJECTING}, "abcd") as both:
        both.servers["a"].status = both.servers["b"].status = both.servers["c"].status = 503
        for proxy in both.proxies:
            # Each gets enough requests for three failures.
            statuses(proxy, 60)
            deadline = monotonic() + PATIENCE_S
            while stat(proxy, "cluster.web.outlier_detection.ejections_active") < 2:
                assert monotonic() < deadline
                sleep(0.02)
            found = sorted(both.flags(proxy, "web").values())
            assert found == ["/failed_outlier_check"] * 2 + ["healthy"] * 2
            assert both.flags(proxy, "web")["d"] == "healthy"
            assert stat(proxy, "cluster.web.outlier_detection.ejections_enforced_consecutive_5xx") == 2
            assert stat(proxy, "cluster.web.outlier_detection.ejections_overflow") > 0
            assert stat(proxy, "cluster.web.membership_healthy") == 2


def test_ejected_endpoint_gets_no_requests_and_comes_back(tmp_path: Path) -> None:
    """After `base_ejection_time`, without any request having reached it."""
    short = {"outlier_detection": {**EJECTING["outlier_detection"], "base_ejection_time": "1s"}}
    with world(tmp_path, {"web": short}, "ab") as both:
        both.servers["a"].status = 500
        for proxy in both.proxies:
            wait_for_ejection(proxy)
            assert set(statuses(proxy, 6)) == {200}
        both.servers["a"].status = 200
        for proxy in both.proxies:
            wait_for_answers(proxy, "/web", "ab")


def test_endpoint_that_cannot_be_connected_is_ejected(tmp_path: Path) -> None:
    """Connect failures count like its own errors."""
    with world(tmp_path, {"web": EJECTING}, "ab") as both:
        both.servers["a"].shutdown()
        both.servers["a"].socket.close()
        for proxy in both.proxies:
            wait_for_ejection(proxy)
            assert both.flags(proxy, "web") == {"a": "/failed_outlier_check", "b": "healthy"}
            assert set(statuses(proxy, 6)) == {200}


def test_ejection_that_one_worker_sees_holds_for_all(tmp_path: Path) -> None:
    """One connection stays with one worker; the others have seen nothing, and know all the same."""
    with world(tmp_path, {"web": EJECTING}, "ab", "--concurrency", "2", envoy=False) as one:
        (proxy,) = one.proxies
        one.servers["a"].status = 500
        assert statuses(proxy, 20).count(500) == 3
        one.wait_for("web", {"a": "/failed_outlier_check", "b": "healthy"})
        one.servers["a"].status = 200
        for _ in range(30):
            wait_for_answers(proxy, "/web", "b")


def statuses(proxy: RunningProxy, count: int, path: str = "/web") -> list[int]:
    """Of requests over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.ports["plain"], timeout=20)
    found = []
    for _ in range(count):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        found.append(response.status)
    connection.close()
    return found


def wait_for_ejection(proxy: RunningProxy) -> None:
    deadline = monotonic() + PATIENCE_S
    while stat(proxy, "cluster.web.outlier_detection.ejections_active") != 1:
        statuses(proxy, 6)
        assert monotonic() < deadline, proxy.log()[-2000:]
    # Envoy's workers hear of it a moment later.
    while set(statuses(proxy, 6)) != {200}:
        assert monotonic() < deadline


def wait_for_line(proxy: RunningProxy, pattern: str) -> None:
    """Until a line of `/clusters` matches."""
    deadline = monotonic() + PATIENCE_S
    while not re.search(pattern, proxy.admin("/clusters")[1], re.MULTILINE):
        assert monotonic() < deadline, proxy.log()[-2000:]
        sleep(0.02)


def written(both: World, path: Path) -> list[dict[str, Any]]:
    """What is in an event log, without what cannot be equal: times, and the port of an upstream is its letter."""
    found = []
    for line in path.read_text().splitlines():
        event = json.loads(line)
        event["upstream_url"] = both.letters[event["upstream_url"].rpartition(":")[2]]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["timestamp"])
        event["timestamp"] = ""
        if "secs_since_last_action" in event:
            assert event["secs_since_last_action"].isdigit()
            event["secs_since_last_action"] = ""
        # The order of members is part of it: people read logs.
        found.append({"order": list(event), **event})
    return found


def test_events_are_written_as_by_envoy(tmp_path: Path) -> None:
    """Detected but not enforced, ejected, brought back, ejected again: the same lines."""
    twice = {
        "outlier_detection": {
            **EJECTING["outlier_detection"],
            "consecutive_gateway_failure": 3,
            "base_ejection_time": "1s",
        }
    }
    manager = {"outlier_detection": {"event_log_path": f"{tmp_path}/{{name}}-events"}}
    with world(tmp_path, {"web": twice}, "ab", manager=manager) as both:
        for proxy in both.proxies:
            for _ in range(2):
                both.servers["a"].status = 503
                wait_for_ejection(proxy)
                both.servers["a"].status = 200
                wait_for_answers(proxy, "/web", "ab")
            # Envoy writes its log when it ends.
            proxy.stop()
        expected, found = (written(both, tmp_path / f"{proxy.name}-events") for proxy in both.proxies)
    assert found == expected
    assert [one["action"] for one in found].count("UNEJECT") == 2
    assert [one["num_ejections"] for one in found if one["enforced"]] == [1, 2]


RATED = {
    "outlier_detection": {
        "interval": "2s",
        "base_ejection_time": "600s",
        "consecutive_5xx": 10_000,
        "consecutive_gateway_failure": 10_000,
        "max_ejection_percent": 50,
        "success_rate_minimum_hosts": 4,
        "success_rate_request_volume": 5,
        "success_rate_stdev_factor": 1000,
    }
}


def test_success_rates_are_judged_shown_and_written_as_by_envoy(tmp_path: Path) -> None:
    """In `/clusters`, both forms of it, in counters, and in the log."""
    manager = {"outlier_detection": {"event_log_path": f"{tmp_path}/{{name}}-events"}}
    split = {"outlier_detection": {**RATED["outlier_detection"], "split_external_local_origin_errors": True}}
    with world(tmp_path, {"web": RATED, "split": split}, "abcd", manager=manager) as both:
        both.servers["d"].status = 503
        shown = [shown_rates(both, proxy, name) for name in ("web", "split") for proxy in both.proxies]
        for proxy in both.proxies:
            for name in ("web", "split"):
                prefix = f"cluster.{name}.outlier_detection."
                assert stat(proxy, prefix + "ejections_detected_success_rate") == 1
                assert stat(proxy, prefix + "ejections_enforced_success_rate") == 1
            proxy.stop()
        expected, found = (written(both, tmp_path / f"{proxy.name}-events") for proxy in both.proxies)
    assert found == expected
    assert [one["eject_success_rate_event"]["cluster_average_success_rate"] for one in found] == [75, 75]
    assert shown[0] == shown[1]
    assert shown[2] == shown[3]


def shown_rates(both: World, proxy: RunningProxy, name: str) -> list[Any]:
    """Make enough requests in one interval, and read what is told of it in the next."""
    deadline = monotonic() + PATIENCE_S
    average = f"{name}::outlier::success_rate_average::"
    while f"{average}75\n" not in (text := proxy.admin("/clusters")[1]):
        assert monotonic() < deadline, proxy.log()[-2000:]
        statuses(proxy, 40, f"/{name}")
    lines = [line for line in text.splitlines() if line.startswith(f"{name}::") and "success_rate" in line]
    told = json.loads(proxy.admin("/clusters?format=json")[1])["cluster_statuses"]
    (status,) = (one for one in told if one["name"] == name)
    hosts = []
    for host in status.pop("host_statuses"):
        letter = both.letters[str(host.pop("address")["socket_address"]["port_value"])]
        del host["stats"]
        hosts.append((letter, list(host), host))
    for port, letter in both.letters.items():
        lines = [line.replace(f"127.0.0.1:{port}", letter) for line in lines]
    return [sorted(lines), list(status), status, sorted(hosts)]
