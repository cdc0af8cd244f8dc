"""Parsing without verifying: structure, header, payload, in Envoy's order and with its texts."""

import json
from typing import Any

import pytest

from fastproxy.jwt import JwtError, JwtStatus, parse_token
from fastproxy.jwt.encoding import encode_base64url
from tests.jwt.support import claims, sign

H = encode_base64url(b'{"alg":"RS256"}')
P = encode_base64url(b"{}")


def status_of(token: bytes, **options: Any) -> int:
    with pytest.raises(JwtError) as caught:
        parse_token(token, **options)
    return caught.value.status.number


def with_header(header: str) -> bytes:
    return encode_base64url(header.encode()) + b"." + P + b".AAAA"


def test_parsed_token_gives_back_what_was_written() -> None:
    """The `decode` command and the choice of a provider by issuer stand on it."""
    token = sign("RS256", claims(scope="read"))

    parsed = parse_token(token)

    assert parsed.jose_header == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert (parsed.header.alg, parsed.header.kid) == ("RS256", "k1")
    assert parsed.claims == claims(scope="read")
    assert parsed.signing_input == token.rpartition(b".")[0]
    assert parsed.payload_segment == token.split(b".")[1]


def test_representation_holds_no_part_of_the_token() -> None:
    """Objects end up in logs by accident; a token in a log is a stolen token (S53)."""
    token = sign("RS256")

    assert not any(segment.decode() in repr(parse_token(token)) for segment in token.split(b"."))


@pytest.mark.parametrize(
    "token",
    [b"", b".", b"..", b"a.b", b"a.b.", b".b.c", b"a..c", b"a.b.c.", b".a.b.c", b"a.b.c.d", b"a.b.c.d.e"],
)
def test_anything_but_three_filled_segments_is_status_4(token: bytes) -> None:
    """Envoy drops empty segments; here a token has one spelling."""
    assert status_of(token) == 4


@pytest.mark.parametrize(
    ("header", "number"),
    [
        ("", 4), ("[]", 6), ("null", 6), ("{", 6), ('{"alg":"RS256",}', 6), ('{"alg":"RS256","alg":"RS256"}', 6),
        ("{}", 7),
        ('{"alg":null}', 7), ('{"alg":1}', 7), ('{"alg":["RS256"]}', 7),
        ('{"alg":""}', 8), ('{"alg":"none"}', 8), ('{"alg":"rs256"}', 8), ('{"alg":"ES256K"}', 8),
        ('{"alg":"Ed25519"}', 8),
        ('{"alg":"RS256","kid":null}', 9), ('{"alg":"RS256","kid":1}', 9), ('{"alg":"RS256","kid":["a"]}', 9),
    ],
)  # fmt: skip
def test_bad_headers_have_envoys_status(header: str, number: int) -> None:
    """spec: the table of statuses 4 to 9."""
    assert status_of(with_header(header)) == number


def test_empty_kid_counts_as_none() -> None:
    """As in Envoy: a client library that writes an empty kid means none."""
    assert parse_token(with_header('{"alg":"RS256","kid":""}')).header.kid is None


@pytest.mark.parametrize(
    ("payload", "number"),
    [
        ("[]", 11), ("null", 11), ('"a"', 11), ('{"a":1,"a":1}', 11), ("{'a':1}", 11),
        ('{"iss":null}', 12), ('{"iss":["a"]}', 12), ('{"iss":{}}', 12),
        ('{"sub":1}', 13), ('{"sub":null}', 13),
        ('{"iat":"1"}', 14), ('{"iat":null}', 14), ('{"iat":true}', 14), ('{"iat":[1]}', 14),
        ('{"iat":-1}', 15), ('{"iat":18446744073709551616}', 15), ('{"iat":1e20}', 15),
        ('{"nbf":"1"}', 16), ('{"nbf":false}', 16), ('{"nbf":-0.5}', 17),
        ('{"exp":"1"}', 18), ('{"exp":{}}', 18), ('{"exp":-1}', 19), ('{"exp":1e300}', 19),
        ('{"jti":1}', 20), ('{"jti":null}', 20),
        ('{"aud":1}', 21), ('{"aud":null}', 21), ('{"aud":{}}', 21), ('{"aud":["a",1]}', 21),
        ('{"aud":[["a"]]}', 21),
    ],
)  # fmt: skip
def test_bad_payloads_have_envoys_status(payload: str, number: int) -> None:
    """spec: the table of statuses 10 to 21."""
    assert status_of(H + b"." + encode_base64url(payload.encode()) + b".AAAA") == number


@pytest.mark.parametrize(
    "payload",
    [
        '{"exp":0}',
        '{"exp":-0.0}',
        '{"exp":1.5}',
        '{"exp":18446744073709549568}',
        '{"aud":[]}',
        '{"aud":""}',
        "{}",
    ],
)
def test_unusual_but_well_typed_claims_parse(payload: str) -> None:
    """What they mean is for the policy to say."""
    assert parse_token(H + b"." + encode_base64url(payload.encode()) + b".AAAA").claims == json.loads(payload)


def test_first_fault_in_envoys_order_is_reported() -> None:
    """The texts are part of the compatibility: a client sees the same one from both proxies."""
    assert status_of(b"!.!.!") == 5
    assert status_of(with_header('{"alg":"none","kid":1}')) == 8
    assert status_of(H + b".!.!") == 10
    assert status_of(H + b"." + encode_base64url(b'{"jti":1,"aud":1,"iss":1}') + b".!") == 12
    assert status_of(H + b"." + P + b".!") == 22


def test_errors_hold_no_text_from_the_token() -> None:
    """`detail` goes to logs (S53)."""
    for token in (
        with_header('{"alg":"SECRET"}'),
        with_header('{"alg":"RS256","SECRET":1,"SECRET":2}'),
        b"SECRET",
    ):
        with pytest.raises(JwtError) as caught:
            parse_token(token)
        assert "SECRET" not in str(caught.value)
        assert caught.value.status is not JwtStatus.VERIFICATION_FAILED
