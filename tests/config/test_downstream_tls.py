"""`DownstreamTlsContext`: what arrives, and what is refused with words that help."""

import json
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from fastproxy.config import config_dump
from fastproxy.listener.tls.settings import ClientCertificates, DownstreamTlsSettings
from fastproxy.tls.settings import SanKind
from tests.config.support import block, load, minimal, problem, problems, warnings
from tests.tls.pki import Authority

KIND = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
CA = Authority()
OWN = CA.issue("a.test")


def quoted(pem: bytes) -> str:
    return json.dumps(pem.decode())


INLINE = (
    f"tls_certificates: [{{certificate_chain: {{inline_string: {quoted(OWN.chain)}}}, "
    f"private_key: {{inline_string: {quoted(OWN.private_key)}}}}}]"
)
TRUSTED = f"trusted_ca: {{inline_string: {quoted(CA.pem)}}}"


def tls_text(common: str = INLINE, more: str = "", top: str = "") -> str:
    """A listener with one TLS chain."""
    socket = f"""\
- transport_socket:
    name: tls
    typed_config:
      "@type": {KIND}
{block(more, 6)}
      common_tls_context:
{block(common, 8)}
  filters:"""
    return (
        minimal()
        .replace("    - filters:", block(socket, 4))
        .replace(
            "static_resources:\n", f"static_resources:\n{block(top, 2)}\n" if top else "static_resources:\n"
        )
    )


def tls_of(text: str) -> DownstreamTlsSettings:
    found = load(text).settings.listeners[0].chains()[0].tls
    assert found is not None
    return found


def test_every_setting_arrives() -> None:
    """One that is read into the wrong place is a weaker connection."""
    found = tls_of(
        tls_text(
            INLINE
            + f"""
alpn_protocols: ["h2,http/1.1", acme]
tls_params:
  tls_minimum_protocol_version: TLSv1_3
  tls_maximum_protocol_version: TLSv1_3
  cipher_suites: ["[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-RSA-AES128-GCM-SHA256]", ECDHE-RSA-AES256-GCM-SHA384]
  ecdh_curves: [P-384]
validation_context:
  {TRUSTED}
  crl: {{inline_string: {quoted(CA.revoke())}}}
  only_verify_leaf_cert_crl: true
  allow_expired_certificate: true
  verify_certificate_hash: ["{OWN.sha256.upper()}"]
  verify_certificate_spki: ["47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]
  match_typed_subject_alt_names:
  - {{san_type: URI, matcher: {{prefix: "spiffe://"}}}}
""",
            "require_client_certificate: true\ndisable_stateless_session_resumption: true\nprefer_client_ciphers: true",
        )
    )
    assert found.alpn_protocols == ("http/1.1", "acme")
    assert found.minimum_version == found.maximum_version == ssl.TLSVersion.TLSv1_3
    assert found.ciphers == (
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"
    )
    assert found.curve == "secp384r1"
    assert found.client_certificates is ClientCertificates.REQUIRED
    assert found.validation.trusted_ca == CA.pem
    assert found.validation.crl_for_leaf_only
    assert found.validation.allow_expired
    assert found.validation.certificate_hashes == {OWN.sha256}
    assert found.validation.sans[0].kind is SanKind.URI
    assert (found.session_tickets, found.prefer_client_ciphers) == (False, True)


