"""Policy checks of claims, at Envoy's boundaries (spec: section 9)."""

import pytest

from fastproxy.jwt import JwtError, JwtStatus, VerifierSettings
from fastproxy.jwt.claims import normalise_audience
from tests.jwt.support import ISSUER, NOW, accepts, claims, make_verifier, refusal, sign


@pytest.mark.parametrize(
    ("now", "status"),
    [(NOW + 300, None), (NOW + 360, None), (NOW + 360.9, None), (NOW + 361, JwtStatus.EXPIRED)],
)
def test_exp_passes_up_to_the_skew_in_whole_seconds(now: float, status: JwtStatus | None) -> None:
    """Envoy: `now > exp + skew` refuses, the boundary itself passes."""
    if status is None:
        assert accepts(make_verifier(), sign(), now)
    else:
        assert refusal(make_verifier(), sign(), now) is status


@pytest.mark.parametrize(
    ("nbf", "passes"), [(NOW, True), (NOW + 60, True), (NOW + 61, False), (NOW + 60.9, True)]
)
def test_nbf_passes_up_to_the_skew(nbf: float, passes: bool) -> None:
    """Envoy: `nbf > now + skew` refuses; fractions are cut off."""
    token = sign("RS256", claims(nbf=nbf))
    if passes:
        assert accepts(make_verifier(), token, NOW)
    else:
        assert refusal(make_verifier(), token) is JwtStatus.NOT_YET_VALID


def test_zero_skew_means_zero() -> None:
    """Envoy cannot be told so: it turns 0 into 60."""
    verifier = make_verifier(clock_skew_s=0)

    assert accepts(verifier, sign(), NOW + 300)
    assert refusal(verifier, sign("RS256", claims(exp=NOW - 1))) is JwtStatus.EXPIRED


@pytest.mark.parametrize("iat", [NOW + 10_000, 0, 1])
def test_iat_is_not_compared_with_the_clock(iat: int) -> None:
    """As in Envoy; RFC 7519 section 4.1.6 gives it no such meaning."""
    assert accepts(make_verifier(), sign("RS256", claims(iat=iat)), NOW)


@pytest.mark.parametrize(
    ("audience", "passes"),
    [
        ("api", True), ("api/", True), ("http://api", True), ("https://api/", True), (["x", "api"], True),
        ("API", False), ("https://api//", False), ("ftp://api", False), ("http://https://api", False),
        ("ap", False), ("apis", False), ([], False), (None, False), ("", False),
    ],
)  # fmt: skip
def test_audiences_compare_as_in_envoy(audience: object, passes: bool) -> None:
    """Existing files rely on the normalisation: `https://api/` in one place and `api` in the other."""
    token = sign("RS256", claims(aud=audience))
    if passes:
        assert accepts(make_verifier(), token, NOW)
    else:
        assert refusal(make_verifier(), token) is JwtStatus.AUDIENCE_NOT_ALLOWED


def test_configured_audience_is_normalised_too() -> None:
    """And an empty one matches the empty token values, as in Envoy."""
    assert accepts(make_verifier(audiences=("https://api/",)), sign(), NOW)
    for audience in ("", "/", "http://"):
        assert accepts(make_verifier(audiences=("",)), sign("RS256", claims(aud=audience)), NOW)


def test_normalisation_is_done_once() -> None:
    """Repeating it would make more strings equal than Envoy does."""
    assert normalise_audience("https://http://a//") == "http://a/"


def test_without_configured_audiences_none_is_needed() -> None:
    """Envoy: an empty list means not checked."""
    assert accepts(make_verifier(audiences=()), sign("RS256", claims(aud=None)), NOW)


def test_subject_predicate_decides_and_sees_an_empty_string_when_sub_is_missing() -> None:
    """Envoy `subjects`: a missing sub normally fails."""
    verifier = make_verifier(subject_matches=lambda subject: subject.startswith("de"))

    assert accepts(verifier, sign(), NOW)
    assert refusal(verifier, sign("RS256", claims(sub="eve"))) is JwtStatus.VERIFICATION_FAILED
    assert refusal(verifier, sign("RS256", claims(sub=None))) is JwtStatus.VERIFICATION_FAILED


def test_empty_issuer_allows_any_and_none() -> None:
    """Envoy: `issuer: ""`."""
    verifier = make_verifier(issuer="")

    assert accepts(verifier, sign("RS256", claims(iss="anyone")), NOW)
    assert accepts(verifier, sign("RS256", claims(iss=None)), NOW)
    assert refusal(make_verifier(), sign("RS256", claims(iss=None))) is JwtStatus.ISSUER_NOT_CONFIGURED


def test_claims_are_checked_in_envoys_order() -> None:
    """Issuer, nbf, exp, audience, subject, lifetime; the first failure is the answer."""
    verifier = make_verifier(subject_matches=lambda subject: False, max_lifetime_s=1)
    wrong = claims(iss="x", nbf=NOW + 1000, exp=1, aud="x")
    order = [("iss", ISSUER, 24), ("nbf", 0, 2), ("exp", NOW + 300, 3), ("aud", "api", 25)]

    for name, right, number in order:
        with pytest.raises(JwtError) as caught:
            verifier.verify(sign("RS256", wrong), NOW)
        assert caught.value.status.number == number
        wrong |= {name: right}
    with pytest.raises(JwtError) as caught:
        verifier.verify(sign("RS256", wrong), NOW)
    assert "sub" in caught.value.detail


@pytest.mark.parametrize(
    "wrong",
    [{"clock_skew_s": -1}, {"clock_skew_s": 3601}, {"max_lifetime_s": -1.0}, {"cache_size": -1},
     {"max_token_bytes": -1}, {"algorithms": frozenset({"none"})}],
)  # fmt: skip
def test_policy_without_sense_is_refused_when_it_is_made(wrong: dict[str, object]) -> None:
    """Not on the first request."""
    with pytest.raises(ValueError):
        VerifierSettings(**wrong)  # type: ignore[arg-type]  # one wrong value at a time
