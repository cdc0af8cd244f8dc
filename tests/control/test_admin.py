"""The admin pages over HTTP, on a fake control plane."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from fastproxy import logs
from fastproxy.config import TlsUpdate
from fastproxy.config.settings import AdminSettings, ProxySettings
from fastproxy.control.admin import AdminServer, ServerState
from fastproxy.control.admin.view import JwksStatus, ListenerStatus, OutlierStatus
from fastproxy.control.jwks_report import report_jwks
from fastproxy.control.key_history import RemovedKey
from fastproxy.control.reload_status import ReloadStatus
from fastproxy.control.resources import ResourceStatus
from fastproxy.control.sockets import bind_admin_socket
from fastproxy.control.tls_watcher import TlsState
from fastproxy.control.totals import MergedStats
from fastproxy.ipc.messages import EndpointAddress
from fastproxy.listener.settings import ListenAddress
from fastproxy.match.settings import StringKind, StringMatch
from fastproxy.stats import Histogram, StatsSink
from tests.control.support import cluster, jwk, jwks, listener, local_provider, provider, proxy_settings


def recorded(*values: float) -> list[float]:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram.encode()


class FakeView:
    """A control plane that has only facts."""

    def __init__(self) -> None:
        self.settings: ProxySettings = proxy_settings(
            listener("ingress"), clusters=(cluster("c", 80), cluster("e"))
        )
        self.state = ServerState.LIVE
        self.stats = MergedStats(
            {"cluster.c.upstream_rq_total": 3, "cluster.c.upstream_rq_timeout": 0},
            {"server.live": 1},
            {"http.ingress.downstream_rq_time": recorded(3.0), "cluster.c.upstream_rq_time": recorded()},
            {"c": {"127.0.0.1:80": {"cx_active": 1, "rq_total": 3, "rq_success": 2}}},
        )
        self.done: list[str] = []

    def uptime_s(self) -> float:
        return 61.5

    async def collect_stats(self) -> MergedStats:
        return self.stats

    def outliers(self, cluster: str) -> OutlierStatus | None:
        rates = {"127.0.0.1:80": (99.5, -1.0)}
        return OutlierStatus(97.25, 80.0, -1.0, -1.0, rates) if cluster == "c" else None

    def endpoints(self, cluster: str) -> Iterable[EndpointAddress]:
        if cluster != "c":
            return []
        other = EndpointAddress("/run/b.sock", 0, "", 5, 1, "eu", "eu-1", "r2", health="DEGRADED")
        return [EndpointAddress("127.0.0.1", 80, "c.test"), other]

    def listeners(self) -> Iterable[ListenerStatus]:
        return [ListenerStatus("ingress", (("127.0.0.1", 8080),)), ListenerStatus("six", (("::", 8081),))]

    def jwks(self) -> Iterable[JwksStatus]:
        local = local_provider(jwks(jwk("l1"), {"kty": "oct", "kid": "s", "k": "c2VjcmV0"}))
        remote = JwksStatus(
            "p", "https://issuer.test", "https://issuer.test/certs", "keys", 2, ({"kid": "a", "kty": "RSA"},),
            1700000000.0, -5.0, 3595.0, 1.0, "status 500", 3,
            keys_since=(1700000000.0,), removed=(RemovedKey("old", "RSA", "", 1700000000.0),),
            public_keys='{"keys":[{"kid":"a","kty":"RSA","n":"AQAB"}]}',
        )  # fmt: skip
        return (*report_jwks((local,), {}, 0.0), remote)

    def overprovisioning_factor(self, cluster: str) -> int:
        return 0 if cluster else 1

    def dynamic_clusters(self) -> frozenset[str]:
        return frozenset()

    def resources(self) -> tuple[ResourceStatus, ...]:
        return ()

    def reload_status(self) -> ReloadStatus:
        return ReloadStatus(
            generation=3,
            loaded_at=1700000000.0,
            succeeded=2,
            failed=1,
            last_attempt_at=1700000060.0,
            last_trigger="SIGHUP",
            last_error=("f.yaml:3: a.b: not supported",),
        )

    def tls(self) -> TlsState:
        return TlsState(TlsUpdate({}, {}, {}), 1, "")

    def config_dump(self) -> dict[str, Any]:
        return {"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump"}]}

    def command_line_options(self) -> dict[str, Any]:
        return {"concurrency": 2}

    def set_log_level(self, level: str, component: str) -> None:
        logs.level_number(level)
        self.done.append(f"level {level} {component}")

    def process_ids(self) -> tuple[int, ...]:
        return (os.getpid(),)

    def set_health(self, *, failed: bool) -> None:
        self.done.append(f"health {'failed' if failed else 'ok'}")

    def drain_listeners(self, *, graceful: bool, inbound_only: bool, skip_exit: bool) -> None:
        self.done.append(f"drain {graceful} {inbound_only} {skip_exit}")

    async def reset_counters(self) -> None:
        self.done.append("reset")

    def reopen_logs(self) -> None:
        self.done.append("reopen")

    def request_shutdown(self, reason: str) -> None:
        self.done.append(reason)


class Admin:
    def __init__(self, view: FakeView, address: str) -> None:
        self.view = view
        self.address = address

    async def fetch(self, path: str, method: str = "GET", **more: Any) -> tuple[aiohttp.ClientResponse, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://{self.address}{path}", **more) as response,
        ):
            return response, await response.text()

    async def text(self, path: str, method: str = "GET") -> tuple[int, str]:
        response, body = await self.fetch(path, method)
        return response.status, body

    async def json(self, path: str) -> Any:
        response, body = await self.fetch(path)
        assert response.headers["content-type"] == "application/json"
        return json.loads(body)


@pytest.fixture
async def admin() -> AsyncIterator[Admin]:
    view = FakeView()
    server = AdminServer(view)
    sock, _file = bind_admin_socket(ListenAddress("127.0.0.1", 0))
    address = f"127.0.0.1:{sock.getsockname()[1]}"
    await server.start(sock)
    yield Admin(view, address)
    await server.stop()


async def test_every_answer_carries_envoys_headers(admin: Admin) -> None:
    """Scrapers and browsers must neither cache nor guess."""
    for path in ("/ready", "/stats", "/config_dump", "/nope", "/"):
        response, _ = await admin.fetch(path)
        assert response.headers["cache-control"] == "no-cache, max-age=0"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["server"] == "fastproxy"


@pytest.mark.parametrize("state", list(ServerState))
async def test_ready_is_200_only_when_live(admin: Admin, state: ServerState) -> None:
    """Load balancers act on the status alone."""
    admin.view.state = state

    assert await admin.text("/ready") == (200 if state is ServerState.LIVE else 503, f"{state.name}\n")


async def test_stats_text_is_envoys(admin: Admin) -> None:
    """Counters and gauges sorted, then histograms."""
    _, body = await admin.text("/stats")

    assert body.splitlines() == [
        "cluster.c.upstream_rq_timeout: 0",
        "cluster.c.upstream_rq_total: 3",
        "server.live: 1",
        "cluster.c.upstream_rq_time: No recorded values",
        (
            "http.ingress.downstream_rq_time: P0(nan,1) P25(nan,2) P50(nan,3) P75(nan,4) P90(nan,4.6)"
            " P95(nan,4.8) P99(nan,4.96) P99.5(nan,4.98) P99.9(nan,4.996) P100(nan,5)"
        ),
    ]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("filter=rq_t", ["cluster.c.upstream_rq_timeout", "cluster.c.upstream_rq_total",
                         "cluster.c.upstream_rq_time", "http.ingress.downstream_rq_time"]),
        ("filter=^server", ["server.live"]),
        ("usedonly", ["cluster.c.upstream_rq_total", "server.live", "http.ingress.downstream_rq_time"]),
        ("type=Gauges", ["server.live"]),
        ("type=Histograms&usedonly", ["http.ingress.downstream_rq_time"]),
        ("type=TextReadouts", []),
    ],
)  # fmt: skip
async def test_stats_can_be_narrowed(admin: Admin, query: str, names: list[str]) -> None:
    """The full page has thousands of lines in a real proxy."""
    _, body = await admin.text(f"/stats?{query}")

    assert [line.split(":")[0] for line in body.splitlines()] == names


async def test_stats_as_json_has_envoys_shape(admin: Admin) -> None:
    """Envoy's tools read it."""
    found = await admin.json("/stats?format=json&usedonly")

    assert found["stats"][:2] == [
        {"name": "cluster.c.upstream_rq_total", "value": 3},
        {"name": "server.live", "value": 1},
    ]
    (histogram,) = found["stats"][2]["histograms"]["computed_quantiles"]
    assert histogram["name"] == "http.ingress.downstream_rq_time"
    assert histogram["values"][2] == {"cumulative": 3.0, "interval": None}


