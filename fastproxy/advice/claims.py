"""Advice about claims: issuer, audience, times, subject."""

import re
from typing import Final
from urllib.parse import urlsplit

from fastproxy.advice.case import Advice, Case
from fastproxy.advice.words import describe_date, format_age, quote
from fastproxy.jwt.claims import normalise_audience
from fastproxy.jwt.encoding import JsonObject

#: A Unix time above this many times the present one is in milliseconds.
_MILLISECONDS: Final = 500
#: The least NumericDate that is a date of our time (2001); less is a duration that somebody took for a date.
_LEAST_DATE: Final = 1_000_000_000
#: A clock that is wrong by more than this is not a clock problem any more.
_CLOCK_PROBLEM_S: Final = 900
#: Members that only ID tokens have (OpenID Connect Core 1.0 section 2).
_ID_TOKEN_CLAIMS: Final = ("nonce", "at_hash", "c_hash")


def difference(have: str, want: str) -> str:
    """Say in what little way two texts differ; "" if it is not little."""
    if have.strip() == want.strip():
        return "only by white space around it"
    if have.rstrip("/") == want.rstrip("/"):
        return "only by a trailing slash"
    if have.casefold() == want.casefold():
        return "only by upper and lower case"
    if have.rstrip("/").casefold() == want.rstrip("/").casefold():
        return "only by case and a trailing slash"
    scheme = re.compile(r"https?://", re.IGNORECASE)
    if scheme.sub("", have, count=1).rstrip("/") == scheme.sub("", want, count=1).rstrip("/"):
        return "only by http:// or https:// in front"
    return ""


def is_id_token(claims: JsonObject) -> bool:
    """Tell an OpenID Connect ID token, which is for the client and not for an API (Core 1.0 section 2)."""
    return (
        any(name in claims for name in _ID_TOKEN_CLAIMS)
        or claims.get("token_use") == "id"
        or claims.get("typ") == "ID"
    )


def advise_issuer(case: Case) -> Advice:
    """`iss` is not the one that is wanted, or not there."""
    have, want, knob = case.claims.get("iss"), case.settings.issuer, case.around.knobs.issuer
    if not isinstance(have, str):
        return Advice(
            f"The token has no iss; wanted is {quote(want)}.",
            f"Get the token from {quote(want)}, or have the issuer put iss into it.",
        )
    if how := difference(have, want):
        return Advice(
            f"iss differs {how}: the token's iss is {quote(have)}, wanted is {quote(want)}. They must be equal to"
            " the last character.",
            f"Set {knob} to {quote(have)}.",
        )
    other = case.around.issuers.get(have)
    if other is not None:
        return Advice(
            f"The token's iss is {quote(have)}: it is a token of provider {quote(other)}, wanted is {quote(want)}.",
            f"Send a token of {quote(want)}, or let the rule accept provider {quote(other)}, too.",
        )
    where = ""
    if _host(have) and _host(have) == _host(want):
        where = " The host is the same, so it is another tenant or realm of it."
    return Advice(
        f"The token's iss is {quote(have)}, wanted is {quote(want)}.{where}"
        " They must be equal to the last character, slashes and case included.",
        f"Get a token from {quote(want)}, or set {knob} to {quote(have)} if that is the issuer you trust.",
    )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def advise_audience(case: Case) -> Advice:
    """`aud` has none of those that are wanted."""
    claims, wanted, knob = case.claims, case.settings.audiences, case.around.knobs.audience
    aud = claims.get("aud")
    have = (
        [aud]
        if isinstance(aud, str)
        else [one for one in aud if isinstance(one, str)]
        if isinstance(aud, list)
        else []
    )
    cause = f"The token's aud is {quote(aud)}, wanted is one of {quote(list(wanted))}."
    if is_id_token(claims):
        return Advice(
            f"{cause} It is an ID token, made for the client and not for an API.",
            "Send the access token instead of the ID token.",
        )
    for mine in have:
        for want in wanted:
            if how := difference(normalise_audience(mine), normalise_audience(want)):
                return Advice(
                    f"aud differs {how}: the token's aud is {quote(mine)}, wanted is {quote(want)}.",
                    f"Add {quote(mine)} to {knob}.",
                )
    client = next((claims[name] for name in ("azp", "client_id") if claims.get(name)), None)
    if client is not None and client in have:
        return Advice(
            f"{cause} That is the client's own id: the client asked for no audience, or this is an ID token.",
            f"Have the client ask for the audience {quote(wanted[0])}, and send the access token.",
        )
    if not have:
        cause = f"The token has no aud (its aud is {quote(aud)}), wanted is one of {quote(list(wanted))}."
    return Advice(
        cause,
        f"Ask the issuer for a token for this audience, or accept the token's own with {knob}.",
    )


