"""How header names are written, by listener and cluster, as in Envoy."""

from collections.abc import Iterator

import pytest

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.pairs import running_pair
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import bootstrap, cluster, direct, forward, listener, virtual_host
from tests.e2e.support.upstream import After, Answer

_PRESERVE = (
    "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
)
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def _keep(**options: object) -> Config:
    formatter = {"name": "keep", "typed_config": {"@type": _PRESERVE, **options}}
    return {"header_key_format": {"stateful_formatter": formatter}}


#: Options of HTTP/1, for listeners and for clusters.
FORMATS: dict[str, Config] = {
    "lower": {},
    "kept": _keep(),
    "capitals": _keep(formatter_type_on_envoy_headers="PROPER_CASE"),
    "reason": _keep(forward_reason_phrase=True),
    "proper": {"header_key_format": {"proper_case_words": {}}},
}
_OK = b"HTTP/1.1 200 Very Fine\r\nX-UpStream: 1\r\n"
_ANSWERS = {
    "odd": Answer(
        (
            _OK
            + b"x-TWICE: 1\r\nX-twice: 2\r\nSet-COOKIE: a=1\r\nSet-Cookie: b=2\r\nContent-LENGTH: 2\r\nX-Gone: 1\r\n"
            b"DATE: Tue, 15 Nov 1994 08:12:31 GMT\r\nServer: mine\r\nX-eNvoy-Upstream-Service-Time: 1\r\n\r\nok",
        )
    ),
    "odd-chunked": Answer((_OK + b"Transfer-ENCODING: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",)),
    "no-reason-phrase": Answer((b"HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n",)),
    "unknown-status": Answer((b"HTTP/1.1 999 Odd One\r\nContent-Length: 0\r\n\r\n",)),
    "http10": Answer((b"HTTP/1.0 200 Ten Here\r\nContent-Length: 0\r\n\r\n",), After.CLOSE),
    "reason-latin": Answer((b"HTTP/1.1 200 a\tb \xff\r\nContent-Length: 0\r\n\r\n",)),
}


def _route(name: str) -> Config:
    def add(key: str, **more: str) -> Config:
        return {"header": {"key": key, "value": "2"}, **more}

    over = {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {
        **forward({"prefix": f"/{name}/"}, name),
        "request_headers_to_remove": ["x-remove"],
        "request_headers_to_add": [add("X-Add"), add("X-Over", **over), add("X-New-One")],
        "response_headers_to_remove": ["x-gone"],
        "response_headers_to_add": [add("X-UpStream", **over), add("X-New-One")],
    }


def _template(ports: Ports) -> Config:
    hosts = [virtual_host("any", ["*"], [direct({"prefix": "/direct"}, 200, "made"), *map(_route, FORMATS)])]
    listeners = [
        listener(name, ports[name], hosts, options={"http_protocol_options": http1} if http1 else {})
        for name, http1 in FORMATS.items()
    ]
    clusters = [
        cluster(
            name,
            ports["upstream"],
            typed_extension_protocol_options={
                _OPTIONS: {
                    "@type": f"type.googleapis.com/{_OPTIONS}",
                    "explicit_http_config": {"http_protocol_options": http1},
                }
            },
        )
        for name, http1 in FORMATS.items()
    ]
    return bootstrap(ports["admin"], listeners, clusters)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies."""
    with running_pair(_template, tuple(FORMATS), tmp_path_factory.mktemp("names")) as running:
        running.upstream.scripts.update(_ANSWERS)
        yield running


def _post(path: str, *lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "HOST: h.test", *lines, "", "")).encode() + body


_ODD = (
    "X-CLIENT: 1", "x-Twice: 1", "X-tWICE: 2", "COOKIE: a=b", "ACCEPT: a", "Accept: b", "Content-LENGTH: 2",
    "X-Forwarded-FOR: 203.0.113.9", "X-REQUEST-id: abc", "X-Remove: 1", "X-Add: 1", "X-Over: 1", "TE: trailers",
    "x-script: odd",
)  # fmt: skip


def _cases() -> Iterator[Case]:
    for name in FORMATS:
        yield Case(f"{name}-direct", (_post("/direct", "Content-Length: 0"),), (200,), listener=name)
        yield Case(f"{name}-none", (_post("/none", "Content-Length: 0"),), (404,), listener=name)
        yield Case(f"{name}-bad", (b"GET / HTTP/1.1\r\nBAD HEADER\r\n\r\n",), (400,), listener=name)
        for upstream in FORMATS:
            at = f"{name}-{upstream}"
            odd = _post(f"/{upstream}/x", *_ODD, body=b"ok")
            chunked = _post(f"/{upstream}/x", "x-script: odd-chunked", "Transfer-ENCODING: chunked")
            yield Case(f"{at}-odd", (odd, odd), (200, 200), listener=name, any_order=True)
            yield Case(
                f"{at}-chunked", (chunked + b"2\r\nok\r\n0\r\n\r\n",), (200,), listener=name, any_order=True
            )
    for upstream in ("kept", "reason"):
        for script, status in (
            ("no-reason-phrase", 200),
            ("unknown-status", 999),
            ("http10", 200),
            ("reason-latin", 200),
        ):
            request = _post(f"/{upstream}/x", f"x-script: {script}", "Content-Length: 0")
            yield Case(f"{upstream}-{script}", (request,), (status,), listener="reason", any_order=True)


@parametrize_cases(list(_cases()))
def test_names_on_the_wire(pair: Pair, case: Case) -> None:
    """What a downstream writes is kept by its listener, what an upstream writes by its cluster."""
    pair.check(case)
