"""The part of judging a client certificate that the TLS library does not do: names and pins. Fail closed."""

from collections.abc import Callable

from fastproxy.http.connection_info import PeerCertificate
from fastproxy.match.settings import StringKind
from fastproxy.match.string import build_string_matcher
from fastproxy.tls.certificates import spki_hash
from fastproxy.tls.settings import PeerValidation, SanKind, SanMatch

_SanCheck = tuple[SanKind, Callable[[str], bool]]


class PeerCheck:
    """Compiled `match_typed_subject_alt_names`, `verify_certificate_hash` and `verify_certificate_spki`."""

    __slots__ = ("_hashes", "_sans", "_spki_hashes")

    def __init__(self, validation: PeerValidation) -> None:
        """Compile; ValueError: a regular expression is not valid."""
        self._sans: tuple[_SanCheck, ...] = tuple((one.kind, _build(one)) for one in validation.sans)
        self._hashes = validation.certificate_hashes
        self._spki_hashes = validation.spki_hashes

    def refusal(self, peer: PeerCertificate) -> str:
        """Why a verified certificate is refused all the same: `san` or `cert_hash`; empty: it is not."""
        if self._sans and not self._names_match(peer):
            return "san"
        pinned = bool(self._hashes or self._spki_hashes)
        if pinned and peer.sha256 not in self._hashes and not self._key_is_pinned(peer):
            return "cert_hash"
        return ""

    def _key_is_pinned(self, peer: PeerCertificate) -> bool:
        return bool(self._spki_hashes) and spki_hash(peer.der) in self._spki_hashes

    def _names_match(self, peer: PeerCertificate) -> bool:
        names = {
            SanKind.DNS: peer.dns_sans,
            SanKind.URI: peer.uri_sans,
            SanKind.EMAIL: peer.email_sans,
            SanKind.IP_ADDRESS: peer.ip_sans,
        }
        return any(matches(name) for kind, matches in self._sans for name in names[kind])


def _build(san: SanMatch) -> Callable[[str], bool]:
    matcher = build_string_matcher(san.value)
    if san.kind is SanKind.DNS and san.value.kind is StringKind.EXACT:
        wanted = san.value.value.lower()
        return lambda name: _dns_name_covers(name.lower(), wanted)
    return lambda name: matcher(name.encode())


def _dns_name_covers(name: str, wanted: str) -> bool:
    """Whether a certificate's name stands for `wanted`; a star stands for one label (RFC 6125 section 6.4.3)."""
    if name == wanted:
        return True
    if not name.startswith("*."):
        return False
    label, dot, rest = wanted.partition(".")
    return bool(label) and bool(dot) and rest == name[2:]
