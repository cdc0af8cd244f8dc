"""Bodies of the proxy's own answers, by a format."""

import pytest

from fastproxy.format.body import BodyFormat
from fastproxy.format.settings import BodyFormatSettings
from fastproxy.http.messages import Request


def written(settings: BodyFormatSettings, *headers: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Body and type."""
    request = Request(b"GET", b"/x", dict(headers))
    request.set_target(b"/x")
    compiled = BodyFormat(settings)
    return compiled.write(request, 0.0, b"old"), compiled.content_type


@pytest.mark.parametrize(
    ("settings", "body", "content_type"),
    [
        (BodyFormatSettings("[%LOCAL_REPLY_BODY%] %REQ(a)%"), b"[old] -", b"text/plain"),
        (BodyFormatSettings("[%REQ(a)%]", omit_empty=True), b"[]", b"text/plain"),
        (BodyFormatSettings("<p>\n", content_type="text/html"), b"<p>\n", b"text/html"),
        (
            BodyFormatSettings(json={"b": "%LOCAL_REPLY_BODY%", "a": "%REQ(a)%"}),
            b'{"a":null,"b":"old"}\n',
            b"application/json",
        ),
        (BodyFormatSettings(json={"a": "%REQ(a)%"}, omit_empty=True), b"{}\n", b"application/json"),
    ],
)
def test_a_body_is_text_or_json(settings: BodyFormatSettings, body: bytes, content_type: bytes) -> None:
    """And says which, unless the format knows better."""
    assert written(settings) == (body, content_type)


def test_a_grpc_message_ends_without_a_line_end() -> None:
    """It goes into a header."""
    settings = BodyFormatSettings(json={"a": 1})
    assert written(settings, (b"content-type", b"application/grpc"))[0] == b'{"a":1}'


def test_credentials_never_come_out() -> None:
    """S53: what the proxy says may be logged by whoever reads it."""
    settings = BodyFormatSettings("%REQ(authorization)%")
    assert b"secret" not in written(settings, (b"authorization", b"Bearer secret"))[0]
