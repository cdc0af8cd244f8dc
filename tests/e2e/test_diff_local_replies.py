"""`local_reply_config`: what becomes of the answers that the proxy gives itself, as in Envoy."""

# ruff: noqa: E501 - tables of configuration, one entry a line

from collections.abc import Iterator

import pytest

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import HEAD_LOCAL_REPLY, LENGTH_WITH_204, Difference
from tests.e2e.support.pairs import managers_template, running_pair
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import cluster, direct, forward, redirect, virtual_host
from tests.e2e.support.wire import encode_request as req

_OVERWRITE = "OVERWRITE_IF_EXISTS_OR_ADD"


def _status(number: int, op: str = "EQ") -> Config:
    return {
        "status_code_filter": {
            "comparison": {"op": op, "value": {"default_value": number, "runtime_key": "none"}}
        }
    }


def _path(prefix: str) -> Config:
    return {"header_filter": {"header": {"name": ":path", "string_match": {"prefix": prefix}}}}


def _header(name: str, value: str, **options: object) -> Config:
    return {"header": {"key": name, "value": value}, **options}


_MAPPERS: list[Config] = [
    {"filter": _path("/direct/keep"), "headers_to_add": [_header("x-mapped", "%RESPONSE_CODE% %REQ(:path)%")]},
    {"filter": _status(404), "body": {"inline_string": "nothing here"}, "headers_to_add": [_header("x-mapped", "404")]},
    {"filter": {"response_flag_filter": {"flags": ["UF"]}}, "status_code": 502, "body_format_override": {"json_format": {"code": "%RESPONSE_CODE%", "why": "%LOCAL_REPLY_BODY%", "flags": "%RESPONSE_FLAGS%", "nested": {"path": "%REQ(:path)%", "none": "%REQ(x-none)%"}}}},
    {"filter": {"and_filter": {"filters": [_status(200, "GE"), _status(299, "LE"), _path("/direct/and")]}}, "status_code": 203, "body": {"inline_string": ""}},
    {"filter": {"or_filter": {"filters": [_status(426), _status(418)]}}, "status_code": 400, "headers_to_add": [_header("content-type", "text/mine", append_action=_OVERWRITE)]},
    {"filter": _path("/redirect"), "headers_to_add": [_header("location", "/else", append_action=_OVERWRITE), _header("x-mapped", "moved")]},
    {"filter": {"response_flag_filter": {}}, "headers_to_add": [_header("x-mapped", "any flag")]},
    {"filter": _status(431), "body": {"inline_string": "too much\n"}, "body_format_override": {"text_format_source": {"inline_string": "<%LOCAL_REPLY_BODY%>"}, "content_type": "text/html"}},
]  # fmt: skip
_LINE = (
    "%LOCAL_REPLY_BODY%|%RESPONSE_CODE%|%REQ(:path)%|%RESPONSE_FLAGS%|%RESP(content-type)%|%RESP(:status)%"
)

MANAGERS: dict[str, Config] = {
    "mapped": {"local_reply_config": {"mappers": _MAPPERS}},
    "text": {"local_reply_config": {"body_format": {"text_format_source": {"inline_string": _LINE}}}},
    "html": {"local_reply_config": {"body_format": {"text_format": "<p>%LOCAL_REPLY_BODY%</p>", "content_type": "text/html; charset=UTF-8"}}},
    "json": {"local_reply_config": {"body_format": {"json_format": {"code": "%RESPONSE_CODE%", "b": "%LOCAL_REPLY_BODY%", "a": ["x", 1]}}}},
    "json-typed": {"local_reply_config": {"body_format": {"json_format": {"b": "%LOCAL_REPLY_BODY%"}, "content_type": "application/problem+json"}, "mappers": _MAPPERS}},
    "omitted": {"local_reply_config": {"body_format": {"text_format": "<%REQ(x-none)%>", "omit_empty_values": True}}},
    "told": {"local_reply_config": {"mappers": [{"filter": _status(0, "GE"), "headers_to_add": [_header("x-details", "%RESPONSE_CODE_DETAILS%"), _header("x-flags", "%RESPONSE_FLAGS%"), _header("x-body", "%LOCAL_REPLY_BODY%"), _header("x-type", "%RESP(content-type)%"), _header("x-empty", "%REQ(x-none)%"), _header("x-kept", "%REQ(x-none)%", keep_empty_value=True), _header("server", "mine", append_action=_OVERWRITE), _header("vary", "a"), _header("vary", "b"), _header("set-cookie", "a=1"), _header("set-cookie", "b=2")]}]}},
    "replaced": {"local_reply_config": {"mappers": [{"filter": _status(0, "GE"), "body": {"inline_string": "new %RESPONSE_CODE%"}}]}},
    "emptied": {"local_reply_config": {"mappers": [{"filter": _status(0, "GE"), "body": {"inline_string": ""}}]}},
    "unmapped": {},
    "strict": {"local_reply_config": {"mappers": _MAPPERS}, "max_request_headers_kb": 1, "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"}},
}  # fmt: skip

