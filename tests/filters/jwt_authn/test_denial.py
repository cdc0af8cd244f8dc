"""Refusals: status, text and challenge (spec/jwt_authn.md section 4; RFC 6750 section 3)."""

import pytest

from fastproxy.filters.jwt_authn.denial import deny
from fastproxy.filters.jwt_authn.verdict import MULTIPLE, refuse, unavailable
from fastproxy.jwt import JwtStatus
from tests.filters.jwt_authn.support import request


def challenge(target: bytes, *, method: bytes = b"GET", status: JwtStatus = JwtStatus.MISSING) -> bytes:
    ((name, value),) = deny(request(target, method=method), refuse(status)).headers
    assert name == b"www-authenticate"
    return value


def test_challenge_of_a_missing_and_of_a_bad_token() -> None:
    """A missing token is no `invalid_token`."""
    assert challenge(b"/x?y=1") == b'Bearer realm="http://h.test/x?y=1"'
    assert (
        challenge(b"/", status=JwtStatus.EXPIRED) == b'Bearer realm="http://h.test/", error="invalid_token"'
    )
    assert deny(request(), MULTIPLE).headers[0][1].endswith(b', error="invalid_token"')


@pytest.mark.parametrize("status", list(JwtStatus))
def test_s55_the_body_is_a_fixed_text(status: JwtStatus) -> None:
    """Nothing of the request is reflected in it; the details for the log hold no spaces."""
    reply = deny(request(b"/<script>"), refuse(status))
    assert reply.body == status.text.encode()
    assert reply.status == (403 if status is JwtStatus.AUDIENCE_NOT_ALLOWED else 401)
    assert " " not in reply.details


def test_the_realm_is_a_quoted_string_and_bounded() -> None:
    """RFC 9110 section 5.6.4; Envoy cuts the path at 256 bytes and escapes nothing."""
    assert challenge(b'/a"b\\c') == b'Bearer realm="http://h.test/a\\"b\\\\c"'
    assert challenge(b"/" + b"x" * 1000) == b'Bearer realm="http://h.test/' + b"x" * 255 + b'"'
    assert challenge(b"a:443", method=b"CONNECT") == b'Bearer realm=""'


def test_s53_the_realm_shows_the_redacted_target() -> None:
    """A query token must not come back."""
    made = request(b"/x?access_token=SECRET")
    made.log_target = b"/x?access_token=redacted"
    assert b"SECRET" not in deny(made, refuse(JwtStatus.EXPIRED)).headers[0][1]


def test_unavailable_keys_are_no_refusal() -> None:
    """503 and when to come back; no challenge."""
    reply = deny(request(), unavailable("p"))
    assert (reply.status, reply.headers) == (503, ((b"retry-after", b"1"),))
    assert reply.details == "jwt_authn_keys_unavailable{p}"
