"""Upstreams that say how they are, and proxies over them, for the tests about health."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep
from typing import cast

from fastproxy.clock import monotonic
from tests.conftest import require_peer
from tests.e2e.support.counting import ask
from tests.e2e.support.proxies import (
    Config,
    ConfigTemplate,
    Ports,
    RunningProxy,
    running_envoy,
    running_fastproxy,
)
from tests.e2e.support.templates import address, bootstrap, cluster, forward, listener, virtual_host
from tests.e2e.support.wire import PATIENCE_S

#: Often, and patient: on a machine under load an answer takes its time, and a verdict of lateness is no part of these.
FAST = {
    "timeout": "10s",
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
        self.check_hosts: set[str] = set()
        """The values of `host` in checks."""
        self.hangs_up = False
        """Instead of an answer the connection ends."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Sick)
        is_check = self.path == "/hc"
        server.checks += is_check
        if is_check:
            server.check_hosts.add(self.headers["host"])
        if server.hangs_up:
            self.close_connection = True
            return
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
    """One for each letter."""
    servers = {name: Sick(name) for name in names}
    for server in servers.values():
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield servers
    finally:
        for server in servers.values():
            server.shutdown()
            server.server_close()


@dataclass(frozen=True, slots=True)
class SickPair:
    """Envoy and FastProxy over the same file, and the upstreams behind both."""

    proxies: tuple[RunningProxy, RunningProxy]
    servers: dict[str, Sick]


@contextmanager
def sick_pair(
    template: ConfigTemplate, listeners: Sequence[str], directory: Path, servers: dict[str, Sick]
) -> Iterator[SickPair]:
    """Start both."""
    require_peer("envoy")
    with ExitStack() as stack:
        envoy = stack.enter_context(running_envoy(template, listeners, directory))
        fastproxy = stack.enter_context(running_fastproxy(template, listeners, directory))
        yield SickPair((envoy, fastproxy), servers)


def flags_of(proxy: RunningProxy, name: str) -> dict[str, str]:
    """Health flags by port."""
    found = {}
    for line in proxy.admin("/clusters")[1].splitlines():
        parts = line.split("::")
        if parts[0] == name and len(parts) == 4 and parts[2] == "health_flags":
            found[parts[1].rpartition(":")[2]] = parts[3]
    return found


def stat(proxy: RunningProxy, name: str) -> int:
    """One number."""
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
        self.letters = {str(server.server_port): name for name, server in servers.items()}

    def flags(self, proxy: RunningProxy, name: str) -> dict[str, str]:
        """Health flags by upstream."""
        return {self.letters[port]: text for port, text in flags_of(proxy, name).items()}

    def wait_for(self, name: str, expected: dict[str, str]) -> None:
        """Until every proxy says so."""
        deadline = monotonic() + PATIENCE_S
        for proxy in self.proxies:
            while (found := self.flags(proxy, name)) != expected:
                assert monotonic() < deadline, f"{proxy.name}: {found}\n{proxy.log()[-2000:]}"
                sleep(0.02)


ClusterFields = Config | Callable[[dict[str, Sick]], Config]


def tcp_listener(name: str, port: int) -> Config:
    """A TCP proxy to the cluster of that name."""
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": name,
        "cluster": name,
    }
    filters = [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]
    return {"name": name, "address": address(port), "filter_chains": [{"filters": filters}]}


@contextmanager
def world(
    directory: Path,
    clusters: Mapping[str, ClusterFields],
    names: str = "abc",
    *options: str,
    envoy: bool = True,
    manager: Config | None = None,
    tcp: tuple[str, ...] = (),
) -> Iterator[World]:
    """Start everything.

    Args:
        directory: for files.
        clusters: what clusters over all upstreams say besides, by name, which is also their path; or makes that of the
            upstreams.
        names: of the upstreams, a letter each.
        options: of FastProxy.
        envoy: False: FastProxy alone.
        manager: `cluster_manager`; `{name}` in a file name is the name of the proxy.
        tcp: clusters that have a TCP proxy as well, on a port of their name.
    """
    with ExitStack() as stack:
        servers = stack.enter_context(upstreams(names))
        ports_of = [server.server_port for server in servers.values()]

        def template(ports: Ports, proxy: str) -> Config:
            built = [
                cluster(name, *ports_of, **(more(servers) if callable(more) else more))
                for name, more in clusters.items()
            ]
            routes = [forward({"prefix": f"/{name}"}, name) for name in clusters]
            hosts = [virtual_host("all", ["*"], routes)]
            listeners = [listener("plain", ports["plain"], hosts)]
            listeners += [tcp_listener(name, ports[name]) for name in tcp]
            whole = bootstrap(ports["admin"], listeners, built)
            text = json.dumps({**whole, **({"cluster_manager": manager} if manager else {})})
            return cast("Config", json.loads(text.replace("{name}", proxy)))

        started = []
        if envoy:
            require_peer("envoy")
            of_envoy = running_envoy(lambda ports: template(ports, "envoy"), ("plain", *tcp), directory)
            started.append(stack.enter_context(of_envoy))
        of_fastproxy = running_fastproxy(
            lambda ports: template(ports, "fastproxy"), ("plain", *tcp), directory, *options
        )
        started.append(stack.enter_context(of_fastproxy))
        yield World(started, servers)
