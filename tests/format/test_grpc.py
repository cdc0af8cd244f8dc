"""The status of a gRPC call in formats."""

import json

import pytest

from fastproxy.format.compile import compile_json, compile_text
from fastproxy.format.context import FormatContext
from fastproxy.http.messages import Request


def context(
    told: bytes | None, *, content_type: bytes = b"application/grpc", status: int = 200
) -> FormatContext:
    request = Request(b"POST", b"/x", {b"content-type": content_type})
    request.response_headers = {} if told is None else {b"grpc-status": told}
    request.response_status = status
    return FormatContext(request, 0.0)


@pytest.mark.parametrize(
    ("told", "written"),
    [
        (b"0", "OK|OK|OK|0|0"),
        (b"1", "Canceled|Canceled|CANCELLED|1|1"),
        (b"7", "PermissionDenied|PermissionDenied|PERMISSION_DENIED|7|7"),
        (b"16", "Unauthenticated|Unauthenticated|UNAUTHENTICATED|16|16"),
        (b"17", "17|17|17|17|17"),
        (b"x", "-1|-1|-1|-1|-1"),
    ],
)
def test_a_status_as_word_and_number(told: bytes, written: str) -> None:
    """Numbers that nobody has named, and what is no number, are written as numbers."""
    forms = ("", "(CAMEL_STRING)", "(SNAKE_STRING)", "(NUMBER)")
    template = "|".join(f"%GRPC_STATUS{form}%" for form in forms) + "|%GRPC_STATUS_NUMBER%"
    assert compile_text(template)(context(told)) == written


def test_what_the_response_does_not_say_follows_from_its_http_status() -> None:
    """An answer of a proxy in between may say nothing about gRPC."""
    assert compile_text("%GRPC_STATUS%")(context(None, status=503)) == "Unavailable"


def test_other_requests_have_no_status() -> None:
    """In JSON it is null."""
    found = compile_json({"s": "%GRPC_STATUS%", "n": "%GRPC_STATUS_NUMBER%"})(
        context(b"0", content_type=b"text/plain")
    )
    assert json.loads(found) == {"s": None, "n": None}
    assert json.loads(compile_json({"n": "%GRPC_STATUS_NUMBER%"})(context(b"5"))) == {"n": 5}
