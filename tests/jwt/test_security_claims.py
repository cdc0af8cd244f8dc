"""Security requirements S19 to S26: what a payload may say."""

import json
import sys

import pytest

from fastproxy.jwt import JwtStatus
from tests.jwt.support import ISSUER, NOW, accepts, claims, make_verifier, refusal, sign, sign_raw

HEADER = b'{"alg":"RS256","kid":"k1"}'


def signed_payload(payload: bytes) -> bytes:
    """Rightly signed, so that nothing but the payload can be the reason."""
    return sign_raw("RS256", HEADER, payload)


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    ['"1"', f'"{NOW + 100}"', "true", "false", "null", "[]", f"[{NOW}]", "{}", "NaN", "Infinity", "-Infinity",
     "1e309", "-1e309", "1" + "0" * 50, "1" + "0" * 5000, "9" * 10_000, "-1", "-1e10", "1e100"],
)  # fmt: skip
def test_s19_date_that_is_no_date_is_refused(claim: str, value: str) -> None:
    """Never an exception of another kind, and never `forever`."""
    payload = json.dumps(claims(**{claim: "X"})).replace('"X"', value).encode()

    assert not accepts(make_verifier(require_expiration=False), signed_payload(payload))


@pytest.mark.parametrize("exp", ["0", "0.0", "-0", "-0.0", "0.5", "1"])
def test_s19_exp_near_zero_is_long_past(exp: str) -> None:
    """In Envoy an exp that truncates to 0 means: never expires."""
    payload = json.dumps(claims(exp="X")).replace('"X"', exp).encode()

    assert refusal(make_verifier(require_expiration=False), signed_payload(payload)) is JwtStatus.EXPIRED


def test_s20_missing_exp_is_refused_unless_the_policy_allows_it() -> None:
    """A token without exp is a password that nobody can change."""
    token = sign("RS256", claims(exp=None))

    assert refusal(make_verifier(), token) is JwtStatus.VERIFICATION_FAILED
    assert accepts(make_verifier(require_expiration=False), token)
    assert not accepts(make_verifier(require_expiration=False, max_lifetime_s=3600), token)


@pytest.mark.parametrize("exp", [NOW + 3600, NOW + 10**9, 9 * 10**18, 10**19, 2**64 - 2048])
def test_s20_max_lifetime_holds_for_every_exp(exp: int) -> None:
    """Envoy's comparison wraps at 2^63: 1e19 passes there."""
    assert not accepts(make_verifier(max_lifetime_s=3600), sign("RS256", claims(exp=exp)))
    assert accepts(make_verifier(max_lifetime_s=3600), sign("RS256", claims(exp=NOW + 3599)))


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (b'{"alg":"RS256","kid":"k1","alg":"RS256"}', None),
        (b'{"alg":"RS256","\\u0061lg":"none","kid":"k1"}', None),
        (b'{"alg":"RS256","kid":"k1","\\u006bid":"k1"}', None),
        (b'{"alg":"RS256","kid":"k1","x":{"a":1,"a":1}}', None),
        (HEADER, b'"sub":"demo","sub":"demo"'),
        (HEADER, b'"sub":"demo","\\u0073ub":"admin"'),
        (HEADER, b'"a":{"b":1,"b":2}'),
        (HEADER, b'"a":[[{"b":1,"\\u0062":2}]]'),
        (HEADER, b'"\\"":1,"\\u0022":2'),
        (HEADER, b'"\\\\":1,"\\u005c":2'),
    ],
)
def test_s21_duplicate_members_are_refused(header: bytes, payload: bytes | None) -> None:
    """Plain, escaped and nested: two parsers would read two different tokens."""
    base = json.dumps(claims(sub=None)).encode()
    body = base if payload is None else base[:-1] + b"," + payload + b"}"

    expected = JwtStatus.HEADER_BAD_JSON if payload is None else JwtStatus.PAYLOAD_BAD_JSON
    assert refusal(make_verifier(), sign_raw("RS256", header, body)) is expected


@pytest.mark.parametrize(
    "payload",
    [b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 2000 + b"1" + b"}" * 2000,
     b"1" * 12_000, b'{"a":' + b"1" * 12_000 + b"}",
     b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\\ud800"}', b'{"a":"\\udc00\\ud800"}', b"[]", b'"x"', b"null",
     b"", b" ", b"\x00", b"{", b'{"a"', b"\xef\xbb\xbf{}", '{"a":1}'.encode("utf-16"), '{"a":1}'.encode("utf-32")],
)  # fmt: skip
def test_s22_hostile_json_is_refused_without_another_exception(payload: bytes) -> None:
    """RecursionError and the limit on digits of int are no ValueError of ours."""
    verifier = make_verifier(max_token_bytes=100_000)

    if payload:
        assert refusal(verifier, signed_payload(payload)) is JwtStatus.PAYLOAD_BAD_JSON
        assert refusal(verifier, sign_raw("RS256", payload, b"{}")) is JwtStatus.HEADER_BAD_JSON


