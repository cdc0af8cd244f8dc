"""What a log line says, and which requests are logged, as in Envoy.

Both proxies are played to, and ended; only then are their files complete.
"""

# ruff: noqa: E501 - tables of configuration, one entry a line

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.support.exchange import Script, perform
from tests.e2e.support.pairs import running_pair
from tests.e2e.support.proxies import Config, Ports, RunningProxy
from tests.e2e.support.templates import (
    METADATA_KINDS,
    bootstrap,
    cluster,
    direct,
    forward,
    label_endpoints,
    labelled,
    listener,
    virtual_host,
)
from tests.e2e.support.wire import encode_request as req

_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
_OPERATORS = [
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_HOST",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "CONNECTION_ID",
    "FILTER_CHAIN_NAME",
    "REQUEST_DURATION",
    "REQUEST_TX_DURATION",
    "RESPONSE_DURATION",
    "RESPONSE_TX_DURATION",
    "DURATION",
    "PROTOCOL",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "RESPONSE_FLAGS",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "ROUTE_NAME",
    "RESPONSE_FLAGS_LONG",
    "GRPC_STATUS",
    "GRPC_STATUS(SNAKE_STRING)",
    "GRPC_STATUS(NUMBER)",
    "GRPC_STATUS_NUMBER",
    "CONNECTION_TERMINATION_DETAILS",
    "TRACE_ID",
    "SPAN_ID",
    "CUSTOM_FLAGS",
    "ACCESS_LOG_TYPE",
    "METADATA(LISTENER:n:o)",
    "METADATA(LISTENER_FILTER_CHAIN:n)",
    'COALESCE({"operators": [{"command": "REQ", "param": "x-a?x-twice", "max_length": 1}, "ROUTE_NAME"]})',
    'COALESCE({"operators": ["UPSTREAM_HOST_NAME", {"command": "RESPONSE_CODE"}]}):5',
    'COALESCE({"operators": ["RESPONSE_CODE"]})',
    "COMMON_DURATION(DS_RX_BEG:DS_RX_END)",
    "COMMON_DURATION(DS_RX_BEG:US_TX_END:us)",
    "COMMON_DURATION(US_RX_BEG:DS_TX_END:ns)",
    "COMMON_DURATION(DS_RX_BEG:US_RX_BEG:ms)",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "PATH",
    "PATH(NQ)",
    "PATH(NQ:ORIG)",
    "PATH(WQ:PATH)",
    "QUERY_PARAM(q)",
    "QUERY_PARAM(q):3",
    "QUERY_PARAM(e)",
    "QUERY_PARAM(%71)",
    "QUERY_PARAMS",
    "QUERY_PARAMS(ORIG)",
    "QUERY_PARAMS(DECODED)",
    "REQ(:method)",
    "REQ(:path)",
    "REQ(:path):4",
    "REQ(:authority)",
    "REQ(:scheme)",
    "REQ(x-none?x-a)",
    "REQ(x-twice)",
    "REQ(accept)",
    "REQ(transfer-encoding)",
    "RESP(:status)",
    "RESP(x-twice)",
    "RESP(vary)",
    "RESP(connection)",
    "RESP(transfer-encoding)",
    "TRAILER(x-trailer)",
    "DYNAMIC_METADATA(a:b)",
    *(
        f"METADATA({kind}:n{rest})"
        for kind in METADATA_KINDS
        for rest in (
            "",
            ":s",
            ":s:deeper",
            ":o",
            ":o:deep:i",
            ":o:none",
            ":l",
            ":l:0",
            ":b",
            ":z",
            ":f",
            ":i",
            ":n",
        )
    ),
    "METADATA(ROUTE:none:s)",
    "METADATA(ROUTE:n:s):3",
    "CLUSTER_METADATA(n:s)",
    "CLUSTER_METADATA(n:o)",
    "UPSTREAM_METADATA(n:s)",
    "UPSTREAM_METADATA(n:o:deep)",
    "REQUESTED_SERVER_NAME",
    "HOSTNAME",
    "ACCESS_LOG_TYPE",
    "ENVIRONMENT(PATH)",
    "ENVIRONMENT(none):3",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_PEER_SUBJECT",
    "START_TIME(%Y)",
    "START_TIME(%Ez)",
]
#: Different at every start, or a time: only whether there is a number is compared.
_MEASURED = re.compile(r"DURATION|_ID$|LOCAL_PORT$")
_PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+$")


def _status(op: str, number: int) -> Config:
    return {"status_code_filter": {"comparison": {"op": op, "value": {"default_value": number, "runtime_key": "none"}}}}  # fmt: skip


def _header(name: str, **match: object) -> Config:
    return {"header_filter": {"header": {"name": name, **match}}}


