"""A key server, the control plane's key store and the filters of two workers in one process, on a stepped clock.

Only what lies between them is missing: the channel, which delivers in order and is tested by itself.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastproxy import clock
from fastproxy.control.jwks_http import JwksHttpClient
from fastproxy.control.jwks_schedule import Action
from fastproxy.control.jwks_source import JwksMessage, JwksSource
from fastproxy.control.key_store import KeyStore
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.filters.jwt_authn.settings import ProviderSettings, RemoteJwksSettings
from fastproxy.http.messages import Request
from fastproxy.ipc.messages import EndpointAddress, JwksUpdate
from tests.control.support import Answer, KeyServer, cluster, key_server, until
from tests.jwt.support import ISSUER, NOW, claims, public_jwk, sign

CACHE_S, MAX_STALE_S, COOLDOWN_S = 300.0, 3600.0, 10.0


def key_set(*kids: str) -> Answer:
    """The server's answer with keys of these names; equal names are equal keys."""
    keys = [public_jwk("ES256", kid, kid=kid) for kid in kids]
    return Answer(json.dumps({"keys": keys}).encode())


class KeyWorld:
    """What happens to tokens while the key server does what it does."""

    def __init__(self, server: KeyServer, monkeypatch: pytest.MonkeyPatch, timeout_s: float) -> None:
        self.server = server
        self.passed_s = 0.0
        monkeypatch.setattr(clock, "monotonic", lambda: 5000.0 + self.passed_s)
        monkeypatch.setattr(clock, "unix_time", lambda: NOW + self.passed_s)
        remote = RemoteJwksSettings("http://issuer.test/certs", "keys", timeout_s, CACHE_S)
        self.settings = ProviderSettings("p", ISSUER, ("api",), remote, max_stale_s=MAX_STALE_S)
        client = JwksHttpClient(
            {"keys": cluster("keys", server.port)}, lambda _: [EndpointAddress("127.0.0.1", server.port, "")]
        )
        self.store = KeyStore((self.settings,), client, self._broadcast, cooldown_s=COOLDOWN_S)
        self.questions = 0
        self.workers = [Provider(self.settings, ask=self._asker(index)) for index in range(2)]

    @property
    def source(self) -> JwksSource:
        return self.store.fetcher.sources[self.settings.source_id]

    def _asker(self, index: int) -> Any:
        def ask(source_id: str) -> None:
            self.questions += 1
            answer = self.store.on_refresh_request(source_id)
            if answer is not None:
                asyncio.get_running_loop().call_soon(self._deliver, self.workers[index], answer)

        return ask

    def _broadcast(self, message: JwksMessage) -> None:
        for worker in self.workers:
            self._deliver(worker, message)

    @staticmethod
    def _deliver(worker: Provider, message: JwksMessage) -> None:
        if isinstance(message, JwksUpdate):
            worker.keys.on_update(message.epoch, message.jwks.encode(), fetched=message.fetched)
        else:
            worker.keys.on_fetch_failed()

    def token(self, kid: str, *, signer: str | None = None, life_s: float = 100_000.0) -> bytes:
        """A token in time; `signer`: the name of the key that signs it, if not `kid`."""
        payload = claims(iat=NOW, exp=NOW + life_s)
        return sign("ES256", payload, name=kid if signer is None else signer, kid=kid)

    async def status(self, token: bytes, worker: int = 0) -> int:
        """What a request with this token is answered with; 200: it goes on to the upstream."""
        request = Request(b"GET", b"/", {b"authorization": b"Bearer " + token})
        request.set_target(b"/")
        request.authority = b"h.test"
        outcome = self.workers[worker].check(request)
        if isinstance(outcome, Awaitable):
            outcome = await outcome
        return 200 if outcome is None else outcome.http_status

    async def statuses(self, *tokens: bytes) -> set[int]:
        """The answers to all of them at once, in both workers."""
        answers = await asyncio.gather(
            *(self.status(token, worker) for worker in range(2) for token in tokens)
        )
        return set(answers)

    async def advance(self, seconds: float) -> None:
        """Let time pass, and what is due by then happen."""
        self.passed_s += seconds
        self.source.wakeup.set()
        schedule = self.source.schedule
        await until(lambda: not schedule.fetching and schedule.due(clock.monotonic()) is Action.WAIT)


@asynccontextmanager
async def key_world(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, *, timeout_s: float = 5.0
) -> AsyncIterator[KeyWorld]:
    """Run it, first fetch done."""
    async with key_server(answer) as server:
        world = KeyWorld(server, monkeypatch, timeout_s)
        world.store.start()
        try:
            await world.advance(0.0)
            yield world
        finally:
            await world.store.stop()
