"""The registered claims (RFC 7519 section 4.1): their types, and the checks that a policy makes of them.

Types, order, boundaries and texts are Envoy's, with these stricter readings: booleans are no numbers, and an
`exp` of 0 is long past instead of never.
"""

from collections.abc import Callable
from typing import Final

from fastproxy.jwt.encoding import JsonObject
from fastproxy.jwt.errors import JwtError, JwtStatus

_TWO_TO_64: Final = 2**64
_ABSENT: Final = object()
_NUMBERS: Final = (int, float)


def check_claim_types(claims: JsonObject) -> None:
    """Refuse a payload whose registered claims have the wrong types; absent ones pass (RFC 7519 section 4.1).

    Raises:
        JwtError: status 12 to 21, for the first wrong claim in Envoy's order.
    """
    # Hot path: once per new token.
    get = claims.get
    if not isinstance(get("iss", ""), str):
        raise JwtError(JwtStatus.PAYLOAD_BAD_ISS)
    if not isinstance(get("sub", ""), str):
        raise JwtError(JwtStatus.PAYLOAD_BAD_SUB)
    _check_date(get("iat", 0), JwtStatus.PAYLOAD_IAT_NOT_NUMBER, JwtStatus.PAYLOAD_IAT_OUT_OF_RANGE)
    _check_date(get("nbf", 0), JwtStatus.PAYLOAD_NBF_NOT_NUMBER, JwtStatus.PAYLOAD_NBF_OUT_OF_RANGE)
    _check_date(get("exp", 0), JwtStatus.PAYLOAD_EXP_NOT_NUMBER, JwtStatus.PAYLOAD_EXP_OUT_OF_RANGE)
    if not isinstance(get("jti", ""), str):
        raise JwtError(JwtStatus.PAYLOAD_BAD_JTI)
    audience = get("aud", "")
    if isinstance(audience, str):
        return
    if not isinstance(audience, list) or not all(isinstance(item, str) for item in audience):
        raise JwtError(JwtStatus.PAYLOAD_BAD_AUD)


def _check_date(value: object, not_number: JwtStatus, out_of_range: JwtStatus) -> None:
    # bool is an int in Python, but JSON `true` is not a NumericDate.
    if not isinstance(value, _NUMBERS) or isinstance(value, bool):
        raise JwtError(not_number)
    if not 0 <= value < _TWO_TO_64:
        raise JwtError(out_of_range)


def read_date(claims: JsonObject, name: str) -> int | None:
    """A NumericDate claim in whole Unix seconds, its fraction cut off as Envoy does; None if absent.

    `claims` must have passed `check_claim_types`.
    """
    value = claims.get(name)
    if value is None:
        return None
    assert isinstance(value, _NUMBERS)
    return int(value)


def check_issuer(claims: JsonObject, issuer: str) -> None:
    """Refuse a token of another issuer (RFC 7519 section 4.1.1); an exact comparison, "" allows any.

    Raises:
        JwtError: status 24.
    """
    if issuer and claims.get("iss") != issuer:
        raise JwtError(
            JwtStatus.ISSUER_NOT_CONFIGURED, "claim [iss] differs" if "iss" in claims else "no [iss]"
        )


def check_not_before(not_before: int | None, *, now: float, clock_skew_s: int) -> None:
    """Refuse a token that is not valid yet (RFC 7519 section 4.1.5).

    Args:
        not_before: `nbf` in whole Unix seconds, None if absent.
        now: Unix time in seconds; its fraction is ignored, as in Envoy.
        clock_skew_s: how far the issuer's clock may run ahead of ours.

    Raises:
        JwtError: status 2.
    """
    if not_before is not None and int(now) + clock_skew_s < not_before:
        raise JwtError(JwtStatus.NOT_YET_VALID)


def check_expiration(expires_at: int | None, *, now: float, clock_skew_s: int) -> None:
    """Refuse a token that has expired (RFC 7519 section 4.1.4); one without `exp` passes here.

    Raises:
        JwtError: status 3.
    """
    if expires_at is not None and int(now) > expires_at + clock_skew_s:
        raise JwtError(JwtStatus.EXPIRED)


def normalise_audience(audience: str) -> str:
    """Reduce an audience to what Envoy compares: without one leading http(s):// and then one trailing `/`."""
    if audience.startswith("https://"):
        audience = audience[8:]
    elif audience.startswith("http://"):
        audience = audience[7:]
    return audience.removesuffix("/")


def check_audience(claims: JsonObject, allowed: frozenset[str]) -> None:
    """Refuse a token that is for somebody else (RFC 7519 section 4.1.3).

    Args:
        claims: claims whose types were checked.
        allowed: normalised audiences of which the token must have one; empty: not checked.

    Raises:
        JwtError: status 25, also for a token without `aud`.
    """
    if not allowed:
        return
    audience = claims.get("aud", _ABSENT)
    if isinstance(audience, str):
        if normalise_audience(audience) in allowed:
            return
    elif isinstance(audience, list) and any(
        isinstance(item, str) and normalise_audience(item) in allowed for item in audience
    ):
        return
    raise JwtError(
        JwtStatus.AUDIENCE_NOT_ALLOWED, "no [aud]" if audience is _ABSENT else "claim [aud] differs"
    )


def check_subject(claims: JsonObject, matches: Callable[[str], bool] | None) -> None:
    """Refuse a token whose `sub` is not wanted (Envoy `subjects`); a missing `sub` is matched as "".

    Raises:
        JwtError: status 26.
    """
    if matches is None:
        return
    subject = claims.get("sub", "")
    if not isinstance(subject, str) or not matches(subject):
        raise JwtError(JwtStatus.VERIFICATION_FAILED, "claim [sub] is not allowed")


def check_lifetime(
    expires_at: int | None, *, now: float, require_expiration: bool, max_lifetime_s: float | None
) -> None:
    """Refuse a token that lives too long (Envoy `max_lifetime`) or for ever (`require_expiration`).

    Args:
        expires_at: `exp` in whole Unix seconds, None if absent.
        now: Unix time in seconds, with its fraction; no skew is granted here, as in Envoy.
        require_expiration: refuse tokens without `exp`.
        max_lifetime_s: `exp` must be less than this ahead of `now`; implies that it must be there.

    Raises:
        JwtError: status 26.
    """
    if expires_at is None:
        if require_expiration or max_lifetime_s is not None:
            raise JwtError(JwtStatus.VERIFICATION_FAILED, "claim [exp] is missing")
    elif max_lifetime_s is not None and not expires_at - now < max_lifetime_s:
        raise JwtError(JwtStatus.VERIFICATION_FAILED, "claim [exp] is too far ahead")