def test_defaults_are_envoys() -> None:
    """TLS 1.2 to 1.3, no client certificates, tickets."""
    found = tls_of(tls_text())
    assert (found.minimum_version, found.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    assert found.client_certificates is ClientCertificates.IGNORED
    assert found.session_tickets


def test_certificates_with_validation_alone_are_optional() -> None:
    """As in Envoy."""
    found = tls_of(tls_text(f"{INLINE}\nvalidation_context: {{{TRUSTED}}}"))
    assert found.client_certificates is ClientCertificates.OPTIONAL


@pytest.mark.parametrize(
    ("common", "more", "words"),
    [
        ("alpn_protocols: [a]", "", "needs a certificate"),
        (
            "tls_certificates: [{certificate_chain: {inline_string: x}}]",
            "",
            "needs certificate_chain and private_key",
        ),
        (
            "tls_certificates: [{certificate_chain: {inline_string: x}, private_key: {inline_string: key}}]",
            "",
            "cannot be used",
        ),
        (
            "tls_certificates: [{certificate_chain: {filename: /none}, private_key: {filename: /none}}]",
            "",
            "Invalid path",
        ),
        ("tls_certificates: [{pkcs12: {inline_string: x}}]", "", "PKCS #12"),
        ("tls_certificate_sds_secret_configs: [{name: gone}]", "", 'no secret "gone"'),
        (
            "tls_certificate_sds_secret_configs: [{name: a, sds_config: {ads: {}}}]",
            "",
            "management server",
        ),
        (INLINE, "require_client_certificate: true", "nothing says how to verify"),
        (
            INLINE + f"\nvalidation_context: {{verify_certificate_hash: ['{'a' * 64}']}}",
            "",
            "none is given",
        ),
        (INLINE + "\nvalidation_context: {trusted_ca: {inline_string: x}}", "", "nothing to verify"),
        (
            INLINE + f"\nvalidation_context: {{{TRUSTED}, trust_chain_verification: ACCEPT_UNTRUSTED}}",
            "",
            "ACCEPT_UNTRUSTED is not supported",
        ),
        (
            INLINE + f"\nvalidation_context: {{{TRUSTED}, verify_certificate_hash: ['{'g' * 64}']}}",
            "",
            "no SHA-256",
        ),
        (INLINE + f"\nvalidation_context: {{{TRUSTED}, max_verify_depth: 1}}", "", "not supported"),
        (INLINE + "\ntls_params: {cipher_suites: [NONE]}", "", "no usable cipher"),
        (INLINE + "\ntls_params: {ecdh_curves: [P-256, P-384]}", "", "held to one curve"),
        (INLINE + "\ntls_params: {ecdh_curves: [X]}", "", "the curve"),
        (INLINE + "\ntls_params: {tls_maximum_protocol_version: TLSv1_1}", "", "below 1.2"),
        (
            INLINE
            + "\ntls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_2}",
            "",
            "below the minimum",
        ),
        (INLINE + "\nalpn_protocols: [\u00e9]", "", "protocol name"),
        (INLINE, "ocsp_staple_policy: MUST_STAPLE", "MUST_STAPLE is not supported"),
        (INLINE + "\ncustom_handshaker: {name: x}", "", "not supported"),
    ],
)
def test_what_cannot_be_done_is_refused(common: str, more: str, words: str) -> None:
    """TLS is served as written, or not at all."""
    found = problems(tls_text(common, more))
    assert any(words in str(entry) for entry in found), found
    assert not any("PRIVATE" in str(entry) for entry in found)


@pytest.mark.parametrize(
    ("common", "more", "words"),
    [
        (INLINE + "\nalpn_protocols: [h2]", "", "h2 is not offered"),
        (INLINE + "\ntls_params: {ecdh_curves: [X25519, P-256]}", "", "own list"),
        (INLINE + "\ntls_params: {tls_minimum_protocol_version: TLSv1_0}", "", "lowest version"),
        (INLINE, "require_sni: true", "has no effect"),
        (INLINE, "session_ticket_keys: {keys: [{inline_string: x}]}", "ticket keys"),
        (INLINE, "session_timeout: 60s", "lifetime"),
    ],
)
def test_what_only_tunes_is_a_warning(common: str, more: str, words: str) -> None:
    """Nothing is silent."""
    assert any(words in one for one in warnings(tls_text(common, more)))


def test_a_bundle_is_taken_apart(tmp_path: Path) -> None:
    """PKCS #12, with its password."""
    bundle = pkcs12.serialize_key_and_certificates(
        b"x", OWN.key, OWN.certificate, [CA.certificate], BestAvailableEncryption(b"pw")
    )
    (tmp_path / "own.p12").write_bytes(bundle)
    found = tls_of(
        tls_text(
            f"tls_certificates: [{{pkcs12: {{filename: {tmp_path}/own.p12}}, password: {{inline_string: pw}}}}]"
        )
    )
    assert found.certificates[0].chain == OWN.chain + CA.pem


SECRETS = f"""\
secrets:
- name: own
  tls_certificate:
    certificate_chain: {{inline_string: {quoted(OWN.chain)}}}
    private_key: {{inline_string: {quoted(OWN.private_key)}}}
- name: trust
  validation_context: {{{TRUSTED}}}
"""


def test_named_secrets_are_found() -> None:
    """`static_resources.secrets`."""
    common = "tls_certificate_sds_secret_configs: [{name: own}]\nvalidation_context_sds_secret_config: {name: trust}"
    found = tls_of(tls_text(common, top=SECRETS))
    assert found.certificates[0].chain == OWN.chain
    assert found.validation.trusted_ca == CA.pem


def test_a_combined_context_takes_both() -> None:
    """What stands here, and what the secret says."""
    common = f"""\
tls_certificate_sds_secret_configs: [{{name: own}}]
combined_validation_context:
  default_validation_context: {{verify_certificate_hash: ['{OWN.sha256}']}}
  validation_context_sds_secret_config: {{name: trust}}
"""
    found = tls_of(tls_text(common, top=SECRETS))
    assert found.validation.trusted_ca == CA.pem
    assert found.validation.certificate_hashes == {OWN.sha256}


def test_secrets_that_are_missing_double_or_unused_are_told() -> None:
    """A typing error in a name must not pass."""
    common = "tls_certificate_sds_secret_configs: [{name: trust}]"
    assert "has no tls_certificate" in problem(tls_text(common, top=SECRETS)).problem
    double = SECRETS + "- name: own\n  generic_secret: {secret: {inline_string: x}}\n"
    assert any("duplicate secret" in entry.problem for entry in problems(tls_text(top=double)))
    assert any("nothing names the secret" in one for one in warnings(tls_text(top=SECRETS)))


def test_private_keys_never_appear_in_a_dump() -> None:
    """Everybody who reaches the admin interface reads it (S53)."""
    text = json.dumps(config_dump(load(tls_text(top=SECRETS)).bootstrap))
    assert "PRIVATE KEY" not in text
    assert "BEGIN CERTIFICATE" in text
    assert "PRIVATE" not in repr(load(tls_text(top=SECRETS)).settings)