@pytest.mark.parametrize("path", ["/stats/prometheus?filter=live", "/stats?format=prometheus&filter=live"])
async def test_stats_in_prometheus_format(admin: Admin, path: str) -> None:
    """Both spellings are in use."""
    response, body = await admin.fetch(path)

    assert body == "# HELP envoy_server_live \n# TYPE envoy_server_live gauge\nenvoy_server_live 1.0\n"
    assert response.headers["content-type"] == "text/plain; charset=UTF-8"


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/stats?filter=(", "Invalid re2 regex"),
        ("/stats?type=Odd", "usage: /stats?type="),
        ("/stats?format=xml", "usage: /stats?format="),
    ],
)
async def test_bad_queries_are_400_with_an_explanation(admin: Admin, path: str, complaint: str) -> None:
    """An ignored filter shows the wrong numbers."""
    status, body = await admin.text(path)

    assert status == 400
    assert complaint in body


async def test_clusters_text_has_cluster_and_host_lines(admin: Admin) -> None:
    """Scripts grep for these."""
    _, body = await admin.text("/clusters")
    lines = body.splitlines()

    for line in (
        "c::observability_name::c",
        "c::default_priority::max_connections::1024",
        "c::high_priority::max_retries::3",
        "c::added_via_api::false",
        "c::127.0.0.1:80::cx_active::1",
        "c::127.0.0.1:80::rq_total::3",
        "c::127.0.0.1:80::rq_timeout::0",
        "c::127.0.0.1:80::hostname::c.test",
        "c::127.0.0.1:80::health_flags::healthy",
        "c::127.0.0.1:80::weight::1",
        "c::127.0.0.1:80::priority::0",
        "c::127.0.0.1:80::region::",
        "c::/run/b.sock::health_flags::/degraded_eds_health",
        "c::/run/b.sock::weight::5",
        "c::/run/b.sock::region::eu",
        "c::/run/b.sock::zone::eu-1",
        "c::/run/b.sock::sub_zone::r2",
        "c::/run/b.sock::priority::1",
        "e::observability_name::e",
    ):
        assert line in lines
    assert len([line for line in lines if line.startswith("c::127.0.0.1:80::")]) == 19


