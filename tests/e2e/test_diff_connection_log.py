"""What the logs of connections and of the admin interface say, as in Envoy (`Listener.access_log`, `Admin.access_log`).

Both proxies are played to, and ended; only then are their files complete. A line belongs to the client whose port it
has: the proxies' own tests of their ports are logged as well.
"""

# ruff: noqa: E501 - tables of configuration, one entry a line

import json
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.support.differences import TCP_TLS_ORDER, TLS_WORDS
from tests.e2e.support.pairs import running_pair
from tests.e2e.support.proxies import Config, Ports, RunningProxy, admin_request
from tests.e2e.support.templates import (
    address,
    bootstrap,
    cluster,
    direct,
    forward,
    label_endpoints,
    listener,
    virtual_host,
)
from tests.e2e.support.tls_setup import INSPECTOR, Pki, proxy_protocol

_TYPES = "type.googleapis.com/envoy.extensions"
_FILE_LOG = f"{_TYPES}.access_loggers.file.v3.FileAccessLog"
_TCP_PROXY = f"{_TYPES}.filters.network.tcp_proxy.v3.TcpProxy"
_OPERATORS = (
    "ACCESS_LOG_TYPE", "BYTES_RECEIVED", "BYTES_SENT", "CONNECTION_ID", "CONNECTION_TERMINATION_DETAILS", "DURATION",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_PORT", "DOWNSTREAM_PEER_SUBJECT", "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_VERSION", "DOWNSTREAM_TRANSPORT_FAILURE_REASON", "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT", "DOWNSTREAM_HEADER_BYTES_SENT", "DYNAMIC_METADATA(a:b)", "FILTER_CHAIN_NAME",
    "GRPC_STATUS", "LOCAL_REPLY_BODY", "METADATA(LISTENER:n:s)", "METADATA(LISTENER_FILTER_CHAIN:n)",
    "METADATA(ROUTE:n:s)", "METADATA(CLUSTER:n:s)", "METADATA(UPSTREAM_HOST:n:s)", "PATH", "PROTOCOL", "REQ(:method)",
    "REQUESTED_SERVER_NAME", "REQUEST_DURATION", "REQUEST_TX_DURATION", "RESPONSE_CODE", "RESPONSE_CODE_DETAILS",
    "RESPONSE_DURATION", "RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG", "RESPONSE_TX_DURATION", "RESP(server)", "ROUTE_NAME",
    "SPAN_ID", "TRACE_ID", "CUSTOM_FLAGS", "UPSTREAM_CLUSTER", "UPSTREAM_CONNECTION_ID", "UPSTREAM_HOST",
    "UPSTREAM_HOST_NAME", "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "UPSTREAM_PROTOCOL", "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT", "UPSTREAM_TRANSPORT_FAILURE_REASON", "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT", "VIRTUAL_CLUSTER_NAME",
    'COALESCE({"operators": [{"command": "REQ", "param": "x"}, "RESPONSE_FLAGS", "PROTOCOL"]}):4',
    "COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)",
)  # fmt: skip
_LISTENERS = (
    "http",
    "tls",
    "inspected",
    "strict",
    "tcp",
    "tcp-refused",
    "tcp-tls",
    "no-match",
    "limited",
    "proxied",
)
_LABEL = {"filter_metadata": {"n": {"s": "text", "f": 1.5}}}
_GET = b"GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n"
_POST = b"POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabc"


def _log(path: Path, name: str, condition: Config | None = None) -> Config:
    template = {
        "listener": name,
        "client": "%DOWNSTREAM_DIRECT_REMOTE_PORT%",
        **{one: f"%{one}%" for one in _OPERATORS},
    }
    entry = {"name": "file", "typed_config": {"@type": _FILE_LOG, "path": str(path), "log_format": {"json_format": template}}}  # fmt: skip
    return entry if condition is None else {**entry, "filter": condition}


