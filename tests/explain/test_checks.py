"""The list of checks: in the verifier's order, and true of what lies behind the first failure."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from fastproxy.advice import advise
from fastproxy.explain.checks import ALSO, FAIL, PASS, STEPS, UNKNOWN, examine, step_of
from fastproxy.jwt import JwtError, JwtStatus, VerifierSettings
from tests.jwt.support import ISSUER, NOW, claims, key_set, public_jwk, sign

KEYS = key_set(public_jwk("RS256"))
SETTINGS = VerifierSettings(
    issuer=ISSUER,
    audiences=("api",),
    subject_matches=lambda subject: subject == "demo",
    max_lifetime_s=1000,
)
#: What makes one check fail, and no other.
FAULTS: dict[str, dict[str, Any]] = {
    "issuer": {"iss": "https://x"},
    "not before": {"nbf": NOW + 100},
    "expiry": {"exp": NOW - 100},
    "audience": {"aud": "web"},
    "subject": {"sub": "eve"},
    "lifetime": {"exp": NOW + 5000},
}


def states(token: bytes, **more: Any) -> dict[str, str]:
    examination = examine(token, SETTINGS, more.get("keys", KEYS), NOW)
    return {check.name: check.state for check in examination.checks}


def test_good_token_passes_them_all() -> None:
    examination = examine(sign(), SETTINGS, KEYS, NOW)

    assert [check.name for check in examination.checks] == list(STEPS)
    assert {check.state for check in examination.checks} == {PASS}
    assert examination.signature_is_good
    assert examination.key_id == "k1"


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_fails_one_check(fault: str) -> None:
    found = states(sign("RS256", claims(**FAULTS[fault])))

    assert found.pop(fault) == FAIL
    assert set(found.values()) == {PASS}


@pytest.mark.parametrize(
    ("first", "second"),
    # One claim cannot have two faults, and a token that expires before it begins is right at no moment.
    sorted(set(itertools.combinations(FAULTS, 2)) - {("expiry", "lifetime"), ("not before", "expiry")}),
)
def test_of_two_faults_the_verifiers_first_comes_first(first: str, second: str) -> None:
    """The order of `STEPS` is the verifier's, and the second fault is found as well."""
    found = states(sign("RS256", claims(**FAULTS[first], **FAULTS[second])))

    assert (found[first], found[second]) == (FAIL, ALSO)


def test_forged_token_with_a_fault_is_known_to_be_forged() -> None:
    """Or somebody waits for a new token of a forger."""
    found = states(sign("RS256", claims(aud="web"), name="forger"))

    assert (found["audience"], found["key"], found["signature"]) == (FAIL, PASS, ALSO)


def test_what_cannot_be_known_is_not_claimed() -> None:
    """Without keys nobody knows about the signature, and of a broken token nothing at all."""
    assert states(sign(), keys=None)["signature"] == UNKNOWN
    broken = states(b"eyJ.e30.AAAA")
    assert broken["header"] == FAIL
    assert set(list(broken.values())[2:]) == {UNKNOWN}


def test_type_of_the_token_is_a_check_like_others() -> None:
    """Behind it the rest is looked at all the same."""
    strict = replace(SETTINGS, require_at_jwt=True)
    examination = examine(sign("RS256", claims(aud="web")), strict, KEYS, NOW)
    advice = advise(examination.failures[0][1], sign(), strict, KEYS, NOW)

    assert [step for step, _ in examination.failures] == ["header", "audience"]
    assert 'typ is "JWT", wanted is at+jwt' in advice.cause


def test_token_that_is_right_at_no_moment() -> None:
    found = states(sign("RS256", claims(nbf=NOW + 900, exp=NOW - 900)))

    assert found["not before"] == FAIL
    assert found["audience"] == UNKNOWN


@pytest.mark.parametrize("status", [one for one in JwtStatus if one is not JwtStatus.MISSING])
def test_every_status_belongs_to_a_check(status: JwtStatus) -> None:
    for detail in ("", "signature", "claim [sub] is not allowed", "claim [exp] is missing"):
        assert step_of(JwtError(status, detail)) in STEPS
