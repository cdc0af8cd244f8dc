"""How connections to upstreams are made and kept apart, beside Envoy: several addresses, PROXY headers, time limits."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from fastproxy.clock import monotonic
from fastproxy.tls.openssl import load_pair
from tests.conftest import require_peer
from tests.e2e.support.announced import AnnouncedUpstream, black_hole, closed_port
from tests.e2e.support.proxies import Config, Ports, RunningProxy, running_envoy, running_fastproxy
from tests.e2e.support.templates import address, bootstrap, cluster, forward, listener, virtual_host
from tests.e2e.support.upstream import After, Answer, ScriptedUpstream
from tests.tls.pki import Authority

_TYPES = "type.googleapis.com/envoy.extensions"
_LISTENERS = ("http", "silent", "behind", "tcp")
_CONNECT_TIMEOUT_S = 30.0
#: What is asked of clusters of their own, so that their counters say nothing else.
COUNTED = ("ok", "rubbish", "closes", "gone", "reset", "never")
COUNTERS = (
    *(["upstream_cx_total", "upstream_cx_http1_total", "upstream_cx_destroy", "upstream_cx_destroy_local"]),
    *(["upstream_cx_destroy_remote", "upstream_cx_destroy_with_active_rq", "upstream_cx_close_notify"]),
    *(["upstream_cx_destroy_local_with_active_rq", "upstream_cx_destroy_remote_with_active_rq"]),
    *(["upstream_cx_connect_fail", "upstream_cx_connect_timeout", "upstream_cx_protocol_error"]),
    *(
        [
            "upstream_cx_none_healthy",
            "upstream_cx_max_requests",
            "upstream_cx_overflow",
            "upstream_rq_timeout",
        ]
    ),
    *(["upstream_rq_pending_total", "upstream_rq_pending_failure_eject", "upstream_rq_cancelled"]),
    *(["upstream_rq_rx_reset", "upstream_rq_completed", "upstream_rq_5xx"]),
)


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Where the clusters lead."""

    echo: int
    plain: int
    announced: int
    sealed: int
    private: int
    dead: int
    hole: int


def http_options(**common: Any) -> Config:
    """`HttpProtocolOptions` with these common options."""
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions",
            "common_http_protocol_options": common,
            "explicit_http_config": {"http_protocol_options": {}},
        }
    }


def several(name: str, *places: tuple[str, int], **options: Any) -> Config:
    """A cluster of one endpoint with several addresses."""
    made = cluster(name, 1, connect_timeout=f"{_CONNECT_TIMEOUT_S}s", **options)
    endpoint = made["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    first, *more = (address(port, host) for host, port in places)
    endpoint["address"] = first
    endpoint["additional_addresses"] = [{"address": one} for one in more]
    return made


def announcing(name: str, port: int, version: str, below: Config | None = None, **config: Any) -> Config:
    """A cluster whose connections begin with a PROXY header."""
    raw = {
        "name": "raw",
        "typed_config": {"@type": f"{_TYPES}.transport_sockets.raw_buffer.v3.RawBuffer"},
    }
    return cluster(
        name,
        port,
        transport_socket={
            "name": "envoy.transport_sockets.upstream_proxy_protocol",
            "typed_config": {
                "@type": f"{_TYPES}.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
                "config": {"version": version, **config},
                "transport_socket": below or raw,
            },
        },
    )


def clusters(to: Upstreams, ca: bytes) -> list[Config]:
    """One for each thing that is tried; a request's path names it."""
    tls = {
        "name": "tls",
        "typed_config": {
            "@type": f"{_TYPES}.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "up.test",
            "common_tls_context": {"validation_context": {"trusted_ca": {"inline_string": ca.decode()}}},
        },
    }
    return [
        several("refused-first", ("127.0.0.1", to.dead), ("127.0.0.1", to.plain)),
        several("hole-first", ("127.0.0.1", to.hole), ("127.0.0.1", to.plain)),
        several("family-first", ("::1", to.dead), ("127.0.0.1", to.plain)),
        several("all-refused", ("127.0.0.1", to.dead), ("::1", to.dead)),
        announcing("v1", to.announced, "V1"),
        announcing("v2", to.announced, "V2", added_tlvs=[{"type": 0xE0, "value": "Zm9v"}]),
        announcing("private", to.private, "V1"),
        announcing("sealed", to.sealed, "V2", tls),
        *(cluster(f"counted-{name}", to.plain) for name in COUNTED),
        cluster("counted-refused", to.dead),
        cluster("counted-hole", to.hole, connect_timeout="0.3s"),
        cluster("counted-empty"),
        cluster("short", to.plain, typed_extension_protocol_options=http_options(max_stream_duration="0.3s")),
        cluster(
            "few", to.plain, typed_extension_protocol_options=http_options(max_requests_per_connection=2)
        ),
    ]


def build(to: Upstreams, ca: bytes, ports: Ports) -> Config:
    """The whole file."""
    made = clusters(to, ca)
    routes = [forward({"prefix": f"/{one['name']}"}, one["name"]) for one in made]
    again = {"retry_on": "reset", "num_retries": 1}
    routes.insert(0, forward({"prefix": "/short-again"}, "short", retry_policy=again))
    routes.insert(0, forward({"prefix": "/counted-never"}, "counted-never", timeout="0.3s"))
    hosts = [virtual_host("all", ["*"], routes)]
    accepts = {
        "name": "pp",
        "typed_config": {"@type": f"{_TYPES}.filters.listener.proxy_protocol.v3.ProxyProtocol"},
    }
    tcp = {
        "name": "tcp",
        "address": address(ports["tcp"]),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "tcp",
                        "typed_config": {
                            "@type": f"{_TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
                            "stat_prefix": "t",
                            "cluster": "hole-first",
                        },
                    }
                ]
            }
        ],
    }
    silent = {"add_proxy_protocol_connection_state": False}
    return bootstrap(
        ports["admin"],
        [
            # The client's address in a header is not the connection's.
            listener(
                "http", ports["http"], hosts, options={"use_remote_address": True, "xff_num_trusted_hops": 1}
            ),
            listener("silent", ports["silent"], hosts, options=silent),
            listener("behind", ports["behind"], hosts, listener_options={"listener_filters": [accepts]}),
            tcp,
        ],
        made,
    )


