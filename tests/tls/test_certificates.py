"""What certificates say, read."""

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from fastproxy.tls.certificates import (
    distinguished_name,
    read_authorities,
    read_own_certificate,
    read_peer_certificate,
    serial_text,
    spki_hash,
)
from tests.tls.pki import Authority

CA = Authority()


def test_our_certificate_tells_which_names_it_serves() -> None:
    """Alternative names; the common name counts only without any."""
    both = read_own_certificate(CA.issue("A.test", "*.b.test", uri=("spiffe://x",)).chain)
    assert (both.names, both.uri_sans, both.key_kind) == (("a.test", "*.b.test"), ("spiffe://x",), "ecdsa")
    assert read_own_certificate(CA.issue(subject=(("CN", "Old.test"),), kind="rsa").chain).names == (
        "old.test",
    )
    assert (
        read_own_certificate(CA.issue(subject=(("CN", "old.test"),), uri=("spiffe://x",)).chain).names == ()
    )


def test_a_peers_certificate_is_read_whole() -> None:
    """Everything that a header, a log or a policy may ask for."""
    issued = CA.issue(
        "d.test", subject=(("CN", "c"), ("O", "o")), uri=("u://x",), email=("e@x",), ip=("::1",)
    )
    peer = read_peer_certificate(issued.der)
    assert (peer.subject, peer.issuer) == ("O=o,CN=c", "CN=test-ca")
    assert (peer.dns_sans, peer.uri_sans, peer.email_sans, peer.ip_sans) == (
        ("d.test",), ("u://x",), ("e@x",), ("::1",),
    )  # fmt: skip
    assert peer.sha256 == issued.sha256
    assert int(peer.serial, 16) == issued.certificate.serial_number
    assert peer.not_before_unix < peer.not_after_unix


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (1, "01"), (0xAB, "ab"), (0xABC, "0abc"), (0x1000, "1000")]
)
def test_serial_numbers_are_written_in_whole_bytes(number: int, text: str) -> None:
    """As Envoy writes them: who compares them with a list of revoked ones compares text."""
    assert serial_text(number) == text


def test_names_are_written_as_openssl_writes_them() -> None:
    """Escaped, ASCII, in reverse order: they go into headers and logs (S47)."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@b"),
            x509.NameAttribute(NameOID.COMMON_NAME, 'x, "y" \u00e9'),
        ]
    )
    assert distinguished_name(name) == 'CN=x\\, \\"y\\" \\C3\\A9,emailAddress=a@b'


def test_a_file_of_authorities_is_listed() -> None:
    """For /certs."""
    assert [one.subject for one in read_authorities(CA.pem + Authority("other").pem)] == [
        "CN=test-ca",
        "CN=other",
    ]


@pytest.mark.parametrize(
    "content", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_is_an_error(content: bytes) -> None:
    """One kind of error, whatever it is."""
    with pytest.raises(ValueError):
        read_own_certificate(content)
    with pytest.raises(ValueError):
        read_peer_certificate(content)


def test_the_hash_of_a_key_outlives_the_certificate() -> None:
    """That is what pinning a key is for."""
    assert spki_hash(CA.issue("a.test", kind="rsa").der) == spki_hash(CA.issue("b.test", kind="rsa").der)
    assert spki_hash(CA.issue("a.test").der) != spki_hash(CA.issue("a.test").der)
