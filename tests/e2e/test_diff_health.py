"""Health checks beside Envoy: the same file, the same upstreams, the same verdicts; and over several workers."""

import http.client
import json
import os
import re
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import yaml

from fastproxy.clock import monotonic
from tests.e2e.support.counting import ask
from tests.e2e.support.health_world import FAST, Sick, World, stat, wait_for_answers, world
from tests.e2e.support.proxies import Config, RunningProxy, workers_of
from tests.e2e.support.templates import address
from tests.e2e.support.wire import PATIENCE_S


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
        for proxy in both.proxies:
            wait_for_answers(proxy, "/web", "ab")
        both.servers["a"].headers = {"x-envoy-immediate-health-check-fail": "true"}
        out = "/failed_active_hc/excluded_via_immediate_hc_fail"
        for proxy in both.proxies:
            answers = ask(proxy.ports["plain"], "/web", [{}] * 10)
            # Envoy's worker asks the main thread to tell all workers; ours acts, and tells the others.
            assert "a" in answers if proxy.name == "envoy" else answers.count("a") == 1
        both.wait_for("web", {"a": out, "b": "healthy"})
        for proxy in both.proxies:
            assert stat(proxy, "cluster.web.health_check.passive_failure") == 1
            assert stat(proxy, "cluster.web.membership_excluded") == 1


def events(both: World, path: Path, letter: str) -> list[dict[str, Any]]:
    """What a log says about an upstream, each event once in a row, without times; the order of members with it."""
    found: list[dict[str, Any]] = []
    for line in path.read_text().splitlines():
        event = json.loads(line)
        if both.letters[str(event["host"]["socket_address"].pop("port_value"))] == letter:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", event["timestamp"])
            event["timestamp"] = ""
            event = {"order": list(event), **event}
            if event not in found[-1:]:
                found.append(event)
    return found


def test_events_are_written_as_by_envoy(tmp_path: Path) -> None:
    """In the older and in the newer way to name the file: the same lines, member by member."""
    sink = "type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
    more: Config = {
        "always_log_health_check_failures": True,
        "always_log_health_check_success": True,
        "event_logger": [
            {"name": "file", "typed_config": {"@type": sink, "event_log_path": f"{tmp_path}/{{name}}-new"}}
        ],
    }
    old = {**more, "event_log_path": f"{tmp_path}/{{name}}-old"}
    del old["event_logger"]
    clusters = {
        name: {"health_checks": [{**FAST, **settings, "http_health_check": {"path": "/hc"}}]}
        for name, settings in (("new", more), ("old", old))
    }
    with world(tmp_path, clusters, "ab") as both:
        for name in clusters:
            both.wait_for(name, dict.fromkeys("ab", "healthy"))
        both.servers["a"].check_status = 503
        for name in clusters:
            both.wait_for(name, {"a": "/failed_active_hc", "b": "healthy"})
        both.servers["a"].check_status, both.servers["b"].headers = 200, {"x-envoy-degraded": "1"}
        for name in clusters:
            both.wait_for(name, {"a": "healthy", "b": "/degraded_active_hc"})
        both.servers["b"].headers = {}
        for name in clusters:
            both.wait_for(name, dict.fromkeys("ab", "healthy"))
        both.servers["b"].hangs_up = True
        for name in clusters:
            both.wait_for(name, {"a": "healthy", "b": "/failed_active_hc"})
        for proxy in both.proxies:
            # Envoy writes its log when it ends.
            proxy.stop()
        for name in clusters:
            for letter in "ab":
                expected, found = (
                    events(both, tmp_path / f"{proxy.name}-{name}", letter) for proxy in both.proxies
                )
                assert found == expected
                assert len(found) >= 4


def test_connections_of_endpoints_that_fail_end_as_with_envoy(tmp_path: Path) -> None:
    """Idle ones of pools in any case, those of TCP proxies if told so; for checks and ejections."""
    closing = {"close_connections_on_host_health_failure": True}
    outliers = {
        "outlier_detection": {
            "consecutive_5xx": 1,
            "max_ejection_percent": 100,
            "base_ejection_time": "600s",
        }
    }
    clusters = {
        "kept": http_check(),
        "closed": {**http_check(), **closing},
        "ejected": {**outliers, **closing},
    }
    with world(tmp_path, clusters, "a", tcp=tuple(clusters)) as both, ExitStack() as stack:
        for name in clusters:
            both.wait_for(name, {"a": "healthy"})
        tunnels = {}
        for proxy in both.proxies:
            for name in clusters:
                ask(proxy.ports["plain"], f"/{name}", [{}])
                port = proxy.ports[name]
                one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))
                tunnels[proxy.name, name] = one
                assert answer_over(one)
                wait_for_connections(proxy, name, 2)
        both.servers["a"].check_status = both.servers["a"].status = 500
        for proxy in both.proxies:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.ports["plain"], timeout=PATIENCE_S)
            connection.request("GET", "/ejected")
            assert connection.getresponse().status == 500
            connection.close()
        for name in clusters:
            flag = "/failed_outlier_check" if name == "ejected" else "/failed_active_hc"
            both.wait_for(name, {"a": flag})
        for proxy in both.proxies:
            wait_for_connections(proxy, "kept", 1)
            assert answer_over(tunnels[proxy.name, "kept"])
            for name in ("closed", "ejected"):
                wait_for_connections(proxy, name, 0)
                assert tunnels[proxy.name, name].recv(1) == b""


