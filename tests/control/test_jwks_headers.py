"""Extra request headers whose secret lies in a file."""

import logging
from pathlib import Path

import pytest

from fastproxy.control.jwks_headers import read_headers
from fastproxy.control.jwks_http import FetchFailed, JwksHttpClient, Validators
from fastproxy.control.jwks_retrieval import RemoteRetrieval
from fastproxy.filters.jwt_authn.settings import FetchHeaderSettings, RemoteJwksSettings
from fastproxy.ipc.messages import EndpointAddress
from tests.control.support import Answer, cluster, key_server


async def test_token_file_is_read_again_for_every_fetch(tmp_path: Path) -> None:
    """Projected tokens are rotated every hour; a restart for that would be absurd."""
    token = tmp_path / "token"
    token.write_text("first\n")
    header = FetchHeaderSettings("authorization", "Bearer ", str(token))
    async with key_server(Answer(b"{}")) as server:
        settings = cluster("keys", server.port)
        client = JwksHttpClient({"keys": settings}, lambda _: [EndpointAddress("127.0.0.1", server.port, "")])
        retrieval = RemoteRetrieval(
            RemoteJwksSettings(server.uri, "keys", 5.0, request_headers=(header,)), client
        )
        await retrieval.retrieve(Validators(), 0.0)
        token.write_text("second")
        await retrieval.retrieve(Validators(), 0.0)
        await client.close()

    assert "\r\nauthorization: bearer first\r\n" in server.requests[0].lower()
    assert "\r\nauthorization: bearer second\r\n" in server.requests[1].lower()


async def test_value_without_a_file_and_text_around_it(tmp_path: Path) -> None:
    """Schemes other than Bearer have their own form."""
    (tmp_path / "key").write_bytes(b" secret \r\n")
    headers = await read_headers(
        (
            FetchHeaderSettings("x-plain", "value"),
            FetchHeaderSettings("authorization", 'Key k="', str(tmp_path / "key"), '"'),
        )
    )

    assert headers == {"x-plain": "value", "authorization": 'Key k="secret"'}


@pytest.mark.parametrize("content", [b"", b"\n", b"a\r\nx-evil: 1", b"a\0b", b"\xff\xfe", b"x" * 70_000])
async def test_s53_content_that_is_no_header_value_is_refused_and_not_repeated(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A line break would be a second header; the message must not show what the file holds."""
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "token"
    file.write_bytes(content)

    with pytest.raises(FetchFailed) as caught:
        await read_headers((FetchHeaderSettings("authorization", "Bearer ", str(file)),))
    assert str(caught.value) == f"the header authorization: the content of {file} is no header value"
    assert caplog.text == ""


async def test_file_that_is_missing_is_a_failed_fetch_that_says_so(tmp_path: Path) -> None:
    """Sending the request without the header would look like a broken identity provider."""
    with pytest.raises(FetchFailed, match="cannot be read: No such file"):
        await read_headers((FetchHeaderSettings("authorization", "", str(tmp_path / "none")),))


def test_s53_settings_do_not_show_the_value() -> None:
    """They are printed in tracebacks and debug output."""
    assert "secret" not in repr(FetchHeaderSettings("authorization", "secret"))
