"""How many bytes went over the wire, in access logs and statistics, as in Envoy."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.support.exchange import Script, perform
from tests.e2e.support.pairs import running_pair
from tests.e2e.support.proxies import Config, Ports, RunningProxy
from tests.e2e.support.templates import bootstrap, cluster, direct, forward, listener, virtual_host
from tests.e2e.support.wire import encode_request as req

_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
OPERATORS = ["BYTES_RECEIVED", "BYTES_SENT"] + [
    f"{side}_{kind}_BYTES_{way}"
    for side in ("DOWNSTREAM", "UPSTREAM")
    for kind in ("WIRE", "HEADER")
    for way in ("RECEIVED", "SENT")
]
_COUNTERS = [
    "http.plain.downstream_cx_rx_bytes_total",
    "http.plain.downstream_cx_tx_bytes_total",
    "cluster.echo.upstream_cx_rx_bytes_total",
    "cluster.echo.upstream_cx_tx_bytes_total",
]
_PING = req("GET", "/x", ("x-case", "keep-alive"))
REQUESTS: dict[str, Script] = {
    name: Script((request,))
    for name, request in {
        "get": req("GET", "/x?a=b", ("X-Some", "header"), ("Accept", "*/*")),
        "direct": req("GET", "/direct"),
        "post": req("POST", "/x", body=b"12345"),
        "post-large": req("POST", "/x", body=b"x" * 300_000),
        "chunked": req("POST", "/x", chunks=(b"12345",)),
        "repeated": req("GET", "/x", ("x-a", "1"), ("x-a", "2"), ("x-a", "3")),
        "extension-and-trailer": b"POST /b HTTP/1.1\r\nHost: h.test\r\nTrailer: x-late\r\nTransfer-Encoding: chunked"
        b"\r\n\r\n3;a=b\r\nabc\r\n0\r\nx-late: 1\r\n\r\n",
        "length": req("GET", "/x", script="length"),
        "chunked-answer": req("GET", "/x", script="chunked-pieces"),
        "trailers": req("GET", "/x", script="chunked-trailers"),
        "head": req("HEAD", "/x", script="head-length"),
        "hints": req("GET", "/x", script="103-first"),
        "304": req("GET", "/x", script="304-length"),
        "garbage": req("GET", "/x", script="garbage"),
        "refused": req("GET", "/refused"),
        "not-found": req("GET", "/x", host="sparse.test"),
        "retried": req("GET", "/retry", script="503"),
        "silent": req("GET", "/short", script="no-answer"),
        "early": req("POST", "/x", body=b"x" * 1000, script="early-401"),
        "upgrade-refused": req("GET", "/x", ("Connection", "upgrade"), ("Upgrade", "other")),
        "close": req("GET", "/x", ("Connection", "close")),
    }.items()
}
#: What one chunk of the answer is is Envoy's affair: it puts together what came together.
_FRAMED_ANEW = {"chunked-answer": {"DOWNSTREAM_WIRE_BYTES_SENT"}, "trailers": {"DOWNSTREAM_WIRE_BYTES_SENT"}}
REQUESTS["keep-alive"] = Script((_PING, _PING, _PING))


def _template(directory: Path) -> Callable[[Ports], Config]:
    # Nothing whose length is chance, and one name for both products.
    options: Config = {"server_name": "same", "generate_request_id": False}
    hosts = [
        virtual_host("sparse", ["sparse.test"], [direct({"path": "/only"}, 200)]),
        virtual_host(
            "any",
            ["*"],
            [
                direct({"prefix": "/direct"}, 200, "made"),
                forward({"prefix": "/refused"}, "refused"),
                forward({"prefix": "/short"}, timeout="0.2s"),
                forward({"prefix": "/retry"}, retry_policy={"retry_on": "5xx", "num_retries": 1}),
                forward({"prefix": "/"}),
            ],
        ),
    ]

    def fill(ports: Ports) -> Config:
        template = {"case": "%REQ(x-case)%", **{name: f"%{name}%" for name in OPERATORS}}
        log = {
            "name": "file",
            "typed_config": {
                "@type": _FILE_LOG,
                "path": str(directory / str(ports["admin"])),
                "log_format": {"json_format": template},
            },
        }
        one = listener(
            "plain",
            ports["plain"],
            hosts,
            options={**options, "access_log": [log], "upgrade_configs": [{"upgrade_type": "websocket"}]},
            router={"suppress_envoy_headers": True},
        )
        clusters = [cluster("echo", ports["upstream"]), cluster("refused", ports["closed"])]
        return bootstrap(ports["admin"], [one], clusters)

    return fill


#: Lines of the log by case, and the counters.
Numbers = tuple[dict[str, list[dict[str, object]]], dict[str, int]]


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Numbers, Numbers]:
    """What Envoy and FastProxy have counted."""
    directory = tmp_path_factory.mktemp("bytes")
    counters = []
    with running_pair(_template(directory), ("plain", "closed"), directory) as pair:
        proxies = (pair.envoy, pair.contender)
        for proxy in proxies:
            for name, script in REQUESTS.items():
                perform(_named(script, name), proxy.ports["plain"], pair.upstream, bytes)
                if name == "length":
                    # What follows makes pieces whose size is each proxy's own affair.
                    counters.append(_counters(proxy))
    logs = [_lines(directory / str(proxy.ports["admin"])) for proxy in proxies]
    return (logs[0], counters[0]), (logs[1], counters[1])


def _named(script: Script, name: str) -> Script:
    named = []
    for request in script.requests:
        head, _, rest = request.partition(b"\r\n")
        named.append(head + b"\r\nx-case: " + name.encode() + b"\r\n" + rest)
    return Script(tuple(named))


def _lines(path: Path) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for line in path.read_text().splitlines():
        values = json.loads(line)
        found.setdefault(values["case"], []).append(values)
    return found


def _counters(proxy: RunningProxy) -> dict[str, int]:
    # A client can have the last bytes before they are counted; not so when its connection is gone.
    proxy.wait_until(lambda: _stats(proxy)["http.plain.downstream_cx_active"] == "0")
    stats = _stats(proxy)
    return {name: int(stats[name]) for name in _COUNTERS}


def _stats(proxy: RunningProxy) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in proxy.admin("/stats")[1].splitlines() if ": " in line)


@pytest.mark.parametrize("case", REQUESTS)
def test_bytes_of_a_request(numbers: tuple[Numbers, Numbers], case: str) -> None:
    """Bodies, heads, and everything."""
    envoy, contender = ([dict(line) for line in lines[case]] for lines, _ in numbers)
    for name in _FRAMED_ANEW.get(case, ()):
        for line in (*envoy, *contender):
            line.pop(name)
    assert contender == envoy
    assert envoy[0]["DOWNSTREAM_WIRE_BYTES_RECEIVED"]


@pytest.mark.parametrize("name", _COUNTERS)
def test_bytes_of_all_connections(numbers: tuple[Numbers, Numbers], name: str) -> None:
    """What was read and written in total, heads and framing included."""
    (_, envoy), (_, contender) = numbers
    assert contender[name] == envoy[name]
