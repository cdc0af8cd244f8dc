"""The checks that a token goes through, in the verifier's order, with what came of each.

The first failure is the filter's. What lies behind it is found out by asking the same verifier again, with the failed
demand taken out of the policy: so what is reported as good is good, and a second fault does not wait for the next try.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from fastproxy.advice.words import describe_date, quote
from fastproxy.jwt import (
    JwkSet,
    JwtError,
    JwtStatus,
    UnverifiedToken,
    Verifier,
    VerifierSettings,
    parse_token,
)

PASS, FAIL, ALSO, UNKNOWN = "pass", "FAIL", "would fail", "not reached"

#: In the verifier's order.
STEPS: Final = (
    "form",
    "header",
    "payload",
    "signature encoding",
    "issuer",
    "not before",
    "expiry",
    "audience",
    "subject",
    "lifetime",
    "key",
    "signature",
)
_BY_STATUS: Final = {
    JwtStatus.BAD_FORMAT: "form",
    JwtStatus.SIGNATURE_BAD_BASE64: "signature encoding",
    JwtStatus.SIGNATURE_BAD_ED25519_LENGTH: "signature",
    JwtStatus.ISSUER_NOT_CONFIGURED: "issuer",
    JwtStatus.NOT_YET_VALID: "not before",
    JwtStatus.EXPIRED: "expiry",
    JwtStatus.AUDIENCE_NOT_ALLOWED: "audience",
    JwtStatus.NO_VALID_KEYS: "key",
    JwtStatus.NO_MATCHING_KEY: "key",
    JwtStatus.JWKS_FETCH_FAILED: "key",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One check and what came of it."""

    name: str
    state: str
    """PASS, FAIL, ALSO (behind the first failure) or UNKNOWN."""
    detail: str


@dataclass(frozen=True, slots=True)
class Examination:
    """All checks of one token before one provider."""

    checks: tuple[Check, ...]
    failures: tuple[tuple[str, JwtError], ...]
    """Step and error of everything that fails, the filter's own first."""
    token: UnverifiedToken | None
    """None: it cannot be parsed."""
    signature_is_good: bool | None
    """None: that was not reached."""
    key_id: str | None = None
    """The kid of the key whose signature it is."""


def step_of(error: JwtError) -> str:
    """Name the check that raised an error."""
    known = _BY_STATUS.get(error.status)
    if known is not None:
        return known
    if error.status is JwtStatus.VERIFICATION_FAILED:
        # One text of Envoy's for several things.
        if "[sub]" in error.detail:
            return "subject"
        if "[exp]" in error.detail:
            return "lifetime"
        return "signature" if error.detail == "signature" else "header"
    return "header" if error.status.number <= JwtStatus.HEADER_BAD_KID.number else "payload"


def examine(raw: bytes, settings: VerifierSettings, keys: JwkSet | None, now: float) -> Examination:
    """Put a token through all checks of a policy.

    Args:
        raw: the token.
        settings: the provider's policy.
        keys: its keys; None if there are none.
        now: Unix seconds.
    """
    try:
        token = parse_token(raw, max_token_bytes=settings.max_token_bytes)
    except JwtError:
        token = None
    failures: list[tuple[str, JwtError]] = []
    policy, moment, end = replace(settings, cache_size=0), now, len(STEPS)
    key_id: str | None = None
    while True:
        try:
            key_id = Verifier(policy, keys).verify(raw, moment).key_id
            break
        except JwtError as error:
            step = step_of(error)
            if moment != now and step in ("not before", "expiry"):
                # A token whose times exclude each other: no moment is right.
                end = STEPS.index(step)
                break
            failures.append((step, error))
            relaxed = _without(step, policy, token, moment)
            if relaxed is None:
                end = STEPS.index(step)
                break
            policy, moment = relaxed
    details = _Details(token, raw, settings, keys, now)
    failed = dict(failures)
    checks = tuple(_check(index, step, failed, end, details) for index, step in enumerate(STEPS))
    good = True if end == len(STEPS) else False if "signature" in failed else None
    return Examination(checks, tuple(failures), token, good, key_id)