SCRIPTS = {
    "never": Answer(held=True),
    "half": Answer((b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",)),
    "ok": Answer(),
    "rubbish": Answer((b"RUBBISH\r\n\r\n",), After.CLOSE),
    "closes": Answer((b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",), After.CLOSE),
    "gone": Answer((), After.CLOSE),
    "reset": Answer((), After.RESET),
}


@dataclass(frozen=True, slots=True)
class World:
    """Both proxies over the same upstreams."""

    proxies: tuple[RunningProxy, RunningProxy]
    plain: ScriptedUpstream
    announced: AnnouncedUpstream
    private: AnnouncedUpstream


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Started once."""
    require_peer("envoy")
    ca = Authority("ca")
    issued = ca.issue("up.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(context, issued.chain, issued.private_key, "")
    with ExitStack() as stack:
        plain = stack.enter_context(ScriptedUpstream(SCRIPTS))
        announced = stack.enter_context(AnnouncedUpstream())
        private = stack.enter_context(AnnouncedUpstream())
        to = Upstreams(
            0,
            plain.port,
            announced.port,
            stack.enter_context(AnnouncedUpstream(context)).port,
            private.port,
            stack.enter_context(closed_port()),
            stack.enter_context(black_hole()),
        )

        def fill(ports: Ports) -> Config:
            return build(to, ca.pem, ports)

        folder = tmp_path_factory.mktemp("pools")
        envoy = stack.enter_context(running_envoy(fill, _LISTENERS, folder))
        (folder / "second").mkdir()
        second = stack.enter_context(running_fastproxy(fill, _LISTENERS, folder / "second"))
        yield World((envoy, second), plain, announced, private)


class Client:
    """One connection to a proxy, which stays open."""

    def __init__(self, port: int, first: bytes = b"") -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.sock.sendall(first)
        self.port = self.sock.getsockname()[1]
        self._http = http.client.HTTPConnection("127.0.0.1", port)
        self._http.sock = self.sock

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self._http.request("GET", path, headers=names)
        response = self._http.getresponse()
        return response.status, response.read()

    def announced(self, path: str, **headers: str) -> Any:
        """What the upstream learned."""
        status, body = self.get(path, **headers)
        assert status == 200, body
        return json.loads(body)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/refused-first", 200), ("/hole-first", 200), ("/family-first", 200), ("/all-refused", 503)],
)
def test_a_dead_address_does_not_slow_clients_down(world: World, path: str, status: int) -> None:
    """It would cost `connect_timeout`, and then the request."""
    answers = []
    for proxy in world.proxies:
        began = monotonic()
        with Client(proxy.ports["http"]) as client:
            answers.append(client.get(path))
        assert monotonic() - began < _CONNECT_TIMEOUT_S / 2
    assert answers[0] == answers[1]
    assert answers[0][0] == status


def test_a_tcp_proxy_passes_a_dead_address_over_too(world: World) -> None:
    """The same module makes its connections."""
    for proxy in world.proxies:
        with Client(proxy.ports["tcp"]) as client:
            assert client.get("/") == (200, b"ok")


@pytest.mark.parametrize("path", ["/v1", "/v2", "/sealed"])
def test_the_header_names_the_connection_of_the_request(world: World, path: str) -> None:
    """Its two ends, not what `x-forwarded-for` says; in front of TLS, too."""
    seen = []
    for proxy in world.proxies:
        with Client(proxy.ports["http"]) as client:
            found = client.announced(path, x_forwarded_for="192.0.2.1, 192.0.2.2")
            assert found["ends"] == [
                "127.0.0.1",
                "127.0.0.1",
                str(client.port),
                str(proxy.ports["http"]),
            ]
        seen.append((found["version"], found["family"], found["tlvs"], found["bare"]))
    assert seen[0] == seen[1]


def test_the_header_passes_on_what_another_header_said(world: World) -> None:
    """Behind a balancer the client is who that names."""
    for proxy in world.proxies:
        with Client(proxy.ports["behind"], b"PROXY TCP4 192.0.2.7 198.51.100.8 4711 443\r\n") as client:
            assert client.announced("/v2")["ends"] == ["192.0.2.7", "198.51.100.8", "4711", "443"]


def test_a_connection_that_is_not_announced_is_the_proxy_s_own(world: World) -> None:
    """`add_proxy_protocol_connection_state: false`."""
    for proxy in world.proxies:
        with Client(proxy.ports["silent"]) as client:
            assert client.announced("/v2")["ends"] == []
            ends = client.announced("/v1")["ends"]
            assert str(client.port) not in ends
            assert ends[3] == str(world.announced.port)


def test_no_request_goes_over_the_connection_that_names_another_client(world: World) -> None:
    """The upstream would take one client for the other: log it, limit it, let it in."""
    for proxy in world.proxies:
        port = proxy.ports["http"]
        with Client(port) as first, Client(port) as second:
            seen = [client.announced("/v1") for client in (first, second, first, second)]
            assert [one["ends"][2] for one in seen] == [str(first.port), str(second.port)] * 2
            assert seen[0]["connection"] == seen[2]["connection"]
            assert seen[1]["connection"] == seen[3]["connection"]
            assert seen[0]["connection"] != seen[1]["connection"]


def test_the_connection_ends_with_the_client_that_it_names(world: World) -> None:
    """Nobody else may ever use it: kept, it would fill the cluster's limits. Envoy keeps it for its idle timeout."""
    clients = [Client(world.proxies[1].ports["http"]) for _ in range(3)]
    for client in clients:
        client.announced("/private")
    world.private.wait_until_open(3)
    for client in clients:
        client.sock.close()
    world.private.wait_until_open(0)


@pytest.mark.parametrize("path", ["/short", "/short-again"])
def test_a_request_that_takes_too_long_upstream_is_given_up(world: World, path: str) -> None:
    """`max_stream_duration` of the cluster: for each try, whatever the route allows."""
    answers = []
    for proxy in world.proxies:
        world.plain.take_requests()
        with Client(proxy.ports["http"]) as client:
            answers.append((client.get(path, x_script="never"), len(world.plain.take_requests())))
    assert answers[0] == answers[1]
    assert answers[0][0] == (504, b"upstream max stream duration reached")


def test_a_response_that_takes_too_long_is_cut(world: World) -> None:
    """So that nobody takes it for complete."""
    for proxy in world.proxies:
        with Client(proxy.ports["http"]) as client, pytest.raises(http.client.IncompleteRead):
            client.get("/short", x_script="half")


def counters_of(proxy: RunningProxy, name: str) -> dict[str, int]:
    """What a cluster has counted, by the names of `COUNTERS`."""
    prefix = f"cluster.{name}."
    _, text = proxy.admin(f"/stats?filter=cluster.{name}")
    found = dict(line.split(": ", 1) for line in text.splitlines() if line.startswith(prefix))
    return {counter: int(found.get(prefix + counter, 0)) for counter in COUNTERS}


@pytest.mark.parametrize("what", [*COUNTED, "refused", "hole", "empty"])
def test_connections_are_counted_alike(world: World, what: str) -> None:
    """Dashboards that were made for Envoy go on telling the truth."""
    counted = []
    for proxy in world.proxies:
        for _ in range(2):
            with Client(proxy.ports["http"]) as client:
                client.get(f"/counted-{what}", x_script=what if what in SCRIPTS else "ok")
        counted.append(counters_of(proxy, f"counted-{what}"))
    assert counted[0] == counted[1]
