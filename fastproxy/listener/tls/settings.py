"""TLS of a filter chain as the configuration fixes it (Envoy `DownstreamTlsContext`)."""

import ssl
from dataclasses import dataclass, field
from enum import Enum

from fastproxy.tls.settings import CertificateSettings, PeerValidation


class ClientCertificates(Enum):
    """Whether clients show a certificate."""

    IGNORED = "ignored"
    """None is asked for."""
    OPTIONAL = "optional"
    """None is fine; one that is shown must be good (`validation_context` without `require_client_certificate`)."""
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class DownstreamTlsSettings:
    """How a filter chain ends TLS."""

    certificates: tuple[CertificateSettings, ...]
    """Empty in a worker until it was told what the files hold: no handshake succeeds before."""
    client_certificates: ClientCertificates = ClientCertificates.IGNORED
    validation: PeerValidation = field(default_factory=PeerValidation)
    minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ciphers: str = ""
    """OpenSSL's cipher list for TLS 1.2; empty: forward secrecy with authenticated encryption, as Envoy's default."""
    curve: str = ""
    """The one curve to use, by OpenSSL's name; empty: OpenSSL's list."""
    alpn_protocols: tuple[str, ...] = ()
    session_tickets: bool = True
    prefer_client_ciphers: bool = False
