"""OpenID Connect Discovery: what metadata is believed, where it may lead, and when it is read again."""

import asyncio
import json
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest

from fastproxy.control.discovery import LookupFailed
from fastproxy.control.jwks_fetcher import JwksFetcher
from fastproxy.control.jwks_http import (
    NO_VALIDATORS,
    Destination,
    Fetched,
    FetchFailed,
    JwksHttpClient,
    Validators,
)
from fastproxy.control.jwks_retrieval import DiscoveryRetrieval
from fastproxy.control.oidc import BadMetadata, is_public, is_same_origin, metadata_uri, parse_metadata
from fastproxy.filters.jwt_authn.settings import (
    DiscoveryJwksSettings,
    FetchHeaderSettings,
    ProviderSettings,
)
from fastproxy.ipc.messages import EndpointAddress, JwksFetchFailed, JwksUpdate
from tests.control.support import Answer, KeyServer, cluster, jwk, jwks, key_server

ISSUER = "https://idp.test/realms/a"


def metadata(issuer: str = ISSUER, jwks_uri: object = "https://idp.test/certs", **more: object) -> bytes:
    return json.dumps({"issuer": issuer, "jwks_uri": jwks_uri, **more}).encode()


def test_metadata_lies_below_the_issuer() -> None:
    """Section 4.1: below the issuer's own path, and a final slash is not doubled."""
    assert metadata_uri("https://a.test") == "https://a.test/.well-known/openid-configuration"
    assert metadata_uri("https://a.test/x/") == "https://a.test/x/.well-known/openid-configuration"


def test_good_metadata_gives_the_place_of_the_keys() -> None:
    """Other members are of no interest."""
    assert parse_metadata(metadata(scopes_supported=["openid"]), ISSUER) == "https://idp.test/certs"


@pytest.mark.parametrize(
    "issuer",
    [ISSUER + "/", ISSUER.upper(), "https://evil.test", "https://idp.test/realms/a?", "", ISSUER + "\u0430"],
)
def test_s38_another_issuer_is_refused(issuer: str) -> None:
    """Whoever can answer for one realm must not be able to speak for another."""
    with pytest.raises(BadMetadata, match="another issuer"):
        parse_metadata(metadata(issuer), ISSUER)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"issuer":"https://evil.test","issuer":"https://idp.test/realms/a"}', "the metadata is"),
        (b'{"issuer":1}', "names no issuer"),
        (metadata(jwks_uri=None), "no jwks_uri"),
        (metadata(jwks_uri=["https://idp.test/"]), "no jwks_uri"),
        (metadata(jwks_uri="/certs"), "no absolute http"),
        (metadata(jwks_uri="file:///etc/passwd"), "no absolute http"),
        (metadata(jwks_uri="gopher://idp.test/"), "no absolute http"),
        (metadata(jwks_uri="https://idp.test:99999/"), "no absolute http"),
        (metadata(jwks_uri="https://idp.test:0/"), "no absolute http"),
        (metadata(jwks_uri="https://[::1/"), "no absolute http"),
        (metadata(jwks_uri="https://user:pw@idp.test/"), "credentials"),
        (metadata(jwks_uri="https://idp.test/#x"), "fragment"),
        (metadata(jwks_uri="https://idp.test/\r\nx: y"), "no URL"),
        (metadata(jwks_uri="https://idp.test\\@evil.test/"), "no URL"),
        (metadata(jwks_uri="https://idp.test/" + "a" * 3000), "no URL"),
        (metadata(jwks_uri="http://idp.test/certs"), "not https"),
    ],
)
def test_s38_metadata_that_must_not_be_followed_is_refused(body: bytes, reason: str) -> None:
    """Each would lead a request of ours, or the trust in all tokens, somewhere else."""
    with pytest.raises(BadMetadata, match=reason):
        parse_metadata(body, ISSUER)