async def test_clusters_json_leaves_zeros_out(admin: Admin) -> None:
    """As protobuf's JSON does; a cluster without hosts has no host list."""
    found = await admin.json("/clusters?format=json")
    first, empty = found["cluster_statuses"]

    assert first["host_statuses"][0]["address"] == {
        "socket_address": {"address": "127.0.0.1", "port_value": 80}
    }
    assert {"name": "rq_total", "value": "3"} in [
        {key: stat[key] for key in stat} for stat in first["host_statuses"][0]["stats"]
    ]
    assert {"name": "rq_timeout"} in first["host_statuses"][0]["stats"]
    assert {"type": "GAUGE", "value": "1", "name": "cx_active"} in first["host_statuses"][0]["stats"]
    assert "host_statuses" not in empty
    second = first["host_statuses"][1]
    assert second["address"] == {"pipe": {"path": "/run/b.sock"}}
    assert second["health_status"] == {"eds_health_status": "DEGRADED"}
    assert (second["weight"], second["priority"]) == (5, 1)
    assert second["locality"] == {"region": "eu", "zone": "eu-1", "sub_zone": "r2"}


async def test_listeners_in_both_formats(admin: Admin) -> None:
    """Port 0 in a configuration is found out here."""
    assert await admin.text("/listeners") == (200, "ingress::127.0.0.1:8080\nsix::[::]:8081\n")
    found = await admin.json("/listeners?format=json")
    assert found["listener_statuses"][0] == {
        "name": "ingress",
        "local_address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
    }


