"""TLS of a filter chain as the configuration fixes it (Envoy `DownstreamTlsContext`)."""

import ssl
from dataclasses import dataclass, field
from enum import Enum

from fastproxy.match.settings import StringMatch


class ClientCertificates(Enum):
    """Whether clients show a certificate."""

    IGNORED = "ignored"
    """None is asked for."""
    OPTIONAL = "optional"
    """None is fine; one that is shown must be good (`validation_context` without `require_client_certificate`)."""
    REQUIRED = "required"


class SanKind(Enum):
    """The kinds of a subject alternative name (RFC 5280 section 4.2.1.6)."""

    DNS = "DNS"
    URI = "URI"
    EMAIL = "EMAIL"
    IP_ADDRESS = "IP_ADDRESS"


@dataclass(frozen=True, slots=True)
class SanMatch:
    """One `match_typed_subject_alt_names` entry."""

    kind: SanKind
    value: StringMatch


@dataclass(frozen=True, slots=True)
class CertificateSettings:
    """One certificate with its chain and key, PEM. Never shown: the key is in it."""

    chain: bytes = field(repr=False)
    private_key: bytes = field(repr=False)
    password: str = field(default="", repr=False)
    origin: str = ""
    """Where it came from, for messages and /certs."""


@dataclass(frozen=True, slots=True)
class ClientValidation:
    """What a client certificate must be like (Envoy `CertificateValidationContext`)."""

    trusted_ca: bytes | None = None
    """PEM; None means the system's roots."""
    crl: bytes | None = None
    """PEM."""
    crl_for_leaf_only: bool = False
    allow_expired: bool = False
    sans: tuple[SanMatch, ...] = ()
    """One of them must match one name."""
    certificate_hashes: frozenset[str] = frozenset()
    """SHA-256 of the DER form, lower-case hexadecimal."""
    spki_hashes: frozenset[str] = frozenset()
    """SHA-256 of the public key's DER form, base64. One of all hashes must fit."""


@dataclass(frozen=True, slots=True)
class DownstreamTlsSettings:
    """How a filter chain ends TLS."""

    certificates: tuple[CertificateSettings, ...]
    """Empty in a worker until it was told what the files hold: no handshake succeeds before."""
    client_certificates: ClientCertificates = ClientCertificates.IGNORED
    validation: ClientValidation = field(default_factory=ClientValidation)
    minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ciphers: str = ""
    """OpenSSL's cipher list for TLS 1.2; empty: forward secrecy with authenticated encryption, as Envoy's default."""
    curve: str = ""
    """The one curve to use, by OpenSSL's name; empty: OpenSSL's list."""
    alpn_protocols: tuple[str, ...] = ()
    session_tickets: bool = True
    prefer_client_ciphers: bool = False


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """A certificate that we show, as server names select it and as /certs lists it."""

    names: tuple[str, ...]
    """DNS names, lower case; the common name if there is no alternative name of any kind."""
    uri_sans: tuple[str, ...]
    key_kind: str
    """`rsa`, `ecdsa` or the class of another key."""
    subject: str
    serial: str
    not_before_unix: float
    not_after_unix: float
    sans: tuple[tuple[str, str], ...]
    """Kind and name of every alternative name."""
