"""The numbers of clusters beside Envoy's: after the same requests `/stats` and `/clusters` say the same."""

import http.client
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.conftest import require_peer
from tests.e2e.support.health_world import Sick, SickPair, sick_pair, upstreams
from tests.e2e.support.proxies import Config, Ports, RunningProxy
from tests.e2e.support.templates import bootstrap, cluster, forward, listener, virtual_host

_LISTENERS = ("plain", "inside", "closed")
_REFUSED = {"circuit_breakers": {"thresholds": [{"max_requests": 0}]}}
_NO_PENDING = {"circuit_breakers": {"thresholds": [{"max_pending_requests": 0}]}}
_REMAINING = {
    "circuit_breakers": {
        "thresholds": [
            {"track_remaining": True, "max_requests": 7, "max_connections": 5, "max_connection_pools": 3},
            {"priority": "HIGH", "track_remaining": True, "retry_budget": {}, "max_connection_pools": 3},
        ]
    }
}
_OUTLIERS = {"outlier_detection": {"consecutive_5xx": 2, "max_ejection_percent": 100}}
#: How requests go, and how connections end, has tests of its own; times differ.
_COMPARED = re.compile(
    r"cluster\.\w+\.("
    r"((external|internal|canary|retry)\.)?upstream_rq_(\d\w+|total|completed|active|pending_active|timeout"
    r"|pending_overflow|active_overflow|retry\w*)"
    r"|circuit_breakers\.\w+\.\w+|outlier_detection\.ejections_(?!detected_degradation)\w+"
    r"|membership_\w+|(ring_hash|maglev)_lb\.\w+|lb_healthy_panic"
    r"): (\d+)"
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SickPair]:
    """The same file, and the same requests to both."""
    require_peer("envoy")
    with ExitStack() as stack:
        servers = stack.enter_context(upstreams("abc"))
        ports_of = [server.server_port for server in servers.values()]

        def template(ports: Ports) -> Config:
            canaries = cluster("canaries", *ports_of)
            (locality,) = canaries["load_assignment"]["endpoints"]
            locality["lb_endpoints"][0]["metadata"] = {"filter_metadata": {"envoy.lb": {"canary": True}}}
            clusters = [
                cluster("service", *ports_of),
                canaries,
                cluster("dead", ports["closed"], **_OUTLIERS),
                cluster("refused", *ports_of, **_REFUSED, **_OUTLIERS),
                cluster("pending", *ports_of, **_NO_PENDING, **_OUTLIERS),
                cluster("remaining", *ports_of, **_REMAINING),
                cluster("ring", *ports_of, lb_policy="RING_HASH"),
                cluster("table", *ports_of, lb_policy="MAGLEV"),
                cluster("empty"),
            ]
            routes = [forward({"prefix": f"/{one['name']}"}, one["name"]) for one in clusters]
            hosts = [virtual_host("all", ["*"], routes)]
            trusts: Config = {
                "use_remote_address": True,
                "internal_address_config": {
                    "cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]
                },
            }
            listeners = [
                listener("plain", ports["plain"], hosts),
                listener("inside", ports["inside"], hosts, options=trusts),
            ]
            return bootstrap(ports["admin"], listeners, clusters)

        directory = tmp_path_factory.mktemp("numbers")
        found = stack.enter_context(sick_pair(template, _LISTENERS, directory, servers))
        for proxy in found.proxies:
            _play(proxy, servers)
        yield found


def _play(proxy: RunningProxy, servers: dict[str, Sick]) -> None:
    for name in ("plain", "inside"):
        connection = http.client.HTTPConnection("127.0.0.1", proxy.ports[name], timeout=20)
        for path in ("service", "canaries", "refused", "pending", "remaining", "ring", "table", "empty"):
            for status in (200, 404, 503):
                for server in servers.values():
                    server.status = status
                for _ in range(3):
                    _ask(connection, f"/{path}")
        # Fewer than would eject: what follows from that is compared elsewhere.
        _ask(connection, "/dead")
        connection.close()


def _ask(connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("GET", path)
    connection.getresponse().read()


def test_counters_and_gauges_are_envoys(pair: SickPair) -> None:
    """Requests that got no connection are in no total; overflow ejects nobody; inside and outside are told apart."""
    told = []
    for proxy in pair.proxies:
        text = proxy.admin("/stats")[1]
        told.append(
            {
                match[0].partition(":")[0]: int(match[0].rpartition(" ")[2])
                for match in _COMPARED.finditer(text)
            }
        )
    # A cluster without endpoints is in panic for Envoy. Its gauges follow changes, ours say what the limits are.
    odd = {
        "cluster.empty.lb_healthy_panic",
        "cluster.refused.circuit_breakers.default.rq_open",
        "cluster.pending.circuit_breakers.default.rq_pending_open",
    }
    expected, found = (
        {name: value for name, value in one.items() if value and name not in odd} for one in told
    )
    assert found == expected
    for name in (
        "service.internal.upstream_rq_2xx",
        "service.external.upstream_rq_503",
        "canaries.canary.upstream_rq_completed",
        "dead.internal.upstream_rq_503",
        "refused.upstream_rq_active_overflow",
        "pending.upstream_rq_pending_overflow",
        "ring.ring_hash_lb.size",
        "table.maglev_lb.max_entries_per_host",
        "remaining.circuit_breakers.default.remaining_rq",
    ):
        assert expected[f"cluster.{name}"] > 0


def _hosts(pair: SickPair, proxy: RunningProxy) -> dict[str, list[Any]]:
    letters = {f"127.0.0.1:{server.server_port}": letter for letter, server in pair.servers.items()}
    found: dict[str, list[Any]] = {}
    for line in proxy.admin("/clusters")[1].splitlines():
        parts = line.split("::")
        if len(parts) == 4 and parts[1] in letters and re.match(r"rq_|canary|health_flags", parts[2]):
            found.setdefault(f"{parts[0]} {parts[2]}", []).append((letters[parts[1]], parts[3]))
    return {key: sorted(values) for key, values in found.items()}


def test_endpoints_are_told_about_alike(pair: SickPair) -> None:
    """`/clusters`: what was refused is an error of the endpoint's, no request, and no reason to eject it."""
    expected, found = (_hosts(pair, proxy) for proxy in pair.proxies)
    # By chance, or by a start of the rotation that is by chance.
    by_chance = [key for key in expected if key.startswith(("ring", "table"))]
    for one in (expected, found):
        for key in by_chance:
            del one[key]
    assert found == expected
    assert ("a", "true") in expected["canaries canary"]
    assert {value for _, value in expected["refused rq_error"]} == {"6"}
    assert {value for _, value in expected["refused rq_total"]} == {"0"}
    assert {value for _, value in expected["pending health_flags"]} == {"healthy"}