def test_plain_http_is_allowed_only_for_a_plain_http_issuer() -> None:
    """The operator wrote http; the keys cannot be less protected than the metadata is."""
    issuer = "http://idp.test"

    assert parse_metadata(metadata(issuer, "http://idp.test/certs"), issuer) == "http://idp.test/certs"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1::1", True),
        ("127.0.0.1", False), ("127.9.9.9", False), ("0.0.0.0", False), ("10.0.0.1", False),
        ("172.16.0.1", False), ("192.168.1.1", False), ("169.254.169.254", False), ("100.64.0.1", False),
        ("224.0.0.1", False), ("255.255.255.255", False), ("192.0.2.1", False),
        ("::1", False), ("::", False), ("fe80::1", False), ("fe80::1%eth0", False),
        ("fd00::1", False), ("ff02::1", False),
        ("::ffff:127.0.0.1", False), ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False), ("64:ff9b::a9fe:a9fe", False), ("64:ff9b::5db8:d822", True),
        ("2002:7f00:1::", False),
        ("localhost", False), ("", False),
    ],
)  # fmt: skip
def test_s38_addresses_that_are_not_public_are_known_in_all_their_forms(address: str, public: bool) -> None:
    """Mapped and translated forms reach the same machine."""
    assert is_public(address) is public


def test_origins_are_scheme_host_and_port() -> None:
    """Request headers with credentials go to the issuer's own origin only (S37)."""
    assert is_same_origin("https://idp.test/a", "https://idp.test:443/b")
    assert not is_same_origin("https://idp.test/a", "https://idp.test:8443/a")
    assert not is_same_origin("https://idp.test/a", "http://idp.test/a")
    assert not is_same_origin("https://idp.test/a", "https://evil.test/a")


class Client(JwksHttpClient):
    """Answers by URI and records where each request would have gone."""

    def __init__(self, answers: dict[str, bytes | FetchFailed]) -> None:
        super().__init__({}, lambda _: ())
        self.answers = answers
        self.requests: list[tuple[str, list[str], bool, dict[str, str]]] = []

    async def get(
        self, uri: str, destination: Destination, known: Validators = NO_VALIDATORS, headers: Any = None
    ) -> Fetched:
        addresses = [f"{entry.host}:{entry.port}" for entry in destination.addresses]
        self.requests.append((uri, addresses, destination.tls is not None, dict(headers or {})))
        answer = self.answers.get(uri, FetchFailed("status 404"))
        if isinstance(answer, FetchFailed):
            raise answer
        return Fetched(answer, Validators(uri=uri), None)


def names(**addresses: list[str]) -> Callable[[str, socket.AddressFamily], Any]:
    async def lookup(name: str, family: socket.AddressFamily) -> list[str]:
        if name not in table:
            raise LookupFailed("no such server")
        return [a for a in table[name] if (":" in a) == (family is socket.AF_INET6)]

    table = {name.replace("_", "."): found for name, found in addresses.items()}
    return lookup


WELL_KNOWN = metadata_uri(ISSUER)
PUBLIC = names(idp_test=["93.184.216.34"], keys_test=["93.184.216.35", "10.0.0.7"], inner_test=["10.0.0.7"])


def make(client: JwksHttpClient, lookup: Any = PUBLIC, **more: Any) -> DiscoveryRetrieval:
    return DiscoveryRetrieval(DiscoveryJwksSettings(ISSUER, **more), client, lookup, "p")


async def test_keys_are_fetched_from_where_the_metadata_says() -> None:
    """With TLS, at the host's own address, and without asking again every time."""
    client = Client({WELL_KNOWN: metadata(), "https://idp.test/certs": b"{}"})
    retrieval = make(client)
    assert retrieval.uri == WELL_KNOWN

    assert (await retrieval.retrieve(Validators(), 0.0)).body == b"{}"
    await retrieval.retrieve(Validators(), 60.0)

    at = ["93.184.216.34:443"]
    assert [request[:3] for request in client.requests] == [
        (WELL_KNOWN, at, True), ("https://idp.test/certs", at, True), ("https://idp.test/certs", at, True),
    ]  # fmt: skip
    assert retrieval.uri == "https://idp.test/certs"


