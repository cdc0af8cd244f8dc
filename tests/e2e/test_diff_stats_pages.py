"""/stats beside Envoy's: the same names, the same forms of histograms, the same answers to odd parameters."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.conftest import require_peer
from tests.e2e.support.proxies import Config, Ports, RunningProxy, running_envoy, running_fastproxy
from tests.e2e.support.templates import (
    address,
    bootstrap,
    cluster,
    direct,
    forward,
    listener,
    virtual_host,
)
from tests.e2e.support.tls_setup import INSPECTOR, Pki, proxy_protocol
from tests.e2e.support.upstream import After, Answer, ScriptedUpstream
from tests.e2e.test_diff_tcp_proxy import tcp_proxy

_LISTENERS = ("plain", "tls", "tcp", "looked")
_REQUESTS = 3
_SLOW = "http.plain.downstream_rq_time"
#: What an Envoy shows that is no part of a proxy's own statistics, or that nobody can know here.
_NOT_HERE = re.compile(
    # Its file system, thread, allocator, resolver and runtime machinery; its own HTTP client.
    r"filesystem\.|thread_local_cluster_manager\.|envoy\.overload_actions|overload\.refresh|runtime\.|dns\.cares\.|http\.async-client\."
    # The event loop does not say how many it accepts at a time, nor the TLS library what it agreed on.
    r"|.*\.connections_accepted_per_socket_event|.*\.ssl\.(curves|sigalgs)\.|.*\.ssl\.certificate\."
    # Times of requests from inside and outside are not kept apart.
    r"|.*\.(external|internal|canary)\.upstream_rq_time|tls_inspector\.bytes_processed"
    r"|.*\.upstream_cx_[rt]x_bytes_buffered|.*\.total_match_count|http\.admin\.downstream_cx_tx_bytes_total"
)


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningProxy, RunningProxy]]:
    """Envoy and FastProxy, after the same requests."""
    require_peer("envoy")
    directory = tmp_path_factory.mktemp("pages")
    hosts = [
        virtual_host(
            "all",
            ["*"],
            [
                direct({"prefix": "/direct"}, 200, "hi"),
                forward({"prefix": "/"}, "service", timeout="0.35s"),
            ],
        )
    ]
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream({"hang": Answer(parts=(), after=After.HANG)}))
        pki = Pki(directory)

        def template(ports: Ports) -> Config:
            secured = listener("tls", ports["tls"], hosts)
            secured["filter_chains"][0]["transport_socket"] = pki.socket("first", validation={})
            tcp = {
                "name": "tcp",
                "address": address(ports["tcp"]),
                "filter_chains": [{"filters": [tcp_proxy("service")]}],
            }
            looked = listener(
                "looked",
                ports["looked"],
                hosts,
                listener_options={
                    "stat_prefix": "a.b",
                    "listener_filters": [
                        proxy_protocol(allow_requests_without_proxy_protocol=True),
                        INSPECTOR,
                    ],
                },
            )
            return bootstrap(
                ports["admin"],
                [listener("plain", ports["plain"], hosts), secured, tcp, looked],
                [cluster("service", upstream.port), cluster("named", upstream.port, type="STRICT_DNS")],
            )

        running = (
            stack.enter_context(running_envoy(template, _LISTENERS, directory)),
            stack.enter_context(running_fastproxy(template, _LISTENERS, directory)),
        )
        for proxy in running:
            for _ in range(_REQUESTS):
                _ask(proxy, "GET /x HTTP/1.1\r\nhost: a\r\nx-script: hang\r\n\r\n")
            # Envoy shows what was there when it flushed, and before it what came since the flush before that.
            proxy.wait_until(lambda proxy=proxy: "P0(nan," in _page(proxy, f"filter=^{_SLOW}$"))  # type: ignore[misc]
        yield running


def _ask(proxy: RunningProxy, request: str) -> None:
    with socket.create_connection(("127.0.0.1", proxy.ports["plain"]), timeout=20) as client:
        client.sendall(request.encode())
        assert client.recv(65536)


def _page(proxy: RunningProxy, query: str) -> str:
    return proxy.admin(f"/stats?{query}")[1]


def _names(proxy: RunningProxy, path: str, pattern: str) -> set[str]:
    text = proxy.admin(path)[1]
    for name in _LISTENERS:
        text = text.replace(str(proxy.ports[name]), name.upper())
    return set(re.findall(pattern, text, re.MULTILINE))


def test_every_name_of_envoys_is_there(proxies: tuple[RunningProxy, RunningProxy]) -> None:
    """A panel of a dashboard whose series is missing looks like an outage."""
    expected, found = (_names(proxy, "/stats", r"^([^:\s]+): ") for proxy in proxies)
    missing = {name for name in expected - found if not _NOT_HERE.match(name)}
    assert missing == set()
    assert len(expected & found) > 500


def test_families_and_labels_are_envoys(proxies: tuple[RunningProxy, RunningProxy]) -> None:
    """What queries go by: the name of the series, and each label."""
    series = r"^(envoy_[^\s]+) "
    expected, found = (
        {
            one.replace("{}", "")
            for one in _names(proxy, "/stats/prometheus?filter=^(http|listener|cluster|tcp|server)", series)
            if "_bucket" not in one and "a_b" not in one and "a.b" not in one
        }
        for proxy in proxies
    )
    never = re.compile(
        r"envoy_listener_connections_accepted|envoy_listener_admin_connections_accepted|envoy_listener_ssl_(curves|sigalgs|cert)"
        r"|envoy_cluster_(external|internal|canary)_upstream_rq_time|.*_bytes_buffered|envoy_cluster_default_total"
        r"|envoy_http_downstream_cx_tx_bytes_total.*admin|.*async.client|envoy_tls_inspector"
        # A listener's `stat_prefix` is cut at its dot by Envoy.
        r"|envoy_listener_b_"
    )
    missing = {one for one in _sorted_labels(expected) - _sorted_labels(found) if not never.match(one)}
    assert missing == set()


def _sorted_labels(series: set[str]) -> set[str]:
    """Series with their labels in one order."""
    made = set()
    for one in series:
        name, _, labels = one.rstrip("}").partition("{")
        made.add(name + ",".join(sorted(re.findall(r'\w+="[^"]*"', labels))))
    return made


@pytest.mark.parametrize("mode", ["cumulative", "disjoint"])
def test_buckets_are_shown_as_envoys(proxies: tuple[RunningProxy, RunningProxy], mode: str) -> None:
    """`?histogram_buckets=`, as text and as JSON."""
    query = f"filter=^{_SLOW}$&histogram_buckets={mode}"
    texts = [_page(proxy, query) for proxy in proxies]
    assert texts[0] == texts[1]
    assert f"B500(0,{_REQUESTS})" in texts[0]
    found = [json.loads(_page(proxy, f"{query}&format=json")) for proxy in proxies]
    assert found[0] == found[1]


@pytest.mark.parametrize("mode", ["summary", "none", "detailed"])
def test_quantiles_are_shown_as_envoys(proxies: tuple[RunningProxy, RunningProxy], mode: str) -> None:
    """In form; values are estimates, from other buckets in Envoy."""
    query = f"filter=^{_SLOW}$&histogram_buckets={mode}"
    texts = [_shape(_page(proxy, query)) for proxy in proxies]
    assert texts[0] == texts[1]
    found = [_shape(json.loads(_page(proxy, f"{query}&format=json"))) for proxy in proxies]
    assert found[0] == found[1]


def _shape(value: Any) -> Any:
    """The same without numbers, and without what is the same but for them."""
    if isinstance(value, dict):
        return {name: _shape(one) for name, one in value.items()}
    if isinstance(value, list):
        shapes = [_shape(one) for one in value]
        return [one for index, one in enumerate(shapes) if one not in shapes[:index]]
    if isinstance(value, str):
        return re.sub(r"N,N:N(, N,N:N)+", "N,N:N", re.sub(r"(?<=[,=(:])[\d.]+|(?<=, )[\d.]+", "N", value))
    return None if value is None else "number"


@pytest.mark.parametrize(
    "path",
    [
        "/stats?hidden=odd",
        "/stats?format=odd",
        "/stats?hidden=only",
        "/stats?filter=^server.(live|state)$&hidden=include",
        "/stats?filter=^server.live$&format=json",
        "/stats?filter=^server.live$|concurrency&type=Gauges",
        "/stats?filter=^server.live$&type=Counters",
        "/stats?filter=^listener_manager.(listener_added|workers_started)$&usedonly",
        f"/stats?filter=^{_SLOW}$&usedonly&type=Histograms&histogram_buckets=disjoint",
        "/stats?filter=^[^s]|^.[^e]|^..[^r]|_|state|uptime|version|hot|total|init&invert_filter&type=Gauges",
        "/stats/prometheus?histogram_buckets=disjoint",
        "/stats/prometheus?histogram_buckets=detailed",
    ],
)
def test_parameters_are_answered_as_envoy_does(proxies: tuple[RunningProxy, RunningProxy], path: str) -> None:
    """The whole page, or the refusal."""
    expected, found = (proxy.admin(path) for proxy in proxies)
    assert found == expected


def test_the_first_expiry_and_the_open_connections_are_told(
    proxies: tuple[RunningProxy, RunningProxy],
) -> None:
    """`server.days_until_first_cert_expiring` and `server.total_connections`."""
    query = "filter=^server.(days_until_first_cert_expiring|total_connections)$"
    expected, found = (_page(proxy, query) for proxy in proxies)
    # Between the two looks a day may have come to its end.
    days = [int(re.findall(r"expiring: (\d+)", page)[0]) for page in (expected, found)]
    assert 0 <= days[0] - days[1] <= 1
    assert "total_connections: 0" in found
    clients = []
    for proxy in proxies:
        clients.append(socket.create_connection(("127.0.0.1", proxy.ports["plain"]), timeout=20))
        proxy.wait_until(lambda proxy=proxy: "total_connections: 1" in _page(proxy, query))  # type: ignore[misc]
    for client in clients:
        client.close()