_LONG: Config = {"duration_filter": {"comparison": {"op": "GE", "value": {"default_value": 150, "runtime_key": "none"}}}}  # fmt: skip
FILTERS: dict[str, Config] = {
    "status-eq": _status("EQ", 404),
    "status-ge": _status("GE", 400),
    "status-le": _status("LE", 299),
    "status-ne": _status("NE", 200),
    "long": _LONG,
    "flag": {"response_flag_filter": {"flags": ["UF", "UT"]}},
    "any-flag": {"response_flag_filter": {}},
    "header": _header("x-a", string_match={"prefix": "b"}),
    "no-header": _header("x-a", present_match=True, invert_match=True),
    "path": _header(":path", string_match={"contains": "dir"}),
    "and": {"and_filter": {"filters": [_status("GE", 500), _header("x-a", present_match=True)]}},
    "or": {"or_filter": {"filters": [_status("EQ", 418), _header("x-a", string_match={"exact": "b"})]}},
    "grpc": {"grpc_status_filter": {"statuses": ["OK", "UNAVAILABLE"]}},
    "not-grpc": {"grpc_status_filter": {"statuses": ["UNAVAILABLE"], "exclude": True}},
    "not-ok": {"grpc_status_filter": {"statuses": ["OK"], "exclude": True}},
    "unknown": {"grpc_status_filter": {"statuses": ["UNKNOWN"]}},
    "never": {"runtime_filter": {"runtime_key": "none", "percent_sampled": {"numerator": 0}}},
    "always": {"runtime_filter": {"runtime_key": "none", "percent_sampled": {"numerator": 100}}},
    "end": {"log_type_filter": {"types": ["DownstreamEnd", "TcpConnectionEnd"]}},
    "not-end": {"log_type_filter": {"types": ["DownstreamEnd"], "exclude": True}},
    "start": {"log_type_filter": {"types": ["DownstreamStart", "NotSet"]}},
    "not-health": {"not_health_check_filter": {}},
    "metadata": {"metadata_filter": {"matcher": {"filter": "a", "path": [{"key": "b"}], "value": {"bool_match": True}}, "match_if_key_not_found": False}},
}  # fmt: skip

_GRPC = ("content-type", "application/grpc")
REQUESTS: dict[str, bytes] = {
    "ok": req("GET", "/x"),
    "header": req("GET", "/x", ("x-a", "b")),
    "other-header": req("GET", "/x", ("x-a", "c")),
    "post": req("POST", "/x", body=b"12345"),
    "chunked": req("POST", "/x", chunks=(b"12", b"345")),
    "head": req("HEAD", "/x"),
    "404": req("GET", "/x", script="404"),
    "503": req("GET", "/x", ("x-a", "d"), script="503"),
    "direct": req("GET", "/direct"),
    "teapot": req("GET", "/teapot"),
    "no-route": req("GET", "/x", host="sparse.test"),
    "refused": req("GET", "/refused"),
    "late": req("GET", "/short", ("x-a", "b"), script="no-answer"),
    "grpc-refused": req("POST", "/refused", _GRPC),
    "grpc-no-route": req("POST", "/x", _GRPC, host="sparse.test"),
    "query": req("GET", "/x?q=a+b%2Bc&q=2&e=&e=3&z"),
    "query-encoded": req("GET", "/x?%71=y%65s%26&&r=%c3"),
    "query-rewritten": req("GET", "/rewritten/x?q=1"),
    "twice": req(
        "GET",
        "/x",
        ("x-twice", "1"),
        ("X-Twice", "2"),
        ("accept", "a"),
        ("accept", "b"),
        script="many-headers",
    ),
    "chunked-answer": req("GET", "/x", script="chunked-trailers"),
    "connect": b"CONNECT a.test:1 HTTP/1.1\r\nhost: a.test:1\r\n\r\n",
    "close": req("GET", "/x", ("connection", "close")),
    "short-body": req("GET", "/x", script="short-body"),
    "no-last-chunk": req("GET", "/x", script="no-last-chunk"),
    "broken-chunk": req("GET", "/x", script="bad-chunk"),
    "grpc": req("POST", "/x", _GRPC),
    "grpc-503": req("POST", "/x", _GRPC, script="503"),
    "named": req("GET", "/named"),
    "weighted": req("GET", "/weighted"),
    "bare": req("GET", "/bare"),
    "to-https": req("GET", "/x", host="tls.test"),
    "named-refused": req("GET", "/none-there"),
}


def _log(path: Path, members: list[str], filter_: Config | None = None) -> Config:
    template = {"case": "%REQ(x-case)%", **{name: f"%{name}%" for name in members}}
    return {
        "name": "file",
        "typed_config": {"@type": _FILE_LOG, "path": str(path), "log_format": {"json_format": template}},
        **({} if filter_ is None else {"filter": filter_}),
    }


