"""Limits of connections and streams, as Envoy has them."""

from collections.abc import Iterator

import pytest

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.pairs import managers_template, running_pair
from tests.e2e.support.proxies import Config
from tests.e2e.support.templates import direct, forward, virtual_host
from tests.e2e.support.wire import encode_request as req


def _common(**options: object) -> Config:
    return {"common_http_protocol_options": options}


MANAGERS: dict[str, Config] = {
    "two-requests": _common(max_requests_per_connection=2),
    "one-request": _common(max_requests_per_connection=1),
    "short-stream": _common(max_stream_duration="0.3s"),
    "idle": {"stream_idle_timeout": "0.5s"},
    "whole": {"request_timeout": "0.3s"},
    "heads": {"request_headers_timeout": "0.3s"},
    "aged": _common(max_connection_duration="0.3s"),
}

_HOSTS = [
    virtual_host(
        "any",
        ["*"],
        [
            direct({"prefix": "/direct"}, 200, "made"),
            forward({"prefix": "/slow"}, timeout="0.7s"),
            forward({"prefix": "/longer"}, timeout="0s", max_stream_duration={"max_stream_duration": "0s"}),
            forward({"prefix": "/"}, timeout="0s"),
        ],
    )
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies."""
    template = managers_template(MANAGERS, _HOSTS)
    with running_pair(template, (*MANAGERS, "closed"), tmp_path_factory.mktemp("limits")) as running:
        yield running


_GET = req("GET", "/x")
_DIRECT = req("GET", "/direct")
_SILENT = req("GET", "/x", script="no-answer")
_HALF_A_BODY = req("POST", "/x", ("content-length", "10")) + b"12345"

CASES = [
    Case("two-of-two", (_GET, _GET), (200, 200), listener="two-requests"),
    Case("three-of-two", (_GET, _DIRECT, _GET), (200, 200), listener="two-requests"),
    Case("one-of-one", (_DIRECT,), (200,), listener="one-request"),
    Case("post-one-of-one", (req("POST", "/x", body=b"body"),), (200,), listener="one-request"),
    Case("stream-in-time", (_GET,), (200,), listener="short-stream"),
    Case("stream-too-long", (_SILENT,), (504,), listener="short-stream"),
    Case("stream-body-too-long", (_HALF_A_BODY,), (408,), listener="short-stream"),
    Case("idle-without-answer", (_SILENT,), (504,), listener="idle"),
    Case("idle-without-body", (_HALF_A_BODY,), (408,), listener="idle"),
    Case("half-a-head", (b"GET /x HTTP/1.1\r\nHost: h.t",), (408,), listener="heads"),
    Case("a-head-in-time", (_GET, _GET), (200, 200), listener="heads"),
    Case("second-head-too-late", (_GET, b"GET /x HTTP/1.1\r\nHost: h.t"), (200, 408), listener="heads"),
    Case("aged-meanwhile", (req("GET", "/slow", script="no-answer"), _GET), (504,), listener="aged"),
    Case("young", (_GET, _GET), (200, 200), listener="aged"),
    Case("whole-request-too-late", (_HALF_A_BODY,), (408,), listener="whole"),
]


@parametrize_cases(CASES)
def test_limits(pair: Pair, case: Case) -> None:
    """The answer, and what becomes of the connection."""
    pair.check(case)
