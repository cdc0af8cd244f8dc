"""The key store as a whole: all kinds of sources beside each other, private CAs, and what is shown of them."""

import asyncio
import dataclasses
import json
import re
from pathlib import Path

from fastproxy import clock
from fastproxy.config import load_config
from fastproxy.control.admin.pages import jwks_json
from fastproxy.control.jwks_http import JwksHttpClient
from fastproxy.control.jwks_source import JwksMessage
from fastproxy.control.key_store import KeyStore
from fastproxy.filters.jwt_authn.settings import DiscoveryJwksSettings, ProviderSettings
from fastproxy.ipc.messages import EndpointAddress, JwksFetchFailed, JwksUpdate
from fastproxy.stats import StatsSink
from tests.config.support import TLS, jwt_filter, minimal
from tests.control.support import (
    Answer,
    Certificates,
    ask,
    behaviour,
    cluster,
    jwk,
    jwks,
    key_server,
    listener,
    local_provider,
    provider,
    proxy_settings,
    until,
)
from tests.control.test_plane import serving


class View:
    """As much of the control plane as the page needs."""

    def __init__(self, store: KeyStore) -> None:
        self.jwks = lambda: store.report(clock.monotonic())


def shown(store: KeyStore) -> dict[str, dict[str, object]]:
    page = jwks_json(View(store))  # type: ignore[arg-type]  # it asks for nothing else
    return {entry["provider"]: entry for entry in page["providers"]}


async def test_every_kind_of_source_is_shown_with_what_concerns_it(tmp_path: Path) -> None:
    """An operator sees at one glance where keys come from, how old they are and what is wrong."""
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(jwk("f")))
    messages: asyncio.Queue[JwksMessage] = asyncio.Queue()
    issuer = "https://idp.test"
    async with key_server(Answer(jwks(jwk("r")), headers={"cache-control": "max-age=60"})) as server:
        settings = (
            provider(name="remote"),
            ProviderSettings("found", issuer, (), DiscoveryJwksSettings(issuer, "empty")),
            local_provider(file.read_bytes(), "file", str(file)),
            local_provider(jwks(jwk("i")), "inline"),
        )
        endpoints = {"keys": [EndpointAddress("127.0.0.1", server.port, "")], "empty": []}
        client = JwksHttpClient(
            {name: cluster(name) for name in endpoints}, lambda name: endpoints.get(name, [])
        )
        store = KeyStore(settings, client, messages.put_nowait)
        store.start()
        await messages.get()
        await messages.get()
        found = shown(store)
        sink = StatsSink()
        store.write_stats(sink)
        await store.stop()

    assert {name: entry["kind"] for name, entry in found.items()} == {
        "remote": "remote", "found": "discovery", "file": "file", "inline": "configuration",
    }  # fmt: skip
    remote, discovered, local, inline = (found[name] for name in ("remote", "found", "file", "inline"))
    assert (remote["state"], remote["from_snapshot"], remote["last_error"]) == ("fresh", False, None)
    lifetime = [re.sub(r".*T|Z", "", str(remote[name])) for name in ("fetched_at", "expires_at")]
    seconds = [
        sum(int(part) * 60**i for i, part in enumerate(reversed(text.split(":")))) for text in lifetime
    ]
    assert (seconds[1] - seconds[0]) % 86400 in (59, 60, 61)
    assert discovered["source"] == f"{issuer}/.well-known/openid-configuration"
    assert discovered["state"] == "no keys"
    assert "has no address" in str(discovered["last_error"])
    assert (local["source"], local["epoch"], local["state"]) == (f"file {file}", 1, "fresh")
    assert local["fetched_at"] is not None
    assert "epoch" not in inline
    assert sink.counters["jwks.file.reload_success"] == 0
    assert sink.counters["jwks.remote.fetch_success"] == 1


async def test_worker_that_starts_gets_file_keys_and_fetched_keys(tmp_path: Path) -> None:
    """It reads no file itself, so that all workers have the same."""
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(jwk("f")))
    settings = local_provider(file.read_bytes(), "file", str(file))
    store = KeyStore((settings,), JwksHttpClient({}, lambda _: ()), lambda _: None)
    file.write_text("broken by now")

    (update,) = store.snapshot()
    assert (update.source_id, update.epoch) == (settings.source_id, 1)
    assert '"f"' in update.jwks
    assert store.on_refresh_request(settings.source_id) == update
    assert isinstance(store.on_refresh_request("nobody"), JwksFetchFailed)


