"""What one configuration passes on to the next in a worker, with requests on real sockets."""

import asyncio
import gc
import socket
import weakref
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fastproxy.config import load_config
from fastproxy.ipc.messages import ClusterEndpoints, EndpointAddress, JwksUpdate
from fastproxy.listener.manager import HttpConnectionManager
from fastproxy.runtime import AccessLogFiles, Runtime
from fastproxy.stats import StatsSink
from tests.filters.jwt_authn.support import JWKS
from tests.jwt.support import ISSUER, claims, sign

TOKEN = sign("ES256", claims(iat=None, exp=4_000_000_000))
FILE = """
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {path: /direct}
                direct_response: {status: 200, body: {inline_string: ANSWER}}
              - match: {prefix: /}
                route: {cluster: service}
          http_filters:
          - name: jwt
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                p:
                  issuer: ISSUER
                  audiences: [AUDIENCE]
                  remote_jwks:
                    http_uri: {uri: http://issuer.example/keys, cluster: service, timeout: 5s}
              rules:
              - match: {prefix: /guarded}
                requires: {provider_name: p}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: service
    type: STRICT_DNS
    connect_timeout: TIMEOUT
    load_assignment:
      cluster_name: service
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: service.example, port_value: 80}}}
"""


class World:
    """Runtimes on one listening socket."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.port: int = self.sock.getsockname()[1]
        self.log_files = AccessLogFiles(asyncio.get_running_loop())
        self.asked: list[str] = []

    def build(
        self,
        answer: str = "one",
        *,
        previous: Runtime | None = None,
        kept: Iterable[str] = (),
        timeout: str = "1s",
        audience: str = "api",
        change: tuple[str, str] = ("", ""),
    ) -> Runtime:
        text = FILE.replace("ANSWER", answer).replace("ISSUER", ISSUER).replace("TIMEOUT", timeout)
        path = self.directory / "config.yaml"
        path.write_text(text.replace("AUDIENCE", audience).replace(*change))
        settings = load_config(path).settings
        generation = 1 if previous is None else previous.generation + 1
        return Runtime(
            generation,
            settings,
            log_files=self.log_files,
            ask=self.asked.append,
            previous=previous,
            kept_sources=tuple(kept),
        )

    @staticmethod
    def is_busy(runtime: Runtime) -> bool:
        return not runtime.is_idle

    async def serve(self, runtime: Runtime) -> Runtime:
        await runtime.listeners[0].listen(self.sock.dup())
        return runtime

    async def replace(self, old: Runtime, new: Runtime, *, idle_grace_s: float = 0.0) -> Runtime:
        await self.serve(new)
        old.retire(new, idle_grace_s=idle_grace_s)
        return new


@asynccontextmanager
async def world(directory: Path) -> AsyncIterator[World]:
    made = World(directory)
    try:
        yield made
    finally:
        made.log_files.retain(())
        made.sock.close()


class Client:
    """A downstream that keeps its connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, path: str, *lines: str) -> None:
        self.writer.write("\r\n".join((f"GET {path} HTTP/1.1", "host: a", *lines, "", "")).encode())

    async def receive(self) -> tuple[bytes, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head, await self.reader.readexactly(length)

    async def get(self, path: str, *lines: str) -> tuple[bytes, bytes]:
        self.send(path, *lines)
        return await self.receive()

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def numbers(*runtimes: tuple[Runtime, Runtime | None]) -> StatsSink:
    sink = StatsSink()
    for runtime, successor in runtimes:
        runtime.write_stats(sink, successor)
    return sink


async def test_a_keep_alive_connection_is_served_by_the_new_runtime_from_its_next_request(
    tmp_path: Path,
) -> None:
    """Clients keep connections for hours; a policy that reached new ones alone would be half a policy (S58)."""
    async with world(tmp_path) as here:
        old = await here.serve(here.build("one"))
        client = await Client.open(here.port)
        assert (await client.get("/direct"))[1] == b"one"
        new = await here.replace(old, here.build("two", previous=old))
        assert old.is_idle
        head, body = await client.get("/direct")
        assert body == b"two"
        assert b"connection: close" not in head.lower()
        other = await Client.open(here.port)
        assert (await other.get("/direct"))[1] == b"two"

        sink = numbers((old, new), (new, None))
        assert sink.counters["http.ingress.downstream_cx_total"] == 2
        assert sink.counters["http.ingress.downstream_rq_total"] == 3
        assert sink.gauges["http.ingress.downstream_cx_active"] == 2
        await client.close()
        await other.close()
        await new.drain(1.0, idle_grace_s=0.0)


async def test_a_request_in_flight_ends_by_the_policy_it_began_with(tmp_path: Path) -> None:
    """No request sees half a policy: the one that waits for keys is judged by its own rules, the next by the new."""
    async with world(tmp_path) as here:
        old = await here.serve(here.build(audience="api"))
        client = await Client.open(here.port)
        client.send("/guarded", f"authorization: Bearer {TOKEN.decode()}")
        while not here.asked:
            await asyncio.sleep(0)
        new = await here.replace(old, here.build(audience="other", previous=old))
        assert here.is_busy(old)
        for runtime in (old, new):
            runtime.on_keys(JwksUpdate(here.asked[0], 1, JWKS.decode()))
        head, _ = await client.receive()
        assert head.startswith(b"HTTP/1.1 503"), "allowed by the old rules, and there is no endpoint"
        head, body = await client.get("/guarded", f"authorization: Bearer {TOKEN.decode()}")
        assert head.startswith(b"HTTP/1.1 403"), "another audience is asked for now"
        assert body == b"Audiences in Jwt are not allowed"
        assert not here.is_busy(old)
        await client.close()
        await new.drain(1.0, idle_grace_s=0.0)


async def test_clusters_with_equal_settings_are_kept_and_others_are_not(tmp_path: Path) -> None:
    """Connections, endpoints and counters would otherwise be lost with every change of a route."""
    async with world(tmp_path) as here:
        first = here.build()
        first.on_endpoints(ClusterEndpoints("service", [EndpointAddress("127.0.0.1", 1, "")]))
        second = here.build("two", previous=first)
        third = here.build("two", previous=second, timeout="2s")

        assert second.clusters["service"] is first.clusters["service"]
        assert third.clusters["service"] is not first.clusters["service"]
        assert third.clusters["service"].endpoints == ()


async def test_s29_verdicts_pass_on_only_to_an_equal_provider_of_a_kept_source(tmp_path: Path) -> None:
    """A cached verdict was made by a policy and by keys; under others the token is judged anew."""
    async with world(tmp_path) as here:
        first = here.build()
        ((source, (provider,)),) = first.providers.items()
        first.on_keys(JwksUpdate(source, 3, JWKS.decode()))
        provider.verifier.verify(TOKEN, 1_700_000_000)
        assert provider.verifier.cached_tokens == 1

        same = here.build("two", previous=first, kept=[source]).providers[source][0]
        other_policy = here.build("two", previous=first, kept=[source], audience="x").providers[source][0]
        other_keys = here.build("two", previous=first).providers[source][0]

        assert same.verifier.cached_tokens == 1
        assert same.verifier.keys is provider.verifier.keys
        assert other_policy.verifier.cached_tokens == 0
        assert other_policy.verifier.keys is None
        assert other_keys.verifier.cached_tokens == 0


async def test_s58_a_key_that_goes_after_a_reload_takes_its_verdicts_from_both_runtimes(
    tmp_path: Path,
) -> None:
    """Verdicts are shared, so neither may bring back what the other has dropped."""
    async with world(tmp_path) as here:
        first = here.build()
        ((source, (provider,)),) = first.providers.items()
        first.on_keys(JwksUpdate(source, 3, JWKS.decode()))
        provider.verifier.verify(TOKEN, 1_700_000_000)
        second = here.build("two", previous=first, kept=[source])
        for runtime in (first, second):
            runtime.on_keys(JwksUpdate(source, 4, ""))

        assert provider.verifier.cached_tokens == 0
        assert second.providers[source][0].verifier.cached_tokens == 0


@pytest.mark.parametrize("grace_s", [0.0, 30.0])
async def test_connections_of_a_removed_listener_end_gently(tmp_path: Path, grace_s: float) -> None:
    """A request may be on its way on an idle connection: within the grace it is answered, as the last one."""
    async with world(tmp_path) as here:
        old = await here.serve(here.build("one"))
        client = await Client.open(here.port)
        assert (await client.get("/direct"))[1] == b"one"
        new = here.build("two", previous=old, change=("name: main", "name: other"))
        old.retire(new, idle_grace_s=grace_s)
        ending = asyncio.get_running_loop().create_task(old.end_orphans(30.0))
        if grace_s:
            head, body = await client.get("/direct")
            assert body == b"one"
            assert b"connection: close" in head.lower()
        assert await client.reader.read() == b""
        await client.close()
        await ending
        assert old.is_idle
        here.sock.close()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", here.port)) != 0


def living_managers() -> set[object]:
    return {one for one in gc.get_objects() if isinstance(one, HttpConnectionManager)}


async def test_a_runtime_that_was_replaced_can_be_freed(tmp_path: Path) -> None:
    """Otherwise a proxy that is reloaded by a controller every minute grows for ever."""
    earlier = living_managers()
    async with world(tmp_path) as here:
        current = await here.serve(here.build("g0"))
        client = await Client.open(here.port)
        await client.get("/direct")
        gone = []
        for number in range(1, 6):
            ((source, _),) = current.providers.items()
            new = here.build(f"g{number}", previous=current, kept=[source])
            await here.replace(current, new)
            gone.append(weakref.ref(current))
            current = new
            assert (await client.get("/direct"))[1] == f"g{number}".encode()
        del new
        # Servers that were closed leave the event loop with its next turns.
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()

        assert [one() for one in gone] == [None] * 5
        assert living_managers() - earlier == {current.listeners[0].chains[0]}
        await client.close()
        await current.drain(1.0, idle_grace_s=0.0)
