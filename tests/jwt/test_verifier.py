"""The verifier as its owner uses it: keys come and go, verdicts are prepared once, refusals differ."""

import pytest

from fastproxy.jwt import (
    JwkSet,
    JwtError,
    JwtStatus,
    KeysUnavailable,
    UnknownKey,
    VerifiedToken,
    Verifier,
    VerifierSettings,
)
from tests.jwt.support import NOW, claims, key_set, make_verifier, public_jwk, refusal, sign


def test_verified_token_carries_what_filters_need() -> None:
    """Claims for rules, the payload as received for the upstream, the expiry for streams."""
    token = sign("RS256", claims(nbf=NOW - 5))

    verified = make_verifier().verify(token, NOW)

    assert verified.token is token
    assert verified.claims == claims(nbf=NOW - 5)
    assert verified.payload_segment == token.split(b".")[1]
    assert verified.expires_at == NOW + 300
    assert verified.key_id == "k1"
    assert token.decode()[20:40] not in repr(verified)


def test_prepare_runs_once_per_token() -> None:
    """Header lines for the upstream are built once, not per request."""
    seen: list[VerifiedToken] = []

    def prepare(verified: VerifiedToken) -> object:
        seen.append(verified)
        return verified.claims["sub"]

    verifier = Verifier(VerifierSettings(), key_set(public_jwk("RS256")), prepare=prepare)

    assert [verifier.verify(sign(), NOW).prepared for _ in range(3)] == ["demo"] * 3
    assert len(seen) == 1


def test_prepare_may_refuse_and_the_token_is_then_not_kept() -> None:
    """A claim that cannot become a header line is found here."""

    def prepare(verified: VerifiedToken) -> object:
        raise JwtError(JwtStatus.VERIFICATION_FAILED, "claim [sub] cannot be a header")

    verifier = Verifier(VerifierSettings(), key_set(public_jwk("RS256")), prepare=prepare)

    assert refusal(verifier, sign()) is JwtStatus.VERIFICATION_FAILED
    assert verifier.cached_tokens == 0


def test_without_keys_a_token_is_judged_as_far_as_possible() -> None:
    """An expired or foreign token must not make anybody wait for keys, nor start a fetch."""
    verifier = Verifier(VerifierSettings(issuer="https://issuer.example"))

    with pytest.raises(KeysUnavailable):
        verifier.verify(sign(), NOW)
    assert refusal(verifier, sign(), NOW + 1000) is JwtStatus.EXPIRED
    assert refusal(verifier, sign("RS256", claims(iss="x"))) is JwtStatus.ISSUER_NOT_CONFIGURED
    assert refusal(verifier, b"a.b") is JwtStatus.BAD_FORMAT


def test_unknown_kid_is_told_apart_from_an_algorithm_that_does_not_fit() -> None:
    """Only the first may start a refetch; the client chooses both."""
    verifier = make_verifier()

    for token, kid_unknown in (
        (sign(kid="new"), True),
        (sign("ES256"), False),
        (sign("ES256", kid=None), False),
    ):
        with pytest.raises(UnknownKey) as caught:
            verifier.verify(token, NOW)
        assert caught.value.kid_unknown is kid_unknown
        assert caught.value.status is JwtStatus.NO_MATCHING_KEY


def test_bad_signature_under_a_known_kid_does_not_look_like_an_unknown_key() -> None:
    """Or every forged token would start a fetch."""
    with pytest.raises(JwtError) as caught:
        make_verifier().verify(sign(name="forger"), NOW)
    assert type(caught.value) is JwtError
    assert caught.value.status is JwtStatus.VERIFICATION_FAILED


def test_empty_key_set_is_status_31() -> None:
    """Envoy: a local set that was empty at load."""
    assert refusal(Verifier(VerifierSettings(), JwkSet(())), sign()) is JwtStatus.NO_VALID_KEYS


def test_ed25519_signature_of_wrong_length_has_its_own_status() -> None:
    """Envoy's 23; but only for tokens that say EdDSA, so an Ed25519 key harms no RSA token."""
    verifier = make_verifier(public_jwk("EdDSA", alg=None, kid=None), public_jwk("RS256"))

    assert refusal(verifier, sign("EdDSA")[:-2]) is JwtStatus.SIGNATURE_BAD_ED25519_LENGTH
    assert verifier.verify(sign(kid=None), NOW).key_id == "k1"


def test_provider_may_allow_fewer_algorithms_than_its_keys() -> None:
    """S3: the provider's list and the key must both agree."""
    verifier = make_verifier(public_jwk("RS256", alg=None), algorithms=frozenset({"RS256"}))

    assert verifier.verify(sign("RS256"), NOW) is not None
    assert refusal(verifier, sign("RS512")) is JwtStatus.HEADER_UNSUPPORTED_ALG
    assert refusal(verifier, sign("PS256")) is JwtStatus.HEADER_UNSUPPORTED_ALG


def test_keys_can_be_read_and_replaced() -> None:
    """The owner compares epochs and shows the set on the admin page."""
    first, second = key_set(public_jwk("RS256")), key_set(public_jwk("ES256"))
    verifier = Verifier(VerifierSettings(), first)
    assert verifier.keys is first

    verifier.replace_keys(second)

    assert verifier.keys is second
    assert refusal(verifier, sign("RS256")) is JwtStatus.NO_MATCHING_KEY
    assert verifier.verify(sign("ES256"), NOW).jose_header["alg"] == "ES256"


def test_rotation_with_both_keys_published_serves_old_and_new_tokens() -> None:
    """How issuers rotate: publish the new key, sign with it, withdraw the old one later."""
    old, new = public_jwk("RS256", "old", kid="old"), public_jwk("RS256", "new", kid="new")
    verifier = make_verifier(old)
    old_token, new_token = sign(name="old", kid="old"), sign(name="new", kid="new")
    verifier.verify(old_token, NOW)

    verifier.replace_keys(key_set(new, old))

    assert verifier.verify(old_token, NOW).key_id == "old"
    assert verifier.cache_hits == 1
    assert verifier.verify(new_token, NOW).key_id == "new"
