"""Unix domain sockets to listen on: HTTP and TCP as Envoy serves them, and their whole life with real processes."""

import http.client
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.cases import Pair
from tests.e2e.support.exchange import Script, differences_between, perform
from tests.e2e.support.pairs import running_pair
from tests.e2e.support.proxies import (
    Config,
    ConfigTemplate,
    Ports,
    RunningProxy,
    admin_request,
    fastproxy_command,
    write_config,
)
from tests.e2e.support.templates import (
    EVERYTHING_TO_ECHO,
    bootstrap,
    cluster,
    forward,
    listener,
    virtual_host,
)
from tests.e2e.support.upstream import ScriptedUpstream
from tests.e2e.support.wire import Downstream, encode_request
from tests.e2e.test_upgrade import successor

_TCP = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_LOG = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
_OPERATORS = (
    "DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_PORT",
    "REQ(X-FORWARDED-FOR)", "REQ(X-ENVOY-EXTERNAL-ADDRESS)", "REQ(X-FORWARDED-PORT)",
)  # fmt: skip
_LINE = "SEEN " + " ".join(f"{name}=%{name}%" for name in _OPERATORS) + "\n"
MANAGERS: dict[str, Config] = {
    "plain": {},
    "edge": {"use_remote_address": True},
    "port": {"use_remote_address": True, "append_x_forwarded_port": True, "via": "here"},
    "hop": {"xff_num_trusted_hops": 1},
    "inside": {
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]},
    },
    "trusted": {"use_remote_address": True, "internal_address_config": {"unix_sockets": True}},
    "told": {"internal_address_config": {"unix_sockets": True}},
}


def path_of(name: str, ports: Ports) -> str:
    """An abstract name of one listener of one proxy: no test directory is too long for it."""
    return f"@fastproxy-{ports['admin']}-{name}"


def _pipe(made: Config, path: str, mode: int = 0) -> Config:
    return {**made, "address": {"pipe": {"path": path, **({"mode": mode} if mode else {})}}}


def _fill(ports: Ports) -> Config:
    log = {
        "name": "log",
        "typed_config": {"@type": _LOG, "log_format": {"text_format_source": {"inline_string": _LINE}}},
    }
    hosts = [
        virtual_host(
            "any",
            ["*"],
            [
                forward({"prefix": "/hashed"}, hash_policy=[{"connection_properties": {"source_ip": True}}]),
                forward({"prefix": "/"}),
            ],
        )
    ]
    listeners = [
        _pipe(listener(name, 0, hosts, options={**options, "access_log": [log]}), path_of(name, ports))
        for name, options in MANAGERS.items()
    ]
    passed_on = {"name": "t", "typed_config": {"@type": _TCP, "stat_prefix": "t", "cluster": "self"}}
    tcp = {"name": "tcp", "filter_chains": [{"filters": [passed_on]}]}
    listeners.append(_pipe(tcp, path_of("tcp", ports)))
    chosen = listener("chosen", 0, hosts)
    by_address = {
        **chosen["filter_chains"][0],
        "filter_chain_match": {"prefix_ranges": [_network("0.0.0.0")]},
    }
    outside = {**chosen["filter_chains"][0], "filter_chain_match": {"source_type": "EXTERNAL"}}
    local = {
        "filter_chain_match": {"source_type": "SAME_IP_OR_LOOPBACK"},
        "filters": [passed_on],
    }
    listeners.append(
        {**_pipe(chosen, path_of("chosen", ports)), "filter_chains": [by_address, outside, local]}
    )
    shared = listener("shared", ports["shared"], hosts)
    shared["additional_addresses"] = [{"address": {"pipe": {"path": path_of("shared", ports)}}}]
    itself = cluster("self", ports["upstream"])
    return bootstrap(ports["admin"], [*listeners, shared], [cluster("echo", ports["upstream"]), itself])


