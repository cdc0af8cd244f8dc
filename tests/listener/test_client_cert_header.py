"""`x-forwarded-client-cert`; tests/e2e/test_diff_tls.py compares every mode with the real Envoy."""

import pytest

from fastproxy.http.connection_info import ConnectionInfo, PeerCertificate, TlsInfo
from fastproxy.http.messages import Request
from fastproxy.listener.client_cert_header import ClientCertHeader, encode_element
from fastproxy.listener.settings import ForwardClientCert

NAME = b"x-forwarded-client-cert"


def request(known: bytes | None = None, peer: PeerCertificate | None = None) -> Request:
    made = Request(b"GET", b"/", {} if known is None else {NAME: known})
    made.connection = ConnectionInfo(("192.0.2.1", 1), ("192.0.2.2", 2))
    made.connection.tls = TlsInfo("TLSv1.3", "c")
    made.connection.tls.peer = peer
    return made


PEER = PeerCertificate(b"der", sha256="ab" * 32, subject="CN=a")


@pytest.mark.parametrize(
    "known",
    [
        b"By=a;Hash=b",
        b'Subject="CN=\\"x\\", O=y";URI=,By=c',
        b"By=a , By=b",
    ],
)
def test_a_well_formed_header_is_appended_to(known: bytes) -> None:
    """APPEND_FORWARD between proxies that trust each other."""
    made = request(known, PEER)
    ClientCertHeader(ForwardClientCert.APPEND_FORWARD, frozenset()).apply(made)
    assert made.headers[NAME] == known + b",Hash=" + b"ab" * 32


@pytest.mark.parametrize(
    "known",
    [
        b'Subject="CN=a',
        b'Subject="',
        b'By=a"b"',
        b"",
        b"x",
        b"=a",
        b"By=a;",
        b"By=a,,By=b",
        b'Subject="a\\',
        b"By=a b",
    ],
)
def test_s61_a_header_that_could_swallow_ours_is_not_passed_on(known: bytes) -> None:
    """An open quote would make our element a part of a stranger's."""
    made = request(known, PEER)
    ClientCertHeader(ForwardClientCert.APPEND_FORWARD, frozenset()).apply(made)
    assert made.headers[NAME] == b"Hash=" + b"ab" * 32


@pytest.mark.parametrize("mode", list(ForwardClientCert))
def test_s61_without_a_client_certificate_the_header_is_a_strangers(mode: ForwardClientCert) -> None:
    """It goes, unless the configuration asks to keep it always."""
    made = request(b"By=a")
    ClientCertHeader(mode, frozenset()).apply(made)
    assert (NAME in made.headers) is (mode is ForwardClientCert.ALWAYS_FORWARD_ONLY)


def test_no_name_of_a_certificate_can_end_its_value() -> None:
    """Who gets a certificate signed chooses the names in it (S47)."""
    peer = PeerCertificate(
        b"", sha256="00", subject="CN=x", uri_sans=('a://b;By="c",d\r\ne\u00e9',), dns_sans=("a;DNS=b",)
    )
    element = encode_element(TlsInfo("", ""), peer, frozenset(("uri", "dns", "subject")))
    assert element == b'Hash=00;Subject="CN=x";URI=a://b%3BBy=%22c%22%2Cd%0D%0Ae%C3%A9;DNS=a%3BDNS=b'


def test_the_certificate_itself_is_encoded_like_a_url() -> None:
    """PEM has line ends, which no header may."""
    peer = PeerCertificate(b"\xff\xfe", sha256="00")
    peer.chain = (b"\xff\xfe", b"\x01")
    element = encode_element(TlsInfo("", ""), peer, frozenset(("cert", "chain")))
    one = b"-----BEGIN%20CERTIFICATE-----%0A%2F%2F4%3D%0A-----END%20CERTIFICATE-----%0A"
    assert element.startswith(b'Hash=00;Cert="' + one + b'";Chain="' + one)
    assert element.count(b"BEGIN") == 3
