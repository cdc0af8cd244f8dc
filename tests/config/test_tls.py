"""Upstream TLS: what is verified, and with what."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fastproxy.upstream.settings import UpstreamTlsSettings
from tests.config.support import TLS, cluster, load, minimal, problem, problems, warnings

SPKI = "NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A="


def make_pair(folder: Path, password: bytes | None = None) -> tuple[Path, Path]:
    """A self-signed certificate and its key as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = datetime(2024, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    return cert_path, key_path


def config(fields: str) -> str:
    return minimal(
        clusters=cluster(f"transport_socket: {{name: tls, typed_config: {{'@type': {TLS}, {fields}}}}}")
    )


def build(fields: str) -> UpstreamTlsSettings:
    tls = load(config(fields)).settings.clusters[0].tls
    assert tls is not None
    return tls


def test_s39_without_a_ca_the_system_roots_and_the_name_are_verified() -> None:
    """Envoy verifies nothing here; whoever sits on the path could then answer for the upstream."""
    tls = build("sni: a.example")

    assert (tls.sni, tls.verifies_name) == ("a.example", True)
    assert (tls.context.verify_mode, tls.context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_s39_with_a_ca_the_name_is_verified_when_it_is_given(tmp_path: Path) -> None:
    """A private CA signs only its own; a name to check is `sni`."""
    ca, _ = make_pair(tmp_path)
    trusted = f"common_tls_context: {{validation_context: {{trusted_ca: {{filename: {ca}}}}}}}"
    named, unnamed = build(f"sni: a.example, {trusted}"), build(trusted)

    assert (named.verifies_name, named.context.check_hostname) == (True, True)
    assert (unnamed.verifies_name, unnamed.context.check_hostname) == (False, False)
    assert {named.context.verify_mode, unnamed.context.verify_mode} == {ssl.CERT_REQUIRED}
    assert len(named.context.get_ca_certs()) <= 1


@pytest.mark.parametrize("form", ["filename", "inline_string", "environment_variable"])
def test_a_ca_may_come_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """All forms of DataSource."""
    ca, _ = make_pair(tmp_path)
    monkeypatch.setenv("TEST_CA", ca.read_text())
    escaped = ca.read_text().replace("\n", "\\n")
    value = {"filename": str(ca), "inline_string": f'"{escaped}"', "environment_variable": "TEST_CA"}[form]

    tls = build(f"common_tls_context: {{validation_context: {{trusted_ca: {{{form}: {value}}}}}}}")

    assert tls.context.cert_store_stats()["x509"] == 1


def test_s39_verification_is_switched_off_only_by_name_and_with_a_warning() -> None:
    """The explicit way out; it must not pass unseen."""
    fields = "common_tls_context: {validation_context: {trust_chain_verification: ACCEPT_UNTRUSTED}}"

    assert build(fields).context.verify_mode is ssl.CERT_NONE
    assert any("NOT verified" in entry for entry in warnings(config(fields)))


@pytest.mark.parametrize("password", [None, b"secret"])
def test_client_certificates_are_loaded(tmp_path: Path, password: bytes | None) -> None:
    """For upstreams that ask for one (mTLS), with an encrypted key, too."""
    cert, key = make_pair(tmp_path, password)
    extra = f", password: {{inline_string: {password.decode()}}}" if password else ""

    build(
        "common_tls_context: {tls_certificates: "
        f"[{{certificate_chain: {{filename: {cert}}}, private_key: {{filename: {key}}}{extra}}}]}}"
    )


@pytest.mark.parametrize("case", ["no password", "not a key", "no key"])
def test_unusable_client_certificates_are_reported_without_their_content(tmp_path: Path, case: str) -> None:
    """And never asked about on the terminal."""
    cert, key = make_pair(tmp_path, b"secret" if case == "no password" else None)
    if case == "not a key":
        key.write_text("PRIVATE NONSENSE")
    private = "" if case == "no key" else f", private_key: {{filename: {key}}}"
    found = problem(
        config(
            f"common_tls_context: {{tls_certificates: [{{certificate_chain: {{filename: {cert}}}{private}}}]}}"
        )
    )

    assert "client certificate" in found.problem
    assert "NONSENSE" not in str(found)


def test_tls_versions_and_ciphers_are_honoured() -> None:
    """`tls_params`."""
    tls = build(
        "common_tls_context: {tls_params: {tls_minimum_protocol_version: TLSv1_2, "
        "tls_maximum_protocol_version: TLSv1_2, cipher_suites: ECDHE-RSA-AES128-GCM-SHA256}}"
    )

    assert tls.context.maximum_version is ssl.TLSVersion.TLSv1_2
    names = {entry["name"] for entry in tls.context.get_ciphers() if entry["protocol"] == "TLSv1.2"}
    assert names == {"ECDHE-RSA-AES128-GCM-SHA256"}


def test_an_equal_name_to_match_is_what_sni_verifies_anyway(tmp_path: Path) -> None:
    """The usual pairing of `sni` with one exact DNS name."""
    ca, _ = make_pair(tmp_path)
    match = "match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: %s}}]"
    text = f"common_tls_context: {{validation_context: {{trusted_ca: {{filename: {ca}}}, {match}}}}}"

    assert (build(text % "a.example").sni, build(text % "a.example").verifies_name) == ("a.example", True)
    assert "exact DNS name" in problem(config("sni: a.example, " + text % "b.example")).problem


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("auto_host_sni: true", "not supported"),
        ("common_tls_context: {alpn_protocols: [h2, http/1.1]}", "HTTP/2"),
        ("common_tls_context: {tls_params: {tls_maximum_protocol_version: TLSv1_1}}", "below 1.2"),
        ("common_tls_context: {tls_params: {cipher_suites: [NO-SUCH]}}", "no usable cipher"),
        ("common_tls_context: {tls_params: {ecdh_curves: [P-256]}}", "not supported"),
        (
            "common_tls_context: {validation_context: {trusted_ca: {inline_string: nonsense}}}",
            "no certificate",
        ),
        (
            "common_tls_context: {validation_context: {trusted_ca: {filename: /does/not/exist}}}",
            "Invalid path",
        ),
        ("common_tls_context: {validation_context: {crl: {inline_string: a}}}", "not supported"),
        (
            "common_tls_context: {validation_context: {verify_certificate_spki: [SPKI]}}".replace(
                "SPKI", SPKI
            ),
            "not supported",
        ),
        ("common_tls_context: {validation_context_sds_secret_config: {name: a}}", "not supported"),
    ],
)
def test_s39_tls_settings_that_cannot_be_honoured_are_refused(fields: str, words: str) -> None:
    """A pin or a revocation list that is ignored is worse than none."""
    assert any(words in entry.problem for entry in problems(config(fields)))


def test_a_lower_minimum_version_is_raised_with_a_warning() -> None:
    """TLS 1.0 and 1.1 are not spoken (RFC 8996)."""
    fields = "common_tls_context: {tls_params: {tls_minimum_protocol_version: TLSv1_0}}"

    assert build(fields).context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert any("TLS 1.2 is the lowest" in entry for entry in warnings(config(fields)))