def _network(address: str) -> Config:
    return {"address_prefix": address, "prefix_len": 1}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies; every listener but one is reached by a name alone."""
    with running_pair(_fill, ("shared",), tmp_path_factory.mktemp("unix")) as running:
        yield running


def _compare(pair: Pair, name: str, *requests: bytes, statuses: tuple[int, ...]) -> None:
    script = Script(requests)
    expected = perform(script, path_of(name, pair.envoy.ports), pair.upstream, lambda one: one)
    found = perform(script, path_of(name, pair.contender.ports), pair.upstream, lambda one: one)
    assert expected.statuses == statuses, expected
    assert not differences_between(expected.without_order(), found.without_order())


_HEADS = {
    "nothing": (),
    "client": (("x-forwarded-for", "203.0.113.9"),),
    "inside": (("x-forwarded-for", "10.0.0.1"), ("x-envoy-retry-on", "5xx")),
    "two": (("x-forwarded-for", "203.0.113.9, 10.0.0.1"), ("x-envoy-internal", "true")),
    "told": (
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "99"),
        ("x-envoy-external-address", "1.2.3.4"),
    ),
    "garbage": (("x-forwarded-for", "/run/other.sock"),),
}


@pytest.mark.parametrize("head", _HEADS)
@pytest.mark.parametrize("manager", MANAGERS)
def test_the_upstream_is_told_what_envoy_tells_it(pair: Pair, manager: str, head: str) -> None:
    """A peer without an address is nobody's client address: nothing is appended, and nothing invented."""
    _compare(pair, manager, encode_request("GET", "/x", *_HEADS[head]), statuses=(200,))


@pytest.mark.parametrize("name", ["tcp", "chosen", "shared"])
def test_other_ways_to_the_upstream(pair: Pair, name: str) -> None:
    """A TCP proxy; a filter chain for local peers beside those for addresses; one address of several."""
    _compare(
        pair,
        name,
        encode_request("GET", "/x"),
        encode_request("POST", "/y", body=b"abc"),
        statuses=(200, 200),
    )


def test_hashing_the_source_address_finds_none(pair: Pair) -> None:
    """Envoy then has no hash, so the balancer chooses as without the policy."""
    _compare(pair, "plain", encode_request("GET", "/hashed"), statuses=(200,))


def test_large_bodies_go_through_both_ways(pair: Pair) -> None:
    """Flow control is that of any other transport."""
    body = bytes(range(256)) * 8192
    _compare(pair, "plain", encode_request("POST", "/x", body=body), statuses=(200,))


def test_operators_name_the_path_of_the_listener(pair: Pair) -> None:
    """As in Envoy: the peer has no name of its own, and no port is an empty text."""
    lines = []
    for proxy in (pair.envoy, pair.contender):
        path = path_of("edge", proxy.ports)
        with Downstream(path) as downstream:
            downstream.send(encode_request("GET", "/logged", ("x-forwarded-for", "203.0.113.77")))
            assert downstream.read_response().status == 200
        assert admin_request(proxy.ports["admin"], "/reopen_logs", "POST")[0] == 200
        proxy.stop()
        (line,) = [
            one for one in proxy.log().splitlines() if "203.0.113.77" in one and one.startswith("SEEN")
        ]
        lines.append(line.replace(path, "PATH"))
    assert lines[0] == lines[1]
    assert "DOWNSTREAM_REMOTE_ADDRESS=PATH" in lines[0]


# -- the life of a socket, with FastProxy alone


@dataclass(frozen=True, slots=True)
class _Paths:
    traffic: str
    admin: str


@pytest.fixture
def paths(tmp_path: Path) -> _Paths:
    return _Paths(str(tmp_path / "p.sock"), str(tmp_path / "a.sock"))


def _template(upstream_port: int, paths: _Paths, mode: int = 0o600) -> ConfigTemplate:
    def fill(ports: Ports) -> Config:
        made = listener("plain", 0, EVERYTHING_TO_ECHO)
        return bootstrap(ports["admin"], [_pipe(made, paths.traffic, mode)], [cluster("echo", upstream_port)])

    return fill


def _get(path: str, target: str = "/") -> int:
    with Downstream(path) as downstream:
        downstream.send(encode_request("GET", target))
        return downstream.read_response().status


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_socket_is_served_by_all_workers_and_goes_with_the_proxy(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, paths: _Paths, workers: str
) -> None:
    """The file has its mode while the proxy runs, and is gone when it has ended."""
    proxy = start_fastproxy(_template(upstream.port, paths), "--concurrency", workers, listeners=())

    assert [_get(paths.traffic) for _ in range(12)] == [200] * 12
    assert Path(paths.traffic).stat().st_mode & 0o777 == 0o600
    assert proxy.admin("/listeners") == (200, f"plain::{paths.traffic}\n")
    assert f"listener.{paths.traffic}.downstream_cx_total: 12\n" in proxy.admin("/stats")[1]
    labelled = f'envoy_listener_downstream_cx_total{{envoy_listener_address="{paths.traffic}"}} 12.0\n'
    assert labelled in proxy.admin("/stats/prometheus")[1]
    assert proxy.stop() == 0
    assert not Path(paths.traffic).exists()


