"""ML-DSA where it is available, and an honest answer where it is not."""

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from fastproxy.jwt import JwksError, JwtStatus, ml_dsa
from fastproxy.jwt.encoding import decode_base64url, encode_base64url
from fastproxy.jwt.jwk import JwkRejected, parse_jwk
from tests.jwt.support import (
    ML_DSA_ALGORITHMS,
    NOW,
    accepts,
    claims,
    key_set,
    make_verifier,
    public_jwk,
    refusal,
    sign,
)

needs_ml_dsa = pytest.mark.skipif(not ML_DSA_ALGORITHMS, reason="the installed cryptography has no ML-DSA")


@pytest.fixture
def fresh_check() -> Iterator[None]:
    """The check is made anew, and its result forgotten afterwards."""
    ml_dsa.available_algorithms.cache_clear()
    yield
    ml_dsa.available_algorithms.cache_clear()


def reason(members: dict[str, Any]) -> str:
    with pytest.raises(JwkRejected) as caught:
        parse_jwk(members, allow_symmetric=False)
    return str(caught.value)


@needs_ml_dsa
@pytest.mark.parametrize("alg", ML_DSA_ALGORITHMS)
def test_signature_of_any_other_form_is_refused(alg: str) -> None:
    """Shortened, lengthened, zeroed, one bit off at either end; and it is not kept."""
    verifier, token = make_verifier(public_jwk(alg)), sign(alg)
    head, _, segment = token.rpartition(b".")
    good = decode_base64url(segment)
    assert len(good) == ml_dsa.SIGNATURE_BYTES[alg]

    changed_first, changed_last = bytearray(good), bytearray(good)
    changed_first[0] ^= 1
    changed_last[-1] ^= 1
    for bad in (
        good[:-1],
        good + b"\x00",
        bytes(len(good)),
        b"\x00",
        bytes(changed_first),
        bytes(changed_last),
    ):
        assert refusal(verifier, head + b"." + encode_base64url(bad)) is JwtStatus.VERIFICATION_FAILED
    assert accepts(verifier, token)
    assert verifier.cached_tokens == 1


@needs_ml_dsa
@pytest.mark.parametrize("alg", ML_DSA_ALGORITHMS)
def test_s03_key_serves_its_own_parameter_set_only(alg: str) -> None:
    """The name in the key decides, not the one in the token."""
    verifier = make_verifier(public_jwk(alg))
    for other in (*ML_DSA_ALGORITHMS, "RS256", "ES256", "EdDSA"):
        assert accepts(verifier, sign(other)) is (other == alg)


@needs_ml_dsa
def test_token_is_refused_where_no_key_says_ml_dsa() -> None:
    """A provider that has not been given such a key does not take such tokens."""
    for alg in ML_DSA_ALGORITHMS:
        assert refusal(make_verifier(), sign(alg)) is JwtStatus.NO_MATCHING_KEY
        verifier = make_verifier(public_jwk(alg), algorithms=frozenset({"RS256"}))
        assert refusal(verifier, sign(alg)) is JwtStatus.HEADER_UNSUPPORTED_ALG


@needs_ml_dsa
@pytest.mark.parametrize("alg", ML_DSA_ALGORITHMS)
def test_token_with_all_usual_claims_fits_the_limits(alg: str) -> None:
    """The largest signature is 6170 characters of the 16384 that a token may have; it is remembered as well."""
    verifier = make_verifier(public_jwk(alg))
    token = sign(alg, claims(scope="a" * 600))

    assert accepts(verifier, token)
    assert accepts(verifier, bytes(bytearray(token)))
    assert verifier.cache_hits == 1


