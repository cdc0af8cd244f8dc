"""Contexts: which certificate a name selects, and what every one of them demands."""

import ssl

import pytest

from fastproxy.listener.tls.contexts import ServerContexts
from fastproxy.listener.tls.settings import ClientCertificates, DownstreamTlsSettings
from fastproxy.tls.settings import CertificateSettings, PeerValidation
from tests.tls.pki import Authority, Issued

CA = Authority()


def settings(*issued: Issued, **more: object) -> DownstreamTlsSettings:
    certificates = tuple(CertificateSettings(one.chain, one.private_key) for one in issued)
    return DownstreamTlsSettings(certificates, **more)  # type: ignore[arg-type]


class Handshake:
    """Client and server in memory."""

    def __init__(self, server: ServerContexts, client: ssl.SSLContext, name: str | None = None) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.default.wrap_bio(to_server, to_client, server_side=True)
        self.client = client.wrap_bio(to_client, to_server, server_hostname=name)
        self._run()

    def _run(self) -> None:
        waiting = [self.client, self.server]
        for _ in range(10):
            for one in tuple(waiting):
                try:
                    one.do_handshake()
                    waiting.remove(one)
                except ssl.SSLWantReadError:
                    continue
            if not waiting:
                return
        raise AssertionError("the handshake does not end")

    @property
    def shown(self) -> bytes:
        der = self.client.getpeercert(binary_form=True)
        assert der
        return der


FIRST = CA.issue("a.test", "*.w.test")
SECOND = CA.issue("b.test", "x.w.test")
SECOND_RSA = CA.issue("b.test", kind="rsa")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.test", FIRST), ("y.w.test", FIRST), ("x.w.test", SECOND), ("B.TEST", SECOND), ("w.test", FIRST),
        ("z.y.w.test", FIRST), ("unknown.test", FIRST), (None, FIRST),
    ],
)  # fmt: skip
def test_the_name_selects_the_certificate(name: str | None, expected: Issued) -> None:
    """Exact, then a wildcard for one label, then the first."""
    assert Handshake(ServerContexts(settings(FIRST, SECOND)), CA.client_context(), name).shown == expected.der


@pytest.mark.parametrize(("cipher", "expected"), [("ECDSA", SECOND), ("RSA", SECOND_RSA)])
def test_the_kind_of_key_follows_the_client(cipher: str, expected: Issued) -> None:
    """One RSA and one ECDSA certificate for a name."""
    client = CA.client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
    client.set_ciphers(f"ECDHE-{cipher}-AES128-GCM-SHA256")
    contexts = ServerContexts(settings(FIRST, SECOND, SECOND_RSA))
    assert Handshake(contexts, client, "b.test").shown == expected.der


def test_the_selected_certificate_tells_its_uri_names() -> None:
    """`By=` of x-forwarded-client-cert."""
    named = CA.issue("u.test", uri=("spiffe://me",))
    contexts = ServerContexts(settings(FIRST, named))
    done = Handshake(contexts, CA.client_context(), "u.test")
    assert contexts.own_uri_sans(done.server.context) == ("spiffe://me",)
    assert contexts.own_uri_sans(CA.client_context()) == ()


@pytest.mark.parametrize("name", ["a.test", "b.test"])
def test_every_name_demands_the_client_certificate(name: str) -> None:
    """A name selects a certificate, never a weaker policy."""
    contexts = ServerContexts(
        settings(
            FIRST,
            SECOND,
            client_certificates=ClientCertificates.REQUIRED,
            validation=PeerValidation(trusted_ca=CA.pem),
        )
    )
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        Handshake(contexts, CA.client_context(), name)
    with pytest.raises(ssl.SSLError):
        Handshake(contexts, CA.client_context(Authority("o").issue("c.test")), name)
    done = Handshake(contexts, CA.client_context(CA.issue("c.test")), name)
    assert done.server.getpeercert(binary_form=True)


def test_revoked_and_expired_clients_are_refused_unless_allowed() -> None:
    """`crl`, `allow_expired_certificate`."""
    good, revoked, expired = CA.issue("g.test"), CA.issue("r.test"), CA.issue("e.test", days=-1)
    strict = settings(
        FIRST,
        client_certificates=ClientCertificates.REQUIRED,
        validation=PeerValidation(trusted_ca=CA.pem, crl=CA.revoke(revoked)),
    )
    Handshake(ServerContexts(strict), CA.client_context(good))
    for one in (revoked, expired):
        with pytest.raises(ssl.SSLError):
            Handshake(ServerContexts(strict), CA.client_context(one))
    lenient = settings(
        FIRST,
        client_certificates=ClientCertificates.REQUIRED,
        validation=PeerValidation(trusted_ca=CA.pem, allow_expired=True, crl_for_leaf_only=True),
    )
    Handshake(ServerContexts(lenient), CA.client_context(expired))


def test_versions_alpn_and_curves_are_as_configured() -> None:
    """What the file says is what a client gets."""
    newest = ServerContexts(
        settings(FIRST, minimum_version=ssl.TLSVersion.TLSv1_3, alpn_protocols=("http/1.1",))
    )
    old = CA.client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ssl.SSLError):
        Handshake(newest, old)
    client = CA.client_context()
    client.set_alpn_protocols(["x", "http/1.1"])
    assert Handshake(newest, client).client.selected_alpn_protocol() == "http/1.1"
    other = CA.client_context()
    other.set_alpn_protocols(["x"])
    assert Handshake(newest, other).client.selected_alpn_protocol() is None
    one_curve = ServerContexts(settings(FIRST, curve="secp384r1"))
    client = CA.client_context()
    client.set_ecdh_curve("prime256v1")
    with pytest.raises(ssl.SSLError):
        Handshake(one_curve, client)


def test_tls_below_1_2_is_never_spoken() -> None:
    """RFC 8996."""
    contexts = ServerContexts(settings(FIRST))
    assert contexts.default.minimum_version == ssl.TLSVersion.TLSv1_2
    assert contexts.default.options & ssl.OP_NO_RENEGOTIATION


def test_sessions_are_resumed_unless_switched_off() -> None:
    """`disable_stateless_session_resumption`."""
    for tickets in (True, False):
        contexts = ServerContexts(
            settings(FIRST, session_tickets=tickets, maximum_version=ssl.TLSVersion.TLSv1_2)
        )
        client = CA.client_context()
        first = Handshake(contexts, client)
        assert first.client.session is not None
        assert first.client.session.has_ticket is tickets


def test_what_cannot_be_used_is_an_error() -> None:
    """Before the first handshake."""
    mixed = DownstreamTlsSettings((CertificateSettings(FIRST.chain, SECOND.private_key),))
    for wrong in (settings(), mixed, settings(FIRST, ciphers="NONE")):
        with pytest.raises((ssl.SSLError, ValueError)):
            ServerContexts(wrong)


def test_keys_are_not_shown() -> None:
    """Settings end up in error messages and dumps (S53)."""
    assert b"PRIVATE" not in repr(settings(FIRST)).encode()
