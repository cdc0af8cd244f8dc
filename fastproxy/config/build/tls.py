"""`UpstreamTlsContext` to a ready `ssl.SSLContext` (envoy.extensions.transport_sockets.tls.v3).

Stricter than Envoy where it is silent: without `trusted_ca` Envoy verifies nothing, here the system's roots and
the name are verified. `trust_chain_verification: ACCEPT_UNTRUSTED` is the way out, and warns at every start.
"""

import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.data_source import describe_data_source, read_data_source
from fastproxy.config.fingerprint import fingerprint
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.upstream.settings import UpstreamTlsSettings

UPSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
RAW_BUFFER = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"

_VERSIONS = {"TLSv1_2": ssl.TLSVersion.TLSv1_2, "TLSv1_3": ssl.TLSVersion.TLSv1_3}
_OLD_VERSIONS = frozenset({"TLSv1_0", "TLSv1_1"})
_ACCEPT_UNTRUSTED = "ACCEPT_UNTRUSTED"


@dataclass(slots=True)
class _Trust:
    """Whom to believe, as far as the validation context says."""

    roots: str | None = None
    """PEM of `trusted_ca`; None means the system's."""
    verify: bool = True
    san: str = ""
    """The one DNS name that `match_typed_subject_alt_names` asks for."""


def default_tls(context: BuildContext) -> UpstreamTlsSettings:
    """TLS as a bare `transport_socket: {name: envoy.transport_sockets.tls}` means it: all defaults."""
    if context.default_tls is None:
        context.default_tls = _new_context()
        context.default_tls.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return UpstreamTlsSettings(context.default_tls)


def build_upstream_tls(tls: View, context: BuildContext) -> UpstreamTlsSettings:
    """Build the TLS settings of one cluster; whatever is wrong with them is reported."""
    tls.unsupported("auto_host_sni", fix="Set sni to the upstream's name")
    tls.unsupported("auto_sni_san_validation", fix="Set sni to the upstream's name; it is verified")
    sni = tls.text("sni")
    common = tls.child("common_tls_context")
    if common is None or not common.message.ListFields():
        return UpstreamTlsSettings(default_tls(context).context, sni)
    trust = _build_trust(common.child("validation_context"), sni)
    ctx = _new_context()
    _load_roots(ctx, common, trust)
    _load_client_certificate(ctx, common)
    _apply_parameters(ctx, common)
    _apply_alpn(ctx, common)
    name = sni or trust.san
    # A private CA signs for its own services only; Envoy checks no name then, and a name to check must be given.
    verifies_name = trust.verify and (trust.roots is None or bool(name))
    ctx.check_hostname = verifies_name
    ctx.verify_mode = ssl.CERT_REQUIRED if trust.verify else ssl.CERT_NONE
    return UpstreamTlsSettings(ctx, name, verifies_name, fingerprint(tls.message))


def _new_context() -> ssl.SSLContext:
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.minimum_version = ssl.TLSVersion.TLSv1_2
    return ctx


def _build_trust(validation: View | None, sni: str) -> _Trust:
    trust = _Trust()
    if validation is None:
        return trust
    # Verifying with the system's roots is what happens without it, too.
    validation.accept("system_root_certs")
    if validation.choice("trust_chain_verification") == _ACCEPT_UNTRUSTED:
        trust.verify = False
        validation.warn(
            "certificates of this cluster are NOT verified",
            "Anyone on the network path can read and change its traffic",
            field="trust_chain_verification",
        )
    source = validation.child("trusted_ca")
    if source is not None:
        content = read_data_source(source)
        if content is not None:
            trust.roots = content.decode("ascii", "replace")
    for matcher in validation.children("match_typed_subject_alt_names"):
        _read_san(matcher, trust, sni)
    return trust


def _read_san(view: View, trust: _Trust, sni: str) -> None:
    """One exact DNS name, equal to `sni` if that is set, is what name verification does anyway."""
    matcher = view.child_or_empty("matcher")
    exact = matcher.text("exact") if matcher.selected("match_pattern") == "exact" else ""
    is_dns = view.choice("san_type") == "DNS"
    if not is_dns or not exact or trust.san or (sni and sni.lower() != exact.lower()):
        view.error(
            "only one exact DNS name, equal to sni, is supported",
            f"Use san_type: DNS with matcher: {{exact: {sni or 'NAME'}}}",
        )
    trust.san = exact


