"""Verify a token against one policy and one set of keys: bytes, keys and `now` in, a verdict out.

The order of checks is Envoy's, and the signature comes last: structure, header, payload and claim types,
issuer, `nbf`, `exp`, audience, subject, lifetime, key, signature. So an expired or foreign token costs
neither a signature check nor a fetch of keys, and the status texts are those that Envoy answers. Nothing is
believed before the end: a claim that passes only lets the next check run, and only a token that passes all of
them is returned or kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

from fastproxy.jwt import claims as checks
from fastproxy.jwt.algorithms import ED25519_SIGNATURE_BYTES, SUPPORTED
from fastproxy.jwt.errors import JwtError, JwtStatus, KeysUnavailable, UnknownKey
from fastproxy.jwt.jwk import Jwk
from fastproxy.jwt.jwks import JwkSet
from fastproxy.jwt.token import (
    MAX_TOKEN_BYTES,
    JoseHeader,
    parse_header,
    parse_payload,
    parse_signature,
    split_token,
)
from fastproxy.jwt.token_cache import HeaderCache, TokenCache, VerifiedToken, estimate_bytes

# RFC 7519 section 4.1.4 speaks of "a few minutes". An hour covers clocks that are an hour wrong; more would
# be a second lifetime for every token.
MAX_CLOCK_SKEW_S: Final = 3600
# About 100,000 tokens of the usual size, without their claims. bench/cache_memory.py
DEFAULT_CACHE_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class VerifierSettings:
    """What one provider demands of a token (Envoy `JwtProvider`)."""

    issuer: str = ""
    """Exact `iss`; "" allows any and none."""
    audiences: tuple[str, ...] = ()
    """The token must have one of these, compared as Envoy does; empty: not checked."""
    clock_skew_s: int = 60
    """0 to MAX_CLOCK_SKEW_S. Envoy turns 0 into 60; here 0 is 0."""
    require_expiration: bool = True
    """Refuse tokens without `exp`. Envoy's default is False."""
    max_lifetime_s: float | None = None
    """`exp` must be less than this ahead of now, on every use of the token."""
    subject_matches: Callable[[str], bool] | None = None
    """Says whether a `sub` is wanted; must be a pure function of it, for verdicts are kept."""
    algorithms: frozenset[str] = SUPPORTED
    """Algorithms that this provider's tokens may use, within those that fit its keys."""
    require_at_jwt: bool = False
    """Accept tokens of `typ` `at+jwt` alone (RFC 9068 section 4): ID tokens and untyped ones are refused."""
    cache_size: int = 1000
    """Verified tokens to keep; 0 keeps none (Envoy `jwt_cache_size`)."""
    cache_max_bytes: int = DEFAULT_CACHE_BYTES
    """Memory that the kept tokens may take, as `token_cache.estimate_bytes` counts it; 0 keeps none."""
    cache_max_token_bytes: int = 8192
    """Longer tokens are verified each time (Envoy `jwt_max_token_size`)."""
    keep_claims: bool = True
    """Keep the parsed claims of cached tokens. Otherwise `VerifiedToken.claims` of a cached token is parsed anew each
    time it is read, and the token takes less than half the memory."""
    max_token_bytes: int = MAX_TOKEN_BYTES
    """Longer tokens are refused unread."""

    def __post_init__(self) -> None:
        if not 0 <= self.clock_skew_s <= MAX_CLOCK_SKEW_S:
            raise ValueError(f"clock_skew_s must be 0 to {MAX_CLOCK_SKEW_S}")
        if self.max_lifetime_s is not None and self.max_lifetime_s < 0:
            raise ValueError("max_lifetime_s must not be negative")
        if min(self.cache_size, self.cache_max_bytes, self.cache_max_token_bytes, self.max_token_bytes) < 0:
            raise ValueError("sizes must not be negative")
        if unknown := self.algorithms - SUPPORTED:
            raise ValueError(f"unknown algorithms: {sorted(unknown)}")


