"""`UpstreamTlsContext` to a ready `ssl.SSLContext` (envoy.extensions.transport_sockets.tls.v3).

Stricter than Envoy where it is silent: without `trusted_ca` Envoy verifies nothing, here the system's roots and
the name are verified. `trust_chain_verification: ACCEPT_UNTRUSTED` is the way out, and warns at every start. Pins
without `trusted_ca` are enough, as in Envoy: nobody else has the key.
"""

import ssl
from dataclasses import replace

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.tls_parts import (
    TlsSources,
    build_alpn,
    build_certificates,
    build_parameters,
    find_validation,
)
from fastproxy.config.build.upstream_http import NameOptions
from fastproxy.config.build.validation_context import build_server_validation
from fastproxy.config.fingerprint import fingerprint
from fastproxy.config.view import View
from fastproxy.match.settings import StringKind
from fastproxy.tls.enforce import enforce
from fastproxy.tls.openssl import load_pair, load_validation
from fastproxy.tls.settings import CertificateSettings, PeerValidation, SanKind
from fastproxy.upstream.settings import UpstreamTlsSettings

UPSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
RAW_BUFFER = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"


#: Lists of protocols that health checks offer instead of the cluster's.
CheckAlpn = tuple[tuple[str, ...], ...]


def default_tls(context: BuildContext, names: NameOptions, check_alpn: CheckAlpn = ()) -> UpstreamTlsSettings:
    """TLS as a bare `transport_socket: {name: envoy.transport_sockets.tls}` means it: all defaults."""
    if context.default_tls is None:
        context.default_tls = _new_default_context()
    checks = {protocols: _new_default_context() for protocols in check_alpn}
    for protocols, ctx in checks.items():
        ctx.set_alpn_protocols(protocols)
    return UpstreamTlsSettings(
        context.default_tls,
        auto_sni=names.auto_sni,
        auto_sni_header=names.header,
        check_contexts=checks,
    )


def build_upstream_tls(
    tls: View, context: BuildContext, names: NameOptions, check_alpn: CheckAlpn = ()
) -> UpstreamTlsSettings:
    """Build the TLS settings of one cluster; whatever is wrong with them is reported.

    Args:
        tls: the message.
        context: what the builders share.
        names: what `HttpProtocolOptions` says about names.
        check_alpn: what health checks offer to speak, where that is something else.
    """
    sni = tls.text("sni")
    host_sni, own_san = tls.flag("auto_host_sni"), tls.flag("auto_sni_san_validation")
    common = tls.child("common_tls_context")
    if common is None or not common.message.ListFields():
        plain = default_tls(context, names, check_alpn)
        return replace(plain, sni=sni, host_sni=host_sni, fingerprint=fingerprint(tls.message))
    assert context.tls is not None
    sources = context.tls
    sources.files.is_waiting = False
    validation, is_missing = _build_validation(common, sources, replaces_names=own_san)
    certificates, lacks_certificate = build_certificates(common, sources)
    if len(certificates) > 1:
        common.error("only one client certificate is supported", field="tls_certificates")
    # What is half there trusts nobody.
    is_waiting = sources.files.is_waiting or is_missing or lacks_certificate
    name = sni or _only_name(validation)
    needs_san = own_san or names.auto_san
    checks_name = needs_san or _checks_name(validation, is_named=bool(name) or host_sni, names=names)
    trusts_pins = _trusts_pins(validation)
    verifies_chain = not (validation.accept_untrusted or trusts_pins)

    def make(alpn: tuple[str, ...]) -> ssl.SSLContext:
        ctx = _new_context()
        ctx.check_hostname = verifies_chain and checks_name
        if needs_san:
            # A name of the subject is no subject alternative name.
            ctx.hostname_checks_common_name = False
        ctx.verify_mode = ssl.CERT_REQUIRED if verifies_chain or is_waiting else ssl.CERT_NONE
        build_context = _ContextBuilder(ctx, common)
        if not is_waiting:
            build_context.load(validation, certificates, verifies_chain=verifies_chain)
        build_context.apply_parameters(alpn)
        return ctx

    return UpstreamTlsSettings(
        make(_build_protocols(common)),
        name,
        verifies_name=(verifies_chain and (checks_name or bool(validation.sans))) or trusts_pins,
        verifies_peer=verifies_chain or trusts_pins,
        host_sni=host_sni,
        auto_sni=names.auto_sni,
        auto_sni_header=names.header,
        check_contexts={alpn: make(alpn) for alpn in check_alpn},
        own_chain=certificates[0].chain if certificates else b"",
        own_origin=certificates[0].origin if certificates else "",
        trusted_ca=validation.trusted_ca,
        fingerprint=fingerprint(tls.message) + sources.secrets.digest(common.message),
    )


