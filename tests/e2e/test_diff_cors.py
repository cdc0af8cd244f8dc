"""The `cors` filter: preflights, responses, levels, the deprecated field, and its statistics, as Envoy has them."""

# ruff: noqa: E501 - tables of configuration, one entry a line

from collections.abc import Iterator
from copy import deepcopy

import pytest

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import REFUSED_PREFLIGHT
from tests.e2e.support.pairs import running_pair
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import bootstrap, cluster, direct, forward, listener, redirect, virtual_host
from tests.e2e.support.wire import encode_request as req

_TYPES = "type.googleapis.com/envoy.extensions.filters.http.cors.v3"
_FILTER_CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
_CORS: Config = {"name": "cors", "typed_config": {"@type": f"{_TYPES}.Cors"}}
_ORIGIN = [{"exact": "https://a.test"}]
_NOBODY = {"default_value": {"numerator": 0}}
_EVERYBODY = {"default_value": {"numerator": 100}}


def _policy(**fields: object) -> Config:
    return {"cors": {"@type": f"{_TYPES}.CorsPolicy", **fields}}


def _filter_config(**fields: object) -> Config:
    return {"cors": {"@type": _FILTER_CONFIG, **fields}}


def _on(route: Config, configs: Config) -> Config:
    return {**route, "typed_per_filter_config": configs}


def _says(prefix: str, **fields: object) -> Config:
    return _on(forward({"prefix": prefix}), _policy(**fields))


_ROUTES = [
    _says("/all", allow_origin_string_match=_ORIGIN, allow_methods="GET,PUT", allow_headers="x-a", expose_headers="x-b", max_age="10", allow_credentials=True, allow_private_network_access=True),
    _says("/min", allow_origin_string_match=_ORIGIN),
    _says("/star", allow_origin_string_match=[{"exact": "*"}], allow_methods="*", allow_headers="*", expose_headers="*"),
    _says("/regex", allow_origin_string_match=[{"safe_regex": {"regex": r"https://.*\.r\.test"}}, {"prefix": "https://p."}, {"suffix": ".s.test", "ignore_case": True}, {"contains": "-c-"}]),
    _says("/silent", allow_origin_string_match=_ORIGIN, forward_not_matching_preflights=False),
    _says("/quiet", allow_origin_string_match=_ORIGIN, forward_not_matching_preflights=False, allow_credentials=True, max_age="9"),
    _says("/off", allow_origin_string_match=_ORIGIN, filter_enabled=_NOBODY),
    _says("/shadow", allow_origin_string_match=_ORIGIN, filter_enabled=_NOBODY, shadow_enabled=_EVERYBODY),
    _says("/both", allow_origin_string_match=_ORIGIN, shadow_enabled=_EVERYBODY),
    _says("/empty"),
    _on(direct({"prefix": "/direct"}, 200, "made"), _policy(allow_origin_string_match=_ORIGIN)),
    _on(redirect({"prefix": "/redirect"}, path_redirect="/x"), _policy(allow_origin_string_match=_ORIGIN)),
    {**_says("/rules", allow_origin_string_match=_ORIGIN, expose_headers="x-b"), "response_headers_to_add": [{"header": {"key": "access-control-allow-origin", "value": "of-the-route"}}, {"header": {"key": "x-route", "value": "1"}}]},
    _on(forward({"prefix": "/refused"}, "refused"), _policy(allow_origin_string_match=_ORIGIN)),
    forward({"prefix": "/none"}),
]  # fmt: skip


