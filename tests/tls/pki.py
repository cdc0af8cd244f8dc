"""Certificates for tests, of every form that a listener or its clients can show."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fastproxy.clock import unix_time

_NAMES = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME, "emailAddress": NameOID.EMAIL_ADDRESS}
_RSA_KEY = rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def chain(self) -> bytes:
        """PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def private_key(self) -> bytes:
        """PEM."""
        pem: bytes = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def sha256(self) -> str:
        """Its fingerprint."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write both into files; their paths."""
        chain, key = directory / f"{name}.pem", directory / f"{name}.key"
        chain.write_bytes(self.chain)
        key.write_bytes(self.private_key)
        return chain, key


class Authority:
    """Signs certificates."""

    def __init__(self, name: str = "test-ca") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            self._builder(self.name, self.key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        """The authority's own certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        *dns: str,
        subject: tuple[tuple[str, str], ...] = (("CN", "leaf"),),
        uri: tuple[str, ...] = (),
        email: tuple[str, ...] = (),
        ip: tuple[str, ...] = (),
        kind: str = "ecdsa",
        days: float = 1.0,
    ) -> Issued:
        """A certificate with these names, valid for `days` (negative: it is over)."""
        key = _RSA_KEY if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(_NAMES[kind], value) for kind, value in subject])
        sans: list[x509.GeneralName] = [
            *map(x509.DNSName, dns),
            *map(x509.UniformResourceIdentifier, uri),
            *map(x509.RFC822Name, email),
            *(x509.IPAddress(ip_address(one)) for one in ip),
        ]
        builder = self._builder(name, key.public_key(), days)
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
        return Issued(builder.sign(self.key, hashes.SHA256()), key)

    def revoke(self, *revoked: Issued) -> bytes:
        """A revocation list, PEM."""
        now = datetime.fromtimestamp(unix_time(), UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(now - timedelta(days=1))
            .next_update(now + timedelta(days=1))
        )
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(now - timedelta(hours=1)).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def client_context(self, shown: Issued | None = None, **options: Any) -> ssl.SSLContext:
        """TLS of a client that trusts this authority and checks no name; `shown` is its own certificate."""
        from fastproxy.tls.openssl import load_pair

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=self.pem.decode())
        if shown is not None:
            load_pair(context, shown.chain, shown.private_key, "")
        for name, value in options.items():
            setattr(context, name, value)
        return context

    def _builder(self, subject: x509.Name, key: Any, days: float = 1.0) -> x509.CertificateBuilder:
        now = datetime.fromtimestamp(unix_time(), UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=30))
            .not_valid_after(now + timedelta(days=days))
        )
