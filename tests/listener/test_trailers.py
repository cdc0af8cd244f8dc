"""Trailers on their way through the proxy (Envoy `enable_trailers`)."""

import json
from typing import Any

import pytest

from fastproxy.filters.header_mutation.filter import HeaderMutationFilter
from fastproxy.filters.header_mutation.settings import HeaderMutationSettings, Mutations
from fastproxy.format.settings import HeaderRuleSettings, HeaderValueSettings
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request
from fastproxy.listener.settings import Underscores
from fastproxy.router.settings import MirrorPolicy, RetryOn, RetrySettings
from fastproxy.stats import StatsSink
from fastproxy.upstream.settings import ClusterSettings
from tests.listener.support import CHUNKED, CLUSTER, GET, OK, Proxy, status_of, to_service

BODY = b"3\r\nabc\r\n0\r\n"
LINES = b"X-T: 1\r\nx-t: 2\r\nx-gone: 3\r\n"
REQUEST = CHUNKED + BODY + LINES + b"\r\n"
ANSWER = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: 1\r\ngrpc-status: 5\r\n\r\n"
)
_SAID = b"x-t: 1\r\nx-t: 2\r\nx-gone: 3\r\n"


def passing(*, here: bool = True, upstream: bool = True, **settings: Any) -> Proxy:
    """A proxy that has the option at the listener, at the cluster, or at both."""
    return Proxy(enable_trailers=here, cluster=ClusterSettings(CLUSTER, enable_trailers=upstream), **settings)


@pytest.mark.parametrize("step", [0, 1, 7])
def test_trailers_pass_both_ways(step: int) -> None:
    """In lower case, every line; each request of a connection has its own."""
    with passing() as proxy:
        for _ in range(2):
            proxy.send(REQUEST, step)
            sent = proxy.upstream.take()
            assert sent.endswith(b"\r\n0\r\n" + _SAID + b"\r\n")
            assert b"x-t" not in sent.partition(b"\r\n\r\n")[0]
            proxy.upstream.respond(ANSWER, step)
            assert proxy.take().endswith(b"\r\n0\r\nx-a: 1\r\ngrpc-status: 5\r\n\r\n")
        proxy.send(CHUNKED + BODY + b"\r\n", step)
        assert proxy.upstream.take().endswith(b"\r\n0\r\n\r\n")
        proxy.upstream.respond(OK)
        assert proxy.take().endswith(b"\r\n\r\nok")
        proxy.check_nothing_left()


@pytest.mark.parametrize(("here", "upstream"), [(True, False), (False, True), (False, False)])
def test_both_sides_have_to_allow_them(here: bool, upstream: bool) -> None:
    """The listener's option is about its connections, the cluster's about those to its endpoints (Envoy)."""
    with passing(here=here, upstream=upstream, log_format="%TRAILER(x-a)%") as proxy:
        proxy.send(REQUEST)
        assert proxy.upstream.take().endswith(b"abc\r\n0\r\n\r\n")
        proxy.upstream.respond(ANSWER)
        assert proxy.take().endswith(b"ok\r\n0\r\n\r\n")
        # What the cluster keeps can be logged.
        assert proxy.log.lines == ["1" if upstream else "-"]


def test_a_body_with_a_length_has_none() -> None:
    """There is no place for them (RFC 9112 section 7.1.2); and none are made up for HTTP/1.0."""
    with passing(accept_http_10=True) as proxy:
        proxy.send(GET.replace(b"1.1", b"1.0"))
        proxy.upstream.respond(ANSWER)
        received = proxy.take()
        assert received.startswith(b"HTTP/1.0 200 OK\r\n")
        assert received.endswith(b"\r\n\r\nok")