def _common(cluster_name: str = "echo") -> list[Config]:
    """What routes can say about the policy around them."""
    entry = {"name": cluster_name, "weight": 1, "typed_per_filter_config": _policy(allow_methods="ENTRY")}
    return [
        _says("/own", allow_methods="PUT"),
        _says("/on", filter_enabled=_EVERYBODY),
        _says("/shadow", shadow_enabled=_EVERYBODY),
        _says("/offshadow", filter_enabled=_NOBODY, shadow_enabled=_EVERYBODY),
        _says("/pna", allow_private_network_access=True),
        _says("/anonymous", allow_credentials=False),
        _says("/other", allow_origin_string_match=[{"exact": "https://b.test"}]),
        _on(forward({"prefix": "/disabled"}), _filter_config(disabled=True)),
        _on(forward({"prefix": "/enable"}), _filter_config(config={})),
        _on(
            forward({"prefix": "/wrap"}),
            _filter_config(config={"@type": f"{_TYPES}.CorsPolicy", "allow_methods": "W"}),
        ),
        {"match": {"prefix": "/entry"}, "route": {"weighted_clusters": {"clusters": [entry]}}},
        forward({"prefix": "/old"}, cors={"allow_methods": "OLD"}),
        forward({"prefix": "/old-origin"}, cors={"allow_origin_string_match": [{"exact": "https://b.test"}]}),
        forward({"prefix": "/old-off"}, cors={"filter_enabled": _NOBODY}),
        _on(forward({"prefix": "/mixed"}, cors={"allow_methods": "OLD"}), _policy(max_age="3")),
        direct({"prefix": "/direct"}, 200, "made"),
        forward({"prefix": "/"}),
    ]


def _host(name: str, routes: list[Config], **fields: object) -> Config:
    return {**virtual_host(name, [f"{name}.test"], routes), **fields}


