"""Trailers on their way through, as in Envoy: `enable_trailers` of listeners and of clusters."""

from collections.abc import Iterator

import pytest

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import OBS_FOLD, TRAILER_FIELDS, Difference
from tests.e2e.support.pairs import running_pair
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import bootstrap, cluster, direct, forward, listener, virtual_host
from tests.e2e.support.wire import encode_request as req

_HTTP = "type.googleapis.com/envoy.extensions.filters.http"
_ON: Config = {"enable_trailers": True, "accept_http_10": True}
_MUTATION: Config = {
    "name": "mut",
    "typed_config": {
        "@type": f"{_HTTP}.header_mutation.v3.HeaderMutation",
        "mutations": {
            "request_trailers_mutations": [
                {"append": {"header": {"key": "x-new", "value": "%REQ(:method)%"}}},
                {"remove": "x-gone"},
            ],
            "response_trailers_mutations": [
                {"append": {"header": {"key": "x-new", "value": "%TRAILER(x-trailer)%"}}},
                {"remove": "x-gone"},
            ],
        },
    },
}
_BUFFER: Config = {
    "name": "buffer",
    "typed_config": {"@type": f"{_HTTP}.buffer.v3.Buffer", "max_request_bytes": 1000},
}
MANAGERS: dict[str, tuple[Config, list[Config]]] = {
    "off": ({"http_protocol_options": {"accept_http_10": True}}, []),
    "on": ({"http_protocol_options": _ON}, []),
    "proper": ({"http_protocol_options": {**_ON, "header_key_format": {"proper_case_words": {}}}}, []),
    "drop": (
        {
            "http_protocol_options": _ON,
            "common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"},
        },
        [],
    ),
    "reject": (
        {
            "http_protocol_options": _ON,
            "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        },
        [],
    ),
    "mutating": ({"http_protocol_options": _ON}, [_MUTATION]),
    "buffering": ({"http_protocol_options": _ON}, [_BUFFER]),
}
_HOSTS = [
    virtual_host(
        "any",
        ["*"],
        [
            direct({"prefix": "/direct"}, 200, "made"),
            forward({"prefix": "/dropping"}, "dropping"),
            forward({"prefix": "/retry"}, timeout="0s", retry_policy={"retry_on": "5xx"}),
            forward({"prefix": "/"}),
        ],
    )
]


def _template(ports: Ports) -> Config:
    listeners = [
        listener(name, ports[name], _HOSTS, filters=filters, options=options)
        for name, (options, filters) in MANAGERS.items()
    ]
    echo = cluster("echo", ports["upstream"], http_protocol_options={"enable_trailers": True})
    return bootstrap(ports["admin"], listeners, [echo, cluster("dropping", ports["upstream"])])


def post(lines: bytes, path: str = "/x", script: str = "", body: bytes = b"3\r\nabc\r\n") -> bytes:
    """A chunked request with these trailers."""
    head = f"POST {path} HTTP/1.1\r\nHost: h.test\r\n" + (f"x-script: {script}\r\n" if script else "")
    return head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n" + lines + b"\r\n"


_LINES = b"X-T: 1\r\nx-t: 2\r\nX-Gone: 3\r\n"
_NEXT = req("GET", "/next")


def _case(id_: str, *requests: bytes, listener: str = "on") -> Case:
    return Case(id_, requests, (200,) * len(requests), listener=listener, any_order=True)


