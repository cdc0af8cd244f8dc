"""Fetching keys from a real server: bad answers, slow ones, TLS, and what the workers are told."""

import asyncio
import dataclasses
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fastproxy.control.jwks_fetcher import JwksFetcher
from fastproxy.control.jwks_http import MAX_BODY_BYTES, FetchFailed, JwksHttpClient, Validators
from fastproxy.control.jwks_retrieval import RemoteRetrieval
from fastproxy.control.jwks_source import JwksMessage
from fastproxy.filters.jwt_authn.settings import ProviderSettings, RemoteJwksSettings
from fastproxy.ipc.messages import EndpointAddress, JwksFetchFailed, JwksUpdate
from fastproxy.stats import StatsSink
from fastproxy.upstream.settings import ClusterSettings, UpstreamTlsSettings
from tests.control.support import Answer, Certificates, KeyServer, cluster, jwk, jwks, key_server, provider


def make_client(settings: ClusterSettings) -> JwksHttpClient:
    endpoints = [EndpointAddress(e.host, e.port, e.hostname) for e in settings.endpoints]
    return JwksHttpClient({settings.name: settings}, lambda _name: endpoints)


async def fetch(
    server: KeyServer, *, timeout_s: float = 5.0, known: Validators | None = None
) -> bytes | None:
    client = make_client(cluster("keys", server.port))
    try:
        remote = RemoteJwksSettings(server.uri, "keys", timeout_s)
        found = await RemoteRetrieval(remote, client).retrieve(known or Validators(), 0.0)
    finally:
        await client.close()
    return found.body


async def test_request_goes_to_the_cluster_with_the_uris_host_path_and_query() -> None:
    """As in Envoy: the cluster says where, the uri says what."""
    async with key_server(Answer(b"{}")) as server:
        assert await fetch(server) == b"{}"

    head = server.requests[0].lower()
    assert head.startswith("get /certs?realm=a%2fb http/1.1\r\n")
    assert "\r\nhost: issuer.test:8443\r\n" in head
    assert "cookie" not in head
    assert "\r\naccept-encoding: identity\r\n" in head


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(b"x", status=500), "status 500"),
        (Answer(b"", status=204), "status 204"),
        (Answer(b"", status=302, headers={"location": "http://169.254.169.254/"}), "redirects are not followed"),
        (Answer(b"", status=304), "status 304"),
        (Answer(b"x", headers={"content-encoding": "gzip"}), "compressed"),
        (Answer(b"x" * (MAX_BODY_BYTES + 1)), "larger than"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_BODY_BYTES + 1)), "larger than"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"), "broke the exchange off"),
        (Answer(raw=b"SSH-2.0-OpenSSH\r\n"), "broke the exchange off"),
        (Answer(raw=b""), "broke the exchange off"),
    ],
)  # fmt: skip
async def test_s37_s40_s41_bad_answers_are_refused(answer: Answer, reason: str) -> None:
    """Each would otherwise be a way to be sent elsewhere, to grow without bound, or to lose good keys."""
    async with key_server(answer) as server:
        with pytest.raises(FetchFailed, match=reason):
            await fetch(server)

    # aiohttp repeats a GET once when the server closes without a byte.
    assert len(server.requests) == (2 if answer.raw == b"" else 1)


