"""`DownstreamTlsContext` to settings (envoy.extensions.transport_sockets.tls.v3)."""

import ssl

from fastproxy.config.build.tls_parts import (
    TlsSources,
    build_alpn,
    build_certificates,
    build_parameters,
    find_validation,
)
from fastproxy.config.build.validation_context import build_client_validation
from fastproxy.config.view import View
from fastproxy.listener.tls.contexts import ServerContexts
from fastproxy.listener.tls.settings import ClientCertificates, DownstreamTlsSettings
from fastproxy.tls.settings import PeerValidation

DOWNSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_MANAGED = ("tls_certificate_provider_instance", "custom_tls_certificate_selector", "custom_handshaker")


def build_downstream_tls(tls: View, sources: TlsSources) -> DownstreamTlsSettings:
    """Build the TLS settings of one filter chain; whatever is wrong with them is reported."""
    common = tls.child_or_empty("common_tls_context")
    for field in _MANAGED:
        common.unsupported(field)
    sources.files.is_waiting = False
    certificates, is_missing = build_certificates(common, sources)
    if not certificates and not is_missing and not common.children("tls_certificates"):
        common.error(
            "TLS on a listener needs a certificate",
            "Add tls_certificates: [{certificate_chain: {filename: ...}, private_key: {filename: ...}}]",
        )
    mode, validation = _build_validation(tls, common, sources)
    low, high, ciphers, curve = build_parameters(common)
    _accept_sessions(tls)
    if tls.flag_or("require_sni", default=False):
        tls.warn(
            "has no effect, in Envoy too", "Use filter_chain_match with server_names", field="require_sni"
        )
    tls.only("ocsp_staple_policy", ("LENIENT_STAPLING",), "OCSP answers are not stapled; leave the field out")
    settings = DownstreamTlsSettings(
        # What is half there is not used.
        certificates=() if sources.files.is_waiting else certificates,
        client_certificates=mode,
        validation=validation,
        minimum_version=low,
        maximum_version=high,
        ciphers=ciphers,
        curve=curve,
        alpn_protocols=_build_alpn(common),
        session_tickets=not tls.flag("disable_stateless_session_resumption"),
        prefer_client_ciphers=tls.flag("prefer_client_ciphers"),
    )
    if certificates and sources.files.checks:
        _try(settings, tls)
    return settings


def _try(settings: DownstreamTlsSettings, tls: View) -> None:
    """What cannot be used must not wait for the first handshake to show it."""
    try:
        ServerContexts(settings)
    except (ssl.SSLError, OSError, ValueError):
        # Certificates, authorities and ciphers are tried one by one, with better words.
        if not tls.log.tainted(tls.path):
            tls.error("the TLS library does not accept these settings together")


# -- client certificates -----------------------------------------------------------------------------------


def _build_validation(
    tls: View, common: View, sources: TlsSources
) -> tuple[ClientCertificates, PeerValidation]:
    required = tls.flag_or("require_client_certificate", default=False)
    found, is_missing = find_validation(common, sources)
    if found is None or not found.message.ListFields():
        if required and not is_missing:
            tls.error(
                "client certificates are required, and nothing says how to verify them",
                "Add common_tls_context.validation_context with trusted_ca",
                field="require_client_certificate",
            )
        return ClientCertificates.IGNORED, PeerValidation()
    mode = ClientCertificates.REQUIRED if required else ClientCertificates.OPTIONAL
    return mode, build_client_validation(found, sources.files)


# -- parameters ------------------------------------------------------------------------------------------


def _build_alpn(common: View) -> tuple[str, ...]:
    names = build_alpn(common)
    if "h2" in names:
        common.warn("h2 is not offered: HTTP/2 is not served", field="alpn_protocols")
    return tuple(one for one in names if one != "h2")


def _accept_sessions(tls: View) -> None:
    own = "every worker makes its own ticket keys, so a session is resumed by the worker that began it"
    tls.without_effect("session_ticket_keys", own)
    tls.without_effect("session_ticket_keys_sds_secret_config", own)
    tls.without_effect("session_timeout", "the TLS library's own lifetime of sessions applies")
    tls.without_effect("disable_stateful_session_resumption", "the TLS library keeps few sessions itself")