def answer_over(tunnel: socket.socket) -> bytes:
    """The first bytes of an answer."""
    tunnel.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    return tunnel.recv(1000)


def wait_for_connections(proxy: RunningProxy, cluster: str, count: int) -> None:
    """Until so many are open to the endpoint."""
    deadline = monotonic() + PATIENCE_S
    while f"::cx_active::{count}\n" not in "".join(
        line for line in proxy.admin("/clusters")[1].splitlines(True) if line.startswith(f"{cluster}::127")
    ):
        assert monotonic() < deadline, proxy.admin("/clusters")[1]
        sleep(0.02)


def one_endpoint(
    endpoint: Callable[[dict[str, Sick]], Config], **check: object
) -> Callable[[dict[str, Sick]], Config]:
    """A cluster of the upstream `a` alone, about whose checks `endpoint` says something."""

    def make(servers: dict[str, Sick]) -> Config:
        where = {"address": address(servers["a"].server_port), **endpoint(servers)}
        built = {"endpoints": [{"lb_endpoints": [{"endpoint": where}]}]}
        fields = {name: value(servers) if callable(value) else value for name, value in check.items()}
        return {
            "load_assignment": {"cluster_name": "any", **built},
            "health_checks": [{**FAST, "http_health_check": {"path": "/hc"}, **fields}],
        }

    return make


def port_of(name: str) -> Callable[[dict[str, Sick]], int]:
    return lambda servers: servers[name].server_port


def test_checks_go_where_envoys_go(tmp_path: Path) -> None:
    """All of `health_check_config`; and they name the same host."""
    own = {"http_health_check": {"path": "/hc", "host": "check.test"}}
    clusters = {
        "port": one_endpoint(
            lambda servers: {"health_check_config": {"port_value": servers["b"].server_port}},
            alt_port=port_of("c"),
        ),
        "place": one_endpoint(
            lambda servers: {"health_check_config": {"address": address(servers["b"].server_port)}}
        ),
        "disabled": one_endpoint(lambda _: {"health_check_config": {"disable_active_health_check": True}}),
        "named": one_endpoint(lambda _: {"health_check_config": {"hostname": "endpoint.test"}}, **own),
        "of-the-check": one_endpoint(lambda _: {"hostname": "unused.test"}, **own),
        "of-the-endpoint": one_endpoint(lambda _: {"hostname": "unused.test"}),
    }
    with world(tmp_path, clusters, "abc") as both:
        both.servers["b"].check_status = 503
        for name in clusters:
            failed = name in {"port", "place"}
            both.wait_for(name, {"a": "/failed_active_hc" if failed else "healthy"})
    hosts = {"endpoint.test", "check.test", "of-the-endpoint"}
    assert both.servers["a"].check_hosts == hosts
    assert both.servers["b"].check_hosts == {"port", "place"}
    assert both.servers["c"].check_hosts == set()


def test_tcp_checks_and_timeouts_are_envoys(tmp_path: Path) -> None:
    """Blocks in their order, blocks that never come, and the flag that tells a timeout from an answer."""
    request = b"GET /hc HTTP/1.1\r\nhost: a\r\n\r\n".hex()

    def tcp(**more: object) -> Config:
        return {"health_checks": [{**FAST, "timeout": "0.3s", "tcp_health_check": more}]}

    def texts(*blocks: bytes) -> list[Config]:
        return [{"text": block.hex()} for block in blocks]

    failed = "/failed_active_hc"
    clusters = {
        "connect": (tcp(), "healthy"),
        "found": (tcp(send={"text": request}, receive=texts(b"HTTP/1.1", b" 200 ")), "healthy"),
        "disorder": (
            tcp(send={"text": request}, receive=texts(b" 200 ", b"HTTP/1.1")),
            f"{failed}/active_hc_timeout",
        ),
        "missing": (tcp(send={"text": request}, receive=texts(b"nowhere")), f"{failed}/active_hc_timeout"),
        "silent": (tcp(receive=texts(b"anything")), f"{failed}/active_hc_timeout"),
    }
    with world(tmp_path, {name: fields for name, (fields, _) in clusters.items()}, "a") as both:
        for name, (_, flags) in clusters.items():
            both.wait_for(name, {"a": flags})
        for proxy in both.proxies:
            for name in ("missing", "silent"):
                prefix = f"cluster.{name}.health_check."
                assert stat(proxy, prefix + "network_failure") > 0
                assert stat(proxy, prefix + "success") == stat(proxy, prefix + "healthy") == 0


def test_alternative_port_is_checked(tmp_path: Path) -> None:
    """`alt_port`, which Envoy takes and does not look at."""
    clusters = {"alt": one_endpoint(lambda _: {}, alt_port=port_of("b"))}
    with world(tmp_path, clusters, "ab", envoy=False) as one:
        one.servers["b"].check_status = 503
        one.wait_for("alt", {"a": "/failed_active_hc"})
    assert one.servers["a"].checks == 0


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
