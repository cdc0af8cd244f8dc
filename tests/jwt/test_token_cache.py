"""The two caches in front of the verifier, with a stepped clock."""

import pytest

from fastproxy.jwt import JwtStatus, Verifier, VerifierSettings
from fastproxy.jwt.token_cache import MAX_CACHED_HEADER_BYTES, MAX_HEADERS
from tests.jwt.support import NOW, accepts, claims, key_set, make_verifier, public_jwk, refusal, sign


def test_second_use_of_a_token_is_a_hit_and_gives_the_same_verdict() -> None:
    """Also for equal bytes in another object, as each request brings its own."""
    verifier = make_verifier()
    token = sign()

    first = verifier.verify(token, NOW)

    assert verifier.verify(bytes(bytearray(token)), NOW + 1) is first
    assert (verifier.cache_hits, verifier.cache_misses) == (1, 1)


def test_least_recently_used_token_goes_first() -> None:
    """Busy clients keep their place."""
    verifier = make_verifier(cache_size=2)
    a, b, c = (sign("RS256", claims(jti=name)) for name in "abc")
    for token in (a, b, a, c):
        verifier.verify(token, NOW)

    verifier.verify(a, NOW)
    assert verifier.cache_hits == 2
    verifier.verify(b, NOW)
    assert verifier.cache_hits == 2
    assert verifier.cached_tokens == 2


def test_cache_of_size_zero_keeps_nothing() -> None:
    """Some operators must not keep tokens in memory."""
    verifier = make_verifier(cache_size=0)

    assert [accepts(verifier, sign()) for _ in range(2)] == [True, True]
    assert (verifier.cache_hits, verifier.cached_tokens) == (0, 0)


def test_token_without_exp_is_kept_without_limit() -> None:
    """Only where the policy allows such tokens at all."""
    verifier = make_verifier(require_expiration=False)
    token = sign("RS256", claims(exp=None))

    assert verifier.verify(token, NOW).expires_at is None
    assert accepts(verifier, token, NOW + 10**9)
    assert verifier.cache_hits == 1


def test_hit_at_the_edge_of_validity_is_decided_by_the_claims() -> None:
    """The fast comparison on a hit must agree with the exact one, second by second."""
    kept = make_verifier(clock_skew_s=10)
    token = sign("RS256", claims(nbf=NOW, exp=NOW + 100))
    kept.verify(token, NOW)

    for step in range(-12, 114):
        for now in (NOW + step, NOW + step + 0.5):
            fresh = make_verifier(clock_skew_s=10, cache_size=0)
            assert accepts(kept, token, now) == accepts(fresh, token, now), step
            kept.verify(token, NOW)


def test_lifetime_is_checked_on_hits_too() -> None:
    """`max_lifetime` is relative to now: a clock that steps back makes a kept token too long-lived again."""
    verifier = make_verifier(max_lifetime_s=300.5)
    token = sign("RS256", claims(exp=NOW + 300))
    verifier.verify(token, NOW)

    assert accepts(verifier, token, NOW + 100)
    assert refusal(verifier, token, NOW - 0.5) is JwtStatus.VERIFICATION_FAILED
    assert refusal(make_verifier(max_lifetime_s=300.0), token) is JwtStatus.VERIFICATION_FAILED


def test_header_is_kept_only_for_verified_tokens_and_within_bounds() -> None:
    """A stranger can write any header; only the issuer's take a place."""
    verifier = make_verifier()
    headers = verifier._headers
    for n in range(50):
        refusal(verifier, sign(name="forger", n=n))
    assert len(headers) == 0

    for n in range(MAX_HEADERS + 10):
        verifier.verify(sign(n=n), NOW)
    assert len(headers) == MAX_HEADERS
    verifier.verify(sign(pad="x" * MAX_CACHED_HEADER_BYTES), NOW)
    assert len(headers) == MAX_HEADERS


def test_header_from_the_cache_is_still_held_against_the_keys() -> None:
    """The header cache saves parsing and decides nothing."""
    verifier = make_verifier()
    verifier.verify(sign(), NOW)

    assert refusal(verifier, sign("RS256", claims(jti="2"), name="forger")) is JwtStatus.VERIFICATION_FAILED
    verifier.replace_keys(key_set(public_jwk("ES256")))
    assert refusal(verifier, sign("RS256", claims(jti="2"))) is JwtStatus.NO_MATCHING_KEY


@pytest.mark.parametrize("keys", [None, key_set(public_jwk("ES256"))])
def test_replacing_all_keys_empties_the_cache_at_once(keys: object) -> None:
    """Not on the next lookup: memory must not hold tokens of keys that were withdrawn."""
    verifier = Verifier(VerifierSettings(), key_set(public_jwk("RS256")))
    verifier.verify(sign(), NOW)

    verifier.replace_keys(keys)  # type: ignore[arg-type]  # parametrised: JwkSet or None

    assert verifier.cached_tokens == 0
