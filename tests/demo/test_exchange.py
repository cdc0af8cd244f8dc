"""The story shows commands; whoever pastes one must get the answer that was shown."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote_plus

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fastproxy.demo.exchange import Call, open_session


async def _echo(request: web.Request) -> web.Response:
    body = await request.text()
    seen = [request.method, request.raw_path, request.headers.get("authorization"), body]
    return web.json_response(seen, status=401, headers={"www-authenticate": "Bearer"})


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A server that answers with what it was asked."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", _echo)
    server = TestServer(app)
    async with server:
        yield f"http://127.0.0.1:{server.port}"


def _calls(url: str) -> list[Call]:
    return [
        Call(f"{url}/docs"),
        Call(f"{url}/birds", query="coord within 10 km of 43.45,4.43 & 'more' \"so\""),
        Call(f"{url}/birds", token="a.b.c", query="x"),
        Call(f"{url}/birds", token="a.b.c", variable="OTHER"),
        Call(f"{url}/token", form=(("grant_type", "password"), ("username", "demo"))),
        Call(f"{url}/token", form=(("refresh_token", "$REFRESH"),), variables=(("REFRESH", "x.y-z_1"),)),
    ]


@pytest.mark.peer("curl")
@pytest.mark.parametrize("index", range(6))
async def test_command_asks_what_the_call_asks(url: str, index: int) -> None:
    """Two ways to make a request are two requests, unless somebody compares them."""
    call = _calls(url)[index]
    async with open_session() as session:
        answer = await call.send(session)

    variables = {call.variable: call.token, **dict(call.variables)}
    shell = await asyncio.create_subprocess_exec(
        *("sh", "-c", call.curl(options="-s")),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **variables},
    )
    output, _ = await shell.communicate()

    # Which of its equal forms an escaped character has depends on curl's version.
    assert _unescaped(output) == _unescaped(answer.body)


def _unescaped(seen: bytes) -> list[str]:
    return [unquote_plus(str(part)) for part in json.loads(seen)]


async def test_answer_holds_status_challenge_and_body(url: str) -> None:
    """These are what the story shows and judges."""
    async with open_session() as session:
        answer = await Call(f"{url}/docs").send(session)

    assert (answer.status, answer.reason, answer.challenge) == (401, "Unauthorized", "Bearer")
    assert answer.json() == ["GET", "/docs", None, ""]


def test_command_never_holds_the_token() -> None:
    """A token on a screen is a token in a screenshot."""
    secret: Any = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"
    command = Call("http://a.test/", token=secret).curl()

    assert secret not in command
    assert "$TOKEN" in command
