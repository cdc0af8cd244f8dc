"""What certificates say (RFC 5280): ours by which name they serve, a peer's by who it is."""

import hashlib
from base64 import b64encode

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from fastproxy.http.connection_info import PeerCertificate
from fastproxy.tls.settings import OwnCertificate

#: OpenSSL's short names, which cryptography writes as numbers (RFC 2253 leaves the choice).
_SHORT_NAMES = {
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "GN",
    NameOID.TITLE: "title",
}


def read_own_certificate(chain: bytes) -> OwnCertificate:
    """Read the first certificate of a PEM chain.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    certificate = x509.load_pem_x509_certificate(chain)
    sans = _alternative_names(certificate)
    names = tuple(value.lower() for kind, value in sans if kind == "DNS")
    if not sans:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names = tuple(str(one.value).lower() for one in common[:1])
    key = certificate.public_key()
    kind = "rsa" if isinstance(key, rsa.RSAPublicKey) else type(key).__name__
    return OwnCertificate(
        names=names,
        uri_sans=tuple(value for kind, value in sans if kind == "URI"),
        key_kind="ecdsa" if isinstance(key, ec.EllipticCurvePublicKey) else kind,
        subject=distinguished_name(certificate.subject),
        serial=serial_text(certificate.serial_number),
        not_before_unix=certificate.not_valid_before_utc.timestamp(),
        not_after_unix=certificate.not_valid_after_utc.timestamp(),
        sans=sans,
    )


def read_authorities(pem: bytes) -> tuple[OwnCertificate, ...]:
    """Read every certificate of a PEM file of authorities, for /certs.

    Raises:
        ValueError: there is none, or one cannot be read.
    """
    return tuple(
        read_own_certificate(one.public_bytes(Encoding.PEM)) for one in x509.load_pem_x509_certificates(pem)
    )


def read_peer_certificate(der: bytes) -> PeerCertificate:
    """Read a client certificate whose signature the TLS library has verified.

    Raises:
        ValueError: a part that is needed to judge it cannot be read.
    """
    certificate = x509.load_der_x509_certificate(der)
    sans = _alternative_names(certificate)

    def of(kind: str) -> tuple[str, ...]:
        return tuple(value for found, value in sans if found == kind)

    return PeerCertificate(
        der,
        sha256=hashlib.sha256(der).hexdigest(),
        subject=distinguished_name(certificate.subject),
        issuer=distinguished_name(certificate.issuer),
        serial=serial_text(certificate.serial_number),
        uri_sans=of("URI"),
        dns_sans=of("DNS"),
        email_sans=of("EMAIL"),
        ip_sans=of("IP_ADDRESS"),
        not_before_unix=certificate.not_valid_before_utc.timestamp(),
        not_after_unix=certificate.not_valid_after_utc.timestamp(),
    )


def spki_hash(der: bytes) -> str:
    """SHA-256 of a certificate's public key, base64, as `verify_certificate_spki` wants it."""
    key = x509.load_der_x509_certificate(der).public_key()
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(hashlib.sha256(info).digest()).decode()


def serial_text(number: int) -> str:
    """Write a serial number as OpenSSL does: hexadecimal, whole bytes, so a leading zero where one is missing."""
    digits = f"{number:x}"
    return digits if len(digits) % 2 == 0 or number == 0 else f"0{digits}"


def distinguished_name(name: x509.Name) -> str:
    """Write a name as OpenSSL does with `RFC2253` (RFC 2253 section 2): ASCII only, without control characters."""
    text = name.rfc4514_string(_SHORT_NAMES).encode("utf-8", "surrogatepass")
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:02X}" for byte in text)


def _alternative_names(certificate: x509.Certificate) -> tuple[tuple[str, str], ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    names = []
    for name in extension.value:
        if isinstance(name, x509.DNSName):
            names.append(("DNS", name.value))
        elif isinstance(name, x509.UniformResourceIdentifier):
            names.append(("URI", name.value))
        elif isinstance(name, x509.RFC822Name):
            names.append(("EMAIL", name.value))
        elif isinstance(name, x509.IPAddress):
            names.append(("IP_ADDRESS", str(name.value)))
    return tuple(names)
