"""Names and pins of client certificates."""

import pytest

from fastproxy.http.connection_info import PeerCertificate
from fastproxy.match.settings import StringKind, StringMatch
from fastproxy.tls.certificates import read_peer_certificate, spki_hash
from fastproxy.tls.peer_check import PeerCheck
from fastproxy.tls.settings import PeerValidation, SanKind, SanMatch
from tests.tls.pki import Authority

CA = Authority()


def san(kind: SanKind, value: str, how: StringKind = StringKind.EXACT) -> SanMatch:
    return SanMatch(kind, StringMatch(how, value))


def names(*dns: str, uri: tuple[str, ...] = ()) -> PeerCertificate:
    return PeerCertificate(b"", dns_sans=dns, uri_sans=uri)


@pytest.mark.parametrize(
    ("match", "peer", "refusal"),
    [
        (san(SanKind.DNS, "a.test"), names("a.test"), ""),
        (san(SanKind.DNS, "A.test"), names("x.test", "a.TEST"), ""),
        (san(SanKind.DNS, "a.b.test"), names("*.b.test"), ""),
        (san(SanKind.DNS, "b.test"), names("*.b.test"), "san"),
        (san(SanKind.DNS, "x.a.b.test"), names("*.b.test"), "san"),
        (san(SanKind.DNS, ".b.test"), names("*.b.test"), "san"),
        (san(SanKind.DNS, "a.test"), names("b.test"), "san"),
        (san(SanKind.DNS, "a.test"), names(uri=("a.test",)), "san"),
        (san(SanKind.DNS, "a.test"), names(), "san"),
        (san(SanKind.URI, "spiffe://a/", StringKind.PREFIX), names(uri=("spiffe://a/b",)), ""),
        (san(SanKind.URI, "spiffe://a", StringKind.EXACT), names(uri=("spiffe://a/b",)), "san"),
        (san(SanKind.URI, "spiffe://[ab]", StringKind.REGEX), names(uri=("spiffe://b",)), ""),
    ],
)
def test_one_name_must_match(match: SanMatch, peer: PeerCertificate, refusal: str) -> None:
    """Of the kind that was asked for."""
    assert PeerCheck(PeerValidation(sans=(match,))).refusal(peer) == refusal


def test_any_pin_is_enough_and_none_is_not() -> None:
    """By certificate or by key, as in Envoy."""
    pinned, other = (read_peer_certificate(CA.issue("a.test").der) for _ in range(2))
    by_hash = PeerCheck(PeerValidation(certificate_hashes=frozenset((pinned.sha256,))))
    assert (by_hash.refusal(pinned), by_hash.refusal(other)) == ("", "cert_hash")
    both = PeerCheck(
        PeerValidation(
            certificate_hashes=frozenset((pinned.sha256,)), spki_hashes=frozenset((spki_hash(other.der),))
        )
    )
    assert (both.refusal(pinned), both.refusal(other)) == ("", "")
    assert both.refusal(read_peer_certificate(CA.issue("a.test").der)) == "cert_hash"


def test_without_conditions_a_verified_certificate_is_fine() -> None:
    """The authority has vouched for it."""
    assert PeerCheck(PeerValidation()).refusal(names()) == ""