async def test_s38_private_addresses_behind_jwks_uri_are_not_connected_to() -> None:
    """The check is on what is connected to, after DNS: a name proves nothing."""
    client = Client({WELL_KNOWN: metadata(jwks_uri="https://inner.test/certs")})

    with pytest.raises(FetchFailed, match="not public"):
        await make(client).retrieve(Validators(), 0.0)
    assert [request[0] for request in client.requests] == [WELL_KNOWN]


async def test_s38_of_mixed_answers_only_the_public_addresses_are_used() -> None:
    """A name server of the attacker's may mix them."""
    client = Client({WELL_KNOWN: metadata(jwks_uri="https://keys.test/c"), "https://keys.test/c": b"{}"})
    await make(client).retrieve(Validators(), 0.0)

    assert client.requests[1][1] == ["93.184.216.35:443"]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]"])
async def test_s38_address_literals_are_checked_too(host: str) -> None:
    """The metadata service of a cloud is one of them."""
    client = Client({WELL_KNOWN: metadata(jwks_uri=f"https://{host}/certs")})

    with pytest.raises(FetchFailed, match="not public"):
        await make(client).retrieve(Validators(), 0.0)


async def test_private_networks_can_be_allowed() -> None:
    """An identity provider of the company's own."""
    uri = "https://inner.test/certs"
    client = Client({WELL_KNOWN: metadata(jwks_uri=uri), uri: b"{}"})

    assert (await make(client, allow_private_networks=True).retrieve(Validators(), 0.0)).body == b"{}"


async def test_private_address_is_fine_where_the_issuer_itself_lives() -> None:
    """The operator named that host; a second name for it adds nothing."""
    uri = "https://inner.test/certs"
    client = Client({WELL_KNOWN: metadata(jwks_uri=uri), uri: b"{}"})
    lookup = names(idp_test=["10.0.0.7"], inner_test=["10.0.0.7", "10.0.0.8"])
    await make(client, lookup).retrieve(Validators(), 0.0)

    assert client.requests[1][1] == ["10.0.0.7:443"]


async def test_failed_fetch_leads_to_a_new_discovery() -> None:
    """A migration moves the keys; the old place then fails."""
    client = Client({WELL_KNOWN: metadata(), "https://idp.test/certs": b"{}"})
    retrieval = make(client)
    await retrieval.retrieve(Validators(), 0.0)
    client.answers = {WELL_KNOWN: metadata(jwks_uri="https://idp.test/new"), "https://idp.test/new": b"{}"}
    with pytest.raises(FetchFailed):
        await retrieval.retrieve(Validators(), 1.0)
    await retrieval.retrieve(Validators(), 2.0)

    assert retrieval.uri == "https://idp.test/new"


async def test_metadata_is_read_again_once_a_day() -> None:
    """The old place may go on answering with old keys."""
    client = Client({WELL_KNOWN: metadata(), "https://idp.test/certs": b"{}", "https://idp.test/new": b"{}"})
    retrieval = make(client)
    await retrieval.retrieve(Validators(), 0.0)
    client.answers[WELL_KNOWN] = metadata(jwks_uri="https://idp.test/new")
    await retrieval.retrieve(Validators(), 86399.0)
    assert retrieval.uri == "https://idp.test/certs"
    await retrieval.retrieve(Validators(), 86400.0)

    assert retrieval.uri == "https://idp.test/new"


@pytest.mark.parametrize("bad", [FetchFailed("status 500"), metadata("https://evil.test"), b"<html>"])
async def test_s41_failing_rediscovery_keeps_the_known_place(
    bad: bytes | FetchFailed, caplog: pytest.LogCaptureFixture
) -> None:
    """The keys are still where they were, and they work."""
    client = Client({WELL_KNOWN: metadata(), "https://idp.test/certs": b"{}"})
    retrieval = make(client)
    await retrieval.retrieve(Validators(), 0.0)
    client.answers[WELL_KNOWN] = bad

    assert (await retrieval.retrieve(Validators(), 90000.0)).body == b"{}"
    assert "the keys stay where they were" in caplog.text


