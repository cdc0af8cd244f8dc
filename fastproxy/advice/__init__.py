"""Why a token was refused, in words, and the one change that would fix it: for `fastproxy jwt verify` and `explain`.

The verdict is not made here. What comes in is the error of the verifier itself, and what it judged by.
"""

from collections.abc import Callable
from typing import Final

from fastproxy.advice.case import Advice, Case, Knobs, RemovedKid, Surroundings
from fastproxy.advice.claims import (
    advise_audience,
    advise_expired,
    advise_issuer,
    advise_lifetime,
    advise_missing_expiration,
    advise_not_yet_valid,
    advise_subject,
)
from fastproxy.advice.form import advise_algorithm, advise_form, advise_header, advise_malformed
from fastproxy.advice.keys import advise_no_key, advise_no_keys_held, advise_signature
from fastproxy.jwt import JwkSet, JwtError, JwtStatus, VerifierSettings, parse_token

__all__ = ["Advice", "Knobs", "RemovedKid", "Surroundings", "advise"]


def advise(
    error: JwtError,
    raw: bytes,
    settings: VerifierSettings,
    keys: JwkSet | None,
    now: float,
    *,
    around: Surroundings | None = None,
) -> Advice:
    """Explain a refusal.

    Args:
        error: what the verifier raised.
        raw: the token it was given.
        settings: the policy it judged by.
        keys: its keys; None if it had none.
        now: Unix seconds.
        around: what else is known.
    """
    try:
        token = parse_token(raw)
    except JwtError:
        token = None
    case = Case(error, raw, settings, keys, now, around or Surroundings(), token)
    return _ADVISERS.get(error.status, advise_malformed)(case)


def _verification_failed(case: Case) -> Advice:
    """Envoy has one text for several things; the detail tells them apart."""
    detail = case.error.detail
    if "[sub]" in detail:
        return advise_subject(case)
    if "[exp] is missing" in detail:
        return advise_missing_expiration(case)
    if "[exp] is too far" in detail:
        return advise_lifetime(case)
    return advise_signature(case) if detail == "signature" else advise_header(case)


_ADVISERS: Final[dict[JwtStatus, Callable[[Case], Advice]]] = {
    JwtStatus.ISSUER_NOT_CONFIGURED: advise_issuer,
    JwtStatus.AUDIENCE_NOT_ALLOWED: advise_audience,
    JwtStatus.EXPIRED: advise_expired,
    JwtStatus.NOT_YET_VALID: advise_not_yet_valid,
    JwtStatus.NO_MATCHING_KEY: advise_no_key,
    JwtStatus.NO_VALID_KEYS: advise_no_key,
    JwtStatus.JWKS_FETCH_FAILED: advise_no_keys_held,
    JwtStatus.VERIFICATION_FAILED: _verification_failed,
    JwtStatus.HEADER_UNSUPPORTED_ALG: advise_algorithm,
    JwtStatus.BAD_FORMAT: advise_form,
}