async def test_private_ca_comes_with_the_clusters_tls_settings(tmp_path: Path) -> None:
    """`trusted_ca` of the cluster is believed for its key fetches, and nothing else is (S39)."""
    certificates = Certificates(tmp_path)
    (tmp_path / "ca.pem").write_text(certificates.ca_pem)
    async with key_server(Answer(jwks(jwk("a"))), certificates.server) as server:
        for trusted_ca, sni, expected in (
            (f"trusted_ca: {{filename: '{tmp_path / 'ca.pem'}'}}", "issuer.test", JwksUpdate),
            (f"trusted_ca: {{filename: '{tmp_path / 'ca.pem'}'}}", "other.test", JwksFetchFailed),
            ("", "issuer.test", JwksFetchFailed),
        ):
            config = minimal(
                clusters=f"""
- name: backend
  load_assignment:
    cluster_name: backend
    endpoints:
    - lb_endpoints:
      - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {server.port}}}}}}}
  transport_socket:
    name: tls
    typed_config:
      "@type": {TLS}
      sni: {sni}
      common_tls_context: {{validation_context: {{{trusted_ca}}}}}
""",
                filters=jwt_filter(
                    "p: {remote_jwks: {http_uri: {uri: 'https://issuer.test/c', cluster: backend, timeout: 5s}}}"
                ),
            )
            settings = load_config(None, config_yaml=config).settings
            messages: asyncio.Queue[JwksMessage] = asyncio.Queue()
            endpoint = EndpointAddress("127.0.0.1", server.port, "")
            client = JwksHttpClient({one.name: one for one in settings.clusters}, lambda _, e=endpoint: [e])  # type: ignore[misc]
            store = KeyStore(settings.providers(), client, messages.put_nowait)
            store.start()
            message = await messages.get()
            await store.stop()

            assert isinstance(message, expected), message


async def test_changed_file_reaches_every_worker_and_their_successors(tmp_path: Path) -> None:
    """Through the real channel: all switch, and a worker that is replaced has the new keys, too."""
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(jwk("old")))
    local = local_provider(file.read_bytes(), "file", str(file))
    settings = proxy_settings(listener(providers=[local]), admin=True)
    async with serving(settings, tmp_path, concurrency=2, restart_backoff_s=(0.01, 0.01)) as running:

        async def epochs() -> set[tuple[int, int]]:
            answers = [await ask(running.port) for _ in range(20)]
            return {(entry["worker"], entry["jwks"][local.source_id][0]) for entry in answers}

        async def all_have(epoch: int) -> bool:
            return {found for _, found in await epochs()} == {epoch}

        assert await all_have(1)
        file.write_bytes(jwks(jwk("new")))
        (source,) = running.plane.generation.keys.watcher.sources.values()
        await until(lambda: source.epoch == 2)
        while not await all_have(2):
            pass
        await ask(running.port, "die")
        assert await all_have(2)
        page = json.loads((await running.get("/jwks"))[1])

    assert page["providers"][0]["kind"] == "file"
    assert page["providers"][0]["keys"][0]["kid"] == "new"


async def test_async_fetch_holds_the_listeners_until_the_first_fetch_has_ended(tmp_path: Path) -> None:
    """`fast_listener: false`: the first request finds keys, or a failure that is known already."""
    async with key_server(Answer(raw=b"", hang=True)) as server:
        base = provider(timeout_s=0.3)
        waiting = dataclasses.replace(base, jwks=dataclasses.replace(base.jwks, wait_for_first_fetch=True))  # type: ignore[arg-type]
        settings = proxy_settings(
            listener(providers=[waiting]), clusters=(cluster("keys", server.port),), admin=True
        )
        async with serving(settings, tmp_path, bootstrap=behaviour(), wait=False) as running:
            await server.requested.wait()
            assert (await running.get("/ready"))[0] == 503
            await until(lambda: running.plane.overview.state.name == "LIVE")
            (source,) = running.plane.generation.keys.fetcher.sources.values()
            assert source.fetches_failed >= 1
