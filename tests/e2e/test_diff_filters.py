"""The filters `buffer` and `header_mutation`, alone and on routes, as Envoy has them."""

# ruff: noqa: E501 - tables of configuration, one entry a line

from collections.abc import Iterator

import pytest

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import QUERY_IN_PLACE, REMOVE_ON_MATCH, Difference
from tests.e2e.support.pairs import running_pair
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import bootstrap, cluster, direct, forward, listener, virtual_host
from tests.e2e.support.wire import encode_request as req

_TYPES = "type.googleapis.com/envoy.extensions.filters.http"
_BUFFER = f"{_TYPES}.buffer.v3.Buffer"
_MUTATION = f"{_TYPES}.header_mutation.v3.HeaderMutation"
_OFF: Config = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
_ON: Config = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}


def _append(name: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD", **options: object) -> Config:
    return {"append": {"header": {"key": name, "value": value}, "append_action": action, **options}}


def _remove_on_match(**matcher: object) -> Config:
    return {"remove_on_match": {"key_matcher": matcher}}


def _query(name: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD") -> Config:
    return {"append": {"record": {"key": name, "value": value}, "action": action}}


def _remove(name: str) -> Config:
    return {"remove": name}


def _mutations(request: list[Config], response: list[Config]) -> Config:
    return {"mutations": {"request_mutations": request, "response_mutations": response}}


def _level(name: str) -> Config:
    """What one level says about the filter `mutate`: each appends, and each wants the last word."""
    both = [_append("x-level", name), _append("x-last", name, "OVERWRITE_IF_EXISTS_OR_ADD")]
    return {
        "mutate": {
            "@type": f"{_TYPES}.header_mutation.v3.HeaderMutationPerRoute",
            **_mutations(both, both),
        }
    }


def _buffer(name: str, limit: int, **options: object) -> Config:
    return {"name": name, "typed_config": {"@type": _BUFFER, "max_request_bytes": limit}, **options}


def _buffer_route(**override: object) -> Config:
    return {"buffer": {"@type": f"{_TYPES}.buffer.v3.BufferPerRoute", **override}}


def _mutate(request: list[Config], response: list[Config], **options: object) -> Config:
    typed = {"@type": _MUTATION, **_mutations(request, response), **options}
    return {"name": "mutate", "typed_config": typed}


_REQUEST = [
    _append("x-added", "1"),
    _append("x-added", "%REQ(x-added)%-2"),
    _append("x-if-absent", "new", "ADD_IF_ABSENT"),
    _append("x-over", "new", "OVERWRITE_IF_EXISTS_OR_ADD"),
    _append("x-only", "new", "OVERWRITE_IF_EXISTS"),
    _append("x-empty", "%REQ(x-none)%"),
    _append("x-kept", "%REQ(x-none)%", keep_empty_value=True),
    _remove("x-drop"),
    _append("x-drop", "again"),
]
_RESPONSE = [
    _append("x-status", "%RESPONSE_CODE%"),
    _append("x-details", "%RESPONSE_CODE_DETAILS%"),
    _append("x-sent", "%REQ(x-added)%"),
    _append("server", "mine", "OVERWRITE_IF_EXISTS_OR_ADD"),
    _append("x-type", "%RESP(content-type)%"),
    _remove("x-custom"),
]


_QUERY = [
    _query("m-added", "1"),
    _query("m-over", "new", "OVERWRITE_IF_EXISTS_OR_ADD"),
    _query("n-absent", "new", "ADD_IF_ABSENT"),
    _query("n-only", "new", "OVERWRITE_IF_EXISTS"),
    _query("o-formatted", "%REQ(x-f)%-%REQ(x-new)%"),
    {"remove": "drop"},
]
_MATCHING = [
    _remove_on_match(prefix="x-p-"),
    _remove_on_match(suffix="-gone", ignore_case=True),
    _remove_on_match(exact="x-exact"),
    _remove_on_match(safe_regex={"regex": "x-[0-9]+"}),
    _remove_on_match(contains="mid"),
    _append("x-p-again", "1"),
]


def _query_filter(**mutations: object) -> Config:
    return {"name": "mutate", "typed_config": {"@type": _MUTATION, "mutations": mutations}}


def _query_level(name: str) -> Config:
    mutations = {"query_parameter_mutations": [_query("y-level", name), _query("z-last", name, "OVERWRITE_IF_EXISTS_OR_ADD")]}  # fmt: skip
    return {
        "mutate": {"@type": f"{_TYPES}.header_mutation.v3.HeaderMutationPerRoute", "mutations": mutations}
    }


def _on(route: Config, **configs: object) -> Config:
    return {**route, "typed_per_filter_config": configs}


def _weighted(prefix: str) -> Config:
    entry = {"name": "echo", "weight": 1, "typed_per_filter_config": {**_level("entry"), **_buffer_route(buffer={"max_request_bytes": 3})}}  # fmt: skip
    return _on(
        {"match": {"prefix": prefix}, "route": {"weighted_clusters": {"clusters": [entry]}}},
        **_level("route"),
    )


def template(ports: Ports) -> Config:
    """`plain` and `last` differ in which level has the last word, `off` has filters that only routes switch on."""
    routes = [
        _on(forward({"prefix": "/limit"}), **_buffer_route(buffer={"max_request_bytes": 20})),
        _on(forward({"prefix": "/whole"}), **_buffer_route(disabled=True)),
        _on(forward({"prefix": "/skipped"}), buffer=_OFF, mutate=_OFF),
        _on(forward({"prefix": "/on"}), buffer=_ON, mutate=_ON),
        _on(forward({"prefix": "/level"}), **_level("route")),
        _on(direct({"prefix": "/direct"}, 200, "made"), **_level("route")),
        _weighted("/weighted"),
        forward({"prefix": "/refused"}, "refused"),
        forward({"prefix": "/"}),
    ]
    hosts = [
        {**virtual_host("levels", ["levels.test"], routes), "typed_per_filter_config": _level("host")},
        virtual_host("sparse", ["sparse.test"], [forward({"path": "/only"})]),
        virtual_host("any", ["*"], routes),
    ]
    filters = [_mutate(_REQUEST, _RESPONSE), _buffer("buffer", 10)]
    last = [_mutate(_REQUEST, _RESPONSE, most_specific_header_mutations_wins=True), _buffer("buffer", 10)]
    off = [{**one, "disabled": True} for one in filters]
    listeners = [
        listener("plain", ports["plain"], hosts, filters=filters),
        listener("last", ports["last"], hosts, filters=last),
        listener("off", ports["off"], hosts, filters=off),
    ]
    by_query = {"match": {"prefix": "/", "query_parameters": [{"name": "m-added", "string_match": {"exact": "1"}}]}, "direct_response": {"status": 201}}  # fmt: skip
    query_hosts = [
        {
            **virtual_host(
                "q",
                ["*"],
                [
                    _on(forward({"prefix": "/level"}), **_query_level("route")),
                    by_query,
                    forward({"prefix": "/"}),
                ],
            ),
            "typed_per_filter_config": _query_level("host"),
        }
    ]
    changes = {"request_mutations": [_append("x-new", "made")], "query_parameter_mutations": _QUERY}
    matching = {"request_mutations": _MATCHING, "response_mutations": [_remove_on_match(prefix="x-twice"), _remove_on_match(exact="set-cookie"), _append("x-r", "1")]}  # fmt: skip
    everything = [_remove_on_match(safe_regex={"regex": ".*"})]
    trailers = {"request_trailers_mutations": [_append("x-t", "1")], "response_trailers_mutations": [_remove("x-trailer")]}  # fmt: skip
    plain = [virtual_host("p", ["*"], [forward({"prefix": "/"})])]
    listeners += [
        listener("query", ports["query"], query_hosts, filters=[_query_filter(**changes)]),
        listener("matching", ports["matching"], plain, filters=[_query_filter(**matching)]),
        listener("all", ports["all"], plain, filters=[_query_filter(response_mutations=everything)]),
        listener("trailers", ports["trailers"], plain, filters=[_query_filter(**trailers)]),
    ]
    for one in listeners[:2]:
        manager = one["filter_chains"][0]["filters"][0]["typed_config"]
        manager["route_config"]["typed_per_filter_config"] = _level("table")
    clusters = [cluster("echo", ports["upstream"]), cluster("refused", ports["closed"])]
    return bootstrap(ports["admin"], listeners, clusters)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies over the template."""
    listeners = ("plain", "last", "off", "query", "matching", "all", "trailers", "closed")
    with running_pair(template, listeners, tmp_path_factory.mktemp("filters")) as running:
        yield running


def post(
    id_: str, target: str, status: int, *, body: bytes | None = None, chunks: tuple[bytes, ...] | None = None,
    listener: str = "plain",
) -> Case:  # fmt: skip
    """One request with a body; what the upstream gets is compared, framing included."""
    request = req("POST", target, body=body, chunks=chunks)
    return Case(id_, (request,), (status,), listener=listener, any_order=True)


BODIES = [
    post("fits", "/x", 200, body=b"0123456789"),
    post("one-too-many", "/x", 413, body=b"0123456789a"),
    post("chunked-fits", "/x", 200, chunks=(b"01234", b"56789")),
    post("chunked-empty", "/x", 200, chunks=()),
    post("chunked-too-large", "/x", 413, chunks=(b"01234", b"56789", b"a")),
    post("route-has-more", "/limit", 200, body=b"0123456789a"),
    post("route-has-its-limit", "/limit", 413, body=b"0" * 21),
    post("route-is-free", "/whole", 200, chunks=(b"0123456789", b"abc")),
    post("route-skips", "/skipped", 200, chunks=(b"0123456789", b"abc")),
    post("entry-has-less", "/weighted", 413, body=b"0123"),
    post("entry-fits", "/weighted", 200, chunks=(b"012",)),
    post("off", "/x", 200, chunks=(b"0123456789", b"abc"), listener="off"),
    post("off-but-for-the-route", "/on", 413, body=b"0123456789a", listener="off"),
    post("off-but-for-the-route-s-limit", "/limit", 413, body=b"0" * 21, listener="off"),
    Case("get", (req("GET", "/x"),), (200,), any_order=True),
]

_SENT = (("x-added", "0"), ("x-if-absent", "old"), ("x-over", "old"), ("x-only", "old"), ("x-drop", "old"))
_LEVELS = (*_SENT, ("x-level", "mine"), ("x-last", "mine"))


def get(
    id_: str, target: str, *headers: tuple[str, str], status: int = 200, host: str | None = "h.test",
    listener: str = "plain", script: str | None = None, method: str = "GET", version: str = "HTTP/1.1",
) -> Case:  # fmt: skip
    """One request without a body."""
    request = req(method, target, *headers, host=host, script=script, version=version)
    return Case(id_, (request,), (status,), listener=listener, any_order=True)


MUTATIONS = [
    get("nothing-there", "/x"),
    get("everything-there", "/x", *_SENT),
    get("response", "/x", script="many-headers"),
    get("local-reply", "/refused", status=503),
    get("no-route", "/none", host="sparse.test", status=404),
    get("no-host", "/x", host=None, status=400),
    get("old-version", "/x", version="HTTP/1.0", status=426),
    get("codec-error", "/a b", status=400),
    get("head", "/x", method="HEAD"),
    get("off", "/x", *_SENT, listener="off"),
    get("off-but-for-the-route", "/on", *_SENT, listener="off"),
    get("off-but-for-the-level", "/level", *_SENT, listener="off"),
    *(
        get(
            f"{host}-{target.strip('/')}-{listener}", target, *_LEVELS, host=f"{host}.test", listener=listener
        )
        for host in ("levels", "h")
        for target in ("/level", "/direct", "/weighted", "/skipped", "/on", "/else")
        for listener in ("plain", "last")
    ),
]


@parametrize_cases(BODIES)
def test_buffer(pair: Pair, case: Case) -> None:
    """The whole body or 413, and a length for the upstream."""
    pair.check(case)


@parametrize_cases(MUTATIONS)
def test_header_mutation(pair: Pair, case: Case) -> None:
    """In both directions, at every level, on answers of our own, too."""
    pair.check(case)


def _in_query(id_: str, target: str, *headers: tuple[str, str], differs: Difference | None = None) -> Case:
    request = req("GET", target, *headers)
    return Case(id_, (request,), (200,), listener="query", any_order=True, differs=differs)


QUERIES = [
    _in_query("query-none", "/x"),
    _in_query("query-empty", "/x?"),
    _in_query("query-formatted", "/x?a=1", ("x-f", "b~c_d.e")),
    _in_query("query-formatted-encoded", "/x?a=1", ("x-f", "a/b?c&d=e"), differs=QUERY_IN_PLACE),
    _in_query("query-over", "/x?m-over=1", differs=QUERY_IN_PLACE),
    _in_query("query-over-twice", "/x?m-over=1&m-over=2", differs=QUERY_IN_PLACE),
    _in_query("query-sorted", "/x?a=1&z=2", differs=QUERY_IN_PLACE),
    _in_query("query-escapes", "/x?a=%41%2F", differs=QUERY_IN_PLACE),
    _in_query("query-flag", "/x?a&drop", differs=QUERY_IN_PLACE),
    _in_query("query-removed", "/x?a=1&drop=1&b=2&drop=2"),
    _in_query("query-removed-encoded", "/x?a=1&d%72op=1"),
    _in_query("query-absent-is-there", "/x?a=1&n-absent=0", differs=QUERY_IN_PLACE),
    _in_query("query-levels", "/level?a=b", differs=QUERY_IN_PLACE),
    _in_query("query-only-host", "/other?a=b"),
]
MATCHING = [
    Case(
        "matching-names",
        (
            req("GET", "/x", ("x-p-1", "a"), ("X-Gone", "b"), ("x-GONE", "c"), ("x-exact", "1"), ("x-12", "1"), ("x-a12", "1"), ("xmidx", "2"), ("keep", "1"), script="many-headers"),
        ),
        (200,),
        listener="matching",
        any_order=True,
    ),
    Case("everything", (req("GET", "/x"),), (502,), listener="all", differs=REMOVE_ON_MATCH, fastproxy_statuses=(200,)),
    Case("trailers-are-not-passed-on", (req("POST", "/x", chunks=(b"ab",), script="chunked-trailers"),), (200,), listener="trailers", any_order=True),
]  # fmt: skip


@parametrize_cases(QUERIES)
def test_query_mutations(pair: Pair, case: Case) -> None:
    """After the headers of the same level; the route stays."""
    pair.check(case)


@parametrize_cases(MATCHING)
def test_removed_by_name(pair: Pair, case: Case) -> None:
    """By conditions on the name, and what no condition can take away."""
    pair.check(case)
