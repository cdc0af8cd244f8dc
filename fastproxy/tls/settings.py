"""Certificates as the configuration fixes them: our own, and what those of peers must be like."""

from dataclasses import dataclass, field
from enum import Enum

from fastproxy.match.settings import StringMatch


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
class PeerValidation:
    """What a peer's certificate must be like (Envoy `CertificateValidationContext`)."""

    trusted_ca: bytes | None = None
    """PEM; None means the system's roots."""
    crl: bytes | None = None
    """PEM."""
    crl_for_leaf_only: bool = False
    allow_expired: bool = False
    system_roots: bool = False
    """`system_root_certs` is there; without `trusted_ca` they are what is used, but pins alone are enough."""
    accept_untrusted: bool = False
    """`trust_chain_verification: ACCEPT_UNTRUSTED`: nothing is verified. Of servers only."""
    sans: tuple[SanMatch, ...] = ()
    """One of them must match one name."""
    certificate_hashes: frozenset[str] = frozenset()
    """SHA-256 of the DER form, lower-case hexadecimal."""
    spki_hashes: frozenset[str] = frozenset()
    """SHA-256 of the public key's DER form, base64. One of all hashes must fit."""


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
