"""Security requirements S29 to S35: the cache of verified tokens must never answer for more than was verified."""

import pytest

from fastproxy.jwt import Jwk, JwtStatus, KeysUnavailable, Verifier, VerifierSettings
from fastproxy.jwt.encoding import encode_base64url
from tests.jwt.support import NOW, accepts, claims, key_set, make_verifier, public_jwk, refusal, sign


def test_s29_verdict_of_one_policy_does_not_serve_another() -> None:
    """Each verifier has its own cache, though the keys are the same."""
    token = sign()
    keys = key_set(public_jwk("RS256"))
    for settings, status in (
        (VerifierSettings(audiences=("other",)), JwtStatus.AUDIENCE_NOT_ALLOWED),
        (VerifierSettings(issuer="https://other"), JwtStatus.ISSUER_NOT_CONFIGURED),
        (VerifierSettings(max_lifetime_s=1), JwtStatus.VERIFICATION_FAILED),
    ):
        assert accepts(Verifier(VerifierSettings(), keys), token)
        assert refusal(Verifier(settings, keys), token) is status


def test_s30_no_hit_after_exp_and_skew() -> None:
    """Second by second over the boundary; and the token leaves the cache."""
    verifier = make_verifier()
    token = sign()
    for now in range(NOW, NOW + 361, 10):
        assert accepts(verifier, token, now)

    assert refusal(verifier, token, NOW + 361) is JwtStatus.EXPIRED
    assert verifier.cached_tokens == 0


def test_s30_no_hit_before_nbf() -> None:
    """A clock that is set back must not leave the token usable."""
    verifier = make_verifier()
    token = sign("RS256", claims(nbf=NOW))
    assert accepts(verifier, token, NOW)

    assert refusal(verifier, token, NOW - 61) is JwtStatus.NOT_YET_VALID
    assert accepts(verifier, token, NOW - 60)


def test_s31_removed_key_takes_its_verdicts_along() -> None:
    """In Envoy a revoked key keeps working for cached tokens until they expire."""
    old, new = public_jwk("RS256", "old", kid="old"), public_jwk("RS256", "new", kid="new")
    verifier = make_verifier(old, new)
    old_token, new_token = sign(name="old", kid="old"), sign(name="new", kid="new")
    assert accepts(verifier, old_token)
    assert accepts(verifier, new_token)

    verifier.replace_keys(key_set(new))

    assert refusal(verifier, old_token) is JwtStatus.NO_MATCHING_KEY
    assert accepts(verifier, new_token)
    assert verifier.cache_hits == 1


@pytest.mark.parametrize(
    "changed",
    [public_jwk("RS256", "other"), public_jwk("RS256", alg="PS256"), public_jwk("RS256", kid="k2"),
     public_jwk("ES256")],
)  # fmt: skip
def test_s31_changed_key_takes_its_verdicts_along(changed: dict[str, object]) -> None:
    """Other material under the same kid, another algorithm, another id."""
    verifier = make_verifier()
    assert accepts(verifier, sign())

    verifier.replace_keys(key_set(changed))

    assert verifier.cached_tokens == 0
    assert not accepts(verifier, sign())


def test_s31_withdrawn_keys_withdraw_every_verdict() -> None:
    """After max_stale the proxy fails closed; so must its cache."""
    verifier = make_verifier()
    assert accepts(verifier, sign())

    verifier.replace_keys(None)

    with pytest.raises(KeysUnavailable):
        verifier.verify(sign(), NOW)


def test_s31_refresh_with_the_same_keys_keeps_verdicts() -> None:
    """Or every refresh would be a load peak."""
    verifier = make_verifier()
    assert accepts(verifier, sign())

    verifier.replace_keys(key_set(public_jwk("ES256", kid="added"), public_jwk("RS256", x5t="new member")))

    assert accepts(verifier, sign())
    assert verifier.cache_hits == 1


def test_s32_tokens_that_share_parts_never_collide() -> None:
    """Equal header and payload with another signature; a prefix; a suffix; one changed bit."""
    verifier = make_verifier(public_jwk("ES256"))
    token = sign("ES256")
    assert accepts(verifier, token)
    head, _, signature = token.rpartition(b".")

    other = sign("ES256", claims(sub="eve"), name="forger").rpartition(b".")[2]
    for forged in (
        head + b"." + other,
        head + b"." + signature[:-4],
        token[:-1],
        token[1:],
        token + b"A",
        head.split(b".")[0] + b"." + encode_base64url(b'{"sub":"admin"}') + b"." + signature,
    ):
        assert not accepts(verifier, forged)
    assert verifier.cache_hits == 0


def test_s33_flood_of_bad_tokens_evicts_no_good_one() -> None:
    """Nothing that fails takes a place."""
    verifier = make_verifier(cache_size=2)
    good = [sign("RS256", claims(jti=str(n))) for n in range(2)]
    assert all(accepts(verifier, token) for token in good)

    for n in range(200):
        head, _, signature = good[0].rpartition(b".")
        changed = b"A" if signature[n : n + 1] != b"A" else b"B"
        assert not accepts(verifier, head + b"." + signature[:n] + changed + signature[n + 1 :])

    assert verifier.cached_tokens == 2
    assert all(accepts(verifier, token) for token in good)
    assert verifier.cache_hits == 2


def test_s33_large_tokens_are_verified_and_not_cached() -> None:
    """Entries times the longest token bounds the bytes."""
    token = sign()

    for limit, kept in ((len(token), 1), (len(token) - 1, 0)):
        verifier = make_verifier(cache_max_token_bytes=limit)
        assert accepts(verifier, token)
        assert verifier.cached_tokens == kept


@pytest.mark.parametrize(
    ("token", "now"),
    [(sign(name="forger"), NOW), (sign(), NOW + 1000), (sign("RS256", claims(aud="x")), NOW),
     (sign("RS256", claims(nbf=NOW + 1000)), NOW), (sign(kid="unknown"), NOW),
     (sign(crit=["x"]), NOW), (b"a.b.c", NOW)],
)  # fmt: skip
def test_s34_nothing_unverified_enters_the_cache(token: bytes, now: int) -> None:
    """Whatever the reason of the refusal."""
    verifier = make_verifier()

    assert not accepts(verifier, token, now)
    assert verifier.cached_tokens == 0


def test_s34_signature_is_checked_for_every_token_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a check that always refuses, nothing is ever accepted or kept."""
    monkeypatch.setattr(Jwk, "check_signature", lambda *_: False)
    verifier = make_verifier()

    assert [accepts(verifier, sign()) for _ in range(2)] == [False, False]
    assert verifier.cached_tokens == 0


def test_s35_missing_keys_are_not_remembered_as_a_verdict() -> None:
    """The same token is judged anew as soon as keys are there."""
    verifier = Verifier(VerifierSettings())
    with pytest.raises(KeysUnavailable):
        verifier.verify(sign(), NOW)

    verifier.replace_keys(key_set(public_jwk("ES256")))
    assert refusal(verifier, sign()) is JwtStatus.NO_MATCHING_KEY
    verifier.replace_keys(key_set(public_jwk("RS256")))

    assert accepts(verifier, sign())


def test_s35_refused_token_is_judged_anew_each_time() -> None:
    """A token that was not valid yet becomes valid."""
    verifier = make_verifier()
    token = sign("RS256", claims(nbf=NOW + 100))

    assert refusal(verifier, token) is JwtStatus.NOT_YET_VALID
    assert accepts(verifier, token, NOW + 40)