async def test_s37_credentials_go_to_the_issuers_origin_only() -> None:
    """The metadata must not decide who gets them."""
    client = Client({WELL_KNOWN: metadata(jwks_uri="https://keys.test/c"), "https://keys.test/c": b"{}"})
    header = FetchHeaderSettings("authorization", "Bearer secret")
    await make(client, request_headers=(header,)).retrieve(Validators(), 0.0)

    assert client.requests[0][3] == {"authorization": "Bearer secret"}
    assert client.requests[1][3] == {}


async def test_issuer_that_cannot_be_resolved_is_a_failed_fetch() -> None:
    """With the name in the message."""
    with pytest.raises(FetchFailed, match=r"discovery at .*: idp\.test cannot be resolved: no such server"):
        await make(Client({}), names()).retrieve(Validators(), 0.0)


def discovered(server: KeyServer, **more: Any) -> ProviderSettings:
    issuer = f"http://localhost:{server.port}/realm"
    server.answers = {
        "/realm/.well-known/openid-configuration": Answer(
            metadata(issuer, f"http://localhost:{server.port}/keys")
        ),
        "/keys": Answer(jwks(jwk("a")), headers={"etag": '"1"'}),
    }
    return ProviderSettings("p", issuer, (), DiscoveryJwksSettings(issuer, **more))


@pytest.mark.parametrize("cluster_name", ["", "keys"])
async def test_discovery_over_real_sockets(cluster_name: str, caplog: pytest.LogCaptureFixture) -> None:
    """By DNS, and through a named cluster whatever the issuer's host resolves to."""
    caplog.set_level(logging.INFO, logger="fastproxy")
    messages: asyncio.Queue[JwksUpdate | JwksFetchFailed] = asyncio.Queue()
    async with key_server(Answer(b"", status=404)) as server:
        settings = discovered(server, cluster=cluster_name)
        client = JwksHttpClient(
            {"keys": cluster("keys", server.port)}, lambda _: [EndpointAddress("127.0.0.1", server.port, "")]
        )
        lookup = names() if cluster_name else names(localhost=["127.0.0.1"])
        running = JwksFetcher((settings,), client, messages.put_nowait, cooldown_s=0.0, lookup=lookup)
        running.start()
        update = await messages.get()
        assert isinstance(update, JwksUpdate), update
        server.answers["/keys"] = Answer(b"", status=304)
        running.on_refresh_request(settings.source_id)
        assert await messages.get() == update
        await running.stop()

    assert [request.split(" ")[1] for request in server.requests] == [
        "/realm/.well-known/openid-configuration", "/keys", "/keys",
    ]  # fmt: skip
    assert '\r\nif-none-match: "1"\r\n' in server.requests[2].lower()
    assert f"discovery found the keys at http://localhost:{server.port}/keys" in caplog.text


async def test_garbage_at_jwks_uri_leads_to_a_new_discovery() -> None:
    """A parked domain answers 200, too."""
    messages: asyncio.Queue[JwksUpdate | JwksFetchFailed] = asyncio.Queue()
    async with key_server(Answer(b"", status=404)) as server:
        settings = discovered(server, cluster="keys")
        good = server.answers["/keys"]
        server.answers["/keys"] = Answer(b"<html>")
        client = JwksHttpClient(
            {"keys": cluster("keys", server.port)}, lambda _: [EndpointAddress("127.0.0.1", server.port, "")]
        )
        running = JwksFetcher((settings,), client, messages.put_nowait, cooldown_s=0.0)
        running.start()
        assert isinstance(await messages.get(), JwksFetchFailed)
        server.answers["/keys"] = good
        running.on_refresh_request(settings.source_id)
        assert isinstance(await messages.get(), JwksUpdate)
        await running.stop()

    assert [request.split(" ")[1][:6] for request in server.requests] == [
        "/realm",
        "/keys",
        "/realm",
        "/keys",
    ]
