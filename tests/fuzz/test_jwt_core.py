"""Fuzzing the verification core.

Invariant: any bytes give a value or an error of `fastproxy.jwt`, and nothing that was not signed is accepted.
"""

import json
from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from fastproxy.jwt import JwksError, JwkSet, JwtError, Verifier, VerifierSettings, parse_token
from fastproxy.jwt.encoding import encode_base64url
from tests.jwt.support import ALL_ALGORITHMS, NOW, claims, key_set, public_jwk, sign

KEYS = key_set(*(public_jwk(alg, kid=alg) for alg in ALL_ALGORITHMS))
GOOD = [sign(alg, kid=alg) for alg in ("RS256", "ES256", "EdDSA", "HS256")]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
headers = st.fixed_dictionaries(
    {"alg": st.sampled_from([*ALL_ALGORITHMS, "none"]) | json_values},
    optional=dict.fromkeys(("kid", "typ", "crit", "b64", "zip", "jwk", "x5c"), json_values),
)
payloads = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "x"), json_values)
)


def judge(token: bytes) -> None:
    """The invariant."""
    for keys in (KEYS, None):
        try:
            verified = Verifier(VerifierSettings(), keys).verify(token, NOW)
        except JwtError:
            continue
        assert token in GOOD
        assert verified.claims == claims()
    with suppress(JwtError):
        parse_token(token)


@given(st.binary(max_size=200) | st.text(".AQa-_=", max_size=60).map(str.encode))
@example(b"..")
@example(b"\xff.\xff.\xff")
def test_any_bytes_as_token(token: bytes) -> None:
    """From noise to nearly a token."""
    judge(token)


@given(headers, payloads, st.binary(max_size=300))
def test_any_well_formed_json_in_all_three_segments(
    header: dict[str, object], payload: dict[str, object], signature: bytes
) -> None:
    """Every type in every member that the core reads."""
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]

    judge(b".".join(encode_base64url(part) for part in parts))


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=80))
def test_any_bytes_in_all_three_segments(header: bytes, payload: bytes, signature: bytes) -> None:
    """Behind the base64url."""
    judge(b".".join(encode_base64url(part) for part in (header, payload, signature)))


@given(st.sampled_from(GOOD), st.data())
def test_good_token_with_any_change_is_refused(token: bytes, data: st.DataObject) -> None:
    """Insert, delete, replace, anywhere."""
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, min(len(token), start + 4)))

    judge(token[:start] + data.draw(st.binary(max_size=4)) + token[end:])


jwk_members = st.dictionaries(
    st.sampled_from(["kty", "kid", "alg", "use", "key_ops", "crv", "n", "e", "x", "y", "k", "d", "x5c"]),
    st.sampled_from(
        ["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "RS256", "ES256", "sig", "AQAB", "A" * 342, ""]
    )
    | json_values,
)


@given(
    st.binary(max_size=100)
    | st.lists(jwk_members | json_values, max_size=4).map(lambda keys: json.dumps({"keys": keys}).encode())
    | st.dictionaries(st.text(max_size=3), st.text(max_size=5).map(
        lambda body: f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
    )).map(lambda members: json.dumps(members).encode()),
    st.booleans(),
)  # fmt: skip
def test_any_bytes_as_key_set(document: bytes, allow_symmetric: bool) -> None:
    """A key set comes from the network too."""
    try:
        keys = JwkSet.parse(document, allow_symmetric=allow_symmetric)
    except JwksError:
        return
    assert keys.keys


@given(
    st.lists(st.sampled_from(ALL_ALGORITHMS), max_size=6),
    st.sampled_from(ALL_ALGORITHMS),
    st.text(max_size=2),
)
def test_selected_keys_always_fit(algorithms: list[str], alg: str, kid: str) -> None:
    """Whatever set and header meet."""
    # An AKP key is nothing without its alg; the others serve all of their kind.
    jwks = [public_jwk(name, alg=name if name.startswith("ML") else None) for name in algorithms]
    keys = JwkSet(tuple(key for jwk in jwks for key in key_set(jwk).keys))

    for selected in (keys.select(alg, kid), keys.select(alg, None), keys.select(alg, "k1")):
        assert len(selected) <= 4
        assert all(alg in key.algorithms for key in selected)