def _template(directory: Path, pki: Pki) -> Callable[[Ports], Config]:
    hosts = [virtual_host("all", ["*"], [direct({"path": "/x"}, 200, "hello"), forward({"prefix": "/"})])]

    def fill(ports: Ports) -> Config:
        own = directory / str(ports["admin"])
        own.mkdir()

        def logged(name: str, **fields: object) -> Config:
            flagged: Config = {"response_flag_filter": {}}
            logs = [_log(own / "connections", name), _log(own / "flagged", name, flagged)]
            return {"access_log": logs, **fields}

        def http(name: str, tls: Config | None = None, **fields: object) -> Config:
            one = listener(
                name,
                ports[name],
                hosts,
                options={"server_name": "s"},
                listener_options=logged(name, **fields),
            )
            one["filter_chains"][0] |= {"name": "chain", "metadata": _LABEL}
            if tls is not None:
                one["filter_chains"][0]["transport_socket"] = tls
            return one

        def tcp(name: str, to: str, tls: Config | None = None) -> Config:
            network = {
                "name": "tcp",
                "typed_config": {"@type": _TCP_PROXY, "stat_prefix": name, "cluster": to},
            }
            chain: Config = {"name": "chain", "filters": [network]}
            if tls is not None:
                chain["transport_socket"] = tls
            return {"name": name, "address": address(ports[name]), "filter_chains": [chain], **logged(name)}

        plain_tls = pki.socket("first")
        strict_tls = pki.socket("first", validation={}, require_client_certificate=True)
        listeners = [
            http("http", metadata=_LABEL),
            http("tls", plain_tls),
            http("inspected", plain_tls, listener_filters=[INSPECTOR], listener_filters_timeout="0.3s"),
            http("strict", strict_tls),
            tcp("tcp", "echo"),
            tcp("tcp-refused", "refused"),
            tcp("tcp-tls", "echo", plain_tls),
            http("no-match"),
            http("limited"),
            http("proxied", listener_filters=[proxy_protocol()]),
        ]
        foreign = {"source_prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}
        listeners[7]["filter_chains"][0]["filter_chain_match"] = foreign
        clusters = [
            {**label_endpoints(cluster("echo", ports["upstream"]), "endpoint"), "metadata": _LABEL},
            cluster("refused", ports["closed"], alt_stat_name="shown"),
        ]
        whole = bootstrap(ports["admin"], listeners, clusters)
        whole["admin"]["access_log"] = [
            {"name": "file", "typed_config": {"@type": _FILE_LOG, "path": str(own / "admin")}}
        ]
        limit = {"envoy.resource_limits.listener.limited.connection_limit": 1}
        whole["layered_runtime"] = {"layers": [{"name": "static", "static_layer": limit}]}
        return whole

    return fill


#: Talks over one connection until there is nothing more to hear.
Talk = Callable[[socket.socket], None]


def _say(*parts: bytes) -> Talk:
    """Send each part, and wait for an answer to it."""

    def talk(sock: socket.socket) -> None:
        for part in parts:
            sock.sendall(part)
            assert sock.recv(65536)

    return talk


def _be_cut(data: bytes = b"") -> Talk:
    """Send, and wait for the end."""

    def talk(sock: socket.socket) -> None:
        sock.sendall(data)
        try:
            while sock.recv(65536):
                pass
        except ConnectionResetError:
            return

    return talk


def _over_tls(then: Talk, *, trusts: bool = True) -> Talk:
    def talk(sock: socket.socket) -> None:
        client = ssl.create_default_context()
        if trusts:
            client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        try:
            with client.wrap_socket(sock, server_hostname="first.test") as wrapped:
                then(wrapped)
        except ssl.SSLError:
            return

    return talk


#: By name: the listener, and what is said to it.
CASES: dict[str, tuple[str, Talk]] = {
    "two-requests": ("http", _say(_GET, _POST)),
    "nothing": ("http", lambda _sock: None),
    "not-http": ("http", _be_cut(b"garbage\r\n\r\n")),
    "bad-second": ("http", _say(_GET, b"GET / HTTP/1.1\r\nhost: a\r\nhost : b\r\n\r\n")),
    "half-a-head": ("http", lambda sock: sock.sendall(b"GET / HT")),
    "close": ("http", _be_cut(_GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))),
    "tls": ("tls", _over_tls(_say(_GET))),
    "tls-nothing": ("tls", lambda _sock: None),
    "tls-plain": ("tls", _be_cut(_GET)),
    "tls-alert": ("tls", _over_tls(_say(_GET), trusts=False)),
    "inspected": ("inspected", _over_tls(_say(_GET))),
    "inspected-nothing": ("inspected", lambda _sock: None),
    "inspected-silent": ("inspected", _be_cut()),
    "no-certificate": ("strict", _over_tls(_be_cut(_GET))),
    "tcp": ("tcp", _say(_GET)),
    "tcp-refused": ("tcp-refused", _be_cut()),
    "tcp-tls": ("tcp-tls", _over_tls(_say(_GET))),
    "tcp-tls-plain": ("tcp-tls", _be_cut(_GET)),
    "no-match": ("no-match", _be_cut()),
    "proxied": ("proxied", _say(b"PROXY TCP4 192.0.2.1 192.0.2.2 1001 1002\r\n" + _GET)),
    "no-proxy-header": ("proxied", _be_cut(_GET * 3)),
}
#: Handshakes that failed.
_FAILED = {"tls-nothing", "tls-plain", "tls-alert", "no-certificate", "tcp-tls-plain"}
_TLS_FIELDS = ("DOWNSTREAM_TLS_VERSION", "DOWNSTREAM_TLS_CIPHER", "DOWNSTREAM_TRANSPORT_FAILURE_REASON")
#: A time, a number that is different at every start, or a port that the system has chosen.
_MEASURED = re.compile(r"DURATION|CONNECTION_ID$|_PORT$")
_PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+$")

