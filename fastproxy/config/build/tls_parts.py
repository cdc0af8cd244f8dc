"""The parts of `CommonTlsContext` that listeners and clusters share (envoy.extensions.transport_sockets.tls.v3)."""

import ssl
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from fastproxy.config.build.data_source import describe_data_source
from fastproxy.config.build.secrets import Secrets
from fastproxy.config.build.tls_files import TlsFiles
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.tls.openssl import load_pair
from fastproxy.tls.settings import CertificateSettings

_VERSIONS = {"TLSv1_2": ssl.TLSVersion.TLSv1_2, "TLSv1_3": ssl.TLSVersion.TLSv1_3}
_OLD_VERSIONS = frozenset({"TLSv1_0", "TLSv1_1"})
#: Envoy's names and OpenSSL's.
_CURVES = {"X25519": "X25519", "P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}


@dataclass(frozen=True, slots=True)
class TlsSources:
    """Where certificates come from in one load."""

    files: TlsFiles
    secrets: Secrets


def build_certificates(common: View, sources: TlsSources) -> tuple[tuple[CertificateSettings, ...], bool]:
    """Our own certificates, and whether one is asked for that is not there (yet)."""
    views = list(common.children("tls_certificates"))
    named = common.children("tls_certificate_sds_secret_configs")
    missing = 0
    for entry in named:
        secret = sources.secrets.find(entry, "tls_certificate")
        if secret is None:
            missing += 1
        else:
            views.append(secret)
    found = (_build_certificate(view, sources.files) for view in views)
    return tuple(one for one in found if one is not None), missing > 0


def _build_certificate(view: View, files: TlsFiles) -> CertificateSettings | None:
    view.accept("watched_directory")
    view.without_effect("ocsp_staple", "OCSP answers are not stapled")
    password = (_read(view, "password", files) or b"").decode(errors="replace").strip("\r\n")
    bundle = view.child("pkcs12")
    if bundle is not None:
        content = files.read(bundle)
        if content is None:
            return None
        made = _open_pkcs12(bundle, content, password)
        return None if made is None else _checked(view, made, files)
    source = view.child("certificate_chain")
    chain, key = _read(view, "certificate_chain", files), _read(view, "private_key", files)
    if source is None or view.child("private_key") is None:
        view.error("a certificate needs certificate_chain and private_key")
        return None
    if chain is None or key is None:
        return None
    return _checked(view, CertificateSettings(chain, key, password, describe_data_source(source)), files)


def _checked(view: View, certificate: CertificateSettings, files: TlsFiles) -> CertificateSettings | None:
    if files.checks:
        try:
            ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            load_pair(ctx, certificate.chain, certificate.private_key, certificate.password)
        except (ssl.SSLError, OSError, ValueError):
            # OpenSSL's words may quote its input; ours say what to look at.
            view.error(
                f"the certificate cannot be used ({certificate.origin})",
                "certificate_chain and private_key must be PEM and belong together, and password must fit",
            )
            return None
    return certificate


def _read(view: View, name: str, files: TlsFiles) -> bytes | None:
    source = view.child(name)
    return None if source is None else files.read(source)


def _open_pkcs12(source: View, content: bytes, password: str) -> CertificateSettings | None:
    try:
        bundle = pkcs12.load_pkcs12(content, password.encode() or None)
        chain = [one for one in (bundle.cert, *bundle.additional_certs) if one is not None]
        pem = b"".join(one.certificate.public_bytes(Encoding.PEM) for one in chain)
        key: Any = bundle.key
        return CertificateSettings(
            pem,
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            origin=describe_data_source(source),
        )
    except (AttributeError, ValueError):
        # A bundle without a key has no key to write.
        source.error(
            "the PKCS #12 bundle cannot be used",
            "It must hold a certificate and its key, and password must fit",
        )
        return None


def find_validation(common: View, sources: TlsSources) -> tuple[View | None, bool]:
    """The validation context, and whether one is asked for that is not there (yet)."""
    kind = common.selected("validation_context_type")
    if kind == "validation_context":
        return common.child(kind), False
    if kind == "validation_context_sds_secret_config":
        found = sources.secrets.find(common.child_or_empty(kind), "validation_context")
        return found, found is None
    if kind != "combined_validation_context":
        return None, False
    combined = common.child_or_empty(kind)
    base = combined.child_or_empty("default_validation_context")
    secret = sources.secrets.find(
        combined.child_or_empty("validation_context_sds_secret_config"), "validation_context"
    )
    if secret is None:
        return None, True
    # As in Envoy: what the secret says goes over what stands here, and lists grow.
    for view in (base, secret):
        view.accept(*(field.name for field, _ in view.message.ListFields()))
    merged: Any = type(base.message)()
    merged.CopyFrom(base.message)
    merged.MergeFrom(secret.message)
    return combined.derived("default_validation_context", merged), False


def build_parameters(common: View) -> tuple[ssl.TLSVersion, ssl.TLSVersion, str, str]:
    """`tls_params`: lowest and highest version, ciphers of TLS 1.2 and a curve by OpenSSL's names, empty if not set."""
    params = common.child_or_empty("tls_params")
    low, high = params.choice("tls_minimum_protocol_version"), params.choice("tls_maximum_protocol_version")
    if low in _OLD_VERSIONS:
        params.warn(
            "TLS 1.2 is the lowest version that FastProxy speaks", field="tls_minimum_protocol_version"
        )
    if high in _OLD_VERSIONS:
        params.error(
            "TLS below 1.2 is not supported", "Use TLSv1_2 or more", field="tls_maximum_protocol_version"
        )
    lowest, highest = _VERSIONS.get(low, ssl.TLSVersion.TLSv1_2), _VERSIONS.get(high, ssl.TLSVersion.TLSv1_3)
    if lowest > highest:
        params.error("the maximum version is below the minimum", field="tls_maximum_protocol_version")
    return lowest, highest, _build_ciphers(params), _build_curve(params)


def _build_ciphers(params: View) -> str:
    # `[A|B]`: either, as the client likes; OpenSSL has no groups, so the order decides.
    names = [one for text in params.texts("cipher_suites") for one in text.strip("[]").split("|")]
    ciphers = ":".join(names)
    if ciphers:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(ciphers)
        except ssl.SSLError:
            params.error(
                f"no usable cipher in {quote(ciphers)}", "Use OpenSSL's names", field="cipher_suites"
            )
            return ""
    return ciphers


def _build_curve(params: View) -> str:
    names = params.texts("ecdh_curves")
    for name in names:
        if name not in _CURVES:
            params.error(
                f"the curve {quote(name)} is not supported", f"Use {', '.join(_CURVES)}", field="ecdh_curves"
            )
            return ""
    if len(names) > 1:
        if not {"X25519", "P-256"} <= set(names):
            params.error(
                "the TLS library can be held to one curve, or to none",
                "Name one curve, or leave the field out",
                field="ecdh_curves",
            )
        else:
            params.warn("the TLS library's own list is offered, which holds these", field="ecdh_curves")
        return ""
    return _CURVES[names[0]] if names else ""


def build_alpn(common: View) -> tuple[str, ...]:
    """`alpn_protocols`, in order; those that cannot be protocols are reported."""
    # Envoy's own examples write "h2,http/1.1" as one string.
    found = tuple(
        one.strip() for text in common.texts("alpn_protocols") for one in text.split(",") if one.strip()
    )
    for name in found:
        if not name.isascii() or len(name) > 255:
            common.error("a protocol name must have 1 to 255 ASCII characters", field="alpn_protocols")
            return ()
    return found