def _named(name: str, port: int) -> Config:
    one = cluster(name, port, type="STRICT_DNS", dns_lookup_family="V4_ONLY")
    endpoint = one["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    endpoint["address"]["socket_address"]["address"] = "localhost"
    return one


def _template(directory: Path) -> Callable[[Ports], Config]:
    hosts = [
        labelled(virtual_host("sparse", ["sparse.test"], [direct({"path": "/only"}, 200)]), "sparse"),
        labelled({**virtual_host("tls", ["tls.test"], [direct({"prefix": "/"}, 200)]), "require_tls": "ALL"}, "tls"),
        labelled(virtual_host(
            "any",
            ["*"],
            [
                labelled(direct({"prefix": "/direct"}, 200, "made"), "direct"),
                labelled(forward({"prefix": "/weighted"}), "weighted") | {"route": {"weighted_clusters": {"clusters": [{"name": "echo", "weight": 1}]}}},
                labelled(forward({"prefix": "/bare"}, "bare"), "bare"),
                direct({"prefix": "/teapot"}, 418, "tea"),
                labelled(forward({"prefix": "/refused"}, "refused"), "refused"),
                forward({"prefix": "/short"}, timeout="0.2s"),
                forward({"prefix": "/rewritten/"}, prefix_rewrite="/"),
                forward({"prefix": "/named"}, "named"),
                forward({"prefix": "/none-there"}, "named-refused"),
                {**labelled(forward({"prefix": "/"}), "rest"), "name": "rest"},
            ],
        ), "any"),
    ]  # fmt: skip

    def fill(ports: Ports) -> Config:
        own = directory / str(ports["admin"])
        own.mkdir()
        logs = [_log(own / name, [], filter_) for name, filter_ in FILTERS.items()]
        logs.append(_log(own / "operators", _OPERATORS))
        one = listener("plain", ports["plain"], hosts, options={"access_log": logs})
        one = labelled(one, "listener")
        one["filter_chains"][0] = labelled(one["filter_chains"][0], "chain")
        one["filter_chains"][0]["name"] = "the-chain"
        clusters = [
            labelled(label_endpoints(cluster("echo", ports["upstream"]), "endpoint"), "echo"),
            labelled(
                label_endpoints(cluster("refused", ports["closed"], alt_stat_name="shown"), "closed"),
                "refused",
            ),
            labelled({**cluster("bare"), "load_assignment": {"cluster_name": "bare"}}, "without endpoints"),
            _named("named", ports["upstream"]),
            _named("named-refused", ports["closed"]),
        ]
        return bootstrap(ports["admin"], [one], clusters)

    return fill


#: By log file, then by case; None: not logged.
Lines = dict[str, dict[str, dict[str, object]]]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lines, Lines]:
    """What Envoy and FastProxy have logged."""
    directory = tmp_path_factory.mktemp("access-logs")
    with running_pair(_template(directory), ("plain", "closed"), directory) as pair:
        for proxy in (pair.envoy, pair.contender):
            for name, request in REQUESTS.items():
                head, _, rest = request.partition(b"\r\n")
                named = head + b"\r\nx-case: " + name.encode() + b"\r\n" + rest
                perform(Script((named,)), proxy.ports["plain"], pair.upstream, bytes)
        proxies = (pair.envoy, pair.contender)
    envoy, contender = (_read(directory, proxy) for proxy in proxies)
    return envoy, contender


def _read(directory: Path, proxy: RunningProxy) -> Lines:
    found: Lines = {}
    for name in (*FILTERS, "operators"):
        text = (directory / str(proxy.ports["admin"]) / name).read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        found[name] = {line["case"]: line for line in lines}
        assert len(found[name]) == len(lines), "a request is logged once"
    return found


def _comparable(name: str, value: object) -> object:
    if _MEASURED.search(name) and isinstance(value, int):
        return "<number>"
    return _PORT.sub("<port>", value) if isinstance(value, str) else value


@pytest.mark.parametrize("case", REQUESTS)
def test_operators(logged: tuple[Lines, Lines], case: str) -> None:
    """Where a request went, over which connection, and how long each part took."""
    envoy, contender = (
        {name: _comparable(name, value) for name, value in lines["operators"][case].items()}
        for lines in logged
    )
    assert contender == envoy


@pytest.mark.parametrize("name", FILTERS)
def test_filters(logged: tuple[Lines, Lines], name: str) -> None:
    """Which requests are logged."""
    envoy, contender = (set(lines[name]) for lines in logged)
    assert contender == envoy
    assert name in ("never", "metadata", "not-end", "start") or envoy, "the case would compare nothing"