def _without(
    step: str, policy: VerifierSettings, token: UnverifiedToken | None, moment: float
) -> tuple[VerifierSettings, float] | None:
    """The policy without one demand, or the moment at which it is met; None: nothing behind it can be judged."""
    if step == "header" and policy.require_at_jwt and token is not None:
        return replace(policy, require_at_jwt=False), moment
    if step == "issuer":
        return replace(policy, issuer=""), moment
    if step == "audience":
        return replace(policy, audiences=()), moment
    if step == "subject":
        return replace(policy, subject_matches=None), moment
    if step == "lifetime":
        return replace(policy, require_expiration=False, max_lifetime_s=None), moment
    if step in ("expiry", "not before") and token is not None:
        value = token.claims.get("exp" if step == "expiry" else "nbf")
        if isinstance(value, int | float):
            return policy, float(value)
    return None


def _check(index: int, step: str, failed: dict[str, JwtError], end: int, details: "_Details") -> Check:
    if step in failed:
        is_first = next(iter(failed)) == step
        return Check(step, FAIL if is_first else ALSO, details.of(step, failed[step]))
    if index >= end:
        return Check(step, UNKNOWN, "")
    return Check(step, PASS, details.of(step, None))


class _Details:
    """What each check looked at, in a few words."""

    def __init__(
        self,
        token: UnverifiedToken | None,
        raw: bytes,
        settings: VerifierSettings,
        keys: JwkSet | None,
        now: float,
    ) -> None:
        self._token = token
        self._raw = raw
        self._settings = settings
        self._keys = keys
        self._now = now

    def of(self, step: str, error: JwtError | None) -> str:
        """Say what a check looked at, and why it failed."""
        words = self._words().get(step)
        found = words() if words is not None else ""
        reason = "" if error is None else error.status.text + (f" ({error.detail})" if error.detail else "")
        return "; ".join(filter(None, (reason, found)))

    def _words(self) -> dict[str, Callable[[], str]]:
        return {
            "form": lambda: f"{len(self._raw)} bytes, {self._raw.count(b'.')} dots",
            "header": self._header,
            "issuer": self._issuer,
            "not before": lambda: self._date("nbf"),
            "expiry": lambda: self._date("exp"),
            "audience": self._audience,
            "subject": self._subject,
            "lifetime": self._lifetime,
            "key": self._key,
        }

    def _claim(self, name: str) -> object:
        return None if self._token is None else self._token.claims.get(name)

    def _header(self) -> str:
        if self._token is None:
            return ""
        header = self._token.header
        return f"alg {header.alg}, " + ("no kid" if header.kid is None else f"kid {quote(header.kid)}")

    def _issuer(self) -> str:
        have, want = quote(self._claim("iss")), self._settings.issuer
        return f"iss {have}, wanted {quote(want)}" if want else f"iss {have}, any is accepted"

    def _date(self, name: str) -> str:
        value = self._claim(name)
        if value is None:
            return f"no {name}"
        return f"{describe_date(name, value, self._now)}; skew {self._settings.clock_skew_s} s"

    def _audience(self) -> str:
        have, want = quote(self._claim("aud")), self._settings.audiences
        return f"aud {have}, wanted {quote(list(want))}" if want else f"aud {have}, any is accepted"

    def _subject(self) -> str:
        # Who somebody is belongs into the output only where it decides.
        return "not asked" if self._settings.subject_matches is None else f"sub {quote(self._claim('sub'))}"

    def _lifetime(self) -> str:
        most = self._settings.max_lifetime_s
        needs = self._settings.require_expiration or most is not None
        return ("exp is required" if needs else "no exp is required") + (
            "" if most is None else f", at most {most:g} s ahead"
        )

    def _key(self) -> str:
        if self._token is None or self._keys is None:
            return ""
        header = self._token.header
        fitting = self._keys.select(header.alg, header.kid)
        names = ", ".join(f"{quote(key.kid)} ({key.kty})" for key in fitting)
        return names or f"{len(self._keys)} keys, none of which fits"
