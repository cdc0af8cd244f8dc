"""The compressor filter: what is compressed, for whom, and which headers say so, as in Envoy."""

# ruff: noqa: E501 - a table, one exchange a line

import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import brotli
import pytest
import zstandard

from tests.conftest import require_peer
from tests.e2e.support.cases import CONTENDER
from tests.e2e.support.differences import COMPRESSED_RANGE, Difference
from tests.e2e.support.proxies import Config, Ports, RunningProxy, running_envoy, running_fastproxy
from tests.e2e.support.templates import bootstrap, cluster, direct, forward, listener, virtual_host
from tests.e2e.support.upstream import After, Answer, ScriptedUpstream
from tests.e2e.support.wire import Downstream, encode_request

pytestmark = pytest.mark.peer("envoy")

_TYPES = "type.googleapis.com/envoy.extensions"
_PER_ROUTE = f"{_TYPES}.filters.http.compressor.v3.CompressorPerRoute"
_BODY = b"hello world " * 40
_HTML = b"content-type: text/html; charset=utf-8"
LISTENERS = ("gzip", "all", "first", "options", "off")


def _answer(
    *lines: bytes, body: bytes = _BODY, status: bytes = b"200 OK", after: After = After.KEEP
) -> Answer:
    head = (b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *lines)
    return Answer((b"\r\n".join(head) + b"\r\n\r\n" + body,), after)


