"""`CertificateValidationContext`: what a peer's certificate must be like."""

import re
import ssl
from base64 import b64decode
from binascii import Error as BinasciiError
from dataclasses import replace

from fastproxy.config.build.data_source import describe_data_source
from fastproxy.config.build.matchers import build_string_match
from fastproxy.config.build.tls_files import TlsFiles
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.tls.openssl import load_trust
from fastproxy.tls.settings import PeerValidation, SanKind, SanMatch

_HASH = re.compile(r"[0-9a-f]{64}")


def build_client_validation(view: View, files: TlsFiles) -> PeerValidation:
    """Build what client certificates are checked against; problems are reported."""
    view.only(
        "trust_chain_verification",
        ("VERIFY_TRUST_CHAIN",),
        "A client certificate that is not verified proves nothing; leave the field out",
    )
    if view.child("trusted_ca") is None and view.child("system_root_certs") is None:
        view.error(
            "client certificates are verified against authorities, and none is given",
            "Add trusted_ca; hashes and names are checked in addition",
        )
    return _build(view, files)


def build_server_validation(view: View, files: TlsFiles) -> PeerValidation:
    """Build what an upstream's certificate is checked against; problems are reported."""
    accept_untrusted = view.choice("trust_chain_verification") == "ACCEPT_UNTRUSTED"
    return replace(_build(view, files), accept_untrusted=accept_untrusted)


def _build(view: View, files: TlsFiles) -> PeerValidation:
    # Files are watched by content, wherever they come from.
    view.accept("watched_directory")
    source, roots = view.child("trusted_ca"), None
    if source is not None:
        roots = files.read(source)
        _check_trust(source, roots, files)
    revoked, crl = view.child("crl"), None
    if revoked is not None:
        crl = files.read(revoked)
        _check_trust(revoked, crl, files)
    return PeerValidation(
        trusted_ca=roots,
        crl=crl,
        crl_for_leaf_only=view.flag("only_verify_leaf_cert_crl"),
        allow_expired=view.flag("allow_expired_certificate"),
        system_roots=view.child("system_root_certs") is not None,
        sans=_build_sans(view),
        certificate_hashes=_build_hashes(view),
        spki_hashes=_build_spki(view),
    )


def _check_trust(source: View, content: bytes | None, files: TlsFiles) -> None:
    if content is None or not files.checks:
        return
    try:
        load_trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), content)
    except (ssl.SSLError, OSError, ValueError):
        source.error(
            f"nothing to verify certificates with can be read from {describe_data_source(source)}",
            "PEM is expected",
        )


def _build_sans(view: View) -> tuple[SanMatch, ...]:
    found = []
    for entry in view.children("match_typed_subject_alt_names"):
        kind = entry.choice("san_type")
        matcher = entry.child("matcher")
        if kind not in SanKind.__members__:
            entry.error(f"{kind} is not supported", "Use DNS, URI, EMAIL or IP_ADDRESS", field="san_type")
        if matcher is None:
            entry.error("a name to match is needed", "Add matcher: {exact: NAME}")
            continue
        match = build_string_match(matcher)
        if match is not None and kind in SanKind.__members__:
            found.append(SanMatch(SanKind[kind], match))
    for matcher in view.children("match_subject_alt_names"):
        match = build_string_match(matcher)
        if match is not None:
            found.extend(SanMatch(kind, match) for kind in SanKind)
    return tuple(found)


def _build_hashes(view: View) -> frozenset[str]:
    found = set()
    for text in view.texts("verify_certificate_hash"):
        plain = text.replace(":", "").lower()
        if _HASH.fullmatch(plain) is None:
            view.error(
                f"{quote(text)} is no SHA-256 of a certificate",
                "Use the output of: openssl x509 -noout -fingerprint -sha256",
                field="verify_certificate_hash",
            )
        found.add(plain)
    return frozenset(found)


def _build_spki(view: View) -> frozenset[str]:
    found = set()
    for text in view.texts("verify_certificate_spki"):
        try:
            is_hash = len(b64decode(text, validate=True)) == 32
        except BinasciiError:
            is_hash = False
        if not is_hash:
            view.error(f"{quote(text)} is no base64 SHA-256 of a public key", field="verify_certificate_spki")
        found.add(text)
    return frozenset(found)