async def test_server_info_names_version_and_state(admin: Admin) -> None:
    """The first thing to ask in an incident."""
    found = await admin.json("/server_info")

    assert found["version"].startswith("fastproxy/")
    assert found["state"] == "LIVE"
    assert found["uptime_current_epoch"] == "61s"
    assert found["command_line_options"] == {"concurrency": 2}


async def test_reload_status_says_what_is_in_force_and_what_was_refused(admin: Admin) -> None:
    """A deployment that waits for its configuration asks here, and so does the operator of one that did not come."""
    assert await admin.json("/reload_status") == {
        "generation": 3,
        "loaded_at": "2023-11-14T22:13:20Z",
        "in_progress": False,
        "reloads": {"succeeded": 2, "failed": 1},
        "last_attempt": {
            "at": "2023-11-14T22:14:20Z",
            "trigger": "SIGHUP",
            "succeeded": False,
            "problems": ["f.yaml:3: a.b: not supported"],
        },
    }


async def test_s53_jwks_page_explains_the_keys_and_shows_none(admin: Admin) -> None:
    """Which keys, how old, what went wrong; not one number of a key unless asked for."""
    found = await admin.json("/jwks")
    local, remote = found["providers"]

    assert local["source"] == "inline_string"
    assert [key["kid"] for key in local["keys"]] == ["l1", "s"]
    assert "jwks" not in remote
    assert all(set(key) <= {"kid", "kty", "alg", "use", "crv"} for key in local["keys"])
    assert remote["state"] == "stale"
    assert remote["stale"] is True
    assert remote["epoch"] == 2
    assert remote["fetched_at"] == "2023-11-14T22:13:20Z"
    assert remote["last_error"] == "status 500"
    assert remote["failures_in_a_row"] == 3
    assert remote["expires_at"] is not None


async def test_remote_keys_that_never_came_are_reported_as_missing() -> None:
    """`null`, not a date in 1970."""
    from fastproxy.control.jwks_fetcher import JwksFetcher
    from fastproxy.control.jwks_http import JwksHttpClient

    settings = provider("https://user:pw@issuer.test/certs")
    fetcher = JwksFetcher((settings,), JwksHttpClient({}, lambda _: ()), lambda _: None)
    (status,) = report_jwks((settings,), fetcher.sources, 0.0)

    assert status.keys == ()
    assert status.fetched_at is None
    assert status.expires_in_s is None
    assert status.source == "https://issuer.test/certs"


async def test_jwks_page_tells_what_became_of_the_keys(admin: Admin) -> None:
    """ "Why is this token refused since five minutes?" """
    _, remote = (await admin.json("/jwks"))["providers"]

    assert remote["keys"] == [{"kid": "a", "kty": "RSA", "since": "2023-11-14T22:13:20Z"}]
    assert remote["removed"] == [{"kid": "old", "kty": "RSA", "removed_at": "2023-11-14T22:13:20Z"}]


