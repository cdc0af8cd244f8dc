"""Security requirements S15 to S18: which keys may check anything at all."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from fastproxy.jwt import Jwk, JwksError, JwkSet, Verifier, VerifierSettings
from fastproxy.jwt.encoding import encode_base64url
from tests.jwt.support import (
    NOW,
    Json,
    accepts,
    claims,
    integer,
    key_set,
    make_key,
    make_verifier,
    public_jwk,
    sign,
)

BAD_KEYS: dict[str, Json] = {
    "1024 bit": public_jwk("RS256", n=integer(2**1024 - 105)),
    "2047 bit": public_jwk("RS256", n=integer(2**2047 - 1)),
    "8193 bit": public_jwk("RS256", n=integer(2**8192 + 1)),
    "16384 bit": public_jwk("RS256", n=integer(2**16384 - 1)),
    "even n": public_jwk("RS256", n=integer(2**2048 - 2)),
    "e = 0": public_jwk("RS256", e="AA"),
    "e = 1": public_jwk("RS256", e="AQ"),
    "e even": public_jwk("RS256", e=integer(65536)),
    "e very large": public_jwk("RS256", e=integer(2**2047 + 1)),
    "e above 32 bit": public_jwk("RS256", e=integer(2**32 + 1)),
    "point off the curve": public_jwk("ES256", y=public_jwk("ES256")["x"]),
    "point at zero": public_jwk("ES256", x="AA", y="AA"),
    "coordinate above the field": public_jwk("ES256", x=integer(2**256 - 1)),
    "point of another curve": public_jwk("ES384", alg="ES256", crv="P-256"),
    "Ed25519 of 31 bytes": public_jwk("EdDSA", x=encode_base64url(b"x" * 31).decode()),
    "Ed25519 of 33 bytes": public_jwk("EdDSA", x=encode_base64url(b"x" * 33).decode()),
    "HMAC secret of one byte": public_jwk("HS256", k="YQ"),
    "HMAC secret of 31 bytes": public_jwk("HS256", k=encode_base64url(b"x" * 31).decode()),
    "HMAC secret shorter than SHA-512": public_jwk("HS256", alg="HS512"),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_s15_weak_or_malformed_key_is_ignored_and_the_rest_serves(name: str) -> None:
    """One bad entry must neither weaken nor disable the provider."""
    verifier = make_verifier(BAD_KEYS[name] | {"kid": "bad"}, public_jwk("RS256"))

    assert verifier.keys is not None
    assert [index for index, _, _ in verifier.keys.ignored] == [0]
    assert accepts(verifier, sign())
    with pytest.raises(JwksError):
        key_set(BAD_KEYS[name])


def test_s15_token_signed_with_a_weak_key_is_refused() -> None:
    """The signature is right, and worth nothing."""
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    jwk = public_jwk("RS256", n=integer(weak.public_key().public_numbers().n), kid="weak")
    import jwt as pyjwt  # the signer warns about such keys; that is its right

    with pytest.warns(pyjwt.warnings.InsecureKeyLengthWarning):
        token = pyjwt.encode(claims(), weak, "RS256", {"kid": "weak"}).encode()

    assert not accepts(make_verifier(jwk, public_jwk("RS256")), token)


@pytest.mark.parametrize(
    "more",
    [{"use": "enc"}, {"use": ""}, {"use": 1}, {"use": None, "key_ops": ["encrypt"]}, {"key_ops": []},
     {"key_ops": ["sign"]}, {"key_ops": "verify"}, {"key_ops": ["Verify"]}],
)  # fmt: skip
def test_s16_key_for_another_purpose_is_not_used(more: dict[str, Any]) -> None:
    """Envoy ignores use and key_ops."""
    with pytest.raises(JwksError):
        key_set(public_jwk("RS256", **more))


def test_s16_private_members_are_reported_and_never_shown() -> None:
    """The issuer published its private key: an operator must hear of it, a log must not hold it."""
    private = make_key("RS256")
    assert isinstance(private, rsa.RSAPrivateKey)
    d = integer(private.private_numbers().d)
    keys = key_set(public_jwk("RS256", d=d))

    assert "private" in keys.warnings[0]
    assert d not in repr((keys, keys.keys, keys.warnings, keys.ignored))
    assert accepts(Verifier(VerifierSettings(), keys), sign())


def test_s17_token_without_kid_tries_only_keys_that_fit_and_at_most_four(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted, not timed."""
    tried: list[tuple[str, str | None]] = []
    original = Jwk.check_signature

    def count(self: Jwk, alg: str, signature: bytes, signing_input: bytes) -> bool:
        tried.append((self.kty, self.kid))
        return original(self, alg, signature, signing_input)

    monkeypatch.setattr(Jwk, "check_signature", count)
    verifier = make_verifier(
        public_jwk("RS256"),
        public_jwk("HS256"),
        public_jwk("ES384"),
        *(public_jwk("ES256", str(n), kid=f"e{n}") for n in range(6)),
    )

    assert not accepts(verifier, sign("ES256", name="forger", kid=None))
    assert tried == [("EC", f"e{n}") for n in range(4)]


def test_s17_duplicate_kids_behave_the_same_on_every_load() -> None:
    """Both are tried, in the order of the document."""
    first, second = public_jwk("ES256", "a"), public_jwk("ES256", "b")
    for _ in range(3):
        keys = key_set(first, second)
        verifier = Verifier(VerifierSettings(), keys)
        assert [key.identity for key in keys.select("ES256", "k1")] == [key.identity for key in keys.keys]
        assert accepts(verifier, sign("ES256", name="a"))
        assert accepts(verifier, sign("ES256", name="b"))


def test_s18_key_of_another_issuer_under_the_same_kid_verifies_nothing() -> None:
    """Each verifier knows only its own source of keys, though decoded keys are shared in memory."""
    a, b = public_jwk("RS256", "a"), public_jwk("RS256", "b")
    verifier_a = Verifier(VerifierSettings(issuer="https://a"), key_set(a))
    verifier_b = Verifier(VerifierSettings(issuer="https://b"), key_set(b))

    assert accepts(verifier_a, sign("RS256", claims(iss="https://a"), name="a"))
    assert accepts(verifier_b, sign("RS256", claims(iss="https://b"), name="b"))
    assert not accepts(verifier_a, sign("RS256", claims(iss="https://a"), name="b"))
    assert not accepts(verifier_b, sign("RS256", claims(iss="https://b"), name="a"))
    assert not accepts(verifier_a, sign("RS256", claims(iss="https://b"), name="b"))


def test_s41_answer_without_usable_keys_leaves_the_old_ones_in_force() -> None:
    """Parsing is apart from replacing, so a bad document cannot get as far as the verifier."""
    verifier = make_verifier()
    before = verifier.keys
    for document in (b"", b"<html>", b"{}", b'{"keys":[]}', b'{"keys":[{"kty":"oct","k":"AAAA"}]}'):
        with pytest.raises(JwksError):
            verifier.replace_keys(JwkSet.parse(document))

    assert verifier.keys is before
    assert verifier.verify(sign(), NOW).key_id == "k1"
