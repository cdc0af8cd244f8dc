"""What travels without protection."""

from pathlib import Path

import pytest

from tests.config.support import minimal
from tests.lint.rules.test_keys import REMOTE
from tests.lint.support import CLEAN_PROVIDERS, line, names, only, remote_cluster, text, warnings

UNTRUSTED = "common_tls_context: {validation_context: {trust_chain_verification: ACCEPT_UNTRUSTED}}"
TO_REMOTE = "- match: {prefix: /}\n  route: {cluster: remote}"


def own_ca(tmp_path: Path, sni: str = "") -> str:
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import Encoding

    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start.replace(year=2046))
    path = tmp_path / "ca.pem"
    path.write_bytes(builder.sign(key, None).public_bytes(Encoding.PEM))
    inside = f"common_tls_context: {{validation_context: {{trusted_ca: {{filename: {path}}}}}}}"
    return f"sni: {sni}, {inside}" if sni else inside


@pytest.mark.parametrize(("tls", "words"), [("", "in clear"), (UNTRUSTED, "from anybody")])
def test_keys_from_a_server_that_nobody_verified(tls: str, words: str) -> None:
    """Whoever is on the way signs tokens."""
    source = text(providers=REMOTE, clusters=remote_cluster("keys", tls=tls))

    assert "unverified-jwks" in names(source)
    (found,) = [one for one in warnings(source) if one.rule == "unverified-jwks"]
    assert words in found.what
    assert line(source, found) == "remote_jwks:"


def test_keys_from_anybody_with_a_certificate_of_the_same_ca(tmp_path: Path) -> None:
    """A private CA signs for many."""
    source = text(providers=REMOTE, clusters=remote_cluster("keys", tls=own_ca(tmp_path)))

    assert "no name is checked" in only(source, "unverified-jwks").what


def test_keys_from_a_verified_server(tmp_path: Path) -> None:
    """By the system's roots, or by a CA of one's own and a name."""
    assert names(text(providers=REMOTE, clusters=remote_cluster("keys", tls="-"))) == []
    assert (
        names(text(providers=REMOTE, clusters=remote_cluster("keys", tls=own_ca(tmp_path, "idp.example"))))
        == []
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", '"::1"', "idp.localhost"])
def test_keys_from_this_machine(host: str) -> None:
    """Nobody is on the way."""
    assert names(text(providers=REMOTE, clusters=remote_cluster("keys", host=host))) == []


@pytest.mark.parametrize(
    ("issuer", "found"),
    [("http://idp.example", ["unverified-jwks"]), ("https://idp.example", []), ("http://localhost:1", [])],
)
def test_discovered_keys(issuer: str, found: list[str]) -> None:
    """The issuer's own scheme decides."""
    assert names(text(providers=f"idp:\n  issuer: {issuer}\n  audiences: [api]\n")) == found


def test_upstream_that_is_not_verified() -> None:
    """With or without tokens."""
    source = minimal(routes=TO_REMOTE, clusters=remote_cluster("remote", tls=UNTRUSTED))

    assert line(source, only(source, "unverified-tls")).startswith("transport_socket:")


def test_upstream_that_is_verified(tmp_path: Path) -> None:
    """A private CA without a name is Envoy's own way, and only for keys too little."""
    assert names(minimal(routes=TO_REMOTE, clusters=remote_cluster("remote", tls="-"))) == []
    assert names(minimal(routes=TO_REMOTE, clusters=remote_cluster("remote", tls=own_ca(tmp_path)))) == []


FORWARDS = CLEAN_PROVIDERS + "  forward: true\n"


def test_token_forwarded_in_clear() -> None:
    """To a cluster beyond this machine."""
    source = text(providers=FORWARDS, routes=TO_REMOTE, clusters=remote_cluster("remote"))
    found = only(source, "forward-in-clear")

    assert '"remote"' in found.what
    assert line(source, found) == "forward: true"


@pytest.mark.parametrize(
    ("tls", "host", "providers"),
    [
        ("-", "upstream.example", FORWARDS),
        ("", "localhost", FORWARDS),
        ("", "upstream.example", CLEAN_PROVIDERS),
    ],
)
def test_token_that_stays_or_is_protected(tls: str, host: str, providers: str) -> None:
    """TLS, loopback, or no `forward`."""
    source = text(
        providers=providers, routes=TO_REMOTE, clusters=remote_cluster("remote", tls=tls, host=host)
    )

    assert names(source) == []


def test_token_that_never_gets_to_the_plain_cluster() -> None:
    """Its rules are for other paths."""
    rules = (
        "- match: {path_separated_prefix: /open}\n"
        "- match: {path_separated_prefix: /api}\n  requires: {provider_name: idp}"
    )
    routes = (
        "- match: {path_separated_prefix: /open}\n  route: {cluster: remote}\n"
        "- match: {path_separated_prefix: /api}\n  route: {cluster: backend}"
    )

    assert names(text(rules, providers=FORWARDS, routes=routes, clusters=remote_cluster("remote"))) == []


def _listening(address: str, source: str = "") -> str:
    return (source or text()).replace("{socket_address: {address: 127.0.0.1, port_value: 0}}", address, 1)


PUBLIC = "{socket_address: {address: 0.0.0.0, port_value: 8080}}"


def test_tokens_that_come_in_clear_from_beyond_this_machine() -> None:
    """A public listener without TLS in front of jwt_authn."""
    source = _listening(PUBLIC)
    found = only(source, "cleartext-listener")

    assert "in clear on 0.0.0.0:8080" in found.what


@pytest.mark.parametrize(
    "address",
    [
        "{socket_address: {address: 127.0.0.1, port_value: 8080}}",
        "{socket_address: {address: '::1', port_value: 8080}}",
        "{pipe: {path: /run/a.sock}}",
    ],
)
def test_a_listener_for_this_machine_needs_no_tls(address: str) -> None:
    """Whoever ends TLS before it is on the same machine."""
    assert names(_listening(address)) == []


def test_a_listener_that_only_redirects_takes_no_token_anywhere() -> None:
    """The usual port 80."""
    source = _listening(PUBLIC, text(routes="- match: {prefix: /}\n  redirect: {https_redirect: true}"))
    assert "cleartext-listener" not in names(source)