def advise_expired(case: Case) -> Advice:
    """`exp` has passed."""
    exp, skew = case.claims.get("exp"), case.settings.clock_skew_s
    cause = f"exp: {describe_date('exp', exp, case.now)}; skew allowed: {skew} s."
    if not isinstance(exp, int | float):
        return Advice(cause, "Get a new token.")
    if exp < _LEAST_DATE:
        return Advice(
            f"{cause} exp is {quote(exp)}: a duration, not a date (RFC 7519 section 2 wants seconds since 1970).",
            "Have the issuer write the time at which the token expires.",
        )
    if case.now - exp <= _CLOCK_PROBLEM_S:
        return Advice(
            cause,
            "Get a new token. If it is new, the clocks differ: set them, or allow more with"
            f" {case.around.knobs.clock_skew}.",
        )
    return Advice(cause, "Get a new token.")


def advise_not_yet_valid(case: Case) -> Advice:
    """`nbf` has not come."""
    nbf, skew = case.claims.get("nbf"), case.settings.clock_skew_s
    cause = f"nbf: {describe_date('nbf', nbf, case.now)}; skew allowed: {skew} s."
    if isinstance(nbf, int | float):
        if nbf > case.now * _MILLISECONDS:
            return Advice(
                f"{cause} nbf is in milliseconds.",
                "Have the issuer write times in seconds (RFC 7519 section 2).",
            )
        if nbf - case.now <= _CLOCK_PROBLEM_S:
            return Advice(
                f"{cause} The issuer's clock is ahead of this one, or the token is meant for later.",
                f"Set the clocks, or allow more with {case.around.knobs.clock_skew}.",
            )
    return Advice(cause, f"Use the token in {format_age(float(str(nbf)) - case.now) if nbf else 'a while'}.")


def advise_lifetime(case: Case) -> Advice:
    """`exp` is further ahead than `max_lifetime`."""
    exp, most = case.claims.get("exp"), case.settings.max_lifetime_s
    cause = f"exp: {describe_date('exp', exp, case.now)}; at most {most:g} s ahead is allowed."
    if isinstance(exp, int | float) and exp > case.now * _MILLISECONDS:
        return Advice(
            f"{cause} exp is in milliseconds.", "Have the issuer write times in seconds (RFC 7519 section 2)."
        )
    return Advice(
        cause, f"Have the issuer make tokens that live shorter, or raise {case.around.knobs.max_lifetime}."
    )


def advise_subject(case: Case) -> Advice:
    """`sub` is not among the subjects."""
    subjects = case.around.knobs.subjects
    return Advice(
        f"The token's sub is {quote(case.claims.get('sub', ''))}, which {subjects} does not accept.",
        f"Use a token of another subject, or widen {subjects}.",
    )


def advise_missing_expiration(case: Case) -> Advice:
    """There is no `exp`."""
    return Advice(
        "The token has no exp. Tokens without exp never expire.",
        f"Have the issuer put exp into it; {case.around.knobs.missing_exp} accepts them.",
    )