_HOSTS = [
    virtual_host("sparse", ["sparse.test"], [direct({"path": "/only"}, 200)]),
    virtual_host(
        "any",
        ["*"],
        [
            direct({"prefix": "/direct/empty"}, 200),
            direct({"prefix": "/direct/204"}, 204),
            {**direct({"prefix": "/direct/typed"}, 200, "<b>"), "response_headers_to_add": [_header("content-type", "text/x", append_action=_OVERWRITE)]},
            direct({"prefix": "/direct"}, 200, 'made "here"'),
            direct({"prefix": "/teapot"}, 418, "tea"),
            redirect({"prefix": "/redirect"}, path_redirect="/there"),
            forward({"prefix": "/refused"}, "refused"),
            forward({"prefix": "/short"}, timeout="0.2s"),
            forward({"prefix": "/nobody"}, "nobody"),
            forward({"prefix": "/full"}, "full"),
            {"match": {"prefix": "/unknown"}, "route": {"cluster_header": "x-cluster"}},
            forward({"prefix": "/"}),
        ],
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies."""
    template = managers_template(MANAGERS, _HOSTS)

    def with_clusters(ports: Ports) -> Config:
        config = template(ports)
        full = {"thresholds": [{"max_requests": 0, "max_connections": 0, "max_pending_requests": 0}]}
        config["static_resources"]["clusters"] += [
            {"name": "nobody", "type": "STATIC", "connect_timeout": "1s"},
            cluster("full", ports["upstream"], circuit_breakers=full),
        ]
        return config

    with running_pair(with_clusters, (*MANAGERS, "closed"), tmp_path_factory.mktemp("replies")) as running:
        yield running


def case(
    listener: str, id_: str, target: str, *headers: tuple[str, str], differs: Difference | None = None,
    method: str = "GET", host: str = "h.test", script: str | None = None, version: str = "HTTP/1.1", status: int = 204,
) -> Case:  # fmt: skip
    """One request."""
    request = req(method, target, *headers, host=host, script=script, version=version)
    return Case(
        f"{listener}-{id_}",
        (request,),
        (status,) if differs else (0,),
        listener=listener,
        differs=differs,
        any_order=True,
    )


#: Here every reply has a body.
_FORMATTED = ("text", "html", "json", "json-typed", "omitted")
_GRPC = (("content-type", "application/grpc"),)
_UPGRADE = (("connection", "upgrade"), ("upgrade", "websocket"))


def _codec_errors(listener: str) -> list[Case]:
    return [
        case(listener, "grpc-version", "/x", *_GRPC, version="HTTP/1.0"),
        case(listener, "grpc-coding", "/x", *_GRPC, ("transfer-encoding", "gzip")),
        case(listener, "grpc-fragment", "/x#y", *_GRPC),
    ]


CASES = [
    made
    for listener in MANAGERS
    for made in (
        case(listener, "no-route", "/x", host="sparse.test"),
        case(listener, "direct", "/direct/keep"),
        case(listener, "direct-empty", "/direct/empty"),
        case(
            listener,
            "direct-204",
            "/direct/204",
            differs=LENGTH_WITH_204 if listener in (*_FORMATTED, "replaced") else None,
        ),
        case(listener, "direct-typed", "/direct/typed"),
        case(listener, "direct-and", "/direct/and"),
        case(listener, "teapot", "/teapot"),
        case(listener, "redirect", "/redirect"),
        case(listener, "refused", "/refused"),
        case(listener, "timeout", "/short", script="no-answer"),
        case(listener, "upstream-404", "/up", script="404"),
        case(listener, "upstream-503", "/up", script="503"),
        case(listener, "codec-error", "/a b"),
        case(listener, "no-host", "/x", host=""),
        *([] if listener == "emptied" else [case(listener, "head", "/direct/keep", method="HEAD")]),
        case(listener, "grpc-refused", "/refused", *_GRPC),
        case(listener, "grpc-no-route", "/x", *_GRPC, host="sparse.test"),
        # Envoy refuses HTTP/1.0 before it has a path to print.
        *([] if listener == "text" else [case(listener, "http-10", "/x", version="HTTP/1.0")]),
        case(listener, "underscore", "/x", ("x_a", "b")),
        case(listener, "large", "/x", ("x-large", "v" * 2000)),
        case(listener, "garbage", "/up", script="garbage"),
        case(listener, "no-endpoint", "/nobody"),
        case(listener, "no-cluster", "/unknown", ("x-cluster", "none-such")),
        case(listener, "overflow", "/full"),
        case(listener, "grpc-overflow", "/full", *_GRPC),
        case(listener, "grpc-suffix", "/nobody", ("content-type", "application/grpc+proto")),
        case(listener, "grpc-web", "/nobody", ("content-type", "application/grpc-web")),
        case(listener, "upgrade-no-route", "/x", *_UPGRADE, host="sparse.test"),
        case(listener, "upgrade-refused", "/direct/typed", *_UPGRADE),
        # Of these two Envoy has nothing to print but the status.
        *([] if listener == "text" else _codec_errors(listener)),
    )
] + [
    case(
        "unmapped", "grpc-head", "/direct/keep", *_GRPC, method="HEAD", differs=HEAD_LOCAL_REPLY, status=200
    ),
    case("told", "grpc-head", "/direct/keep", *_GRPC, method="HEAD", differs=HEAD_LOCAL_REPLY, status=200),
]


@parametrize_cases(CASES)
def test_local_replies(pair: Pair, case: Case) -> None:
    """Status, headers and body are what the operator wrote."""
    pair.check(case)