PASSING = [
    *(
        _case(
            f"{name}-{path.strip('/') or 'x'}", post(_LINES, path, "chunked-trailers"), _NEXT, listener=name
        )
        for name in MANAGERS
        for path in ("/x", "/dropping")
    ),
    _case("without-body", post(_LINES, body=b""), _NEXT),
    _case("none", post(b""), _NEXT, listener="mutating"),
    _case("asked-for", req("GET", "/x", ("TE", "trailers"), script="chunked-trailers")),
    _case("announced", req("POST", "/x", ("Trailer", "x-t"), chunks=(b"a",))),
    _case("http-1.0", req("GET", "/x", script="chunked-trailers", version="HTTP/1.0")),
    _case("empty-value", post(b"x-t:\r\n")),
    _case("blanks-around", post(b"x-t:   a b \t \r\n")),
    _case("not-ascii", post(b"x-t: \xe9\r\n")),
    _case("a-hundred", post(b"".join(b"t%d: v\r\n" % n for n in range(100)))),
    _case("large", post(b"x-t: " + b"v" * 50_000 + b"\r\n")),
    _case("dropped-uncounted", post(b"".join(b"t%d: v\r\n" % n for n in range(101))), listener="off"),
    _case("underscore-dropped", post(b"x_t: 1\r\nx-t: 2\r\n"), listener="drop"),
    Case("retried", (post(_LINES, "/retry", "503"),), (503,), listener="on", any_order=True),
    _case("head", req("HEAD", "/x", script="head-chunked"), _NEXT),
]


def _refused(
    id_: str, lines: bytes, status: int = 400, *, listener: str = "on", differs: Difference | None = None
) -> Case:
    expected = status if differs is None else 200
    return Case(
        f"refused-{id_}",
        (post(lines, "/direct"),) if differs is None else (post(lines),),
        (expected,),
        listener=listener,
        differs=differs,
        fastproxy_statuses=() if differs is None else (status,),
    )


REFUSED = [
    Case(
        "forged", (post(b"authorization: eve\r\nx-t: 1\r\n"),), (200,), listener="on", differs=TRAILER_FIELDS
    ),
    _refused("length", b"content-length: 3\r\n", differs=TRAILER_FIELDS),
    _refused("coding", b"transfer-encoding: gzip\r\n", 501, differs=TRAILER_FIELDS),
    _refused("fold", b"x-t: a\r\n b\r\n", differs=OBS_FOLD),
]
# How much of such a request goes upstream is chance; what the downstream gets is not.
BROKEN: dict[str, tuple[str, bytes, int]] = {
    "control": ("on", b"x-t: a\x01b\r\n", 400),
    "control-off": ("off", b"x-t: a\x01b\r\n", 400),
    "blank-in-name": ("on", b"x t: a\r\n", 400),
    "pseudo": ("on", b":path: a\r\n", 400),
    "no-colon": ("on", b"abc\r\n", 400),
    "underscore": ("reject", b"x_t: 1\r\n", 400),
    "too-many": ("on", b"".join(b"t%d: v\r\n" % n for n in range(101)), 431),
    "too-large": ("on", b"x-t: " + b"v" * 70_000 + b"\r\n", 431),
    "too-large-off": ("off", b"x-t: " + b"v" * 70_000 + b"\r\n", 431),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies over every listener."""
    with running_pair(_template, tuple(MANAGERS), tmp_path_factory.mktemp("trailers")) as running:
        yield running


@parametrize_cases(PASSING)
def test_trailers_pass_where_both_sides_allow_them(pair: Pair, case: Case) -> None:
    """The listener's option is about its own connections, the cluster's about those to its endpoints."""
    pair.check(case)


@parametrize_cases(REFUSED)
def test_what_is_stricter_is_listed(pair: Pair, case: Case) -> None:
    """Fields that others decide by are no trailers (S46)."""
    pair.check(case)


@pytest.mark.parametrize("name", BROKEN)
def test_s51_broken_trailers_are_answered_alike(pair: Pair, name: str) -> None:
    """With the same status, and the connection ends."""
    listener_name, lines, status = BROKEN[name]
    case = Case(name, (post(lines, "/x", "length"),), (status,), listener=listener_name)
    answers = [pair.observe(proxy, case) for proxy in (pair.envoy, pair.contender)]
    assert [(one.statuses, one.closed) for one in answers] == [((status,), True)] * 2
