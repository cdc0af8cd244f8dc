"""What a fetched body must be before it replaces good keys."""

import json

import pytest

from fastproxy.control.jwks_document import BadJwks, describe_keys, parse_jwks
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