async def test_public_keys_are_shown_to_who_asks_and_only_fetched_ones(admin: Admin) -> None:
    """What an issuer publishes anyway. A key file may hold secrets, so it is not among them."""
    local, remote = (await admin.json("/jwks?public_keys"))["providers"]

    assert "jwks" not in local
    assert remote["jwks"] == {"keys": [{"kid": "a", "kty": "RSA", "n": "AQAB"}]}


async def test_config_dump_is_passed_on(admin: Admin) -> None:
    """Its content is the configuration's business."""
    assert (await admin.json("/config_dump"))["configs"][0]["@type"].endswith("BootstrapConfigDump")


@pytest.mark.parametrize("path", ["/quitquitquit", "/logging", "/reopen_logs"])
async def test_what_changes_something_needs_post(admin: Admin, path: str) -> None:
    """A crawler, a link preview or a typing aid sends GET."""
    assert await admin.text(path) == (405, "Method GET not allowed, POST required.")
    assert admin.view.done == []


async def test_pages_of_other_sites_cannot_post(admin: Admin) -> None:
    """A form on any web page can be sent to 127.0.0.1 by the operator's browser."""
    response, _ = await admin.fetch("/quitquitquit", "POST", headers={"origin": "https://evil.test"})
    assert response.status == 403
    assert admin.view.done == []

    response, _ = await admin.fetch("/quitquitquit", "POST", headers={"origin": f"http://{admin.address}"})
    assert response.status == 200
    assert admin.view.done == ["/quitquitquit"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.test:9901", 403),
        ("evil.test", 403),
        ("localhost.evil.test", 403),
        ("127.0.0.1.evil.test", 403),
        ("[::1", 403),
        ("a@evil.test", 403),
        ("localhost", 200),
        ("LOCALHOST:9901", 200),
        ("admin.localhost", 200),
        ("127.0.0.1:1", 200),
        ("192.0.2.1", 200),
        ("[::1]:9901", 200),
        ("", 200),
    ],
)
async def test_s64_another_sites_name_for_this_machine_is_not_answered(
    admin: Admin, host: str, status: int
) -> None:
    """DNS rebinding: the page of a site whose name now means 127.0.0.1 reads and posts as if it were ours."""
    admin.view.settings = replace(admin.view.settings, admin=AdminSettings("127.0.0.1", 0))
    response, body = await admin.fetch("/config_dump", headers={"host": host})
    assert response.status == status
    assert ("BootstrapConfigDump" in body) == (status == 200)
    origin = {"host": host, "origin": f"http://{host}"}
    response, _ = await admin.fetch("/quitquitquit", "POST", headers=origin)
    assert response.status == status

    admin.view.settings = replace(admin.view.settings, admin=AdminSettings("0.0.0.0", 0))
    response, _ = await admin.fetch("/ready", headers={"host": "proxy-1.example.test"})
    assert response.status == 200, "who listens everywhere has a name"


async def test_pages_cannot_be_framed(admin: Admin) -> None:
    """A click that was meant for a game must not stop the proxy."""
    response, _ = await admin.fetch("/")
    assert response.headers["x-frame-options"] == "DENY"


async def test_an_origin_that_is_no_url_is_refused(admin: Admin) -> None:
    """Not answered with 500."""
    response, _ = await admin.fetch("/quitquitquit", "POST", headers={"origin": "http://[::1"})
    assert response.status == 403


async def test_logging_lists_and_changes_levels(admin: Admin) -> None:
    """Debug output for one component, without a restart."""
    _, body = await admin.text("/logging", "POST")
    assert "  control.admin: " in body
    await admin.text("/logging?level=debug", "POST")
    await admin.text("/logging?control.admin=trace", "POST")
    await admin.text("/logging?paths=main:warn,control.admin:off", "POST")

    assert admin.view.done == [
        "level debug ",
        "level trace control.admin",
        "level warn main",
        "level off control.admin",
    ]


