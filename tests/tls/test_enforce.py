"""Rules about certificates inside the handshake, with real handshakes on both event loops."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from fastproxy.http.connection_info import PeerCertificate
from fastproxy.match.settings import StringKind, StringMatch
from fastproxy.tls.certificates import spki_hash
from fastproxy.tls.enforce import PeerRefused, enforce
from fastproxy.tls.openssl import load_pair
from fastproxy.tls.settings import PeerValidation, SanKind, SanMatch
from tests.tls.pki import Authority, Issued

CA = Authority()
SHOWN = CA.issue("a.test", "*.wild.test", uri=("spiffe://test/a",), email=("a@test",), ip=("192.0.2.1",))
RUNNERS: list[Callable[[Coroutine[Any, Any, None]], None]] = [asyncio.run, uvloop.run]


def server_context(shown: Issued) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(context, shown.chain, shown.private_key, "")
    return context


async def handshake(client: ssl.SSLContext, shown: Issued = SHOWN) -> tuple[BaseException | None, bytes]:
    """Connect and send a word; the client's error, and what the server got."""
    got = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            got.set_result(await reader.read(100))
        except (OSError, ssl.SSLError):
            got.set_result(b"")
        writer.close()

    failed: BaseException | None = None
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(shown)) as server:
        port = server.sockets[0].getsockname()[1]
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="a.test")
        except ssl.SSLError as error:
            failed = error
        else:
            writer.write(b"secret")
            await writer.drain()
        # In TLS 1.3 the server's half of the handshake may end well before it sees that the client has left.
        seen: bytes = b""
        if failed is None or got.done():
            seen = await got
        if failed is None:
            writer.close()
            await writer.wait_closed()
    return failed, seen


def names(*matches: SanMatch) -> PeerValidation:
    return PeerValidation(sans=matches)


def san(kind: SanKind, value: str, how: StringKind = StringKind.EXACT) -> SanMatch:
    return SanMatch(kind, StringMatch(how, value))


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(
    ("validation", "kind"),
    [
        (PeerValidation(), None),
        (names(san(SanKind.DNS, "a.test")), None),
        (names(san(SanKind.DNS, "x.wild.test")), None),
        (names(san(SanKind.DNS, "b.test")), "san"),
        (names(san(SanKind.DNS, "b.test"), san(SanKind.EMAIL, "a@test")), None),
        (names(san(SanKind.URI, "spiffe://test/", StringKind.PREFIX)), None),
        (names(san(SanKind.IP_ADDRESS, "192.0.2.1")), None),
        (names(san(SanKind.IP_ADDRESS, "192.0.2.2")), "san"),
        (PeerValidation(certificate_hashes=frozenset((SHOWN.sha256,))), None),
        (PeerValidation(spki_hashes=frozenset((spki_hash(SHOWN.der),))), None),
        (PeerValidation(certificate_hashes=frozenset(("00" * 32,))), "cert_hash"),
    ],
)
def test_s39_a_certificate_that_breaks_a_rule_ends_the_handshake(
    run: Callable[[Coroutine[Any, Any, None]], None], validation: PeerValidation, kind: str | None
) -> None:
    """And no byte of a request is sent, whoever uses the context."""

    async def check() -> None:
        client = CA.client_context()
        enforce(client, validation)
        failed, seen = await handshake(client)
        assert getattr(failed, "kind", None) == kind
        assert seen == (b"" if kind else b"secret")

    run(check())


def test_a_refusal_says_why_in_words_without_the_certificate() -> None:
    """They go to logs; what a peer writes into its certificate does not."""
    error = PeerRefused("san")
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert error.verify_message == "no name of the certificate matches"


def test_s39_a_certificate_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be judged is not accepted."""

    def unreadable(_der: bytes) -> PeerCertificate:
        raise ValueError

    async def check() -> None:
        client = CA.client_context()
        enforce(client, names(san(SanKind.DNS, "a.test")))
        failed, _ = await handshake(client)
        assert getattr(failed, "kind", None) == "unreadable"

    monkeypatch.setattr("fastproxy.tls.enforce.read_peer_certificate", unreadable)
    asyncio.run(check())
