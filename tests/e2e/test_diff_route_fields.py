"""Fields of routes and of route tables: `path_rewrite`, `vhost_header`, `grpc-timeout` and what has no effect."""

# ruff: noqa: E501 - tables of configuration, one entry a line

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import (
    PATH_REWRITE_DOTS,
    PATH_REWRITE_ENCODED,
    REWRITTEN_PATH_ROOTED,
    Difference,
)
from tests.e2e.support.pairs import running_pair
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import bootstrap, cluster, direct, forward, listener, redirect, virtual_host
from tests.e2e.support.wire import encode_request as req

_TEXT_LIMIT = {"stage": 1, "actions": [{"remote_address": {}}, {"header_value_match": {"descriptor_value": "x", "headers": [{"name": "x-a"}]}}]}  # fmt: skip


def _add(name: str, value: str) -> list[Config]:
    return [{"header": {"key": name, "value": value}}]


def _rewrite(prefix: str, text: str, **action: Any) -> Config:
    return forward({"prefix": prefix}, path_rewrite=text, **action)


_ROUTES = [
    _rewrite("/literal", "/new"),
    _rewrite("/header", "%REQ(x-p)%"),
    _rewrite("/inside", "/a/%REQ(x-p)%/e"),
    _rewrite("/rootless", "abc"),
    {**_rewrite("/added", "/p%REQ(x-added)%"), "request_headers_to_add": _add("x-added", "A")},
    {**_rewrite("/removed", "/p%REQ(x-p)%"), "request_headers_to_remove": ["x-p"]},
    _rewrite("/path", "%PATH(NQ)%/z"),
    _rewrite("/with-query", "/q%PATH(WQ)%"),
    _rewrite("/host", "/%REQ(:authority)%", host_rewrite_literal="new.test"),
    _rewrite("/cut", "/%REQ(x-p):3%"),
    forward({"prefix": "/off"}, prefix_rewrite="/"),
    forward({"prefix": "/by-regex"}, regex_rewrite={"pattern": {"regex": "^/by-regex"}, "substitution": "/"}),
    _rewrite("/limited", "/limited", rate_limits=[_TEXT_LIMIT], include_vh_rate_limits=True, flush_timeout="1s"),
    {**redirect({"prefix": "/redirect"}, path_redirect="/x"), "request_headers_to_add": _add("x-a", "1"), "request_headers_to_remove": ["x-b"], "response_headers_to_add": _add("x-echo", "%REQ(x-a)%-%REQ(x-b)%")},
    {**direct({"prefix": "/direct"}, 200, "made"), "request_headers_to_add": _add("x-a", "1"), "request_headers_to_remove": ["x-b"], "response_headers_to_add": _add("x-echo", "%REQ(x-a)%-%REQ(x-b)%")},
    forward({"prefix": "/grpc/max0"}, max_grpc_timeout="0s"),
    forward({"prefix": "/grpc/max1"}, max_grpc_timeout="1s"),
    forward({"prefix": "/grpc/less"}, max_grpc_timeout="0s", grpc_timeout_offset="0.1s"),
    forward({"prefix": "/grpc/only"}, grpc_timeout_offset="0.1s"),
    forward({"prefix": "/grpc/both"}, max_grpc_timeout="1s", timeout="3s"),
    forward({"prefix": "/grpc/tries"}, max_grpc_timeout="1s", retry_policy={"retry_on": "5xx", "per_try_timeout": "0.3s"}),
    forward({"prefix": "/grpc/short"}, max_grpc_timeout="0.2s"),
    {**forward({"prefix": "/grpc/taken"}, max_grpc_timeout="1s"), "request_headers_to_remove": ["grpc-timeout"]},
    forward({"prefix": "/grpc/stream"}, max_stream_duration={"grpc_timeout_header_max": "1s"}),
    forward({"prefix": "/"}),
]  # fmt: skip


