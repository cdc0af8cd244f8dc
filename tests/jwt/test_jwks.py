"""Key sets: their two forms, what is ignored and why, and which keys a token may try."""

import json

import pytest
from cryptography.hazmat.primitives import hashes

from fastproxy.jwt import JwksError, JwkSet
from fastproxy.jwt.jwks import MAX_CANDIDATES, MAX_KEYS
from tests.jwt.support import NOW, accepts, key_set, make_key, make_verifier, public_jwk, sign
from tests.jwt.test_jwk import make_certificate


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (b"", "Jwks is an invalid JSON"),
        (b"<html>", "Jwks is an invalid JSON"),
        (b"[]", "Jwks is an invalid JSON"),
        (b'{"keys":[],"keys":[]}', "Jwks is an invalid JSON"),
        (b"{}", "Jwks does not have [keys] field"),
        (b'{"error":"unavailable"}', "Jwks does not have [keys] field"),
        (b'{"keys":{}}', "[keys] in Jwks is not an array"),
        (b'{"keys":null}', "[keys] in Jwks is not an array"),
        (b'{"keys":[]}', "Jwks doesn't have any valid public key"),
        (b'{"keys":[{},{"kty":"RSA"}]}', "[kty] is missing in [keys]"),
        (b'{"keys":[{"kty":"RSA"}]}', "[n] field is missing for a RSA key"),
    ],
)
def test_set_without_a_usable_key_is_an_error_with_envoys_text(document: bytes, text: str) -> None:
    """An error page or an empty answer must never count as a key set (S41)."""
    with pytest.raises(JwksError) as caught:
        JwkSet.parse(document)
    assert str(caught.value) == text


def test_unusable_entries_are_listed_and_the_rest_serves() -> None:
    """Keycloak publishes an encryption key beside the signing key; operators ask why it is not used."""
    document = {
        "keys": [7, public_jwk("RS256", use="enc", kid="enc"), public_jwk("RS256"), {"kty": "EC", "kid": 5}]
    }

    keys = JwkSet.parse(json.dumps(document).encode())

    assert [key.kid for key in keys.keys] == ["k1"]
    assert len(keys) == 1
    assert [(index, kid) for index, kid, _ in keys.ignored] == [(0, None), (1, "enc"), (3, None)]
    assert keys.ignored[1][2] == "[use] is not sig"


def test_map_of_certificates_is_a_key_set() -> None:
    """The form that Firebase publishes, and Envoy reads."""
    document = {"a": make_certificate(make_key("RS256"), hashes.SHA256())}
    verifier = make_verifier()
    verifier.replace_keys(JwkSet.parse(json.dumps(document).encode()))

    assert accepts(verifier, sign(kid="a"))
    assert not accepts(verifier, sign(kid="b"))


def test_map_with_anything_else_in_it_is_no_key_set() -> None:
    """Envoy wants every value to be a PEM certificate with exact first and last lines."""
    pem = make_certificate(make_key("RS256"), hashes.SHA256())
    for document in ({"a": pem, "b": 1}, {"a": pem.strip()}, {"a": " " + pem}):
        with pytest.raises(JwksError, match="does not have"):
            JwkSet.parse(json.dumps(document).encode())


def test_bad_certificate_is_ignored_beside_a_good_one_and_an_error_alone() -> None:
    """The same rule as for keys."""
    bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    good = make_certificate(make_key("RS256"), hashes.SHA256())

    keys = JwkSet.parse(json.dumps({"bad": bad, "good": good}).encode())

    assert keys.ignored == ((0, "bad", "X509 parse pubkey fails"),)
    with pytest.raises(JwksError, match="X509 parse pubkey fails"):
        JwkSet.parse(json.dumps({"bad": bad}).encode())


def test_number_of_keys_is_limited() -> None:
    """A set is fetched from the network; its size must not be its author's choice alone."""
    keys = key_set(public_jwk("EdDSA"), *[{"kty": "x"}] * (MAX_KEYS + 10))

    assert len(keys.ignored) == MAX_KEYS
    assert "first" in keys.ignored[-1][2]


def test_selection_by_kid_is_exact_and_falls_back_to_nameless_keys_only() -> None:
    """As in Envoy a key without kid serves every kid; a key with another kid never does."""
    named, nameless = public_jwk("RS256", "a", kid="a"), public_jwk("RS256", "b", kid=None)
    keys = key_set(nameless, named)

    assert [key.kid for key in keys.select("RS256", "a")] == ["a", None]
    assert [key.kid for key in keys.select("RS256", "b")] == [None]
    assert [key.kid for key in keys.select("RS256", None)] == [None, "a"]
    assert keys.select("ES256", "a") == ()
    assert keys.has_kid("a")
    assert not keys.has_kid("b")


def test_token_signed_by_a_nameless_key_verifies_under_any_kid() -> None:
    """Local sets of one key often leave the kid out."""
    verifier = make_verifier(public_jwk("RS256", kid=None))

    assert accepts(verifier, sign(kid="whatever"))
    assert accepts(verifier, sign(kid=None))
    assert verifier.verify(sign(), NOW).key_id is None


def test_candidates_are_limited_whatever_the_kid() -> None:
    """One token must not buy a hundred signature checks."""
    keys = key_set(*[public_jwk("ES256", str(n), kid=None) for n in range(7)])

    assert len(keys.select("ES256", None)) == MAX_CANDIDATES
    assert len(keys.select("ES256", "x")) == MAX_CANDIDATES


def test_warnings_name_the_key_but_hold_no_key_material() -> None:
    """They are logged at every refresh."""
    private = public_jwk("RS256", d="c2VjcmV0", kid="k\n" + "x" * 500)
    keys = key_set(private, public_jwk("HS256"))

    assert len(keys.warnings) == 2
    assert "private members" in keys.warnings[0]
    assert "c2VjcmV0" not in str(keys.warnings)
    assert all(len(warning) < 200 and "\n" not in warning for warning in keys.warnings)