class Verifier:
    """Checks tokens for one provider: one policy, one source of keys, one cache of verdicts.

    Not thread-safe; one per event loop. Does no I/O and reads no clock: whoever owns it brings the keys
    (`replace_keys`) and the time.

    Attributes:
        cache_hits: tokens answered from the cache.
        cache_misses: tokens that had to be judged anew, good and bad ones.
    """

    def __init__(
        self,
        settings: VerifierSettings,
        keys: JwkSet | None = None,
        *,
        prepare: Callable[[VerifiedToken], object] | None = None,
    ) -> None:
        """Make a verifier.

        Args:
            settings: the policy.
            keys: the key set, None if there is none yet.
            prepare: called once for each token right after its verification; its result is kept as
                `VerifiedToken.prepared`. It may refuse the token by raising JwtError; the token is then not
                kept.
        """
        self.cache_hits = 0
        self.cache_misses = 0
        self._settings = settings
        self._keys = keys
        self._prepare = prepare
        self._audiences = frozenset(checks.normalise_audience(audience) for audience in settings.audiences)
        self._tokens = TokenCache(
            settings.cache_size, settings.cache_max_bytes, settings.cache_max_token_bytes
        )
        self._headers = HeaderCache()
        self._verdicts = self._tokens.verdicts

    @property
    def settings(self) -> VerifierSettings:
        """The policy."""
        return self._settings

    @property
    def keys(self) -> JwkSet | None:
        """The key set in force, None if none is held."""
        return self._keys

    @property
    def cached_tokens(self) -> int:
        """How many verdicts are kept now."""
        return len(self._tokens)

    @property
    def cached_bytes(self) -> int:
        """How much memory the kept verdicts take, by estimate."""
        return self._tokens.estimated_bytes

    def inherit(self, previous: "Verifier") -> None:
        """Take over keys and verdicts of a verifier with an equal policy and the same source of keys.

        They share the verdicts from then on, and both must be told of new keys. What counts as equal is for the caller
        to know: a `prepare` and a `subject_matches` that do the same cannot be compared here.
        """
        self._keys = previous._keys  # noqa: SLF001 - of the same class
        self._tokens = previous._tokens  # noqa: SLF001 - of the same class
        self._headers = previous._headers  # noqa: SLF001 - of the same class
        self._verdicts = self._tokens.verdicts

    def replace_keys(self, keys: JwkSet | None) -> None:
        """Put another key set in force, at once and as a whole; None withdraws all keys.

        Verdicts whose key is in the new set, unchanged, stay; all others are gone when this returns.
        """
        if keys is self._keys:
            return
        if keys is None:
            self._tokens.clear()
        else:
            self._tokens.retain_keys({key.identity for key in keys.keys})
        self._keys = keys

    def verify(self, token: bytes, now: float) -> VerifiedToken:
        """Verify a compact token (RFC 7515 section 5.2, RFC 7519 section 7.2).

        Args:
            token: the compact serialisation as received.
            now: Unix time in seconds.

        Raises:
            JwtError: the token is refused. KeysUnavailable: it passed every check that needs no key, and
                there are none. UnknownKey: the same, and no key fits. Nothing else is raised, whatever the
                bytes.
        """
        # Hot path: once per request. bench/test_jwt_core.py
        verified = self._verdicts.get(token)
        if verified is None:
            return self._verify_new(token, now)
        if not verified.usable_after < now < verified.usable_before:
            self._recheck_time(verified, now)
        verified.recent = True
        self.cache_hits += 1
        return verified

    def _recheck_time(self, verified: VerifiedToken, now: float) -> None:
        """Decide by the claims whether a kept verdict still stands; forget it if not, for time moves on."""
        try:
            self._check_time(verified.not_before, verified.expires_at, now)
            self._check_lifetime(verified.expires_at, now)
        except JwtError:
            self._tokens.discard(verified.token)
            self.cache_misses += 1
            raise

    def _verify_new(self, token: bytes, now: float) -> VerifiedToken:
        # Hot path: once per new token.
        self.cache_misses += 1
        settings = self._settings
        header_segment, payload_segment, signature_segment = split_token(token, settings.max_token_bytes)
        known_header = self._headers.headers.get(header_segment)
        header = known_header or parse_header(header_segment)
        if header.alg not in settings.algorithms:
            raise JwtError(JwtStatus.HEADER_UNSUPPORTED_ALG, "the provider does not allow it")
        if settings.require_at_jwt and not header.is_access_token:
            raise JwtError(JwtStatus.VERIFICATION_FAILED, "header [typ] is not at+jwt")
        claims = parse_payload(payload_segment)
        signature = parse_signature(signature_segment)

        not_before, expires_at = checks.read_date(claims, "nbf"), checks.read_date(claims, "exp")
        checks.check_issuer(claims, settings.issuer)
        self._check_time(not_before, expires_at, now)
        checks.check_audience(claims, self._audiences)
        checks.check_subject(claims, settings.subject_matches)
        self._check_lifetime(expires_at, now)

        signing_input = token[: len(header_segment) + 1 + len(payload_segment)]
        key = self._verify_signature(header, signature, signing_input)
        verified = VerifiedToken(token, header.members, claims, key, expires_at, not_before)
        self._keep(verified, len(payload_segment))
        if known_header is None:
            self._headers.add(header_segment, header)
        return verified

    def _check_time(self, not_before: int | None, expires_at: int | None, now: float) -> None:
        skew = self._settings.clock_skew_s
        checks.check_not_before(not_before, now=now, clock_skew_s=skew)
        checks.check_expiration(expires_at, now=now, clock_skew_s=skew)

    def _check_lifetime(self, expires_at: int | None, now: float) -> None:
        checks.check_lifetime(
            expires_at,
            now=now,
            require_expiration=self._settings.require_expiration,
            max_lifetime_s=self._settings.max_lifetime_s,
        )

    def _verify_signature(self, header: JoseHeader, signature: bytes, signing_input: bytes) -> Jwk:
        keys = self._keys
        if keys is None:
            raise KeysUnavailable
        alg, kid = header.alg, header.kid
        candidates = keys.select(alg, kid)
        if not candidates:
            if not keys.keys:
                raise JwtError(JwtStatus.NO_VALID_KEYS)
            unknown = kid is not None and not keys.has_kid(kid)
            raise UnknownKey("no key has this kid" if unknown else "no key fits alg", kid_unknown=unknown)
        if alg == "EdDSA" and len(signature) != ED25519_SIGNATURE_BYTES:
            raise JwtError(JwtStatus.SIGNATURE_BAD_ED25519_LENGTH)
        for key in candidates:
            if key.check_signature(alg, signature, signing_input):
                return key
        raise JwtError(JwtStatus.VERIFICATION_FAILED, "signature")

    def _keep(self, verified: VerifiedToken, payload_chars: int) -> None:
        settings = self._settings
        skew = settings.clock_skew_s
        expires_at = verified.expires_at
        if verified.not_before is not None:
            verified.usable_after = float(verified.not_before - skew)
        if expires_at is None:
            verified.usable_before = inf
        else:
            verified.usable_before = float(expires_at + skew)
            if settings.max_lifetime_s is not None:
                verified.usable_after = max(verified.usable_after, expires_at - settings.max_lifetime_s)
        if self._prepare is not None:
            verified.prepared = self._prepare(verified)
        cost = estimate_bytes(verified.token, payload_chars, with_claims=settings.keep_claims)
        if self._tokens.add(verified, cost) and not settings.keep_claims:
            verified.forget_claims()