@needs_ml_dsa
@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"alg": None}, "[alg] is not ML-DSA-44, ML-DSA-65 or ML-DSA-87 for an AKP key"),
        ({"alg": "ML-DSA-128"}, "[alg] is not ML-DSA-44, ML-DSA-65 or ML-DSA-87 for an AKP key"),
        ({"alg": "RS256"}, "[alg] is not ML-DSA-44, ML-DSA-65 or ML-DSA-87 for an AKP key"),
        ({"alg": "ML-DSA-65"}, "Jwks AKP [pub] field is wrong length."),
        ({"pub": None}, "Jwks AKP [pub] field is an invalid Base64."),
        ({"pub": "!"}, "Jwks AKP [pub] field is an invalid Base64."),
        ({"pub": "AAAA"}, "Jwks AKP [pub] field is wrong length."),
        ({"pub": "A" * 100_000}, "Jwks AKP [pub] field is an invalid Base64."),
        ({"use": "enc"}, "[use] is not sig"),
    ],
)
def test_key_that_is_not_as_rfc_9964_has_it_is_refused(more: dict[str, Any], text: str) -> None:
    """`alg` is required there: it says what the octets are."""
    assert reason(public_jwk("ML-DSA-44", **more)) == text


@needs_ml_dsa
def test_s16_private_seed_in_a_key_is_reported_and_never_shown() -> None:
    """RFC 9964 section 3 calls it `priv`."""
    keys = key_set(public_jwk("ML-DSA-44", priv="c2VlZA"))

    assert "private" in keys.warnings[0]
    assert "c2VlZA" not in repr((keys, keys.keys, keys.warnings, keys.ignored))


@needs_ml_dsa
def test_all_parameter_sets_are_available_with_the_locked_dependencies() -> None:
    """The wheels of `cryptography` have had it since OpenSSL 3.5."""
    assert ml_dsa.available_algorithms() == set(ml_dsa.PUBLIC_KEY_BYTES)
    assert ml_dsa.describe_availability() == "available"


def test_cryptography_without_ml_dsa_says_so_and_its_keys_are_ignored(
    monkeypatch: pytest.MonkeyPatch, fresh_check: None
) -> None:
    """The rest of the set serves; the token is refused like one of an unknown key."""
    monkeypatch.setattr(ml_dsa, "_CLASSES", {})
    pub = encode_base64url(bytes(1312)).decode()
    akp = {"kty": "AKP", "alg": "ML-DSA-44", "pub": pub, "kid": "pq"}

    assert ml_dsa.describe_availability().startswith("not available: needs")
    assert reason(akp).startswith("ML-DSA-44 is not available: needs")
    with pytest.raises(ValueError, match="not available"):
        ml_dsa.load_public_key("ML-DSA-44", bytes(1312))
    with pytest.raises(JwksError):
        key_set(akp)
    verifier = make_verifier(akp, public_jwk("RS256"))
    assert verifier.verify(sign(), NOW).key_id == "k1"


class _Broken:
    """A private key class whose backend fails, or whose verification lets everything pass."""

    def __init__(self, error: Exception | None, signature: bytes = bytes(2420)) -> None:
        self._error = error
        self._signature = signature

    def generate(self) -> "_Broken":
        if self._error is not None:
            raise self._error
        return self

    def sign(self, _data: bytes) -> bytes:
        return self._signature

    def public_key(self) -> "_Broken":
        return self

    def verify(self, _signature: bytes, _data: bytes) -> None:
        """Accept anything."""


@pytest.mark.parametrize(
    "broken", [_Broken(UnsupportedAlgorithm("no")), _Broken(ValueError("no")), _Broken(None)]
)
def test_what_does_not_verify_properly_is_not_available(
    monkeypatch: pytest.MonkeyPatch, fresh_check: None, broken: _Broken
) -> None:
    """Found out by trying it: a class that exists may still fail, and one that refuses nothing is worse."""
    classes = dict.fromkeys(("ML-DSA-44", "ML-DSA-65"), (broken, object))
    monkeypatch.setattr(ml_dsa, "_CLASSES", ml_dsa._CLASSES | classes)

    assert "ML-DSA-44" not in ml_dsa.available_algorithms()
    assert (
        "not available" in ml_dsa.describe_availability()
        or "only ML-DSA-87" in ml_dsa.describe_availability()
    )
