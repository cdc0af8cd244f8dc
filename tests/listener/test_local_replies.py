"""Mapped and formatted local replies, end to end through the data path."""

import json
from dataclasses import replace
from typing import Any

import pytest

from fastproxy.format.settings import (
    AppendAction,
    BodyFormatSettings,
    HeaderRuleSettings,
    HeaderValueSettings,
)
from fastproxy.listener.settings import (
    CombinedFilter,
    Compared,
    Comparison,
    ComparisonFilter,
    FlagFilter,
    LocalReplySettings,
    ReplyMapperSettings,
)
from fastproxy.router.settings import DirectResponseAction
from tests.listener.support import GET, OK, Proxy, head_of, route, status_of

EVERY = CombinedFilter(())


def answer(
    settings: LocalReplySettings, request: bytes = GET, **options: Any
) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Status line, headers and body of the answer to one request."""
    with Proxy(local_replies=settings, **options) as proxy:
        proxy.send(request)
        wire = proxy.take()
    return *head_of(wire), wire.partition(b"\r\n\r\n")[2]


NO_ROUTE: dict[str, Any] = {"routes": ()}


def test_the_first_mapper_that_fits_counts() -> None:
    """And no other."""
    status = ComparisonFilter(Compared.STATUS, Comparison.EQ, 404)
    settings = LocalReplySettings(
        (
            ReplyMapperSettings(FlagFilter(frozenset({"UF"})), 500),
            ReplyMapperSettings(status, 410, b"gone", (HeaderValueSettings("x-a", "%RESPONSE_CODE%"),)),
            ReplyMapperSettings(EVERY, 418),
        )
    )
    line, headers, body = answer(settings, **NO_ROUTE)
    assert (line, body) == (b"HTTP/1.1 410 Gone", b"gone")
    # The header is made before the status is mapped, as in Envoy.
    assert (headers[b"x-a"], headers[b"content-type"]) == (b"404", b"text/plain")


def test_formats_see_the_mapped_status_and_body() -> None:
    """The override of a mapper wins over the format for all."""
    override = BodyFormatSettings(json={"code": "%RESPONSE_CODE%", "body": "%LOCAL_REPLY_BODY%"})
    settings = LocalReplySettings(
        (ReplyMapperSettings(EVERY, 403, b'say "no"', (), override),), BodyFormatSettings("not this")
    )
    line, headers, body = answer(settings, **NO_ROUTE)
    assert line == b"HTTP/1.1 403 Forbidden"
    assert headers[b"content-type"] == b"application/json"
    assert json.loads(body) == {"code": 403, "body": 'say "no"'}
    assert headers[b"content-length"] == b"%d" % len(body)


def test_s53_a_token_does_not_come_back_in_a_body() -> None:
    """An error page is shown, logged and sent to support."""
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZW1vIn0.c2ln"
    request = f"GET /?t={token} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nx-t: {token}\r\n\r\n"
    text = "%REQ(authorization)% %REQ(x-t)% %REQ(:path)% %PATH(WQ)%"
    _, _, body = answer(
        LocalReplySettings(body_format=BodyFormatSettings(text)), request.encode(), **NO_ROUTE
    )
    assert token[:20].encode() not in body
    assert b"redacted" in body


def test_a_type_that_a_mapper_sets_stays() -> None:
    """Whatever the format would say."""
    header = HeaderValueSettings("content-type", "text/mine", AppendAction.OVERWRITE)
    settings = LocalReplySettings(
        (ReplyMapperSettings(EVERY, headers=(header,)),), BodyFormatSettings("<p>", content_type="text/html")
    )
    _, headers, body = answer(settings, **NO_ROUTE)
    assert (headers[b"content-type"], body) == (b"text/mine", b"<p>")


def test_a_reply_without_body_stays_without() -> None:
    """A 204 with a body would be taken for the beginning of the next answer (RFC 9110 section 8.6)."""
    settings = LocalReplySettings(body_format=BodyFormatSettings("a body"))
    routes = (route("/", DirectResponseAction(204)),)
    _, headers, body = answer(settings, routes=routes)
    assert body == b""
    assert b"content-length" not in headers
    _, headers, body = answer(settings, GET.replace(b"GET", b"HEAD"), **NO_ROUTE)
    assert (headers[b"content-length"], body) == (b"6", b"")


def test_grpc_callers_get_the_mapped_message() -> None:
    """In `grpc-message`, with the gRPC status of the mapped status."""
    request = GET.replace(b"\r\n\r\n", b"\r\ncontent-type: application/grpc\r\n\r\n")
    settings = LocalReplySettings((ReplyMapperSettings(EVERY, 403, b"no"),))
    line, headers, body = answer(settings, request, **NO_ROUTE)
    assert line == b"HTTP/1.1 200 OK"
    assert (headers[b"grpc-status"], headers[b"grpc-message"], body) == (b"7", b"no", b"")


def test_the_log_has_the_mapped_status_and_the_flag_of_a_protocol_error() -> None:
    """Mappers do not see that flag, as in Envoy; the log does."""
    settings = LocalReplySettings(
        (ReplyMapperSettings(FlagFilter(frozenset()), 500), ReplyMapperSettings(EVERY, 422))
    )
    with Proxy(local_replies=settings) as proxy:
        proxy.send(b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n")
        assert status_of(proxy.take()) == 422
        assert proxy.log.lines == ["422 DPE http1.codec_error"]


def test_answers_of_the_upstream_are_not_touched() -> None:
    """They are not ours."""
    with Proxy(local_replies=LocalReplySettings((ReplyMapperSettings(EVERY, 500, b"no"),))) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        wire = proxy.take()
        assert (status_of(wire), wire[-2:]) == (200, b"ok")


def test_another_body_is_not_of_the_type_that_the_route_said() -> None:
    """Of its own body."""
    rules = HeaderRuleSettings((HeaderValueSettings("content-type", "text/own", AppendAction.OVERWRITE),))
    routes = (replace(route("/", DirectResponseAction(200, b"<b>")), response_headers=(rules,)),)
    _, headers, body = answer(LocalReplySettings((ReplyMapperSettings(EVERY, body=b"new"),)), routes=routes)
    assert (headers[b"content-type"], body) == (b"text/plain", b"new")
    _, headers, body = answer(LocalReplySettings((ReplyMapperSettings(EVERY, status=201),)), routes=routes)
    assert (headers[b"content-type"], body) == (b"text/own", b"<b>")


@pytest.mark.parametrize("broken", [b"transfer-encoding: gzip\r\n", b"host: a/b\r\n"])
def test_a_broken_message_is_answered_in_http(broken: bytes) -> None:
    """Whatever it says to be: its headers are not believed."""
    request = b"POST / HTTP/1.1\r\n" + broken + b"content-type: application/grpc\r\n\r\n"
    line, headers, body = answer(LocalReplySettings(), request, **NO_ROUTE)
    assert line.split(b" ")[1] in (b"501", b"400")
    assert headers[b"content-type"] == b"text/plain"
    assert body
