"""Signatures, with PyJWT as the signing peer."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from fastproxy.jwt.algorithms import ALGORITHMS, build_check, build_hmac_check, build_ml_dsa_check
from fastproxy.jwt.ml_dsa import PUBLIC_KEY_BYTES, available_algorithms
from tests.jwt.support import ALL_ALGORITHMS, NOW, claims, key_set, make_key, make_verifier, public_jwk, sign


def test_every_supported_algorithm_is_tested() -> None:
    """A new algorithm must not come without its round trip."""
    unavailable = set(PUBLIC_KEY_BYTES) - available_algorithms()
    assert set(ALL_ALGORITHMS) == set(ALGORITHMS) - unavailable


@pytest.mark.parametrize("alg", ALL_ALGORITHMS)
def test_token_signed_by_pyjwt_verifies(alg: str) -> None:
    """Every algorithm of Envoy's list, against another implementation."""
    verified = make_verifier(public_jwk(alg)).verify(sign(alg), NOW)

    assert verified.claims == claims()
    assert verified.key_id == "k1"
    assert verified.jose_header["alg"] == alg


@pytest.mark.parametrize("alg", ALL_ALGORITHMS)
def test_key_checks_only_algorithms_of_its_own_kind(alg: str) -> None:
    """The one rule behind every algorithm-confusion defence (S4)."""
    # An AKP key is of the kind that its alg says.
    (key,) = key_set(public_jwk(alg, alg=alg if alg.startswith("ML") else None)).keys

    for name in key.algorithms:
        assert (ALGORITHMS[name].kty, ALGORITHMS[name].crv) == (ALGORITHMS[alg].kty, ALGORITHMS[alg].crv)
    assert alg in key.algorithms
    assert not key.check_signature("none", b"", b"")


@pytest.mark.parametrize("salt_bytes", [0, 20, 64])
def test_pss_salt_must_be_as_long_as_the_digest(salt_bytes: int) -> None:
    """RFC 7518 section 3.5 fixes it; a second valid form of a signature helps nobody."""
    private = make_key("PS256")
    assert isinstance(private, rsa.RSAPrivateKey)
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt_bytes)
    check = build_check(ALGORITHMS["PS256"], private.public_key())

    assert not check(private.sign(b"text", scheme, hashes.SHA256()), b"text")


def test_wrong_kind_of_key_is_a_programming_error() -> None:
    """It cannot come from a token, so it must not look like a refusal."""
    private = make_key("ES256")
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    public = private.public_key()

    with pytest.raises(TypeError):
        build_check(ALGORITHMS["RS256"], public)
    with pytest.raises(TypeError):
        build_check(ALGORITHMS["HS256"], public)
    with pytest.raises(TypeError):
        build_hmac_check(ALGORITHMS["RS256"], b"k" * 32)
    for name in ("EdDSA", "HS256"):
        with pytest.raises(TypeError):
            build_ml_dsa_check(ALGORITHMS[name], public)  # type: ignore[arg-type]  # the mistake under test