def template(ports: Ports) -> Config:
    """`named` and its like choose virtual hosts by a header, `plain` by the host."""
    hosts = [
        virtual_host("a", ["a.test"], [direct({"prefix": "/"}, 200, "a")]),
        virtual_host("suffix", ["*.s.test"], [direct({"prefix": "/"}, 200, "suffix")]),
        virtual_host("port", ["p.test:80"], [direct({"prefix": "/"}, 200, "port")]),
    ]
    anybody = virtual_host("any", ["*"], _ROUTES)
    tables: dict[str, tuple[list[Config], Config]] = {
        "plain": (
            [
                virtual_host("star", ["star.test"], [direct({"prefix": ""}, 200, "star")]),
                {**anybody, "rate_limits": [_TEXT_LIMIT]},
            ],
            {},
        ),
        "named": ([*hosts, anybody], {"vhost_header": "X-Vhost"}),
        "strict": (hosts, {"vhost_header": "x-vhost", "ignore_port_in_host_matching": True}),
        "authority": (hosts, {"vhost_header": ":authority"}),
    }
    made = []
    for name, (virtual_hosts, options) in tables.items():
        one = deepcopy(listener(name, ports[name], virtual_hosts))
        one["filter_chains"][0]["filters"][0]["typed_config"]["route_config"].update(options)
        made.append(one)
    return bootstrap(ports["admin"], made, [cluster("echo", ports["upstream"])])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies over the template."""
    listeners = ("plain", "named", "strict", "authority")
    with running_pair(template, listeners, tmp_path_factory.mktemp("fields")) as running:
        yield running


def get(
    id_: str, target: str, *headers: tuple[str, str], status: int = 200, host: str = "h.test",
    listener: str = "plain", script: str | None = None, differs: Difference | None = None, instead: int = 0,
) -> Case:  # fmt: skip
    """One request; `instead`: what FastProxy answers where it differs."""
    return Case(
        id_,
        (req("GET", target, *headers, host=host, script=script),),
        (status,),
        listener=listener,
        any_order=True,
        differs=differs,
        fastproxy_statuses=(instead,) if instead else (),
    )


PATHS = [
    get("literal", "/literal/a?b=1"),
    get("literal-without-query", "/literal/a"),
    get("header", "/header?x", ("x-p", "/k/l")),
    get("header-absent-is-no-rewrite", "/header/a?b"),
    get("header-empty-is-no-rewrite", "/header/a?b", ("x-p", "")),
    get("escapes-stay", "/inside", ("x-p", "%41%2f%zz~!$&'()*+,;=:@"[:-3]), differs=PATH_REWRITE_ENCODED),
    get("escapes-that-are-good-stay", "/inside", ("x-p", "%41%C3%BC~!$&'()*+,;=:@")),
    get("rootless", "/rootless?q", differs=REWRITTEN_PATH_ROOTED),
    get("sees-what-the-route-adds", "/added?x"),
    get("sees-what-the-route-removes", "/removed", ("x-p", "z")),
    get("path", "/path/a?x"),
    get("path-without-query", "/with-query/a"),
    get("path-with-query", "/with-query/a?x=1", differs=PATH_REWRITE_ENCODED),
    get("host-is-the-rewritten-one", "/host"),
    get("cut", "/cut", ("x-p", "abcdef")),
    get("question-mark", "/inside?k=1", ("x-p", "a?b=2"), differs=PATH_REWRITE_ENCODED),
    get("hash", "/inside", ("x-p", "a#b"), differs=PATH_REWRITE_ENCODED),
    get("backslash", "/inside", ("x-p", "a\\b"), differs=PATH_REWRITE_ENCODED),
    get("not-ascii", "/inside", ("x-p", "\u00fc"), differs=PATH_REWRITE_ENCODED),
    *(
        get(f"s49-dots-{number}", "/inside", ("x-p", value), differs=PATH_REWRITE_DOTS, instead=400)
        for number, value in enumerate(
            ["..", ".", "x/../y", "%2e%2E", ".%2e", "x%2f..%2Fy", "..%5c", "..;a=b", "..\\", "x\\..\\y"]
        )
    ),
    *(
        get(f"s49-dots-{route}-{number}", f"/{route}{rest}", differs=PATH_REWRITE_DOTS, instead=400)
        for route in ("off", "by-regex")
        for number, rest in enumerate(["../x", "..", "./x", "..%2fx"])
    ),
    get("dots-of-before", "/off/../x"),
    get("no-dots-of-a-rewrite", "/off..x/y"),
    get("dots-that-are-none", "/inside", ("x-p", "...")),
    get("dots-in-a-name", "/inside", ("x-p", "a..b/.c/d.")),
    get("rate-limits-without-a-filter", "/limited/x"),
    Case("options-star-has-no-route", (req("OPTIONS", "*", host="star.test"),), (404,)),
    get("redirect-with-request-headers", "/redirect", ("x-b", "old"), status=301),
    get("direct-with-request-headers", "/direct", ("x-b", "old")),
]
_VHOSTS = ("a.test", "A.Test", "x.s.test", "zzz", "", "a.test:80", "p.test:80", "p.test", "a.test:")
HOSTS = [
    *(
        get(f"{listener}-{number}", "/", ("x-vhost", value), listener=listener, status=status)
        for listener, statuses in {"named": (200,) * 9, "strict": (200, 200, 200, 404, 404, 200, 404, 404, 200)}.items()
        for number, (value, status) in enumerate(zip(_VHOSTS, statuses, strict=True))
    ),
    get("named-absent", "/", host="a.test", listener="named", status=404),
    get("named-twice", "/", ("x-vhost", "a.test"), ("x-vhost", "x.s.test"), listener="named"),
    get("authority", "/", host="a.test", listener="authority"),
    get("authority-unknown", "/", host="b.test", listener="authority", status=404),
]  # fmt: skip
_GRPC = ("content-type", "application/grpc")
GRPC = [
    *(
        get(f"grpc-{path}-{asked}", f"/grpc/{path}", _GRPC, *([("grpc-timeout", asked)] if asked else []))
        for path in ("max0", "max1", "less", "only", "both", "tries", "taken", "stream")
        for asked in ("", "300m", "5S", "0m", "junk", "50m", "99999999H")
        if (path, asked) != ("stream", "0m")
    ),
    *(
        get(f"not-grpc-{path}", f"/grpc/{path}", ("grpc-timeout", "5S"))
        for path in ("max1", "less", "both", "tries", "stream")
    ),
    get("grpc-time-is-up", "/grpc/short", _GRPC, script="no-answer"),
    get("grpc-time-is-up-as-asked", "/grpc/max0", _GRPC, ("grpc-timeout", "200m"), script="no-answer"),
]


@parametrize_cases(PATHS)
def test_path_rewrite(pair: Pair, case: Case) -> None:
    """A format of the path, and other fields of the same messages."""
    pair.check(case)


@parametrize_cases(HOSTS)
def test_vhost_header(pair: Pair, case: Case) -> None:
    """The first value of a header takes the host's place; without it there is no virtual host."""
    pair.check(case)


@parametrize_cases(GRPC)
def test_grpc_timeout(pair: Pair, case: Case) -> None:
    """What the upstream is told, and when the proxy gives up."""
    pair.check(case)