def template(ports: Ports) -> Config:
    """`table` has a policy for the whole table, `dormant` a filter that only routes switch on."""
    hosts = [
        _host("plain", _ROUTES),
        _host("on", _common(), typed_per_filter_config=_policy(allow_origin_string_match=_ORIGIN, allow_credentials=True, max_age="5")),
        _host("off", _common(), typed_per_filter_config=_policy(allow_origin_string_match=_ORIGIN, filter_enabled=_NOBODY)),
        _host("bare", _common()),
        _host("switched", _common(), typed_per_filter_config=_filter_config(disabled=True)),
        _host("deprecated", _common(), cors={"allow_origin_string_match": _ORIGIN, "max_age": "7", "allow_credentials": True}),
    ]  # fmt: skip
    made = []
    for name, options in (("plain", {}), ("dormant", {"disabled": True}), ("table", {}), ("counted", {})):
        one = deepcopy(listener(name, ports[name], hosts, filters=[{**_CORS, **options}]))
        if name == "table":
            manager = one["filter_chains"][0]["filters"][0]["typed_config"]
            manager["route_config"]["typed_per_filter_config"] = _policy(
                allow_origin_string_match=_ORIGIN, allow_methods="TABLE", expose_headers="x-table"
            )
        made.append(one)
    clusters = [cluster("echo", ports["upstream"]), cluster("refused", ports["closed"])]
    return bootstrap(ports["admin"], made, clusters)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies over the template."""
    listeners = ("plain", "dormant", "table", "counted", "closed")
    with running_pair(template, listeners, tmp_path_factory.mktemp("cors")) as running:
        yield running


A, B = ("origin", "https://a.test"), ("origin", "https://b.test")
METHOD = ("access-control-request-method", "DELETE")
HEADERS = ("access-control-request-headers", "x-q, x-r")
NETWORK = ("access-control-request-private-network", "true")


def ask(
    id_: str, method: str, target: str, *headers: tuple[str, str], status: int = 200,
    host: str = "plain.test", listener: str = "plain", script: str | None = None,
) -> Case:  # fmt: skip
    """One request."""
    request = req(method, target, *headers, host=host, script=script)
    return Case(id_, (request,), (status,), listener=listener, any_order=True)


PATHS = (
    *(
        "/all",
        "/min",
        "/star",
        "/silent",
        "/off",
        "/shadow",
        "/both",
        "/empty",
        "/direct",
        "/redirect",
        "/rules",
    ),
    *("/refused", "/none"),
)
_FORWARDED = {"/redirect": 301, "/refused": 503}
_ANSWERED = {"/redirect": 301}
PLAIN = [
    *(ask(f"preflight{path}", "OPTIONS", path, A, METHOD, HEADERS, NETWORK, status=_ANSWERED.get(path, 200)) for path in PATHS),
    *(ask(f"preflight-of-another{path}", "OPTIONS", path, B, METHOD, status=_FORWARDED.get(path, 200)) for path in PATHS),
    *(ask(f"request{path}", "GET", path, A, status=_FORWARDED.get(path, 200)) for path in PATHS),
    *(ask(f"request-of-another{path}", "GET", path, B, status=_FORWARDED.get(path, 200)) for path in PATHS),
    ask("no-method-asked", "OPTIONS", "/all", A),
    ask("empty-method-asked", "OPTIONS", "/all", A, ("access-control-request-method", "")),
    ask("no-headers-asked", "OPTIONS", "/star", A, METHOD),
    ask("no-origin", "OPTIONS", "/star", METHOD),
    ask("empty-origin", "GET", "/star", ("origin", "")),
    ask("null-origin", "GET", "/star", ("origin", "null")),
    ask("null-is-not-listed", "GET", "/all", ("origin", "null")),
    ask("two-origins", "GET", "/all", A, B),
    ask("two-origins-anybody", "GET", "/star", A, B),
    ask("origin-in-capitals", "GET", "/all", ("origin", "HTTPS://A.TEST")),
    *(
        ask(f"network-{value}", "OPTIONS", "/all", A, METHOD, ("access-control-request-private-network", value))
        for value in ("false", "TRUE")
    ),
    *(
        ask(f"matcher-{number}", "GET", "/regex", ("origin", origin))
        for number, origin in enumerate(
            ["https://x.r.test", "https://x.r.test.evil", "evil-https://x.r.test", "https://p.evil", "http://p.a", "https://x.S.test", "https://s.test", "x-c-y"]
        )
    ),
    ask("upstream-s-word-is-replaced", "GET", "/all", A, script="cors"),
    ask("upstream-s-word-stays", "GET", "/all", B, script="cors"),
    ask("upstream-s-credentials-stay", "GET", "/min", A, script="cors"),
    ask("preflight-grpc", "OPTIONS", "/all", A, METHOD, ("content-type", "application/grpc")),
    ask("preflight-no-route", "OPTIONS", "/nowhere", A, METHOD, status=404),
    ask("preflight-upgrade", "OPTIONS", "/all", A, METHOD, ("connection", "upgrade"), ("upgrade", "websocket"), status=403),
    Case(
        "refused-preflight-says-nothing",
        (req("OPTIONS", "/quiet", B, METHOD, host="plain.test"),),
        (200,),
        differs=REFUSED_PREFLIGHT,
        reaches_upstream=False,
    ),
]  # fmt: skip
LEVELS = [
    ask(f"{listener}-{host}{path}-{who[1][8]}", "OPTIONS", path, who, METHOD, NETWORK, host=f"{host}.test", listener=listener)
    for listener in ("plain", "dormant", "table")
    for host in ("on", "off", "bare", "switched", "deprecated")
    for path in ("/own", "/on", "/shadow", "/offshadow", "/pna", "/anonymous", "/other", "/disabled", "/enable", "/wrap", "/entry", "/old", "/old-origin", "/old-off", "/mixed", "/direct", "/x")
    for who in ((A, B) if path in ("/other", "/old-origin") else (A,))
]  # fmt: skip


@parametrize_cases(PLAIN)
def test_cors(pair: Pair, case: Case) -> None:
    """One policy, and what it makes of requests and responses."""
    pair.check(case)


@parametrize_cases(LEVELS)
def test_levels(pair: Pair, case: Case) -> None:
    """Which level decides what."""
    pair.check(case)


def test_statistics(pair: Pair) -> None:
    """Valid and invalid origins are counted where a policy is obeyed or shadowed, and nowhere else."""
    for path in (
        "/all",
        "/star",
        "/silent",
        "/off",
        "/shadow",
        "/both",
        "/empty",
        "/direct",
        "/none",
        "/rules",
    ):
        for headers in ((A, METHOD), (A,), (B, METHOD), (B,), (METHOD,)):
            for method in ("GET", "OPTIONS"):
                for proxy in (pair.envoy, pair.contender):
                    pair.observe(proxy, ask("counted", method, path, *headers, listener="counted"))
    found = [
        proxy.admin("/stats?filter=counted.cors")[1].split("\n") for proxy in (pair.envoy, pair.contender)
    ]
    assert found[0] == found[1]
    assert len(found[0]) > 2
