"""A real browser as the downstream: cookies, compression, WebSocket, and the pages of the admin interface."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from fastproxy import clock
from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.chromium import running_chromium
from tests.e2e.support.proxies import Config, Ports, RunningProxy
from tests.e2e.support.templates import bootstrap, cluster, forward, jwt_authn, listener, rule, virtual_host
from tests.e2e.support.upstream import Answer, ScriptedUpstream
from tests.e2e.support.wire import PATIENCE_S
from tests.filters.jwt_authn.support import JWKS, token
from tests.jwt.support import ISSUER

pytestmark = pytest.mark.peer("chromium")

_TYPES = "type.googleapis.com/envoy.extensions"
#: Talks, and reports what it saw. The cookie is out of its reach, as it should be.
_PAGE = """<!DOCTYPE html><title>talk</title><script>
const seen = {cookie: document.cookie, messages: []};
const socket = new WebSocket(`ws://${location.host}/chat`, ["chat"]);
socket.binaryType = "arraybuffer";
socket.onopen = () => { seen.protocol = socket.protocol; socket.send("grüß dich"); };
socket.onmessage = (event) => {
  if (typeof event.data === "string") {
    seen.messages.push(event.data);
    socket.send(new Uint8Array(200000).fill(7));
  } else {
    const bytes = new Uint8Array(event.data);
    seen.messages.push(`${bytes.length} ${bytes.every((one) => one === 7)}`);
    socket.send("bye");
  }
};
socket.onclose = async (event) => {
  seen.close = [event.code, event.reason, event.wasClean];
  const text = await (await fetch("/text")).text();
  const [entry] = performance.getEntriesByName(`${location.origin}/text`);
  seen.text = text.length;
  seen.compressed = entry.encodedBodySize < entry.decodedBodySize;
  seen.stranger = (await fetch("/text", {credentials: "omit"})).status;
  await fetch("/report", {method: "POST", body: JSON.stringify(seen)});
};
</script>"""


def _answer(content_type: str, body: bytes, *lines: str) -> Answer:
    head = ["HTTP/1.1 200 OK", f"content-type: {content_type}", f"content-length: {len(body)}", *lines]
    return Answer(("\r\n".join(head).encode() + b"\r\n\r\n" + body,))


async def _chat(connection: ServerConnection) -> None:
    """Echo until `bye`. Whoever gets here has been let in."""
    assert connection.request is not None
    assert connection.request.headers["x-user"] == "a user"
    async for message in connection:
        if message == "bye":
            await connection.close(4000, "so long")
        else:
            await connection.send(message)


@contextmanager
def _running_chat() -> Iterator[int]:
    """The WebSocket server, on a thread of its own; its port."""
    ports: list[int] = []
    ready = threading.Event()
    ending: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        end = asyncio.Event()
        ending.append((asyncio.get_running_loop(), end))
        async with serve(_chat, "127.0.0.1", 0, subprotocols=["chat"]) as server:  # type: ignore[list-item]  # NewType
            ports.append(next(iter(server.sockets)).getsockname()[1])
            ready.set()
            await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="chat", daemon=True)
    thread.start()
    assert ready.wait(PATIENCE_S)
    try:
        yield ports[0]
    finally:
        loop, end = ending[0]
        loop.call_soon_threadsafe(end.set)
        thread.join(PATIENCE_S)


def _template(pages: int, chat: int) -> Config:
    provider = {
        "issuer": ISSUER,
        "audiences": ["api"],
        "local_jwks": {"inline_string": JWKS.decode()},
        "from_cookies": ["session"],
        "claim_to_headers": [{"header_name": "x-user", "claim_name": "sub"}],
    }
    compressor: Config = {
        "name": "compressor",
        "typed_config": {
            "@type": f"{_TYPES}.filters.http.compressor.v3.Compressor",
            "compressor_library": {
                "name": "gzip",
                "typed_config": {"@type": f"{_TYPES}.compression.gzip.compressor.v3.Gzip"},
            },
        },
    }
    routes = [forward({"path": "/chat"}, "chat"), forward({"prefix": "/"}, "pages")]
    rules = [rule({"path": "/login"}), rule({"prefix": "/"}, "p")]
    return {
        "hosts": [virtual_host("all", ["*"], routes)],
        "filters": [compressor, jwt_authn({"p": provider}, rules)],
        "clusters": [cluster("pages", pages), cluster("chat", chat)],
    }


@pytest.fixture
def pages() -> Iterator[ScriptedUpstream]:
    """What the browser loads; logging in gives it its cookie."""
    now = int(clock.unix_time())
    session = token(iat=now, exp=now + 3600, sub="a user").decode()
    cookie = f"set-cookie: session={session}; Path=/; HttpOnly; SameSite=Strict"
    paths = {
        "/login": _answer("text/html; charset=utf-8", _PAGE.encode(), cookie),
        "/text": _answer("text/plain", b"hello world " * 1000),
    }
    with ScriptedUpstream(paths=paths) as upstream:
        yield upstream


@pytest.fixture
def proxy(start_fastproxy: StartFastProxy, pages: ScriptedUpstream) -> Iterator[RunningProxy]:
    """Only `/login` is open to all."""
    with _running_chat() as chat:
        parts = _template(pages.port, chat)

        def template(ports: Ports) -> Config:
            options = {"upgrade_configs": [{"upgrade_type": "websocket"}]}
            one = listener("plain", ports["plain"], parts["hosts"], options=options, filters=parts["filters"])
            return bootstrap(ports["admin"], [one], parts["clusters"])

        yield start_fastproxy(template)


def test_a_browser_logs_in_and_talks_over_a_websocket(
    proxy: RunningProxy, pages: ScriptedUpstream, tmp_path: Path
) -> None:
    """A browser can set no header on a WebSocket: its cookie, which no script can read, is what lets it in."""
    with running_chromium(tmp_path / "profile") as tab:
        tab.open(f"http://127.0.0.1:{proxy.ports['plain']}/login")
        pages.wait_until(lambda: any(one.path == b"/report" and one.complete for one in pages.requests))

    (report,) = (one for one in pages.take_requests() if one.path == b"/report")
    assert json.loads(report.body) == {
        "cookie": "",
        "protocol": "chat",
        "messages": ["grüß dich", "200000 true"],
        "close": [4000, "so long", True],
        "text": 12000,
        "compressed": True,
        "stranger": 401,
    }
    assert report.values(b"x-user") == [b"a user"]


def test_a_browser_shows_the_admin_interface(proxy: RunningProxy, tmp_path: Path) -> None:
    """Every page is a click away; what changes something is a button, so that no link prefetcher presses it."""
    home = f"http://127.0.0.1:{proxy.ports['admin']}/"
    with running_chromium(tmp_path / "profile") as tab:
        tab.open(home)
        assert tab.evaluate("document.title") == "FastProxy admin"
        links = tab.evaluate("[...document.querySelectorAll('a')].map((one) => one.textContent)")
        buttons = tab.evaluate(
            "[...document.querySelectorAll('form[method=post] button')].map((b) => b.textContent)"
        )
        assert {"/ready", "/stats", "/clusters", "/listeners", "/jwks"} <= set(links)
        assert {"/logging", "/reopen_logs", "/quitquitquit"} <= set(buttons)
        assert not set(links) & set(buttons)
        described = tab.evaluate(
            "[...document.querySelectorAll('tr td:last-child')].every((one) => one.innerText)"
        )
        assert described is True

        tab.click("a[href='/ready']")
        assert tab.evaluate("document.body.innerText.trim()") == "LIVE"
        tab.open(home)
        tab.click("form[action='/reopen_logs'] button")
        assert tab.evaluate("document.body.innerText.trim()") == "OK"
        tab.open(home)
        tab.click("form[action='/quitquitquit'] button")
        assert tab.evaluate("document.body.innerText.trim()") == "OK"
    assert proxy.process.wait(PATIENCE_S) == 0
