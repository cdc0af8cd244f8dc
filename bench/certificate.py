"""The certificate of the contenders' TLS listeners: self-signed, kept on disk beside the tokens."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where chain and key are, PEM."""

    chain: Path
    key: Path


def prepare_certificate(directory: Path) -> CertificateFiles:
    """Make an ECDSA P-256 certificate for localhost, or take the one that an earlier run left in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    files = CertificateFiles(directory / "tls.crt", directory / "tls.key")
    if not (files.chain.exists() and files.key.exists()):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # The files outlive every run, as the tokens do.
            .not_valid_before(dt.datetime(2023, 1, 1, tzinfo=dt.UTC))
            .not_valid_after(dt.datetime(2100, 1, 1, tzinfo=dt.UTC))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        files.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return files
