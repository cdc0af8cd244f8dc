"""`headers_to_add` and `headers_to_remove` at every level, and the values that formats give, as Envoy has them."""

# ruff: noqa: E501 - tables of configuration, one entry a line

from collections.abc import Iterator

import pytest

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import Difference
from tests.e2e.support.pairs import running_pair
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import (
    METADATA_KINDS,
    bootstrap,
    cluster,
    direct,
    forward,
    jwt_authn,
    label_endpoints,
    labelled,
    listener,
    redirect,
    rule,
    virtual_host,
)
from tests.e2e.support.wire import encode_request as req

_ACTIONS = ("APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS")


def add(name: str, value: str, action: str = _ACTIONS[0], **options: object) -> Config:
    """One HeaderValueOption."""
    return {"header": {"key": name, "value": value}, "append_action": action, **options}


def requests(*added: Config, remove: tuple[str, ...] = ()) -> Config:
    """Rules for requests."""
    return {"request_headers_to_add": list(added), "request_headers_to_remove": list(remove)}


def responses(*added: Config, remove: tuple[str, ...] = ()) -> Config:
    """Rules for responses."""
    return {"response_headers_to_add": list(added), "response_headers_to_remove": list(remove)}


def format_route(name: str, *formats: str) -> Config:
    """A route that formats values into headers of both directions."""
    values = [add(f"x-{number}", f"<{text}>") for number, text in enumerate(formats)]
    return {**forward({"prefix": f"/format-{name}"}), "name": name, **requests(*values), **responses(*values)}


def _level(name: str) -> Config:
    every = [
        add("x-append", name),
        add("x-overwrite", name, _ACTIONS[2]),
        add("x-absent", name, _ACTIONS[1]),
        add("x-exists", name, _ACTIONS[3]),
        add("user-agent", name),
    ]
    return {
        **requests(*every, remove=(f"x-drop-{name}",)),
        **responses(*every[:4], add("via", name), remove=(f"x-drop-{name}", "x-envoy-custom")),
    }


_FORMATS = {
    "request": (
        "%REQ(x-a)%",
        "%REQ(x-none?x-a)%",
        "%REQ(x-a):2%",
        "%REQ(:path)%",
        "%REQ(:METHOD)%",
        "%REQ(:authority)%",
    ),
    "scheme": (
        "%REQ(:scheme)%",
        "%PROTOCOL%",
        "%ROUTE_NAME%",
        "100%%",
        "%REQ(x-many)%",
        "%PATH(NQ)%",
        "%PATH(WQ:ORIG)%",
    ),
    "response": (
        "%RESP(content-type)%",
        "%RESP(x-none)%",
        "%RESPONSE_CODE%",
        "%RESPONSE_FLAGS%",
        "%RESPONSE_CODE_DETAILS%",
    ),
    "bytes": ("%BYTES_RECEIVED%", "%REQUESTED_SERVER_NAME%", "%UPSTREAM_CLUSTER%", "%DYNAMIC_METADATA(a:b)%"),
    "client": ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"),
    "local": (
        "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
        "%HOSTNAME%",
        "%ENVIRONMENT(HOME)%",
        "%ENVIRONMENT(NONE_SUCH)%",
    ),
    "query": ("%QUERY_PARAM(q)%", "%QUERY_PARAM(none)%", "%TRAILER(x-a)%"),
    "legacy": (
        '%DYNAMIC_METADATA(["a","b"])%',
        "%METADATA(DYNAMIC:a:b)%",
        '<%UPSTREAM_METADATA(["n","s"])%>',
    ),
    "metadata": (
        *(f"<%METADATA({kind}:n:{key})%>" for kind in METADATA_KINDS for key in ("s", "o", "b", "f", "none")),
        "%CLUSTER_METADATA(n:s)%",
        "<%UPSTREAM_METADATA(n:s)%>",
    ),
}


def _proper(port: int) -> Config:
    http1: Config = {"http_protocol_options": {"header_key_format": {"proper_case_words": {}}}}
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": http1,
    }
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return cluster("proper", port, typed_extension_protocol_options={name: options})