#: By case, then by operator; None: there was no line.
Lines = dict[str, dict[str, object] | None]


def _play(proxy: RunningProxy) -> dict[str, int]:
    """Every case; the ports of the clients."""
    clients = {}
    for name, (where, talk) in CASES.items():
        with socket.create_connection(("127.0.0.1", proxy.ports[where]), 10) as sock:
            sock.settimeout(10)
            clients[name] = sock.getsockname()[1]
            talk(sock)
    with (
        socket.create_connection(("127.0.0.1", proxy.ports["limited"]), 10) as first,
        socket.create_connection(("127.0.0.1", proxy.ports["limited"]), 10) as second,
    ):
        clients["in-limit"], clients["above-limit"] = first.getsockname()[1], second.getsockname()[1]
        _say(_GET)(first)
        _be_cut()(second)
    return clients


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[Path, dict[str, int]], ...]:
    """Where Envoy and FastProxy have logged, and the clients' ports."""
    directory = tmp_path_factory.mktemp("connection-logs")
    with running_pair(_template(directory, Pki(directory)), (*_LISTENERS, "closed"), directory) as pair:
        found = []
        for proxy in (pair.envoy, pair.contender):
            clients = _play(proxy)
            for method, path in (
                ("GET", "/ready"),
                ("GET", "/nope?a=b"),
                ("POST", "/reopen_logs"),
                ("GET", "/logging"),
            ):
                admin_request(proxy.ports["admin"], path, method)
            found.append((directory / str(proxy.ports["admin"]), clients))
    return tuple(found)


def _lines(played: tuple[Path, dict[str, int]], file: str) -> Lines:
    directory, clients = played
    lines = [json.loads(line) for line in (directory / file).read_text().splitlines()]
    found: Lines = dict.fromkeys(clients)
    for name, port in clients.items():
        own = [line for line in lines if line["client"] == port]
        assert len(own) <= 1, "a connection is logged once"
        if own:
            found[name] = {key: value for key, value in own[0].items() if key != "client"}
    return found


def _comparable(line: dict[str, object] | None) -> dict[str, object] | None:
    if line is None:
        return None
    return {
        name: "<number>"
        if _MEASURED.search(name) and isinstance(value, int) and value
        else 0
        if name.endswith("DURATION") and value == "<number>"
        else _PORT.sub("<port>", value)
        if isinstance(value, str)
        else value
        for name, value in line.items()
        if name != "DURATION"
    }


@pytest.mark.parametrize("case", [*CASES, "in-limit", "above-limit"])
def test_the_line_of_a_connection(played: tuple[tuple[Path, dict[str, int]], ...], case: str) -> None:
    """Addresses, bytes, flags, TLS and what the configuration calls it."""
    envoy, contender = (_comparable(_lines(one, "connections")[case]) for one in played)
    assert (envoy is None) == (case == "above-limit"), "the case would compare nothing"
    if envoy is not None and contender is not None and case in _FAILED:
        reason, own_reason = (one["DOWNSTREAM_TRANSPORT_FAILURE_REASON"] for one in (envoy, contender))
        assert (reason is None) == (own_reason is None), TLS_WORDS
        for name in _TLS_FIELDS:
            del envoy[name], contender[name]
        if case == "tcp-tls-plain":
            for name in [one for one in envoy if "UPSTREAM" in one or "CLUSTER" in one]:
                assert name != "UPSTREAM_CLUSTER" or (envoy[name], contender[name]) == ("echo", None), (
                    TCP_TLS_ORDER
                )
                del envoy[name], contender[name]
    assert contender == envoy


def test_filters_apply(played: tuple[tuple[Path, dict[str, int]], ...]) -> None:
    """Those of requests, on what a connection has of it."""
    envoy, contender = ({name for name, line in _lines(one, "flagged").items() if line} for one in played)
    assert contender == envoy
    assert {"not-http", "no-match", "tcp-refused"} <= envoy


def test_requests_to_the_admin_interface(played: tuple[tuple[Path, dict[str, int]], ...]) -> None:
    """The default line; the sizes of the pages are each proxy's own."""
    found = []
    for directory, _clients in played:
        lines = (directory / "admin").read_text().splitlines()[-4:]
        parts = [re.fullmatch(r'\[[^]]+\] ("[^"]+" \d+ -) 0 (\d+) \d+ - "[\d.]+" "-" "-" "127.0.0.1:\d+" "-"', one) for one in lines]  # fmt: skip
        assert all(one is not None and int(one[2]) for one in parts), lines
        found.append([one[1] for one in parts if one is not None])
    assert found[1] == found[0]
    assert found[0][1] == '"GET /nope?a=b HTTP/1.1" 404 -'