def test_a_proxy_that_was_killed_can_be_started_again(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, paths: _Paths
) -> None:
    """It could not remove its file."""
    first = start_fastproxy(_template(upstream.port, paths), listeners=())
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert Path(paths.traffic).is_socket()
    _wait_until_nobody_listens(paths.traffic)
    start_fastproxy(_template(upstream.port, paths), listeners=())

    assert _get(paths.traffic) == 200


def test_a_reload_keeps_the_socket_and_its_connections(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, paths: _Paths
) -> None:
    """Another mode is set, another path opened, an old one closed and removed; who is connected stays so."""
    proxy = start_fastproxy(_template(upstream.port, paths), "--concurrency", "2", listeners=())
    inode = Path(paths.traffic).stat().st_ino
    with Downstream(paths.traffic) as downstream:
        downstream.send(encode_request("GET", "/"))
        assert downstream.read_response().status == 200
        _reload(proxy, _template(upstream.port, paths, 0o666), 1)
        assert Path(paths.traffic).stat().st_mode & 0o777 == 0o666
        assert Path(paths.traffic).stat().st_ino == inode
        downstream.send(encode_request("GET", "/"))
        assert downstream.read_response().status == 200
    moved = _Paths(paths.traffic + "2", paths.admin)
    _reload(proxy, _template(upstream.port, moved), 2)
    assert _get(moved.traffic) == 200
    assert not Path(paths.traffic).exists()


def test_a_successor_takes_the_socket_over(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, paths: _Paths, tmp_path: Path
) -> None:
    """The file stays the same one all the time, and goes with the successor."""
    option = ("--upgrade-socket", str(tmp_path / "u.sock"))
    old = start_fastproxy(_template(upstream.port, paths), *option, listeners=())
    inode = Path(paths.traffic).stat().st_ino
    with successor(old, *option) as new:
        assert old.process.wait(30) == 0
        assert Path(paths.traffic).stat().st_ino == inode
        assert _get(paths.traffic) == 200
        assert new.stop() == 0
    assert not Path(paths.traffic).exists()


def test_the_admin_interface_on_a_socket(upstream: ScriptedUpstream, paths: _Paths, tmp_path: Path) -> None:
    """Everything that it does over TCP; `--admin-address-path` has the path."""
    written, log = tmp_path / "address", tmp_path / "log"
    config = _template(upstream.port, paths)({"admin": 0})
    config["admin"] = {"address": {"pipe": {"path": paths.admin, "mode": 0o600}}}
    file = write_config(config, tmp_path / "proxy.yaml")
    command = fastproxy_command(file, "--admin-address-path", str(written))
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            while (answer := _ask_admin(paths.admin, "/ready")) != (200, b"LIVE\n"):
                assert process.poll() is None, log.read_text()
                assert answer is None or answer[0] == 503
            assert written.read_text() == paths.admin
            assert Path(paths.admin).stat().st_mode & 0o777 == 0o600
            assert _get(paths.traffic) == 200
        finally:
            process.terminate()
    assert process.returncode == 0
    assert not Path(paths.admin).exists()


def _ask_admin(path: str, target: str) -> tuple[int, bytes] | None:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(path)
        connection.request("GET", target)
        response = connection.getresponse()
        return response.status, response.read()
    except OSError:
        return None
    finally:
        connection.close()


def _reload(proxy: RunningProxy, template: ConfigTemplate, times: int) -> None:
    write_config(template(proxy.ports), proxy.config_path)
    proxy.process.send_signal(signal.SIGHUP)
    while f"server.config_reload_success: {times}\n" not in proxy.admin("/stats?filter=config_reload")[1]:
        assert proxy.process.poll() is None


def _wait_until_nobody_listens(path: str) -> None:
    """The workers of a proxy that was killed end by themselves, a moment later."""
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                return
