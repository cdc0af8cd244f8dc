"""Health checks beside Envoy: the same file, the same upstreams, the same verdicts; and over several workers."""

import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep

import pytest
import yaml

from fastproxy.clock import monotonic
from tests.conftest import require_peer
from tests.e2e.support.counting import ask
from tests.e2e.support.proxies import (
    Config,
    Ports,
    RunningProxy,
    running_envoy,
    running_fastproxy,
    workers_of,
)
from tests.e2e.support.templates import bootstrap, cluster, forward, listener, virtual_host
from tests.e2e.support.wire import PATIENCE_S

FAST = {
    "timeout": "1s",
    "interval": "0.1s",
    "no_traffic_interval": "0.1s",
    "unhealthy_threshold": 2,
    "healthy_threshold": 2,
}


class Sick(ThreadingHTTPServer):
    """An upstream that says how it is, at `/hc` and otherwise."""

    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name = name
        self.check_status = 200
        self.status = 200
        self.headers: dict[str, str] = {}
        self.checks = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Sick)
        is_check = self.path == "/hc"
        server.checks += is_check
        body = b"" if is_check else server.name.encode()
        self.send_response(server.check_status if is_check else server.status)
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@contextmanager
def upstreams(names: str) -> Iterator[dict[str, Sick]]:
    servers = {name: Sick(name) for name in names}
    for server in servers.values():
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield servers
    finally:
        for server in servers.values():
            server.shutdown()
            server.server_close()


def flags_of(proxy: RunningProxy, name: str) -> dict[str, str]:
    """Health flags by port."""
    found = {}
    for line in proxy.admin("/clusters")[1].splitlines():
        parts = line.split("::")
        if parts[0] == name and len(parts) == 4 and parts[2] == "health_flags":
            found[parts[1].rpartition(":")[2]] = parts[3]
    return found


def stat(proxy: RunningProxy, name: str) -> int:
    return int(proxy.admin(f"/stats?filter=^{name}$")[1].rpartition(": ")[2] or "0")


def wait_for_answers(proxy: RunningProxy, path: str, expected: str) -> None:
    """Until these upstreams, and no others, answer; workers hear of a verdict a moment after the admin page."""
    deadline = monotonic() + PATIENCE_S
    while (found := set(ask(proxy.ports["plain"], path, [{}] * 12))) != set(expected):
        assert monotonic() < deadline, f"{proxy.name}: {found}"


class World:
    """Some proxies over some upstreams."""

    def __init__(self, proxies: list[RunningProxy], servers: dict[str, Sick]) -> None:
        self.proxies = proxies
        self.servers = servers
        self._letters = {str(server.server_port): name for name, server in servers.items()}

    def flags(self, proxy: RunningProxy, name: str) -> dict[str, str]:
        return {self._letters[port]: text for port, text in flags_of(proxy, name).items()}

    def wait_for(self, name: str, expected: dict[str, str]) -> None:
        """Until every proxy says so."""
        deadline = monotonic() + PATIENCE_S
        for proxy in self.proxies:
            while (found := self.flags(proxy, name)) != expected:
                assert monotonic() < deadline, f"{proxy.name}: {found}\n{proxy.log()[-2000:]}"
                sleep(0.02)


@contextmanager
def world(
    directory: Path, clusters: dict[str, Config], names: str = "abc", *options: str, envoy: bool = True
) -> Iterator[World]:
    with ExitStack() as stack:
        servers = stack.enter_context(upstreams(names))
        ports_of = [server.server_port for server in servers.values()]

        def template(ports: Ports) -> Config:
            built = [cluster(name, *ports_of, **more) for name, more in clusters.items()]
            routes = [forward({"prefix": f"/{name}"}, name) for name in clusters]
            return bootstrap(
                ports["admin"],
                [listener("plain", ports["plain"], [virtual_host("all", ["*"], routes)])],
                built,
            )

        started = []
        if envoy:
            require_peer("envoy")
            started.append(stack.enter_context(running_envoy(template, ("plain",), directory)))
        started.append(stack.enter_context(running_fastproxy(template, ("plain",), directory, *options)))
        yield World(started, servers)


def http_check(**more: object) -> Config:
    return {"health_checks": [{**FAST, "http_health_check": {"path": "/hc", **more}}]}


def test_endpoints_go_and_come_back_as_with_envoy(tmp_path: Path) -> None:
    """Statuses decide at once, the way back takes two successes; flags, shares and gauges agree."""
    with world(tmp_path, {"web": http_check()}) as both:
        both.wait_for("web", dict.fromkeys("abc", "healthy"))
        both.servers["b"].check_status = 503
        both.wait_for("web", {"a": "healthy", "b": "/failed_active_hc", "c": "healthy"})
        for proxy in both.proxies:
            wait_for_answers(proxy, "/web", "ac")
            assert stat(proxy, "cluster.web.membership_healthy") == 2
            assert stat(proxy, "cluster.web.health_check.healthy") == 2
            assert stat(proxy, "cluster.web.health_check.failure") > 0
            assert stat(proxy, "cluster.web.health_check.network_failure") == 0
        both.servers["b"].check_status = 200
        both.wait_for("web", dict.fromkeys("abc", "healthy"))
        for proxy in both.proxies:
            wait_for_answers(proxy, "/web", "abc")


