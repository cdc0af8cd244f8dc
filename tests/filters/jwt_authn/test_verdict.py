"""Refusals and what becomes of a verdict; the requirements that make them are in test_requirement.py."""

import pytest

from fastproxy.filters.jwt_authn.extract import FoundToken
from fastproxy.filters.jwt_authn.verdict import MISSING, MULTIPLE, Passed, conclude, refuse, unavailable
from fastproxy.jwt import JwtStatus
from tests.filters.jwt_authn.support import request


@pytest.mark.parametrize("status", list(JwtStatus))
def test_every_status_has_a_reason_of_its_own(status: JwtStatus) -> None:
    """Counters are named after it, so it must be a fixed word (S54)."""
    refusal = refuse(status, "more for an operator")
    assert (refusal.number, refusal.text, refusal.http_status) == (
        status.number,
        status.text,
        status.http_status,
    )
    assert refusal.reason.replace("_", "").isalnum()
    assert refusal.is_missing is (status is JwtStatus.MISSING)
    assert "operator" not in repr(refusal)


def test_what_is_no_verdict_on_a_token() -> None:
    """Two tokens, and keys that cannot be had."""
    assert (MULTIPLE.number, MULTIPLE.http_status, MULTIPLE.is_missing) == (27, 401, False)
    refusal = unavailable("p")
    assert (refusal.number, refusal.http_status, refusal.unavailable) == (40, 503, "p")
    assert refusal.reason != refuse(JwtStatus.JWKS_FETCH_FAILED).reason


def test_a_refusal_changes_nothing() -> None:
    """Only a satisfied requirement may."""
    made = request(b"/?t=T", (b"x-t", b"T"))
    assert conclude(made, MISSING) is MISSING
    assert (made.headers, made.target) == ({b"x-t": b"T"}, b"/?t=T")


def test_unchecked_tokens_are_taken_out_of_every_kind_of_place() -> None:
    """Header, parameter and cookie (S48)."""
    made = request(b"/?t=T&a=1", (b"x-t", b"T"), (b"cookie", b"t=T; a=1"))
    unchecked = (
        FoundToken(b"T", b"x-t", None),
        FoundToken(b"T", None, b"t"),
        FoundToken(b"T", None, None, b"t"),
    )
    assert conclude(made, Passed((), unchecked=unchecked)) is None
    assert (made.headers, made.target) == ({b"cookie": b"a=1"}, b"/?a=1")
