"""Upstream TLS: what is verified, and with what."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fastproxy.config import rebuild_tls, settings_from_bootstrap
from fastproxy.upstream.settings import Address, UpstreamTlsSettings
from tests.config.support import TLS, cluster, load, minimal, problem, problems, warnings
from tests.tls.pki import Authority

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


def test_an_upstream_cannot_begin_another_handshake() -> None:
    """Renegotiation costs us a handshake each time, and nobody needs it."""
    for fields in (
        "sni: a.example",
        "common_tls_context: {tls_params: {tls_maximum_protocol_version: TLSv1_2}}",
    ):
        options = build(fields).context.options
        assert options & ssl.OP_NO_RENEGOTIATION
        assert options & ssl.OP_NO_COMPRESSION


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

    assert "certificate" in found.problem
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


def test_an_exact_name_to_match_is_sent_too(tmp_path: Path) -> None:
    """It is what the upstream is called. Other names are matched, and say nothing about what to send."""
    ca, _ = make_pair(tmp_path)
    match = "match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: %s}}]"
    text = f"common_tls_context: {{validation_context: {{trusted_ca: {{filename: {ca}}}, {match}}}}}"

    assert (build(text % "a.example").sni, build(text % "a.example").verifies_name) == ("a.example", True)
    other = build("sni: a.example, " + text % "b.example")
    assert (other.sni, other.verifies_name) == ("a.example", True)
    assert not other.context.check_hostname
    assert other.context.sslobject_class is not ssl.SSLObject


def test_pins_are_enough_where_no_authority_is_named(tmp_path: Path) -> None:
    """As in Envoy: nobody else has the key. With an authority both count."""
    ca, _ = make_pair(tmp_path)
    pin = f"verify_certificate_spki: [{SPKI}]"
    alone = build(f"common_tls_context: {{validation_context: {{{pin}}}}}")
    both = build(f"common_tls_context: {{validation_context: {{{pin}, trusted_ca: {{filename: {ca}}}}}}}")
    system = build(f"common_tls_context: {{validation_context: {{{pin}, system_root_certs: {{}}}}}}")

    modes = [one.context.verify_mode for one in (alone, both, system)]
    assert modes == [ssl.CERT_NONE, ssl.CERT_REQUIRED, ssl.CERT_REQUIRED]
    assert all(one.context.sslobject_class is not ssl.SSLObject for one in (alone, both, system))
    assert all(one.verifies_peer and (one is both or one.verifies_name) for one in (alone, both, system))


def test_the_name_that_is_sent_can_be_the_one_that_is_verified(tmp_path: Path) -> None:
    """`auto_host_sni`, `auto_sni_san_validation`: for an authority that signs for more than this upstream."""
    ca, _ = make_pair(tmp_path)
    match = "match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: other.example}}]"
    trusted = f"common_tls_context: {{validation_context: {{trusted_ca: {{filename: {ca}}}, {match}}}}}"
    found = build(f"auto_host_sni: true, auto_sni_san_validation: true, {trusted}")

    assert (found.host_sni, found.verifies_name, found.context.check_hostname) == (True, True, True)
    assert found.context.sslobject_class is ssl.SSLObject, "the name that is sent counts instead"
    assert not found.context.hostname_checks_common_name
    assert found.server_name(Address("10.0.0.1", 443, "host.example")) == "host.example"
    assert build("sni: a.example").server_name(Address("10.0.0.1", 443, "host.example")) == "a.example"


def test_revocation_lists_and_time_are_honoured(tmp_path: Path) -> None:
    """`crl`, `only_verify_leaf_cert_crl`, `allow_expired_certificate`."""
    authority = Authority()
    ca, crl = tmp_path / "ca.pem", tmp_path / "crl.pem"
    ca.write_bytes(authority.pem)
    crl.write_bytes(authority.revoke(authority.issue("a.example")))
    text = "common_tls_context: {validation_context: {trusted_ca: {filename: %s}, crl: {filename: %s}%s}}"
    strict = build(text % (ca, crl, "")).context
    loose = build(
        text % (ca, crl, ", only_verify_leaf_cert_crl: true, allow_expired_certificate: true")
    ).context

    assert strict.verify_flags & ssl.VERIFY_CRL_CHECK_CHAIN == ssl.VERIFY_CRL_CHECK_CHAIN
    assert loose.verify_flags & ssl.VERIFY_CRL_CHECK_CHAIN == ssl.VERIFY_CRL_CHECK_LEAF
    assert loose.verify_flags & 0x200000


def test_secrets_by_name_and_from_files(tmp_path: Path) -> None:
    """SDS, static and by file; what changes in one changes the cluster."""
    cert, key = make_pair(tmp_path)
    sds = tmp_path / "sds.yaml"
    secret = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    sds.write_text(
        f"resources:\n- '@type': {secret}\n  name: ca\n"
        f"  validation_context: {{trusted_ca: {{filename: {cert}}}}}\n"
    )
    fields = (
        "sni: a.example, common_tls_context: {tls_certificate_sds_secret_configs: [{name: own}], "
        f"validation_context_sds_secret_config: {{name: ca, sds_config: {{path_config_source: {{path: {sds}}}}}}}}}"
    )
    pair = f"certificate_chain: {{filename: {cert}}}, private_key: {{filename: {key}}}"
    text = config(fields) + f"\n  secrets: [{{name: own, tls_certificate: {{{pair}}}}}]\n"
    loaded = load(text)
    tls = loaded.settings.clusters[0].tls

    assert tls is not None
    assert tls.context.cert_store_stats()["x509"] == 1
    assert set(loaded.settings.tls_files) == {str(sds), str(cert), str(key)}
    password = "password: {inline_string: x}"
    changed = load(text.replace(pair, f"{pair}, {password}")).settings.clusters[0].tls
    assert changed is not None
    assert changed != tls


def test_s39_a_worker_trusts_nobody_until_it_is_told_what_the_files_hold(tmp_path: Path) -> None:
    """Half a configuration must not be half the verification."""
    cert, key = make_pair(tmp_path)
    pair = f"{{certificate_chain: {{filename: {cert}}}, private_key: {{filename: {key}}}}}"
    trusted = f"trusted_ca: {{filename: {cert}}}, trust_chain_verification: ACCEPT_UNTRUSTED"
    loaded = load(
        config(f"common_tls_context: {{tls_certificates: [{pair}], validation_context: {{{trusted}}}}}")
    )
    early = settings_from_bootstrap(loaded.bootstrap).clusters[0].tls
    told = rebuild_tls(loaded.bootstrap, loaded.settings.tls_files).clusters["backend"]

    assert early is not None
    assert (early.context.verify_mode, early.context.cert_store_stats()["x509"]) == (ssl.CERT_REQUIRED, 0)
    assert told.context.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("common_tls_context: {alpn_protocols: [h2, http/1.1]}", "HTTP/2"),
        ("common_tls_context: {tls_params: {tls_maximum_protocol_version: TLSv1_1}}", "below 1.2"),
        ("common_tls_context: {tls_params: {cipher_suites: [NO-SUCH]}}", "no usable cipher"),
        ("common_tls_context: {tls_params: {ecdh_curves: [P-999]}}", "not supported"),
        ("common_tls_context: {validation_context: {max_verify_depth: 3}}", "not supported"),
        ("common_tls_context: {validation_context_sds_secret_config: {name: a}}", "there is no secret"),
        (
            "common_tls_context: {validation_context: {trusted_ca: {inline_string: nonsense}}}",
            "nothing to verify certificates with",
        ),
        (
            "common_tls_context: {validation_context: {trusted_ca: {filename: /does/not/exist}}}",
            "Invalid path",
        ),
        (
            "common_tls_context: {validation_context: {crl: {inline_string: a}}}",
            "nothing to verify certificates with",
        ),
        (
            "common_tls_context: {validation_context: {verify_certificate_spki: ['%s']}}" % ("!" * 44),
            "no base64 SHA-256",
        ),
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