def template(ports: Ports) -> Config:
    """Levels by host, single rules by path, formats by path."""
    single = [
        {**forward({"prefix": "/add"}), **requests(*(add("x-a", f"{n}", one) for n, one in enumerate(_ACTIONS)))},
        {**forward({"prefix": "/inline"}), **requests(*(add("accept", f"{n}", one) for n, one in enumerate(_ACTIONS[:1] * 2)))},
        {**forward({"prefix": "/legacy"}), **requests(
            {"header": {"key": "x-a", "value": "new"}, "append": False}, {"header": {"key": "x-b", "value": "new"}, "append": True}
        )},
        {**forward({"prefix": "/empty"}), **requests(
            add("x-a", "%REQ(x-none)%"), add("x-b", "%REQ(x-none)%", keep_empty_value=True), add("x-c", "", keep_empty_value=True),
            add("x-d", "%REQ(x-none)%", _ACTIONS[2]),
        )},
        {**forward({"prefix": "/remove-and-add"}), **requests(add("x-a", "new%REQ(x-a)%"), remove=("X-A", "x-b"))},
        {**forward({"prefix": "/swap"}), **requests(add("x-a", "%REQ(x-b)%", _ACTIONS[2]), add("x-b", "%REQ(x-a)%", _ACTIONS[2]))},
        {**forward({"prefix": "/own"}), **requests(
            add("x-forwarded-proto", "https", _ACTIONS[2]), add("x-request-id", "mine", _ACTIONS[2]),
            add("authorization", "Basic eDp5", _ACTIONS[2]), remove=("x-envoy-expected-rq-timeout-ms", "cookie"),
        )},
        {**forward({"prefix": "/rewritten/"}, prefix_rewrite="/new/"), **requests(add("x-path", "%REQ(:path)% %REQ(x-envoy-original-path)% %PATH(WQ)%"))},
        {**forward({"prefix": "/host"}, host_rewrite_literal="new.test"), **requests(add("x-host", "%REQ(:authority)%"))},
        {**direct({"prefix": "/direct"}, 202, "made"), **responses(add("content-type", "text/html", _ACTIONS[2]), add("x-a", "%REQ(x-a)%"))},
        *({**direct({"prefix": f"/made-{status}"}, status, "made"), **responses(add("x-a", "%RESP(location)%"))} for status in (201, 202, 300, 303, 307)),
        {**direct({"prefix": "/else-201"}, 201), **responses(add("location", "/else", _ACTIONS[2]))},
        {**direct({"prefix": "/teapot"}, 418, "tea"), **responses(add("content-type", "text/html"), add("server", "mine", _ACTIONS[2]))},
        {**redirect({"prefix": "/moved"}, path_redirect="/there"), **responses(add("x-a", "moved"), add("location", "/else", _ACTIONS[2]))},
        {**forward({"prefix": "/proper"}, "proper"), **requests(add("x-made-up", "1"))},
        {**forward({"prefix": "/refused"}, "refused"), **responses(add("x-a", "%RESPONSE_CODE% %RESPONSE_FLAGS%"))},
        {**forward({"prefix": "/short"}, timeout="0.2s"), **responses(add("x-a", "%RESPONSE_CODE% %RESPONSE_FLAGS%"))},
        {**forward({"prefix": "/response"}), **responses(
            add("set-cookie", "b=2"), add("x-a", "1"), add("date", "Tue, 15 Nov 1994 08:12:31 GMT", _ACTIONS[2]),
            add("cache-control", "no-store"), remove=("server", "x-envoy-upstream-service-time", "etag"),
        )},
    ]  # fmt: skip
    formats = [labelled(format_route(name, *texts), name) for name, texts in _FORMATS.items()]
    hosts = [
        {**virtual_host("levels", ["levels.test"], [{**forward({"prefix": "/"}), **_level("route")}]), **_level("host")},
        labelled(virtual_host("any", ["*"], [*single, {**forward({"prefix": "/denied"}), **responses(add("x-a", "b"), add("www-authenticate", "mine"), add("content-type", "text/x"))}, *formats, forward({"prefix": "/"})]), "any"),
    ]  # fmt: skip
    hosts.insert(0, virtual_host("sparse", ["sparse.test"], [forward({"path": "/only"})]))
    provider = {
        "issuer": "i",
        "local_jwks": {
            "inline_string": '{"keys":[{"kty":"oct","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA","alg":"HS256"}]}'
        },
    }
    denying = [jwt_authn({"p": provider}, [rule({"prefix": "/denied"}, "p")])]
    listeners = [
        listener("plain", ports["plain"], hosts, filters=denying),
        listener("last", ports["last"], hosts),
        listener(
            "edge", ports["edge"], hosts, options={"use_remote_address": True, "xff_num_trusted_hops": 1}
        ),
    ]
    for one, wins in zip(listeners, (False, True, False), strict=True):
        route_config = one["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]
        route_config |= {**_level("table"), "most_specific_header_mutations_wins": wins}
    return bootstrap(
        ports["admin"],
        listeners,
        [
            labelled(label_endpoints(cluster("echo", ports["upstream"]), "endpoint"), "echo"),
            cluster("refused", ports["closed"]),
            _proper(ports["upstream"]),
        ],
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies over the template."""
    listeners = ("plain", "last", "edge", "closed")
    with running_pair(template, listeners, tmp_path_factory.mktemp("header-rules")) as running:
        yield running


def case(
    id_: str,
    target: str,
    *headers: tuple[str, str],
    host: str = "h.test",
    listener: str = "plain",
    status: int = 200,
    script: str | None = None,
    differs: Difference | None = None,
) -> Case:
    """One request."""
    request = req("GET", target, *headers, host=host, script=script)
    return Case(id_, (request,), (status,), listener=listener, differs=differs, any_order=True)


_EXISTING = (
    ("x-a", "one"), ("x-b", "two"), ("x-many", "1"), ("x-many", "2"), ("x-append", "mine"), ("x-overwrite", "mine"),
    ("x-absent", "mine"), ("x-exists", "mine"), ("user-agent", "mine"), ("accept", "a/b"), ("cookie", "c=d"),
    ("x-drop-route", "1"), ("x-drop-host", "1"), ("x-drop-table", "1"),
)  # fmt: skip

LEVELS = [
    case(f"levels-{listener}-{name}", "/x", *headers, host="levels.test", listener=listener, script=script)
    for listener in ("plain", "last")
    for name, headers in (("absent", ()), ("existing", _EXISTING))
    for script in ("own-server-date",)
]
SINGLE = [
    case(f"{path.strip('/')}-{name}", path, *headers)
    for path in (
        "/add",
        "/inline",
        "/legacy",
        "/empty",
        "/remove-and-add",
        "/swap",
        "/own",
        "/rewritten/x?y",
        "/host",
    )
    for name, headers in (("absent", ()), ("existing", _EXISTING))
] + [
    case("response-rules", "/response", script="many-headers"),
    case("response-rules-own-date", "/response", script="own-server-date"),
    case("direct", "/direct", ("x-a", "b"), status=202),
    case("teapot", "/teapot", status=418),
    *(case(f"made-{status}", f"/made-{status}/x?a=b", status=status) for status in (201, 202, 300, 303, 307)),
    case("made-else", "/else-201", status=201),
    case("made-host", "/made-201", host="h.test:81", status=201),
    case("denied-by-a-filter", "/denied", status=401),
    case("proper-case", "/proper", ("x-1st_name", "a"), ("dnt", "1")),
    case("no-route", "/none", host="sparse.test", status=404),
    case("moved", "/moved", status=301),
    case("refused", "/refused", status=503),
    case("timeout", "/short", status=504, script="no-answer"),
]
FORMATS = [
    case(f"format-{name}-{listener}", f"/format-{name}?q=1&r=2", *_EXISTING, ("x-forwarded-for", "203.0.113.5"), ("x-request-id", "mine"), listener=listener, script="length")
    for name in _FORMATS
    for listener in ("plain", "edge")
]  # fmt: skip


@parametrize_cases([*LEVELS, *SINGLE])
def test_header_rules(pair: Pair, case: Case) -> None:
    """What is set at which level decides what the upstream and the downstream believe."""
    pair.check(case)


@parametrize_cases(FORMATS)
def test_formats_in_headers(pair: Pair, case: Case) -> None:
    """A value comes out of the format as it comes out of Envoy's."""
    pair.check(case)