def _load_roots(ctx: ssl.SSLContext, common: View, trust: _Trust) -> None:
    if not trust.verify:
        return
    if trust.roots is None:
        ctx.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return
    try:
        ctx.load_verify_locations(cadata=trust.roots)
    except (ssl.SSLError, ValueError):
        validation = common.child_or_empty("validation_context")
        source = validation.child_or_empty("trusted_ca")
        source.error(f"no certificate can be read from {describe_data_source(source)}", "PEM is expected")
    # As in Envoy, an intermediate or self-signed certificate in trusted_ca is trusted as it stands.
    ctx.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _load_client_certificate(ctx: ssl.SSLContext, common: View) -> None:
    certificates = common.children("tls_certificates")
    if len(certificates) > 1:
        common.error("only one client certificate is supported", field="tls_certificates")
    for view in certificates[:1]:
        parts = [_read_part(view, name) for name in ("certificate_chain", "private_key")]
        password = _read_part(view, "password") or b""
        if parts[0] is None or parts[1] is None:
            view.error("a client certificate needs certificate_chain and private_key")
            continue
        try:
            _load_pair(ctx, parts[0], parts[1], password.decode(errors="replace").strip("\r\n"))
        except (ssl.SSLError, OSError, ValueError):
            # OpenSSL's words may quote its input; ours say what to look at.
            view.error(
                "the client certificate cannot be used",
                "certificate_chain and private_key must be PEM and belong together, and password must fit",
            )


def _read_part(view: View, name: str) -> bytes | None:
    source = view.child(name)
    return None if source is None else read_data_source(source)


def _load_pair(ctx: ssl.SSLContext, chain: bytes, key: bytes, password: str) -> None:
    """Hand a certificate and key to OpenSSL, which reads nothing but files, without leaving the key on disk."""
    with tempfile.TemporaryDirectory(prefix="fastproxy-") as folder:
        # Mode 0700 on the folder, and memory where the system offers it.
        path = Path(folder, "pair.pem")
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("fastproxy-pair")
            path = Path(f"/proc/self/fd/{descriptor}")
        else:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, chain.rstrip() + b"\n" + key.rstrip() + b"\n")
            # A password is always given: without one OpenSSL would ask for it on the terminal.
            ctx.load_cert_chain(path, password=password)
        finally:
            os.close(descriptor)


def _apply_parameters(ctx: ssl.SSLContext, common: View) -> None:
    params = common.child("tls_params")
    if params is None:
        return
    low, high = params.choice("tls_minimum_protocol_version"), params.choice("tls_maximum_protocol_version")
    if low in _OLD_VERSIONS:
        params.warn(
            "TLS 1.2 is the lowest version that FastProxy speaks", field="tls_minimum_protocol_version"
        )
    if high in _OLD_VERSIONS:
        params.error(
            "TLS below 1.2 is not supported", "Use TLSv1_2 or more", field="tls_maximum_protocol_version"
        )
    ctx.minimum_version = _VERSIONS.get(low, ssl.TLSVersion.TLSv1_2)
    if high in _VERSIONS:
        ctx.maximum_version = _VERSIONS[high]
        if ctx.minimum_version > _VERSIONS[high]:
            params.error("the maximum version is below the minimum", field="tls_maximum_protocol_version")
    ciphers = params.texts("cipher_suites")
    if ciphers:
        try:
            ctx.set_ciphers(":".join(ciphers))
        except ssl.SSLError:
            params.error(
                f"no usable cipher in {quote(':'.join(ciphers))}",
                "Use OpenSSL's names",
                field="cipher_suites",
            )


def _apply_alpn(ctx: ssl.SSLContext, common: View) -> None:
    protocols = common.texts("alpn_protocols")
    if "h2" in protocols:
        common.error("HTTP/2 to upstreams is not supported yet", "Remove h2", field="alpn_protocols")
    elif protocols:
        try:
            ctx.set_alpn_protocols(list(protocols))
        except (ssl.SSLError, ValueError):
            common.error("a protocol name must have 1 to 255 ASCII characters", field="alpn_protocols")