def _checks_name(validation: PeerValidation, *, is_named: bool, names: NameOptions) -> bool:
    """Whether the name of the upstream has to be in its certificate, where nobody has asked for that.

    A private CA signs for its own services only; Envoy checks no name then, and a name to check must be given. The
    host of a request is the downstream's to choose: a name that is checked must be asked for (`auto_san`).
    """
    return not validation.sans and (validation.trusted_ca is None or (is_named and not names.auto_sni))


def _trusts_pins(validation: PeerValidation) -> bool:
    """Whether hashes of certificates are all that is said: who has such a one needs no authority."""
    pinned = bool(validation.certificate_hashes or validation.spki_hashes)
    return pinned and validation.trusted_ca is None and not validation.system_roots


class _ContextBuilder:
    """Puts what was built into a context; what the TLS library refuses is reported."""

    def __init__(self, ctx: ssl.SSLContext, common: View) -> None:
        self._ctx = ctx
        self._common = common

    def load(
        self,
        validation: PeerValidation,
        certificates: tuple[CertificateSettings, ...],
        *,
        verifies_chain: bool,
    ) -> None:
        """Load authorities, rules and the client certificate. What cannot be loaded was reported where it is read."""
        try:
            if verifies_chain:
                load_validation(self._ctx, validation, ssl.Purpose.SERVER_AUTH)
            if not validation.accept_untrusted:
                enforce(self._ctx, validation)
            for one in certificates:
                load_pair(self._ctx, one.chain, one.private_key, one.password)
        except (ssl.SSLError, OSError, ValueError):
            self._refuse()

    def apply_parameters(self, protocols: tuple[str, ...]) -> None:
        """Versions, ciphers, the curve and, if there are any, protocols to offer (ALPN)."""
        ctx = self._ctx
        ctx.minimum_version, ctx.maximum_version, ciphers, curve = build_parameters(self._common)
        try:
            if ciphers:
                ctx.set_ciphers(ciphers)
            if curve:
                ctx.set_ecdh_curve(curve)
            if protocols:
                ctx.set_alpn_protocols(protocols)
        except (ssl.SSLError, ValueError):
            self._refuse()

    def _refuse(self) -> None:
        if not self._common.log.tainted(self._common.path):
            self._common.error("the TLS library does not accept these settings together")


def _build_protocols(common: View) -> tuple[str, ...]:
    protocols = build_alpn(common)
    if "h2" in protocols:
        common.error("HTTP/2 to upstreams is not supported yet", "Remove h2", field="alpn_protocols")
    return protocols


def _new_default_context() -> ssl.SSLContext:
    ctx = _new_context()
    ctx.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return ctx


def _new_context() -> ssl.SSLContext:
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.minimum_version = ssl.TLSVersion.TLSv1_2
    # An upstream could have us shake hands for ever, on connections that are verified already.
    ctx.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return ctx


def _build_validation(
    common: View, sources: TlsSources, *, replaces_names: bool
) -> tuple[PeerValidation, bool]:
    """What the server's certificate must be like, and whether a secret that says it is still to come."""
    found, is_missing = find_validation(common, sources)
    if found is None:
        return PeerValidation(), is_missing
    validation = build_server_validation(found, sources.files)
    if validation.accept_untrusted:
        found.warn(
            "certificates of this cluster are NOT verified",
            "Anyone on the network path can read and change its traffic",
            field="trust_chain_verification",
        )
    # `auto_sni_san_validation`: the name that was sent counts, in the place of those that are written.
    return replace(validation, sans=()) if replaces_names else validation, is_missing


def _only_name(validation: PeerValidation) -> str:
    """The one exact DNS name that must match: it can be sent, too."""
    if len(validation.sans) != 1:
        return ""
    (san,) = validation.sans
    is_exact = san.kind is SanKind.DNS and san.value.kind is StringKind.EXACT
    return san.value.value if is_exact else ""
