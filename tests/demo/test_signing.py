"""The demo's tokens must be real ones: made here, judged by an independent library."""

from typing import Any

import jwt
import pytest

from fastproxy.demo.signing import (
    RsaKey,
    decode_object,
    decode_segment,
    encode_segment,
    forge_payload,
    payload_segment,
    sign_hs256,
    verify_hs256,
)

CLAIMS: dict[str, Any] = {"iss": "http://issuer.test", "preferred_username": "demo", "exp": 4102444800}


@pytest.fixture(scope="module")
def key() -> RsaKey:
    """One key for the module: making one takes a while."""
    return RsaKey()


def _accept(token: str, key: RsaKey) -> Any:
    return jwt.decode(token, jwt.PyJWK(key.jwk()).key, algorithms=["RS256"])


def test_token_verifies_with_the_published_key(key: RsaKey) -> None:
    """Otherwise the story would show a proxy that refuses everybody."""
    assert _accept(key.sign(CLAIMS), key) == CLAIMS


def test_published_key_names_its_use_and_nothing_private(key: RsaKey) -> None:
    """A key set is public; a private member in it would end the realm."""
    jwk = key.jwk()

    assert set(jwk) == {"kid", "kty", "alg", "use", "n", "e"}
    assert (jwk["kty"], jwk["alg"], jwk["use"], jwk["e"]) == ("RSA", "RS256", "sig", "AQAB")
    assert len(decode_segment(jwk["n"])) == 256


def test_token_header_names_the_key(key: RsaKey) -> None:
    """A verifier with many keys finds the right one by `kid`."""
    token = key.sign(CLAIMS)

    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT", "kid": key.kid}


def test_forged_payload_keeps_its_form_and_fails_verification(key: RsaKey) -> None:
    """The forged token must be refused for its signature and for nothing else."""
    forged = forge_payload(key.sign(CLAIMS), b"demo", b"root")

    assert decode_object(payload_segment(forged)) == {**CLAIMS, "preferred_username": "root"}
    with pytest.raises(jwt.InvalidSignatureError):
        _accept(forged, key)


def test_hs256_token_comes_back_as_it_went() -> None:
    """Refresh tokens carry the session."""
    assert verify_hs256(sign_hs256(CLAIMS, b"s" * 32), b"s" * 32) == CLAIMS


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "a.b",
        "a.b.c",
        ".",
        "..",
        sign_hs256(CLAIMS, b"x" * 32),
        sign_hs256(CLAIMS, b"s" * 32) + "=",
        "é.é.é",
    ],
)
def test_what_the_secret_did_not_sign_is_refused(token: str) -> None:
    """A refresh token is a credential: near enough is not enough."""
    with pytest.raises(ValueError, match=r"^(not base64url|the signature does not fit|.*base64.*)$"):
        verify_hs256(token, b"s" * 32)


@pytest.mark.parametrize("segment", ["=", "YQ==", "a", "a+b/", "a b", "YQ\n", "é"])
def test_segment_that_is_not_base64url_is_refused(segment: str) -> None:
    """A lenient decoder reads one token in two ways (RFC 7515 section 2)."""
    with pytest.raises(ValueError, match=r"."):
        decode_segment(segment)


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfc"])
def test_segments_come_back_as_they_went(data: bytes) -> None:
    """Every remainder of three has its own padding."""
    assert decode_segment(encode_segment(data)) == data


@pytest.mark.parametrize("text", [b"[]", b"1", b"null", b"{", b"\xff"])
def test_segment_that_holds_no_object_is_refused(text: bytes) -> None:
    """Claims are looked up by name; only an object has names."""
    with pytest.raises(ValueError, match=r"."):
        decode_object(encode_segment(text))