def test_trailers_come_when_they_come() -> None:
    """The body is long gone by then."""
    with passing() as proxy:
        proxy.send(CHUNKED + b"3\r\nabc\r\n")
        assert proxy.upstream.take().endswith(b"abc\r\n")
        proxy.send(b"0\r\nx-t: 1\r\n")
        assert proxy.upstream.take() == b""
        proxy.send(b"\r\n")
        assert proxy.upstream.take() == b"0\r\nx-t: 1\r\n\r\n"
        proxy.upstream.respond(ANSWER[:-2])
        assert b"x-a" not in proxy.take()
        proxy.upstream.respond(ANSWER[-2:])
        assert proxy.take() == b"0\r\nx-a: 1\r\ngrpc-status: 5\r\n\r\n"


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(
    "name",
    ["authorization", "cookie", "host", "x-forwarded-for", "X_Forwarded_For", "te", "expect", "connection"],
)
def test_s46_fields_that_others_decide_by_are_dropped(name: str, step: int) -> None:
    """Nor do they become headers, or reach whoever merges trailers into them."""
    with passing() as proxy:
        proxy.send(CHUNKED + BODY + f"{name}: eve\r\nx-t: 1\r\n\r\n".encode() + GET, step)
        sent = proxy.upstream.take()
        assert sent.endswith(b"\r\n0\r\nx-t: 1\r\n\r\n")
        assert b"eve" not in sent
        proxy.upstream.respond(OK)
        assert b"eve" not in proxy.upstream.take()


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"".join(b"h%d: v\r\n" % n for n in range(100)), 0),
        (b"".join(b"h%d: v\r\n" % n for n in range(101)), 431),
        (b"same: v\r\n" * 101, 431),
        (b"x-t: " + b"v" * 61_500 + b"\r\n", 431),
        (b"x-t: " + b"v" * 61_000 + b"\r\n", 0),
        (b"x-t: a\x01b\r\n", 400),
        (b"x t: a\r\n", 400),
        (b":path: a\r\n", 400),
        (b"x-t: a\r\n b\r\n", 400),
        (b"content-length: 3\r\n", 400),
        (b"transfer-encoding: gzip\r\n", 501),
    ],
)
def test_s51_trailers_have_the_bounds_of_a_head(lines: bytes, status: int) -> None:
    """And are as strictly read. A request that breaks off there is not complete to its upstream."""
    with passing() as proxy:
        proxy.send(CHUNKED + BODY)
        proxy.send(lines + b"\r\n" + GET)
        sent = proxy.upstream.take()
        if status:
            assert status_of(proxy.take()) == status
            assert proxy.is_closed()
            assert proxy.upstream.is_closed()
            assert b"0\r\n" not in sent.partition(b"\r\n\r\n")[2]
        else:
            assert sent.endswith(b"0\r\n" + lines + b"\r\n")


@pytest.mark.parametrize(
    ("action", "end"), [(Underscores.DROP, b"0\r\nx-t: 1\r\n\r\n"), (Underscores.REJECT, b"")]
)
def test_underscores_are_treated_as_in_headers(action: Underscores, end: bytes) -> None:
    """`headers_with_underscores_action` is about trailers, too (Envoy)."""
    with passing(underscores=action) as proxy:
        proxy.send(CHUNKED + BODY + b"x_t: 2\r\nx-t: 1\r\n\r\n")
        if end:
            assert proxy.upstream.take().endswith(end)
        else:
            assert status_of(proxy.take()) == 400


def test_another_try_has_the_same_trailers() -> None:
    """They are part of what is kept for it."""
    route = to_service(retry=RetrySettings(RetryOn.SERVER_ERROR))
    with passing(routes=[route]) as proxy:
        proxy.send(REQUEST)
        assert proxy.upstream.take().endswith(_SAID + b"\r\n")
        proxy.upstream.respond(ANSWER.replace(b"200 OK", b"503 No"))
        proxy.advance(1)
        assert proxy.upstream.take().endswith(_SAID + b"\r\n")
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200


@pytest.mark.parametrize("step", [0, 1])
def test_a_copy_has_the_same_trailers(step: int) -> None:
    """A copy is of all of a request."""
    route = to_service(mirrors=(MirrorPolicy(CLUSTER),))
    with passing(routes=[route]) as proxy:
        second = proxy.offer()
        proxy.send(REQUEST, step)
        assert [one.take().endswith(_SAID + b"\r\n") for one in (proxy.upstreams[0], second)] == [True, True]


def _mutation() -> HeaderMutationFilter:
    def rule(name: str, value: str) -> HeaderRuleSettings:
        return HeaderRuleSettings(add=(HeaderValueSettings(name, value),), remove=("x-gone", "x-a"))

    return HeaderMutationFilter(
        "mut",
        HeaderMutationSettings(
            Mutations(
                request_trailers=(rule("x-new", "%REQ(:method)%"),),
                response_trailers=(rule("x-new", "%TRAILER(grpc-status)%"),),
            )
        ),
    )