PATHS: dict[str, Answer] = {
    "/html": _answer(_HTML),
    "/small": _answer(_HTML, body=b"x" * 29),
    "/least": _answer(_HTML, body=b"x" * 30),
    "/empty": _answer(_HTML, body=b""),
    "/no-type": _answer(),
    "/upper": _answer(b"content-type: TEXT/HTML"),
    "/space": _answer(b"content-type: text/html ;x=y"),
    "/strong": _answer(_HTML, b'etag: "a"'),
    "/weak": _answer(_HTML, b'etag: W/"a"'),
    "/encoded": _answer(_HTML, b"content-encoding: br"),
    "/identity": _answer(_HTML, b"content-encoding: identity"),
    "/no-transform": _answer(_HTML, b"cache-control: public, no-transform"),
    "/vary": _answer(_HTML, b"vary: origin"),
    "/vary-star": _answer(_HTML, b"vary: *"),
    "/vary-known": _answer(_HTML, b"vary: Accept-Encoding"),
    "/part": _answer(_HTML, b"content-range: bytes 0-479/900", status=b"206 Partial Content"),
    "/204": Answer((b"HTTP/1.1 204 No Content\r\n\r\n",)),
    "/304": Answer((b"HTTP/1.1 304 Not Modified\r\n" + _HTML + b"\r\n\r\n",)),
    "/500": _answer(_HTML, status=b"500 Oh"),
    "/chunked": Answer((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n" + _HTML + b"\r\n\r\n", b"5\r\nhello\r\n", b"6\r\n world\r\n", b"0\r\n\r\n")),
    "/until-close": Answer((b"HTTP/1.1 200 OK\r\n" + _HTML + b"\r\n\r\n" + _BODY,), After.CLOSE),
    **{
        f"/type/{kind}": _answer(b"content-type: " + kind.encode())
        for kind in (
            "text/plain", "text/css", "text/csv", "application/javascript", "application/x-javascript", "text/javascript",
            "text/x-javascript", "text/ecmascript", "text/js", "text/jscript", "text/x-js", "application/ecmascript",
            "application/x-json", "application/xml", "application/json", "application/ld+json", "image/svg+xml", "image/png",
            "text/xml", "application/xhtml+xml", "application/wasm", "application/grpc",
        )
    },
}  # fmt: skip


def _filter(name: str, kind: str = "gzip", **options: Any) -> Config:
    library = f"{_TYPES}.compression.{kind}.compressor.v3.{kind.capitalize()}"
    return {
        "name": name,
        "typed_config": {
            "@type": f"{_TYPES}.filters.http.compressor.v3.Compressor",
            "compressor_library": {"name": "text", "typed_config": {"@type": library}},
            **options,
        },
    }


def _response(common: Config | None = None, **options: Any) -> Config:
    return {"response_direction_config": {"common_config": common or {}, **options}}


_FILTERS: dict[str, list[Config]] = {
    "gzip": [_filter("c")],
    "all": [_filter("b", "brotli"), _filter("c"), _filter("z", "zstd")],
    "first": [_filter("b", "brotli"), _filter("c", choose_first=True), _filter("z", "zstd")],
    "options": [
        _filter(
            "c",
            **_response(
                {"min_content_length": 100, "content_type": ["text/html"]},
                disable_on_etag_header=True,
                remove_accept_encoding_header=True,
                uncompressible_response_codes=[500],
                status_header_enabled=True,
            ),
        )
    ],
    "off": [_filter("c", **_response({"enabled": {"default_value": False, "runtime_key": "none"}}))],
}
_OVERRIDES = {
    "@type": _PER_ROUTE,
    "overrides": {"response_direction_config": {"remove_accept_encoding_header": True}},
}
_HOSTS = [
    virtual_host("disabled", ["disabled.test"], [{**forward({"prefix": "/"}), "typed_per_filter_config": {"c": {"@type": _PER_ROUTE, "disabled": True}}}]),
    virtual_host("overridden", ["overridden.test"], [{**forward({"prefix": "/"}), "typed_per_filter_config": {"c": _OVERRIDES}}]),
    virtual_host("any", ["*"], [direct({"path": "/direct"}, 200, "d" * 100), forward({"prefix": "/"})]),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, and to which listener."""

    path: str = "/html"
    accept: str | None = "gzip"
    listener: str = "gzip"
    method: str = "GET"
    host: str = "h.test"
    differs: Difference | None = None

    @property
    def id(self) -> str:
        """For the test's name."""
        return "-".join((self.listener, self.method, self.host[:-5], self.path[1:], str(self.accept)))


_ACCEPTS = (
    "gzip", "GZIP", "gzip;q=0", "*", "*;q=0", "identity", "identity;q=0.5, gzip;q=0.1", "gzip;q=0.5, identity;q=0.5", "deflate",
    "gzip;q=x", "gzip ; q = 0.3", "gzip;level=1", "x-gzip", "gzip, br", "br;q=0.9, gzip;q=0.8", "br,gzip", "zstd", "zstd, br;q=0.5",
    "*;q=0.5, gzip;q=0", "gzip;q=0.5,*", "br;q=0,*", "gzip;q=1.5", "gzip;q=-1", "gzip;Q=0.2, br;q=0.1", ";;;", "compress, gzip", None,
)  # fmt: skip
ASKS = [
    *(Ask(path, differs=COMPRESSED_RANGE if path == "/part" else None) for path in PATHS),
    *(Ask(accept=accept, listener=name) for accept in _ACCEPTS for name in ("gzip", "all", "first")),
    *(
        Ask(path, listener=name)
        for path in ("/html", "/least", "/strong", "/weak", "/500", "/type/application/json", "/no-transform", "/encoded", "/204", "/chunked")
        for name in ("options", "off")
    ),
    *(Ask(host=host, listener=name) for host in ("disabled.test", "overridden.test") for name in ("gzip", "off")),
    *(Ask(path, method="HEAD") for path in ("/html", "/small", "/type/image/png")),
    Ask("/direct"),
    Ask("/direct", "identity"),
    Ask("/direct", method="HEAD"),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class CompressionPair:
    """Both proxies and the upstream."""

    envoy: RunningProxy
    contender: RunningProxy
    upstream: ScriptedUpstream


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CompressionPair]:
    """Envoy and FastProxy over one file."""
    require_peer("envoy")
    directory = tmp_path_factory.mktemp("compression")
    second = directory / "second"
    second.mkdir()
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream(paths=PATHS))

        def template(ports: Ports) -> Config:
            listeners = [listener(name, ports[name], _HOSTS, filters=_FILTERS[name]) for name in LISTENERS]
            return bootstrap(ports["admin"], listeners, [cluster("echo", upstream.port)])

        start = running_envoy if CONTENDER == "envoy" else running_fastproxy
        yield CompressionPair(
            stack.enter_context(running_envoy(template, LISTENERS, directory)),
            stack.enter_context(start(template, LISTENERS, second)),
            upstream,
        )


def _decode(encoding: bytes | None, body: bytes) -> bytes:
    if not body or encoding not in (b"gzip", b"br", b"zstd"):
        return body
    if encoding == b"gzip":
        return zlib.decompress(body, 31)
    try:
        return bytes(
            brotli.decompress(body)
            if encoding == b"br"
            else zstandard.ZstdDecompressor().decompressobj().decompress(body)
        )
    except brotli.error:
        return body


def _perform(ask: Ask, proxy: RunningProxy, upstream: ScriptedUpstream) -> dict[str, object]:
    upstream.take_requests()
    headers = () if ask.accept is None else (("accept-encoding", ask.accept),)
    with Downstream(proxy.ports[ask.listener]) as downstream:
        downstream.send(encode_request(ask.method, ask.path, *headers, host=ask.host))
        response = downstream.read_response(ask.method.encode())
    told = {
        name.lower(): re.sub(rb"\d+", b"N", value) if name.lower() == b"content-length" else value
        for name, value in response.headers
        if name.lower() not in (b"date", b"server", b"x-envoy-upstream-service-time")
    }
    return {
        "status": response.status,
        "headers": told,
        "body": _decode(told.get(b"content-encoding"), response.body),
        "complete": response.complete,
        "asked": [seen.values(b"accept-encoding") for seen in upstream.take_requests()],
    }


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: ask.id)
def test_the_same_responses_are_compressed(pair: CompressionPair, ask: Ask) -> None:
    """Headers equal, and the body equal after it is decompressed."""
    expected = _perform(ask, pair.envoy, pair.upstream)
    found = _perform(ask, pair.contender, pair.upstream)
    if ask.differs is None or CONTENDER == "envoy":
        assert found == expected
    else:
        assert found != expected, f"`{ask.differs.id}` makes no difference any more"
        assert b"content-encoding" not in found["headers"]  # type: ignore[operator]  # a dict
