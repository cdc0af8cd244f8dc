"""The two caches in front of the verifier, with a stepped clock."""

import pytest

from fastproxy.jwt import JwtStatus, VerifiedToken, Verifier, VerifierSettings
from fastproxy.jwt.token_cache import MAX_CACHED_HEADER_BYTES, MAX_HEADERS, TokenCache, estimate_bytes
from tests.jwt.support import NOW, accepts, claims, key_set, make_verifier, public_jwk, refusal, sign


def test_second_use_of_a_token_is_a_hit_and_gives_the_same_verdict() -> None:
    """Also for equal bytes in another object, as each request brings its own."""
    verifier = make_verifier()
    token = sign()

    first = verifier.verify(token, NOW)

    assert verifier.verify(bytes(bytearray(token)), NOW + 1) is first
    assert (verifier.cache_hits, verifier.cache_misses) == (1, 1)


def is_cached(verifier: Verifier, token: bytes) -> bool:
    return token in verifier._tokens.verdicts


def test_token_in_use_stays_and_the_oldest_unused_one_goes() -> None:
    """Busy clients keep their place."""
    verifier = make_verifier(cache_size=3)
    a, b, c, d, e = (sign("RS256", claims(jti=name)) for name in "abcde")
    for token in (a, b, c, a):
        verifier.verify(token, NOW)

    verifier.verify(d, NOW)
    assert [is_cached(verifier, token) for token in (a, b, c, d)] == [True, False, True, True]
    # `a` was not used since, but it was passed over once, so `c` is older.
    verifier.verify(e, NOW)
    assert [is_cached(verifier, token) for token in (a, c, d, e)] == [True, False, True, True]
    assert verifier.cached_tokens == 3


def made(name: str, size: int = 100) -> VerifiedToken:
    """A verdict for the cache alone: what it was decided by does not matter there."""
    (key,) = key_set(public_jwk("ES256")).keys
    token = name.encode() + b"." + b"p" * (size - len(name) - 3) + b".s"
    return VerifiedToken(token, {}, {}, key, None, None)


def check_books(cache: TokenCache) -> None:
    """What is counted is what is there, and both bounds hold."""
    queue = list(cache._queue)
    assert cache.estimated_bytes == sum(verdict.cost for verdict in queue)
    assert cache.estimated_bytes <= cache._max_bytes
    assert len(queue) <= cache._max_entries
    assert all(cache.verdicts[token].token is token for token in cache.verdicts)
    assert set(map(id, cache.verdicts.values())) <= set(map(id, queue))


def test_s33_bytes_bound_the_cache_as_entries_do() -> None:
    """Ten thousand large tokens must not take ten times what was planned for small ones."""
    cache = TokenCache(max_entries=1000, max_bytes=10_000, max_token_bytes=8192)
    for n in range(100):
        assert cache.add(made(f"small{n}"), 500)
        check_books(cache)
    assert (len(cache), cache.estimated_bytes) == (20, 10_000)

    assert cache.add(made("large"), 9_800)
    check_books(cache)
    assert list(cache.verdicts) == [made("large").token]
    assert not cache.add(made("larger"), 10_001)
    assert len(cache) == 1


def test_s33_verifier_keeps_its_verdicts_within_the_bytes_it_was_given() -> None:
    """The setting reaches the cache, and 0 keeps nothing."""
    tokens = [sign("ES256", claims(jti=str(n))) for n in range(12)]
    cost = estimate_bytes(tokens[0], len(tokens[0].split(b".")[1]), with_claims=True)
    for room, kept in ((0, 0), (cost - 1, 0), (5 * cost + 100, 5)):
        verifier = make_verifier(public_jwk("ES256"), cache_max_bytes=room)
        assert all(accepts(verifier, token) for token in tokens[:10])
        assert verifier.cached_tokens == kept
        assert verifier.cached_bytes <= room


def test_tokens_that_are_all_in_use_make_room_after_a_bounded_search() -> None:
    """Or the one request that comes then would wait for a walk over the whole cache."""
    cache = TokenCache(max_entries=1000, max_bytes=10**9, max_token_bytes=8192)
    verdicts = [made(str(n)) for n in range(1000)]
    for verdict in verdicts:
        cache.add(verdict, 1)
        verdict.recent = True

    cache.add(made("new"), 1)

    check_books(cache)
    assert len(cache) == 1000
    passed_over = [verdict for verdict in verdicts if not verdict.recent]
    assert 0 < len(passed_over) <= 64
    assert made("new").token in cache.verdicts


def test_books_stay_right_whatever_happens() -> None:
    """Adding, using, discarding, adding again, replacing keys; long after the bounds are reached."""
    other = {key.identity for key in key_set(public_jwk("RS256")).keys}
    mine = {key.identity for key in key_set(public_jwk("ES256")).keys}
    cache = TokenCache(max_entries=20, max_bytes=5000, max_token_bytes=8192)
    for step in range(2000):
        name = str(step * 7919 % 37)
        token = made(name).token
        found = cache.verdicts.get(token)
        if found is None:
            cache.add(made(name), 100 + step % 300)
        elif step % 5 == 0:
            cache.discard(token)
            assert token not in cache.verdicts
        else:
            found.recent = True
        if step % 501 == 500:
            cache.retain_keys(mine)
        check_books(cache)
    assert len(cache) > 5

    before = dict(cache.verdicts)
    cache.retain_keys(mine)
    assert cache.verdicts == before
    check_books(cache)
    cache.retain_keys(other)
    assert (len(cache), cache.estimated_bytes) == (0, 0)


def test_claims_that_are_not_kept_are_parsed_when_they_are_asked_for() -> None:
    """The proxy asks once, before the verdict is kept; a library user may want them on every hit."""
    asked: list[object] = []
    settings = VerifierSettings(keep_claims=False)
    verifier = Verifier(
        settings, key_set(public_jwk("ES256")), prepare=lambda verified: asked.append(verified.claims)
    )
    token = sign("ES256")

    first = verifier.verify(token, NOW)
    again = verifier.verify(token, NOW)

    assert again is first
    assert asked == [claims()]
    assert first._claims is None
    assert (first.claims, first.payload_segment) == (claims(), token.split(b".")[1])
    assert verifier.cached_bytes < make_and_fill(token).cached_bytes


def make_and_fill(token: bytes) -> Verifier:
    verifier = make_verifier(public_jwk("ES256"))
    verifier.verify(token, NOW)
    return verifier


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
    assert sign(n=0).split(b".")[0] not in headers.headers
    assert sign(n=MAX_HEADERS + 9).split(b".")[0] in headers.headers
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