def test_s22_depth_is_no_matter_of_the_stack_that_is_left() -> None:
    """The walk is a loop: with almost no stack left the answer is the same."""
    payload = b'{"a":' + b"[" * 99 + b"]" * 99 + b"," + json.dumps(claims()).encode()[1:]

    def at_depth(frames: int) -> bool:
        return accepts(make_verifier(), signed_payload(payload)) if frames == 0 else at_depth(frames - 1)

    assert at_depth(sys.getrecursionlimit() // 2)


@pytest.mark.parametrize(
    "issuer",
    [ISSUER + "/", ISSUER.upper(), "http://issuer.example", "issuer.example", " " + ISSUER, ISSUER + "\x00", "",
     "https://issuer.example.evil", "https://issuer.exampl\u0435"],
)  # fmt: skip
def test_s23_issuer_must_be_equal_to_the_last_character(issuer: str) -> None:
    """No tolerance for case, slash or scheme."""
    assert refusal(make_verifier(), sign("RS256", claims(iss=issuer))) is JwtStatus.ISSUER_NOT_CONFIGURED


@pytest.mark.parametrize("issuer", [[ISSUER], {"iss": ISSUER}, 1, True])
def test_s23_issuer_of_another_type_is_refused(issuer: object) -> None:
    """A list that contains the issuer is not the issuer; with any issuer allowed too."""
    for verifier in (make_verifier(), make_verifier(issuer="")):
        assert refusal(verifier, sign("RS256", claims(iss=issuer))) is JwtStatus.PAYLOAD_BAD_ISS


def test_s24_unknown_issuer_is_refused_though_the_key_fits() -> None:
    """Issuer and key must both be the provider's."""
    assert not accepts(make_verifier(), sign("RS256", claims(iss="https://other.example")))
    assert not accepts(make_verifier(), sign("RS256", claims(iss=None)))


@pytest.mark.parametrize(
    "audience", [None, [], "", "ap", "apix", "api ", "API", ["x"], "x api", "api,x", ["api x"]]
)
def test_s25_audience_must_be_there_and_equal(audience: object) -> None:
    """No prefix, no part, no list in a string."""
    assert refusal(make_verifier(), sign("RS256", claims(aud=audience))) is JwtStatus.AUDIENCE_NOT_ALLOWED


@pytest.mark.parametrize("audience", [{"api": 1}, ["api", 1], [["api"]], ["api", None], 1, True])
def test_s25_audience_of_another_type_is_refused(audience: object) -> None:
    """Also when one item of the list would do."""
    assert refusal(make_verifier(), sign("RS256", claims(aud=audience))) is JwtStatus.PAYLOAD_BAD_AUD


@pytest.mark.parametrize(
    "typ", ["logout+jwt", "secevent+jwt", "dpop+jwt", "Logout+JWT", "application/logout+jwt"]
)
def test_s26_token_made_for_another_purpose_is_refused(typ: str) -> None:
    """The same issuer signs logout tokens with the same key."""
    assert refusal(make_verifier(), sign(typ=typ)) is JwtStatus.VERIFICATION_FAILED


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt", None, "", 1])
def test_s26_other_types_pass(typ: object) -> None:
    """As in Envoy; most issuers write JWT."""
    assert accepts(make_verifier(), sign(typ=typ))


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"])
def test_s26_strict_mode_takes_access_tokens(typ: str) -> None:
    """RFC 9068 section 4: `at+jwt` or `application/at+jwt`; media types know no case."""
    verifier = make_verifier(require_at_jwt=True)

    assert accepts(verifier, sign(typ=typ))
    # Once more with the header from the cache.
    assert accepts(verifier, sign("RS256", claims(jti="2"), typ=typ))


@pytest.mark.parametrize(
    "typ",
    [None, "", "JWT", "jwt", 1, ["at+jwt"], {"at+jwt": 1}, "at+jwt ", " at+jwt", "at jwt", "xat+jwt", "at+jwt2",
     "application/application/at+jwt", "text/at+jwt", "logout+jwt", "id+jwt"],
)  # fmt: skip
def test_s26_strict_mode_refuses_id_tokens_and_all_others(typ: object) -> None:
    """An ID token says who signed in, to the client; an API must not take it for a permission."""
    verifier = make_verifier(require_at_jwt=True)

    assert refusal(verifier, sign(typ=typ)) is JwtStatus.VERIFICATION_FAILED
    assert verifier.cached_tokens == 0


def test_s26_strict_mode_refuses_an_id_token_by_the_key_that_signs_access_tokens() -> None:
    """Same issuer, key and audience; only the type tells. Neither cached verdict nor cached header helps it."""
    verifier = make_verifier(require_at_jwt=True)
    id_token = claims(nonce="n-0S6", at_hash="MTIzNDU2Nzg5MDEyMzQ1Ng", auth_time=NOW)
    assert accepts(verifier, sign(typ="at+jwt"))

    assert refusal(verifier, sign("RS256", id_token, typ="JWT")) is JwtStatus.VERIFICATION_FAILED
    assert refusal(verifier, sign("RS256", id_token, typ=None)) is JwtStatus.VERIFICATION_FAILED
    assert accepts(make_verifier(), sign("RS256", id_token, typ="JWT")), (
        "as in Envoy, where it is not asked for"
    )