def test_retriable_statuses_degraded_and_ranges_are_envoys(tmp_path: Path) -> None:
    """What `http_health_check` says about answers."""
    clusters = {
        "ranged": http_check(expected_statuses=[{"start": 200, "end": 300}]),
        "strict": http_check(),
    }
    with world(tmp_path, clusters, "ab") as both:
        both.wait_for("strict", dict.fromkeys("ab", "healthy"))
        both.servers["a"].check_status = 204
        both.servers["b"].headers = {"x-envoy-degraded": "true"}
        both.wait_for("strict", {"a": "/failed_active_hc", "b": "/degraded_active_hc"})
        both.wait_for("ranged", {"a": "healthy", "b": "/degraded_active_hc"})
        for proxy in both.proxies:
            assert stat(proxy, "cluster.ranged.membership_degraded") == 1


def test_immediate_failure_takes_effect_with_the_answer(tmp_path: Path) -> None:
    """The very next request goes elsewhere, and the header reaches the client."""
    slow = {"health_checks": [{**FAST, "interval": "600s", "no_traffic_interval": "600s"}]}
    slow["health_checks"][0]["http_health_check"] = {"path": "/hc"}
    with world(tmp_path, {"web": slow}, "ab") as both:
        both.wait_for("web", dict.fromkeys("ab", "healthy"))
        both.servers["a"].headers = {"x-envoy-immediate-health-check-fail": "true"}
        out = "/failed_active_hc/excluded_via_immediate_hc_fail"
        for proxy in both.proxies:
            answers = ask(proxy.ports["plain"], "/web", [{}] * 10)
            assert answers.count("a") == 1
        both.wait_for("web", {"a": out, "b": "healthy"})
        for proxy in both.proxies:
            assert stat(proxy, "cluster.web.health_check.passive_failure") == 1
            assert stat(proxy, "cluster.web.membership_excluded") == 1


def test_nobody_healthy_without_panic_is_a_503(tmp_path: Path) -> None:
    """`no healthy upstream`, flag UH."""
    dead = {**http_check(), "common_lb_config": {"healthy_panic_threshold": {"value": 0}}}
    with world(tmp_path, {"web": dead, "panic": http_check()}, "ab") as both:
        for server in both.servers.values():
            server.check_status = 500
        for name in ("web", "panic"):
            both.wait_for(name, dict.fromkeys("ab", "/failed_active_hc"))
        for proxy in both.proxies:
            wait_for_answers(proxy, "/web", "-")
            wait_for_answers(proxy, "/panic", "ab")


def test_one_check_for_all_workers_and_a_new_worker_knows_its_results(tmp_path: Path) -> None:
    """Checks are made by the control plane: three workers are not three times the checks."""
    slow = {**FAST, "interval": "600s", "no_traffic_interval": "600s", "http_health_check": {"path": "/hc"}}
    with world(tmp_path, {"web": {"health_checks": [slow]}}, "ab", "--concurrency", "3", envoy=False) as one:
        one.wait_for("web", dict.fromkeys("ab", "healthy"))
        assert [server.checks for server in one.servers.values()] == [1, 1]
        one.servers["a"].headers = {"x-envoy-immediate-health-check-fail": "true"}
        (proxy,) = one.proxies
        ask(proxy.ports["plain"], "/web", [{}] * 2)
        one.wait_for("web", {"a": "/failed_active_hc/excluded_via_immediate_hc_fail", "b": "healthy"})
        one.servers["a"].headers = {}
        # Whichever worker a connection reaches.
        for _ in range(20):
            wait_for_answers(proxy, "/web", "b")
        victim = workers_of(proxy)[0]
        os.kill(victim, 9)
        deadline = monotonic() + PATIENCE_S
        while (
            len(workers_of(proxy)) < 3
            or victim in workers_of(proxy)
            or stat(proxy, "server.worker_restarts") < 1
        ):
            assert monotonic() < deadline
            sleep(0.05)
        for _ in range(20):
            assert ask(proxy.ports["plain"], "/web", [{}] * 2) == "bb"


@pytest.mark.parametrize("change", ["route", "cluster"])
def test_reload_keeps_what_is_known(tmp_path: Path, change: str) -> None:
    """Endpoints that stay are not checked anew before they are used, and not forgotten to be sick."""
    slow = {**FAST, "interval": "600s", "no_traffic_interval": "600s", "http_health_check": {"path": "/hc"}}
    with world(tmp_path, {"web": {"health_checks": [slow]}}, "ab", envoy=False) as one:
        (proxy,) = one.proxies
        one.wait_for("web", dict.fromkeys("ab", "healthy"))
        one.servers["a"].headers = {"x-envoy-immediate-health-check-fail": "true"}
        ask(proxy.ports["plain"], "/web", [{}] * 2)
        sick = {"a": "/failed_active_hc/excluded_via_immediate_hc_fail", "b": "healthy"}
        one.wait_for("web", sick)
        one.servers["a"].headers, one.servers["a"].check_status = {}, 500
        config = yaml.safe_load(proxy.config_path.read_text())
        if change == "cluster":
            config["static_resources"]["clusters"][0]["connect_timeout"] = "3s"
        proxy.config_path.write_text(yaml.safe_dump(config))
        proxy.process.send_signal(signal.SIGHUP)
        deadline = monotonic() + PATIENCE_S
        while json.loads(proxy.admin("/reload_status")[1])["generation"] != 2:
            assert monotonic() < deadline
            sleep(0.02)
        assert one.flags(proxy, "web") == sick
        assert ask(proxy.ports["plain"], "/web", [{}] * 4) == "bbbb"


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


def statuses(proxy: RunningProxy, count: int) -> list[int]:
    """Of requests over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.ports["plain"], timeout=20)
    found = []
    for _ in range(count):
        connection.request("GET", "/web")
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
