"""Which keys are usable, for which algorithms, and what is said about the rest."""

import datetime as dt
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from fastproxy.jwt import jwk as jwk_module
from fastproxy.jwt.encoding import encode_base64url
from fastproxy.jwt.jwk import Jwk, JwkRejected, parse_certificate, parse_jwk
from tests.jwt.support import Json, integer, make_key, public_jwk


def parse(members: Json) -> Jwk:
    return parse_jwk(members, allow_symmetric=True)


def reason(members: Json) -> str:
    with pytest.raises(JwkRejected) as caught:
        parse(members)
    return str(caught.value)


@pytest.mark.parametrize(
    ("members", "algorithms"),
    [
        (public_jwk("RS256"), ("RS256",)),
        (public_jwk("RS256") | {"alg": 7}, ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        (public_jwk("PS512"), ("PS512",)),
        (public_jwk("ES384", alg=None), ("ES384",)),
        (public_jwk("ES384", crv=None), ("ES384",)),
        (public_jwk("ES256", alg=None, crv=None), ("ES256",)),
        (public_jwk("EdDSA", alg=None), ("EdDSA",)),
        (public_jwk("HS256", alg=None), ("HS256",)),
        (public_jwk("HS512", alg=None), ("HS256", "HS384", "HS512")),
        (public_jwk("RS256", use=None, key_ops=["verify", "sign"]), ("RS256",)),
    ],
)
def test_key_serves_the_algorithms_that_fit_it(members: Json, algorithms: tuple[str, ...]) -> None:
    """By type, curve, size and the key's own alg; as Envoy completes what is missing."""
    assert parse(members).algorithms == algorithms


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({}, "[kty] is missing in [keys]"),
        ({"kty": 1}, "[kty] is bad in [keys]"),
        ({"kty": "rsa"}, "[kty] is not supported in [keys]"),
        (public_jwk("RS256", alg="HS256"), "[alg] is not started with [RS] or [PS] for an RSA key"),
        (public_jwk("RS256", alg="RSA-OAEP"), "[alg] of an RSA key is not a signature algorithm"),
        (public_jwk("RS256", n=None), "[n] field is missing for a RSA key"),
        (public_jwk("RS256", e=None), "Jwks RSA [n] or [e] field is missing or has a parse error"),
        (public_jwk("RS256", n="!"), "Jwks RSA [n] or [e] field is missing or has a parse error"),
        (public_jwk("ES256", alg="RS256"), "[alg] is not started with [ES] for an EC key"),
        (
            public_jwk("ES256", alg="ES512"),
            "[crv] field specified is not compatible with [alg] for an EC key",
        ),
        (public_jwk("ES256", crv="secp256k1"), "[crv] or [alg] field is not supported for an EC key"),
        (public_jwk("ES256", alg="ES256K"), "[crv] or [alg] field is not supported for an EC key"),
        (public_jwk("ES256", x="!"), "Jwks EC [x] or [y] field is an invalid Base64."),
        (public_jwk("EdDSA", alg="Ed25519"), "[alg] is not [EdDSA] for an OKP key"),
        (public_jwk("EdDSA", crv="X25519"), "[crv] field is not supported for an OKP key"),
        (public_jwk("EdDSA", x="AAAA"), "Jwks OKP [x] field is wrong length."),
        (public_jwk("HS256", alg="RS256"), "[alg] does not start with [HS] for an HMAC key"),
        (public_jwk("HS256", k=""), "Jwks Oct key is an invalid Base64"),
    ],
)
def test_unusable_keys_are_named_with_envoys_words(members: Json, text: str) -> None:
    """These texts appear at startup, after the provider's name."""
    assert reason(members) == text


def test_padding_and_leading_zeros_in_a_key_are_tolerated() -> None:
    """Java issuers write both; the set comes from a trusted place, and Envoy takes them."""
    plain = public_jwk("RS256")
    key = make_key("RS256")
    assert isinstance(key, rsa.RSAPrivateKey)
    n = b"\x00" + key.public_key().public_numbers().n.to_bytes(256, "big")
    padded = plain | {"n": encode_base64url(n).decode(), "e": "AQAB"}
    padded["n"] += "=" * (-len(padded["n"]) % 4)

    assert parse(padded).identity == parse(plain).identity


def test_identity_changes_with_material_id_and_permitted_algorithms() -> None:
    """Cached verdicts stand or fall with it (S31)."""
    variants = [
        public_jwk("RS256"),
        public_jwk("RS256", "other"),
        public_jwk("RS256", kid="k2"),
        public_jwk("RS256", kid=None),
        public_jwk("RS256", alg=None),
        public_jwk("RS256", alg="PS256"),
        public_jwk("HS256"),
        public_jwk("HS256", kid="k2"),
    ]

    assert len({parse(members).identity for members in variants}) == len(variants)
    assert parse(public_jwk("RS256", x5t="more", use=None)).identity == parse(public_jwk("RS256")).identity


def test_secret_is_in_no_representation_and_no_shared_cache() -> None:
    """S53; the cache of decoded keys is for public ones."""
    before = len(jwk_module._decoded)
    members = public_jwk("HS256")
    key = parse(members)

    assert len(jwk_module._decoded) == before
    assert "kkkk" not in repr(key)
    assert members["k"] not in repr(key) + key.identity


def test_known_public_key_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh every few minutes brings the same keys."""
    members = public_jwk("RS256")
    parse(members)

    def refuse(*_: object) -> Any:
        raise AssertionError("decoded again")

    monkeypatch.setattr(rsa, "RSAPublicNumbers", refuse)

    assert parse(members | {"kid": "another id", "alg": None}).algorithms


def make_certificate(key: Any, algorithm: hashes.SHA256 | None) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer.example")])
    long_ago = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(long_ago)
        .not_valid_after(long_ago + dt.timedelta(days=1))
        .sign(key, algorithm)
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def test_certificate_gives_its_rsa_key_whatever_its_dates() -> None:
    """As in Envoy: the certificate is a container here, not a chain of trust."""
    key = parse_certificate("c1", make_certificate(make_key("RS256"), hashes.SHA256()))

    assert key.kid == "c1"
    assert key.algorithms == ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


def test_other_certificates_are_not_usable() -> None:
    """Envoy reads RSA certificates only."""
    with pytest.raises(JwkRejected, match="get pubkey"):
        parse_certificate("c", make_certificate(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()))
    with pytest.raises(JwkRejected, match="get pubkey"):
        parse_certificate("c", make_certificate(ed25519.Ed25519PrivateKey.generate(), None))
    with pytest.raises(JwkRejected, match="parse pubkey"):
        parse_certificate("c", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def test_oversized_members_are_refused_before_they_become_numbers() -> None:
    """A megabyte of modulus must not cost a second."""
    assert "RSA [n]" in reason(public_jwk("RS256", n="A" * 1_000_000))
    assert "RSA [n] or [e]" in reason(public_jwk("RS256", e=integer(2**9000 + 1)))
    assert json.dumps(public_jwk("RS256"))  # the shared key itself is untouched