@pytest.mark.parametrize(
    ("query", "complaint"), [("level=loud", "unknown logger level"), ("nobody=debug", "unknown logger name")]
)
async def test_unknown_logger_or_level_is_400(admin: Admin, query: str, complaint: str) -> None:
    """With the list of what there is."""
    status, body = await admin.text(f"/logging?{query}", "POST")

    assert status == 400
    assert complaint in body
    assert "levels: trace debug info warning error critical off" in body


async def test_unknown_path_is_404_with_the_list_of_commands(admin: Admin) -> None:
    """The quickest documentation there is."""
    status, body = await admin.text("/nope")

    assert status == 404
    assert body.startswith("invalid path. admin commands are:\n  /: Admin home page\n")
    assert "/quitquitquit (POST): " in body
    assert (await admin.text("/help"))[1].startswith("admin commands are:\n")


async def test_head_is_answered_without_a_body_and_delete_is_not(admin: Admin) -> None:
    """Health checkers use HEAD."""
    response, body = await admin.fetch("/ready", "HEAD")
    assert (response.status, body) == (200, "")
    assert (await admin.text("/ready", "DELETE"))[0] == 405


async def test_home_page_lists_all_commands(admin: Admin) -> None:
    """What changes something is a button, not a link."""
    response, body = await admin.fetch("/")

    assert response.headers["content-type"] == "text/html; charset=UTF-8"
    assert '<a href="/stats">' in body
    assert '<form action="/quitquitquit" method="post">' in body


