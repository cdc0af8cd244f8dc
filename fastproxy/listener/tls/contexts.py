"""Contexts of OpenSSL for one TLS filter chain: which certificate a server name selects (RFC 6066 section 3).

Envoy's order: an exact DNS name of a certificate, then a wildcard for one label, then the first certificate. Per name
there may be one certificate for each kind of key; the library picks what the client can verify. Every context carries
the same policy, so that a name selects a certificate and nothing else.
"""

import ssl

from fastproxy.listener.tls.settings import ClientCertificates, DownstreamTlsSettings
from fastproxy.tls.certificates import read_own_certificate
from fastproxy.tls.openssl import load_pair, load_validation
from fastproxy.tls.settings import OwnCertificate

#: Envoy's default suites for TLS 1.2 (spec/filters.md section 8).
_DEFAULT_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
)
_MODES = {
    ClientCertificates.IGNORED: ssl.CERT_NONE,
    ClientCertificates.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientCertificates.REQUIRED: ssl.CERT_REQUIRED,
}


class ServerContexts:
    """What handshakes on one filter chain use. Immutable: changed certificates make another one.

    Raises (when it is made):
        ssl.SSLError, OSError, ValueError: a certificate, its key, an authority or a cipher cannot be used.
    """

    __slots__ = ("_by_name", "_by_wildcard", "_made", "certificates", "default", "settings")

    def __init__(self, settings: DownstreamTlsSettings) -> None:
        self.settings = settings
        self.certificates = tuple(read_own_certificate(one.chain) for one in settings.certificates)
        if not self.certificates:
            raise ValueError("no certificate")
        self._made: dict[tuple[int, ...], ssl.SSLContext] = {}
        self._by_name: dict[str, ssl.SSLContext] = {}
        self._by_wildcard: dict[str, ssl.SSLContext] = {}
        """By what follows the star: `.example.com`."""
        for name, chosen in _by_name(self.certificates).items():
            ctx = self._context(chosen)
            if name.startswith("*."):
                self._by_wildcard[name[1:]] = ctx
            else:
                self._by_name[name] = ctx
        self.default = self._context(_default(self.certificates))
        if len(self._made) > 1:
            # Called in every handshake, also without a server name.
            self.default.sni_callback = self._on_server_name

    def select(self, server_name: str | None) -> ssl.SSLContext:
        """The context for a server name; None: the client gave none."""
        if server_name is None:
            return self.default
        name = server_name.lower()
        found = self._by_name.get(name)
        if found is None:
            dot = name.find(".")
            found = self._by_wildcard.get(name[dot:]) if dot > 0 else None
        return found or self.default

    def own_uri_sans(self, ctx: ssl.SSLContext) -> tuple[str, ...]:
        """URI names of the certificate that a context shows."""
        for chosen, made in self._made.items():
            if made is ctx:
                return self.certificates[chosen[0]].uri_sans
        return ()

    def _on_server_name(
        self, ssl_object: ssl.SSLObject, server_name: str | None, _ctx: ssl.SSLContext
    ) -> None:
        """Called by the TLS library during the handshake; an exception here would end it."""
        ctx = self.select(server_name)
        if ctx is not self.default:
            ssl_object.context = ctx

    def _context(self, chosen: tuple[int, ...]) -> ssl.SSLContext:
        ctx = self._made.get(chosen)
        if ctx is None:
            ctx = self._made[chosen] = _new_context(self.settings)
            for index in chosen:
                one = self.settings.certificates[index]
                load_pair(ctx, one.chain, one.private_key, one.password)
        return ctx


def _by_name(certificates: tuple[OwnCertificate, ...]) -> dict[str, tuple[int, ...]]:
    """For every name the first certificate of each kind of key."""
    found: dict[str, dict[str, int]] = {}
    for index, certificate in enumerate(certificates):
        for name in certificate.names:
            found.setdefault(name, {}).setdefault(certificate.key_kind, index)
    return {name: tuple(sorted(kinds.values())) for name, kinds in found.items()}


def _default(certificates: tuple[OwnCertificate, ...]) -> tuple[int, ...]:
    """The first certificate, with its twins: those that serve the same names by another kind of key."""
    first = certificates[0]
    kinds = {first.key_kind: 0}
    for index, certificate in enumerate(certificates):
        if set(certificate.names) == set(first.names):
            kinds.setdefault(certificate.key_kind, index)
    return tuple(sorted(kinds.values()))


def _new_context(settings: DownstreamTlsSettings) -> ssl.SSLContext:
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.minimum_version = settings.minimum_version
    ctx.maximum_version = settings.maximum_version
    ctx.set_ciphers(settings.ciphers or _DEFAULT_CIPHERS)
    if settings.curve:
        ctx.set_ecdh_curve(settings.curve)
    if settings.alpn_protocols:
        ctx.set_alpn_protocols(list(settings.alpn_protocols))
    if settings.prefer_client_ciphers:
        ctx.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    # CVE-2009-3555, and a peer could make us work for nothing: nobody needs it.
    ctx.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if not settings.session_tickets:
        ctx.options |= ssl.OP_NO_TICKET
        # TLS 1.3 would keep sessions in memory instead, of clients that have gone.
        ctx.num_tickets = 0
    ctx.verify_mode = _MODES[settings.client_certificates]
    if settings.client_certificates is not ClientCertificates.IGNORED:
        load_validation(ctx, settings.validation, ssl.Purpose.CLIENT_AUTH)
    return ctx
