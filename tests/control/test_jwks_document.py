"""What a fetched body must be before it replaces good keys."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fastproxy.control.jwks_document import BadJwks, describe_keys, parse_jwks
from fastproxy.jwt import JwkSet
from tests.control.support import jwk, jwks


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!DOCTYPE html><html>Sign in</html>",
        b"{}",
        b"[]",
        b"null",
        b"not json",
        b'{"keys":[]}',
        b'{"keys":"x"}',
        b'{"keys":[{"kty":"RSA","kid":"a"}]}',
        b'{"error":"temporarily_unavailable"}',
        b'{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}',
        b"\xff\xfe{\x00}\x00",
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_s41_unusable_body_is_refused(body: bytes) -> None:
    """Login pages, maintenance pages and empty sets come with status 200, too."""
    with pytest.raises(BadJwks):
        parse_jwks(body)


def test_fingerprint_ignores_order_and_white_space() -> None:
    """Some providers shuffle their keys on every request; each new epoch would empty the token cache."""
    first, second = jwk("a"), jwk("b")
    shuffled = json.dumps({"keys": [dict(reversed(second.items())), first]}, indent=3).encode()

    assert parse_jwks(jwks(first, second)).fingerprint == parse_jwks(shuffled).fingerprint
    assert parse_jwks(jwks(first, second)).fingerprint != parse_jwks(jwks(first, jwk("b"))).fingerprint


def test_s16_private_members_are_never_passed_on() -> None:
    """A provider that publishes its private key is in trouble already; we must not spread it."""
    document = parse_jwks(jwks(jwk("a", d="c2VjcmV0"), {"kty": "oct", "kid": "b", "k": "c2VjcmV0"}))

    assert document.had_private_members
    assert "c2VjcmV0" not in document.text
    assert [key["kid"] for key in document.keys] == ["a"]


def test_shown_facts_of_keys_are_names_only() -> None:
    """/jwks may be read by many."""
    shown = describe_keys(jwks(jwk("a"), {"kty": "oct", "kid": "b", "k": "c2VjcmV0"}))

    assert shown == (
        {"kid": "a", "kty": "EC", "alg": "ES256", "use": "sig", "crv": "P-256"},
        {"kid": "b", "kty": "oct"},
    )
    assert describe_keys(b"{") == ()


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_local_pem_becomes_a_key_set_for_the_workers() -> None:
    """Workers and pages know one form of keys only."""
    first, second = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    document = parse_jwks(pem(first) + pem(second), is_local=True)

    assert document.keys == ({"kty": "EC", "crv": "P-256"},) * 2
    assert document.keys == describe_keys(pem(first) + pem(second))
    assert len(JwkSet.parse(document.text.encode()).keys) == 2
    assert not document.had_private_members
    assert (
        document.fingerprint == parse_jwks(b"# moved\n" + pem(second) + pem(first), is_local=True).fingerprint
    )


def test_pem_from_the_network_is_refused() -> None:
    """`remote_jwks` names a JWK set."""
    with pytest.raises(BadJwks, match="Jwks is an invalid JSON"):
        parse_jwks(pem(ec.generate_private_key(ec.SECP256R1())))


def test_s16_private_key_in_a_local_pem_is_refused_and_not_repeated() -> None:
    """Neither passed on nor shown."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    with pytest.raises(BadJwks, match="private key") as caught:
        parse_jwks(pem(key) + private, is_local=True)
    assert private.splitlines()[1].decode() not in str(caught.value)
    assert describe_keys(pem(key) + private) == ()


def test_s16_the_private_part_of_an_ml_dsa_key_is_not_passed_on() -> None:
    """RFC 9964 section 3 calls it `priv`."""
    document = parse_jwks(jwks(jwk("a"), {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "priv": "c2VlZA"}))

    assert document.had_private_members
    assert "c2VlZA" not in document.text
