"""Limits on connections beside Envoy's: of one listener by the runtime, of the proxy by the runtime or by a monitor."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.conftest import require_peer
from tests.e2e.support.proxies import Config, Ports, RunningProxy, running_envoy, running_fastproxy
from tests.e2e.support.templates import bootstrap, direct, listener, virtual_host
from tests.e2e.test_diff_connection_stats import Client

_MONITORS = "type.googleapis.com/envoy.extensions.resource_monitors"
_MONITOR = f"{_MONITORS}.downstream_connections.v3.DownstreamConnectionsConfig"
_LIMITS: dict[str, Config] = {
    "runtime": {
        "layered_runtime": {
            "layers": [
                {"name": "limits", "static_layer": {"overload": {"global_downstream_max_connections": 2}}}
            ]
        }
    },
    "monitor": {
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {"@type": _MONITOR, "max_active_downstream_connections": 2},
                }
            ]
        }
    },
}
_NAMES = ("limited", "free")


@pytest.fixture(params=_LIMITS)
def proxies(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[RunningProxy, RunningProxy]]:
    """Two connections in all, but for one listener and for the admin interface."""
    require_peer("envoy")

    def template(ports: Ports) -> Config:
        hosts = [virtual_host("all", ["*"], [direct({"prefix": "/"}, 200, "hi")])]
        made = bootstrap(
            ports["admin"],
            [
                listener(name, ports[name], hosts, listener_options={"stat_prefix": name, **options})
                for name, options in (("limited", {}), ("free", {"ignore_global_conn_limit": True}))
            ],
            [],
        )
        made["admin"]["ignore_global_conn_limit"] = True
        return {**made, **_LIMITS[request.param]}

    with ExitStack() as stack:
        yield (
            stack.enter_context(running_envoy(template, _NAMES, tmp_path)),
            stack.enter_context(running_fastproxy(template, _NAMES, tmp_path)),
        )


def _is_served(client: Client) -> bool:
    with suppress(ConnectionError):
        client.get("/")
        return client.read().startswith(b"HTTP/1.1 200 OK")
    return False


def _numbers(proxy: RunningProxy) -> dict[str, str]:
    page = proxy.admin(
        "/stats?filter=^listener.(limited|free).(no_|downstream_(global_)?cx_(total|active|over))"
    )[1]
    return dict(line.split(": ") for line in page.splitlines())


def _wait_until_alone(proxy: RunningProxy) -> None:
    """Nobody is connected, and whoever asked whether the proxy listens has come and gone."""

    def is_alone() -> bool:
        numbers = _numbers(proxy)
        return all(
            numbers[f"listener.{name}.downstream_cx_active"] == "0"
            and numbers[f"listener.{name}.downstream_cx_total"] != "0"
            for name in _NAMES
        )

    proxy.wait_until(is_alone)


def _as_many_as_fit(proxy: RunningProxy) -> list[Client]:
    """Two that are served: at once, but for Envoy with the runtime's limit.

    It counts connections to its admin interface, too, and takes a moment to see that they have ended. What was
    refused meanwhile shows in the numbers, which must be exact for FastProxy.
    """
    clients: list[Client] = []

    def fit() -> bool:
        clients[:] = [Client(proxy, "limited") for _ in range(2)]
        served = [_is_served(client) for client in clients]
        if all(served):
            return True
        for client in clients:
            client.close()
        return False

    proxy.wait_until(fit)
    return clients


def test_what_is_above_the_limit_is_cut(proxies: tuple[RunningProxy, RunningProxy]) -> None:
    """At once, and counted; who leaves makes room."""
    told = []
    for proxy in proxies:
        # Those that have asked whether it listens may be there still.
        _wait_until_alone(proxy)
        before = {name: int(value) for name, value in _numbers(proxy).items()}
        clients = _as_many_as_fit(proxy)
        more = [Client(proxy, name) for name in ("limited", "free", "limited")]
        served = [_is_served(client) for client in more]
        grown = {name: int(value) - before[name] for name, value in _numbers(proxy).items()}
        for client in clients + more:
            client.close()
        _wait_until_alone(proxy)
        again = Client(proxy, "limited")
        told.append((served, grown, _is_served(again)))
        again.close()
    (envoys, _, _), (served, grown, is_served_again) = told
    assert served == envoys == [False, True, False]
    if "overload_manager" in proxies[0].config_path.read_text():
        assert told[1] == told[0]
    assert grown["listener.limited.downstream_global_cx_overflow"] == 2
    assert is_served_again