def test_mutations_change_trailers_that_are_there() -> None:
    """Where there are none, none are made (Envoy)."""
    with passing(filters=[_mutation()], log_format="%TRAILER(x-new)%%TRAILER(x-a)%") as proxy:
        proxy.send(REQUEST)
        assert proxy.upstream.take().endswith(b"0\r\nx-t: 1\r\nx-t: 2\r\nx-new: POST\r\n\r\n")
        proxy.upstream.respond(ANSWER)
        assert proxy.take().endswith(b"0\r\ngrpc-status: 5\r\nx-new: 5\r\n\r\n")
        proxy.send(CHUNKED + BODY + b"\r\n")
        assert proxy.upstream.take().endswith(b"0\r\n\r\n")
        proxy.upstream.respond(OK)
        assert proxy.log.lines == ["5-", "--"]


class _Broken:
    """A filter that fails over trailers of one side."""

    def __init__(self, *, request: bool) -> None:
        self._request = request

    def on_request(self, request: Request) -> None:
        del request

    def on_request_trailers(self, request: Request, trailers: HeaderMap) -> None:
        if self._request:
            raise RuntimeError

    def on_response_trailers(self, request: Request, trailers: HeaderMap) -> None:
        if not self._request:
            raise RuntimeError

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        del sink, prefix


@pytest.mark.parametrize("early", [False, True])
def test_s56_a_filter_that_fails_over_trailers_lets_nothing_pass(early: bool) -> None:
    """Neither in one read with the head, nor later."""
    with passing(filters=[_Broken(request=True)]) as proxy:
        proxy.send(REQUEST, 0 if early else 40)
        assert status_of(proxy.take()) == 500
        assert b"x-t" not in proxy.upstream.take()
    with passing(filters=[_Broken(request=False)]) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(ANSWER, 0 if early else 60)
        assert b"x-a" not in proxy.take()
        assert proxy.transport.was_aborted()


def test_the_status_of_a_grpc_call_is_in_its_trailers() -> None:
    """Where there is one in the headers as well, it is the trailers' that counts (Envoy)."""
    head = GET[:-2] + b"content-type: application/grpc\r\n\r\n"
    with passing(here=False, log_format="%GRPC_STATUS% %GRPC_STATUS_NUMBER%") as proxy:
        for answer in (ANSWER, ANSWER.replace(b"OK\r\n", b"OK\r\ngrpc-status: 7\r\n"), OK):
            proxy.send(head)
            proxy.upstream.respond(answer)
        assert proxy.log.lines == ["NotFound 5", "NotFound 5", "Unknown 2"]


def test_bytes_of_trailers_are_bytes_of_headers() -> None:
    """As Envoy counts them: received without the blank, sent as they are."""
    sides = [
        f"{side}_HEADER_BYTES_{way}" for side in ("DOWNSTREAM", "UPSTREAM") for way in ("RECEIVED", "SENT")
    ]
    form = "[" + ",".join(f"%{one}%" for one in sides) + "]"
    counts = []
    for lines, answer in ((LINES, ANSWER), (b"", ANSWER.replace(b"X-A: 1\r\ngrpc-status: 5\r\n", b""))):
        with passing(log_format=form, counts_bytes=True) as proxy:
            proxy.send(CHUNKED + BODY + lines + b"\r\n")
            proxy.upstream.respond(answer)
            counts.append(json.loads(proxy.log.lines[0]))
    # Three lines of the request, two of the response; a blank less in each that is received.
    assert [one - other for one, other in zip(*counts, strict=True)] == [
        len(LINES) - 3, len("x-a: 1\r\ngrpc-status: 5\r\n"), len("x-a: 1\r\ngrpc-status: 5\r\n") - 2, len(_SAID)
    ]  # fmt: skip


def test_an_answer_before_the_end_of_the_request_still_has_its_trailers() -> None:
    """The rest of the request is not worth reading, the rest of the answer is."""
    with passing() as proxy:
        proxy.send(CHUNKED + b"3\r\nabc\r\n")
        proxy.upstream.respond(ANSWER)
        assert proxy.take().endswith(b"0\r\nx-a: 1\r\ngrpc-status: 5\r\n\r\n")
        assert proxy.is_closed()