async def test_page_that_fails_shows_nothing_of_its_insides(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason belongs into the log."""

    def fail() -> dict[str, Any]:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(admin.view, "config_dump", fail)
    status, body = await admin.text("/config_dump")

    assert status == 500
    assert "secret" not in body


@pytest.mark.parametrize(
    ("path", "done"),
    [
        ("/healthcheck/fail", "health failed"),
        ("/healthcheck/ok", "health ok"),
        ("/drain_listeners", "drain False False False"),
        ("/drain_listeners?graceful", "drain True False False"),
        ("/drain_listeners?graceful&skip_exit&inboundonly", "drain True True True"),
        ("/reset_counters", "reset"),
    ],
)
async def test_what_takes_a_proxy_out_of_service_needs_post(admin: Admin, path: str, done: str) -> None:
    """A link or an image in a page must not take a proxy out of service."""
    status, body = await admin.text(path)
    assert (status, body) == (405, "Method GET not allowed, POST required.")
    assert admin.view.done == []
    assert await admin.text(path, "POST") == (200, "OK\n")
    assert admin.view.done == [done]


async def test_small_pages_answer_as_envoys_do(admin: Admin) -> None:
    """Scripts of operators read them."""
    assert await admin.text("/hot_restart_version") == (200, "disabled")
    assert await admin.text("/runtime_modify?a=b", "POST") == (503, "No admin layer specified")
    assert await admin.json("/init_dump") == {}
    assert (await admin.text("/contention"))[0] == 200
    memory = await admin.json("/memory")
    assert int(memory["total_physical_bytes"]) > 1_000_000
    assert set(memory) == {
        "allocated", "heap_size", "pageheap_unmapped", "pageheap_free", "total_thread_cache", "total_physical_bytes",
    }  # fmt: skip


async def test_only_allowed_paths_are_answered(admin: Admin) -> None:
    """`admin.allow_paths`, over the path with its query, as in Envoy; a reload changes it."""
    conditions = (StringMatch(StringKind.EXACT, "/ready"), StringMatch(StringKind.PREFIX, "/config"))
    settings = AdminSettings("127.0.0.1", 0, allow_paths=conditions)
    admin.view.settings = replace(admin.view.settings, admin=settings)

    assert (await admin.text("/ready"))[0] == 200
    assert (await admin.text("/config_dump?resource=dynamic_listeners")) == (200, "{}\n")
    for path in ("/ready?x", "/stats", "/", "//ready", "/quitquitquit", "/nope"):
        status, body = await admin.text(path, "POST")
        assert status == 403, path
        assert "not allowed" in body
    assert admin.view.done == []
    admin.view.settings = replace(admin.view.settings, admin=replace(settings, allow_paths=()))
    assert (await admin.text("/stats"))[0] == 200


async def test_clusters_can_be_filtered_by_name(admin: Admin) -> None:
    """A proxy with hundreds of them has a long page."""
    _, text = await admin.text("/clusters?filter=^c$")
    assert text.startswith("c::")
    assert "\ne::" not in text
    assert [
        one["name"] for one in (await admin.json("/clusters?format=json&filter=e"))["cluster_statuses"]
    ] == ["e"]
    assert (await admin.text("/clusters?filter=("))[0] == 400


async def test_the_page_can_be_looked_at(admin: Admin) -> None:
    """`?format=html`: a page for a browser, with nothing in it that the browser would take for markup."""
    response, body = await admin.fetch("/stats?format=html&filter=downstream")
    assert response.headers["content-type"].startswith("text/html")
    assert "http.ingress.downstream_rq_time: P0(" in body
    assert "<script" not in body


async def test_summaries_are_for_prometheus_too(admin: Admin) -> None:
    """`?histogram_buckets=summary`: quantiles instead of buckets."""
    _, body = await admin.fetch("/stats/prometheus?histogram_buckets=summary&filter=rq_time")
    assert "# TYPE envoy_http_downstream_rq_time summary" in body
    assert (
        'envoy_http_downstream_rq_time{envoy_http_conn_manager_prefix="ingress",quantile="0.5"} 3.0' in body
    )
    assert "_bucket" not in body
    assert "envoy_http_downstream_rq_time_count" in body


async def test_connections_of_the_admin_interface_are_counted() -> None:
    """`listener.admin.*` and `http.admin.*`, a connection that says nothing included."""
    server = AdminServer(FakeView())
    sock, _file = bind_admin_socket(ListenAddress("127.0.0.1", 0))
    port = sock.getsockname()[1]
    await server.start(sock)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with aiohttp.ClientSession() as session:
        for path in ("/ready", "/nope"):
            async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                await response.read()
        sink = StatsSink()
        server.write_stats(sink)
        assert sink.counters["listener.admin.downstream_cx_total"] == 2
        assert sink.gauges["http.admin.downstream_cx_active"] == 2
        assert sink.counters["http.admin.downstream_rq_total"] == 2
        assert sink.counters["http.admin.downstream_rq_4xx"] == 1
        assert sink.counters["listener.admin.http.admin.downstream_rq_completed"] == 2
        assert sink.counters["http.admin.downstream_cx_rx_bytes_total"] > 0
    writer.close()
    await server.stop()
    del reader
    sink = StatsSink()
    server.write_stats(sink)
    assert sink.gauges["http.admin.downstream_cx_active"] == 0
    assert sink.counters["http.admin.downstream_cx_destroy"] == 2
    assert sink.histograms["listener.admin.downstream_cx_length_ms"][-1] == 2


async def test_log_levels_change_all_or_not_at_all(admin: Admin) -> None:
    """Half of a request would be a state that nobody asked for."""
    before = logs.levels()
    for query in (
        "paths=main:debug,nobody:debug",
        "paths=main:debug,control:loud",
        "main=debug&control=loud",
    ):
        status, body = await admin.text(f"/logging?{query}", "POST")
        assert status == 400
        assert body.startswith("error: unknown logger")
        assert logs.levels() == before


async def test_runtime_modify_says_how_it_is_asked(admin: Admin) -> None:
    """As in Envoy: without anything to change there is nothing to refuse."""
    status, body = await admin.text("/runtime_modify", "POST")
    assert status == 400
    assert body.startswith("usage: /runtime_modify?key1=value1")
    assert await admin.text("/runtime_modify?a=b", "POST") == (503, "No admin layer specified")
