"""The issuer of `fastproxy demo` over TLS, in a thread with a loop of its own."""

import asyncio
import threading
from collections.abc import Coroutine

from aiohttp import web

from fastproxy.demo.issuer import CLIENT_ID, DEMO_USERS, Issuer, build_issuer_app
from tests.e2e.support.proxies import free_ports
from tests.e2e.support.wire import PATIENCE_S
from tests.providers.support.identity_provider import BASE_URL, HOST_NAME, IdentityProvider, TokenRequest
from tests.providers.support.private_ca import PrivateCa


class DemoIssuer(IdentityProvider):
    """A realm whose users sign in with a password (RFC 6749 section 4.3)."""

    audience = "account"

    def __init__(self, authority: PrivateCa) -> None:
        """Start it and wait until it listens; `authority` signs its certificate."""
        super().__init__(authority)
        self._server_tls = authority.issue(HOST_NAME).server_context()
        # It comes back at the same place after a rotation, so the place is chosen outside of what others take.
        self.port = free_ports("issuer")["issuer"]
        self._realm = Issuer(BASE_URL)
        self.issuer = self._realm.issuer
        self._runner: web.AppRunner | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="demo-issuer", daemon=True)
        self._thread.start()
        self._wait(self._start())

    def token_request(self, *, life_s: int = 300) -> TokenRequest:
        """The sign-in of the first user."""
        self._realm.access_token_life_s = life_s
        user = DEMO_USERS[1]
        form = {
            "grant_type": "password",
            "client_id": CLIENT_ID,
            "username": user.username,
            "password": user.password,
        }
        return TokenRequest(form, {})

    def rotate(self) -> None:
        """Restart it with a new realm of the same name: new keys, and nothing is left of the old ones."""
        self._wait(self._end())
        self._realm = Issuer(BASE_URL)
        self._wait(self._start())

    def stop(self) -> None:
        """End the server, its thread and its loop."""
        if self._loop.is_closed():
            return
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the issuer does not end"
        self._loop.close()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The password of whoever signs in."""
        return (DEMO_USERS[1].password,)

    def _wait(self, work: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _start(self) -> None:
        self._runner = web.AppRunner(build_issuer_app(self._realm), access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._server_tls).start()

    async def _end(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