async def test_s40_slow_drip_ends_with_the_timeout() -> None:
    """A server that sends a byte now and then must not hold the fetch for ever."""
    async with key_server(Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx", hang=True)) as server:
        with pytest.raises(FetchFailed, match=r"no complete answer within 0\.2 s"):
            await fetch(server, timeout_s=0.2)


async def test_credentials_in_the_uri_are_not_sent() -> None:
    """S37: no credentials go elsewhere, and a uri is no place for them."""
    async with key_server(Answer(b"{}")) as server:
        client = make_client(cluster("keys", server.port))
        await client.get("http://user:secret@issuer.test/certs", client.destination("keys"))
        await client.close()

    assert "secret" not in server.requests[0]
    assert "authorization" not in server.requests[0].lower()


async def test_next_address_is_tried_when_one_cannot_be_connected_to() -> None:
    """One dead machine behind a name must not cost the keys."""
    async with key_server(Answer()) as dead:
        dead_port = dead.port
    async with key_server(Answer(b"{}")) as server:
        client = make_client(cluster("keys", dead_port, server.port))
        found = await client.get("http://issuer.test/certs", client.destination("keys"))
        await client.close()

    assert found.body == b"{}"


@pytest.mark.parametrize(
    ("uri", "cluster_name", "reason"),
    [
        ("file:///etc/passwd", "keys", "not an absolute http or https URI"),
        ("/certs", "keys", "not an absolute http or https URI"),
        ("http://a/", "nope", "does not exist"),
        ("http://a/", "empty", "no address"),
        ("http://a/", "resting", "no endpoint that is in use"),
        ("http://a/", "local", "Unix domain sockets only"),
    ],
)
async def test_request_that_cannot_be_made_says_why(uri: str, cluster_name: str, reason: str) -> None:
    """Each is a mistake in the configuration, or DNS that did not answer yet."""
    settings = cluster("keys")
    endpoints = {
        "keys": [EndpointAddress("127.0.0.1", 1, "")],
        "empty": [],
        "resting": [EndpointAddress("127.0.0.1", 1, "", health="DRAINING")],
        "local": [EndpointAddress("/run/keys.sock", 0, "")],
    }
    client = JwksHttpClient(dict.fromkeys(endpoints, settings), lambda name: endpoints[name])

    with pytest.raises(FetchFailed, match=reason):
        await RemoteRetrieval(RemoteJwksSettings(uri, cluster_name, 1.0), client).retrieve(Validators(), 0.0)
    await client.close()


async def fetch_tls(
    server: KeyServer, context: ssl.SSLContext, sni: str = "", timeout_s: float = 5.0
) -> bytes | None:
    client = make_client(cluster("keys", server.port, tls=UpstreamTlsSettings(context, sni)))
    try:
        remote = RemoteJwksSettings("https://issuer.test/certs", "keys", timeout_s)
        found = await RemoteRetrieval(remote, client).retrieve(Validators(), 0.0)
    finally:
        await client.close()
    return found.body


async def test_s39_tls_is_verified_against_the_clusters_ca_and_the_uris_host(tmp_path: Path) -> None:
    """Whoever can answer for the identity provider can sign any token."""
    certificates = Certificates(tmp_path)
    async with key_server(Answer(b"{}"), certificates.server) as server:
        trusting = ssl.create_default_context(cadata=certificates.ca_pem)
        assert await fetch_tls(server, trusting) == b"{}"
        with pytest.raises(FetchFailed, match="certificate refused"):
            await fetch_tls(server, ssl.create_default_context())
        with pytest.raises(FetchFailed, match="certificate refused"):
            await fetch_tls(server, trusting, sni="other.test")


async def test_tls_to_a_plaintext_server_is_a_failure_not_a_fallback() -> None:
    """Falling back to plaintext would make TLS optional for whoever sits on the way."""
    async with key_server(Answer(b"{}")) as server:
        with pytest.raises(FetchFailed):
            await fetch_tls(server, ssl.create_default_context(), timeout_s=0.2)


class Workers:
    """Stands for all workers: records what they are told."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[JwksMessage] = asyncio.Queue()

    async def update(self) -> JwksUpdate:
        message = await self.messages.get()
        assert isinstance(message, JwksUpdate), message
        return message

    async def failure(self) -> JwksFetchFailed:
        message = await self.messages.get()
        assert isinstance(message, JwksFetchFailed), message
        return message


@asynccontextmanager
async def fetcher(
    settings: ProviderSettings, *ports: int, cooldown_s: float = 0.0
) -> AsyncIterator[tuple[JwksFetcher, Workers]]:
    workers = Workers()
    running = JwksFetcher(
        (settings,), make_client(cluster("keys", *ports)), workers.messages.put_nowait, cooldown_s=cooldown_s
    )
    running.start()
    try:
        yield running, workers
    finally:
        await running.stop()


async def test_keys_reach_the_workers_and_later_workers_too() -> None:
    """A worker that starts an hour later needs the same keys at once."""
    settings, body = provider(), jwks(jwk("a"))
    async with key_server(Answer(body)) as server, fetcher(settings, server.port) as (running, workers):
        update = await workers.update()

        assert update == JwksUpdate(settings.source_id, 1, body.decode())
        assert running.snapshot() == [update]


@pytest.mark.parametrize(
    "bad", [Answer(b"<html>", headers={"content-type": "text/html"}), Answer(b"", status=503)]
)
async def test_s41_bad_answer_never_replaces_good_keys(bad: Answer) -> None:
    """The keys in force stay in force, and the workers that wait are told that nothing came."""
    settings = provider()
    async with (
        key_server(Answer(jwks(jwk("a")))) as server,
        fetcher(settings, server.port) as (running, workers),
    ):
        good = await workers.update()
        server.answer = bad
        assert running.on_refresh_request(settings.source_id) is None
        await workers.failure()

        assert running.snapshot() == [good]


async def test_unchanged_keys_keep_their_epoch_and_are_asked_for_conditionally() -> None:
    """A new epoch throws away all cached verdicts; 304 saves the transfer as well."""
    settings = provider()
    answer = Answer(
        jwks(jwk("a")), headers={"etag": '"v1"', "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    )
    async with key_server(answer) as server, fetcher(settings, server.port) as (running, workers):
        first = await workers.update()
        running.on_refresh_request(settings.source_id)
        assert await workers.update() == first
        server.answer = Answer(b"", status=304)
        running.on_refresh_request(settings.source_id)
        assert await workers.update() == first

    assert 'if-none-match: "v1"' in server.requests[1].lower()
    assert "if-modified-since: mon, 01 jan 2024 00:00:00 gmt" in server.requests[1].lower()


async def test_rotated_keys_get_a_new_epoch() -> None:
    """The workers replace what they hold only for a higher epoch."""
    settings = provider()
    async with (
        key_server(Answer(jwks(jwk("a")))) as server,
        fetcher(settings, server.port) as (running, workers),
    ):
        await workers.update()
        server.answer = Answer(jwks(jwk("b")))
        running.on_refresh_request(settings.source_id)
        update = await workers.update()

        assert update.epoch == 2
        assert '"b"' in update.jwks


async def test_s36_requests_within_the_cool_down_are_answered_without_a_fetch() -> None:
    """Every request gets an answer, the identity provider gets one question."""
    settings = provider()
    async with (
        key_server(Answer(jwks(jwk("a")))) as server,
        fetcher(settings, server.port, cooldown_s=3600) as (running, workers),
    ):
        first = await workers.update()
        assert running.on_refresh_request(settings.source_id) is None
        await workers.update()
        for _ in range(1000):
            assert running.on_refresh_request(settings.source_id) == dataclasses.replace(first, fetched=False)

    assert len(server.requests) == 2


async def test_unknown_source_is_answered() -> None:
    """A worker must never wait for an answer that nobody will give."""
    async with key_server(Answer(jwks(jwk("a")))) as server, fetcher(provider(), server.port) as (running, _):
        assert isinstance(running.on_refresh_request("nobody"), JwksFetchFailed)


async def test_s42_keys_that_cannot_be_refreshed_are_withdrawn() -> None:
    """An empty set with a higher epoch: fail closed."""
    settings = provider(cache_duration_s=0.0, max_stale_s=0.0)
    async with (
        key_server(Answer(jwks(jwk("a")))) as server,
        fetcher(settings, server.port) as (running, workers),
    ):
        await workers.update()
        server.answer = Answer(status=500)
        message = await workers.messages.get()
        while isinstance(message, JwksFetchFailed):
            message = await workers.messages.get()

        assert message == JwksUpdate(settings.source_id, 2, "")
        assert running.snapshot() == []


async def test_s43_hanging_source_does_not_hold_up_another() -> None:
    """Each source has its own task and its own timeout."""
    async with key_server(Answer(raw=b"", hang=True)) as hanging, key_server(Answer(jwks(jwk("a")))) as quick:
        settings = (provider(name="slow", cluster="slow"), provider(name="quick", cluster="quick"))
        clusters = {"slow": cluster("slow", hanging.port), "quick": cluster("quick", quick.port)}
        ports = {"slow": hanging.port, "quick": quick.port}
        client = JwksHttpClient(clusters, lambda name: [EndpointAddress("127.0.0.1", ports[name], "")])
        workers = Workers()
        running = JwksFetcher(settings, client, workers.messages.put_nowait)
        running.start()
        await hanging.requested.wait()

        assert (await workers.update()).source_id == settings[1].source_id
        await running.stop()


async def test_first_keys_are_fetched_as_soon_as_the_cluster_has_addresses() -> None:
    """DNS that answers late should not cost the back-off as well."""
    settings = provider()
    endpoints: list[EndpointAddress] = []
    async with key_server(Answer(jwks(jwk("a")))) as server:
        workers = Workers()
        client = JwksHttpClient({"keys": cluster("keys", server.port)}, lambda _name: endpoints)
        running = JwksFetcher((settings,), client, workers.messages.put_nowait)
        running.start()
        assert "no address" in (await workers.failure()).reason
        endpoints.append(EndpointAddress("127.0.0.1", server.port, ""))
        running.on_endpoints_changed("keys")

        assert (await workers.update()).epoch == 1
        await running.stop()


async def test_s53_logs_tell_the_story_without_key_material(caplog: pytest.LogCaptureFixture) -> None:
    """An operator must see provider, reason and how long the keys last; nobody may see the keys."""
    caplog.set_level(logging.DEBUG, logger="fastproxy")
    key = jwk("key-1")
    settings = provider("https://user:pw@issuer.test/certs?secret=x")
    async with key_server(Answer(jwks(key))) as server, fetcher(settings, server.port) as (running, workers):
        await workers.update()
        server.answer = Answer(status=500)
        running.on_refresh_request(settings.source_id)
        await workers.failure()

    assert "provider 'p': keys changed (epoch 1, 1 keys: key-1), fresh for 300 s" in caplog.text
    assert (
        "fetching keys from https://issuer.test/certs failed: status 500; the keys held are fresh"
        in caplog.text
    )
    assert "the uri says https, but cluster 'keys' has no TLS" in caplog.text
    assert not any(secret in caplog.text for secret in (key["x"], "pw@", "secret=x"))


async def test_statistics_are_per_provider() -> None:
    """Dashboards alert on failed fetches; the label is the operator's name for the provider (S54)."""
    settings = provider()
    async with (
        key_server(Answer(jwks(jwk("a")))) as server,
        fetcher(settings, server.port) as (running, workers),
    ):
        await workers.update()
        sink = StatsSink()
        running.write_stats(sink)

    assert sink.counters == {
        "jwks.p.fetch_success": 1,
        "jwks.p.fetch_failed": 0,
        "jwks.p.fetch_not_modified": 0,
    }
    assert sink.gauges == {
        "jwks.p.epoch": 1,
        "jwks.p.keys": 1,
        "jwks.p.stale": 0,
        "jwks.p.from_snapshot": 0,
    }
