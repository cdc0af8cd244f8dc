"""Public keys in PEM: which are read, what they serve, and what must not be in such a text."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from fastproxy.jwt import JwksError, JwkSet, Verifier, VerifierSettings
from fastproxy.jwt.encoding import encode_base64url
from fastproxy.jwt.jwks import MAX_CANDIDATES
from fastproxy.jwt.pem import is_pem, parse_pem
from tests.jwt.support import (
    ML_DSA_ALGORITHMS,
    PUBLIC_ALGORITHMS,
    accepts,
    claims,
    make_key,
    public_jwk,
    sign,
)
from tests.jwt.test_jwk import make_certificate


def pem(key: Any, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    """The public half of a private key."""
    public: bytes = key.public_key().public_bytes(Encoding.PEM, form)
    return public


def load(text: bytes) -> JwkSet:
    return JwkSet.parse(text, allow_symmetric=True)


def reason(text: bytes) -> str:
    with pytest.raises(JwksError) as caught:
        load(text)
    return str(caught.value)


def verifier(text: bytes) -> Verifier:
    return Verifier(VerifierSettings(), load(text))


@pytest.mark.parametrize("alg", PUBLIC_ALGORITHMS + ML_DSA_ALGORITHMS)
def test_key_serves_the_algorithms_of_its_kind(alg: str) -> None:
    """There is no `alg` beside it, so it is what a JWK without `alg` and `kid` is; and tokens of any kid fit."""
    (key,) = load(pem(make_key(alg, ""))).keys

    jwk = public_jwk(alg, kid=None, alg=alg if alg in ML_DSA_ALGORITHMS else None)
    (same,) = JwkSet.parse(json.dumps({"keys": [jwk]}).encode()).keys
    assert (key.identity, key.algorithms, key.kid) == (same.identity, same.algorithms, None)
    for kid in ("k1", None):
        assert accepts(verifier(pem(make_key(alg, ""))), sign(alg, kid=kid))
        assert not accepts(verifier(pem(make_key(alg, ""))), sign(alg, kid=kid)[:-8])


def test_pkcs1_form_is_the_same_key() -> None:
    """`-----BEGIN RSA PUBLIC KEY-----`, as older tools write it."""
    text = pem(make_key("RS256", ""), PublicFormat.PKCS1)

    assert text.startswith(b"-----BEGIN RSA PUBLIC KEY-----")
    assert [key.identity for key in load(text).keys] == [
        key.identity for key in load(pem(make_key("RS256", ""))).keys
    ]


def test_several_keys_with_comments_and_any_line_ends_are_read_in_order() -> None:
    """A rotation has two keys in the file for a while."""
    text = (
        b"# the new one\n"
        + pem(make_key("RS256", "new"))
        + b"\n# the old one\n\n"
        + pem(make_key("RS256", "old"))
    )
    text += pem(make_key("ES256", ""))

    for form in (text, text.replace(b"\n", b"\r\n"), text.rstrip(), b"\n\n" + text):
        assert is_pem(form)
        assert [entry["kty"] for entry in parse_pem(form)] == ["RSA", "RSA", "EC"]
        for name in ("new", "old"):
            assert accepts(verifier(form), sign(name=name, kid=name))
        assert accepts(verifier(form), sign("ES256"))
        assert not accepts(verifier(form), sign(name="forger"))


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("encryption", [NoEncryption(), BestAvailableEncryption(b"password")])
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_private_key_is_refused_with_the_way_out(alg: str, encryption: Any, form: PrivateFormat) -> None:
    """It does not belong on a machine that only verifies; also beside a public key, and encrypted."""
    private: Any = make_key(alg, "")
    if alg == "EdDSA" and form is PrivateFormat.TraditionalOpenSSL:
        form, encryption = PrivateFormat.OpenSSH, NoEncryption()
    text = private.private_bytes(Encoding.PEM, form, encryption)

    for document in (text, pem(private) + text, text + pem(private)):
        message = reason(document)
        assert "private key" in message
        assert "openssl pkey" in message
        assert text.splitlines()[1].decode() not in message


def test_certificate_is_refused_with_the_way_out() -> None:
    """Nobody would check its dates and its chain; Envoy's JSON form with certificates remains."""
    certificate = make_certificate(make_key("RS256", ""), hashes.SHA256()).encode()

    for document in (certificate, pem(make_key("RS256", "")) + certificate):
        assert "certificate" in reason(document)
        assert "openssl x509" in reason(document)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: text.replace(b"-----END", b"-----FIN"), "damaged"),
        (lambda text: text.replace(b"END PUBLIC KEY", b"END RSA PUBLIC KEY"), "damaged"),
        (lambda text: text.replace(b"M", b"!", 1), "damaged"),
        (lambda text: text.replace(b"\nMII", b"\nMIJ"), "cannot be read"),
        (lambda _: b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "cannot be read"),
        (lambda text: text.replace(b"PUBLIC KEY", b"EC PARAMETERS"), "neither"),
        (lambda text: text + b"and a word more\n", "something between"),
        (lambda text: text + b'{"keys": []}', "something between"),
        (lambda _: b"# nothing but a comment\n", "no public key"),
        (lambda text: text[:40] + b"A" * 30_000 + text[40:], "too large"),
    ],
)  # fmt: skip
def test_text_that_is_not_whole_is_refused(change: Any, words: str) -> None:
    """A file that is just being written must not count as a file with fewer keys."""
    assert words in reason(change(pem(make_key("RS256", ""))))


def test_keys_that_jose_has_no_algorithm_for_are_ignored_and_the_rest_serves() -> None:
    """As in a JWK set: one odd key does not spoil it."""
    odd = [
        pem(ec.generate_private_key(ec.SECP256K1())),
        pem(x25519.X25519PrivateKey.generate()),
        pem(dsa.generate_private_key(2048)),
        pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),
    ]
    keys = load(b"".join([*odd, pem(make_key("ES256", ""))]))

    assert [key.kty for key in keys.keys] == ["EC"]
    assert [index for index, _, _ in keys.ignored] == [0, 1, 2, 3]
    for text in odd:
        assert reason(text)


def test_more_keys_than_a_token_may_try_are_warned_about() -> None:
    """Without kid nothing tells them apart, and a token may cost only so many checks (S17)."""
    text = b"".join(pem(make_key("ES256", str(n))) for n in range(MAX_CANDIDATES + 1))

    assert "without kid for ES256" in load(text).warnings[0]
    assert load(text[: text.rindex(b"-----BEGIN")]).warnings == ()


def test_pem_from_the_network_is_no_key_set() -> None:
    """Only the operator's own sources may have it; Envoy's words for the rest."""
    with pytest.raises(JwksError, match="Jwks is an invalid JSON"):
        JwkSet.parse(pem(make_key("RS256", "")))


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_s02_hmac_with_the_pem_text_as_secret_is_refused(alg: str, digest: str) -> None:
    """The very file that the proxy reads must never be the secret of an HMAC."""
    text = pem(make_key(alg, ""))
    checks = verifier(text)
    assert not any(key.kty == "oct" for key in load(text).keys)
    for secret in (text, text.rstrip(), text.replace(b"\n", b"\r\n"), b"".join(text.splitlines()[1:-1])):
        for header in ({"alg": f"HS{digest[3:]}"}, {"alg": f"HS{digest[3:]}", "kid": "k1"}):
            signing_input = b".".join(
                encode_base64url(json.dumps(part).encode()) for part in (header, claims())
            )
            signature = hmac.digest(secret, signing_input, getattr(hashlib, digest))
            assert not accepts(checks, signing_input + b"." + encode_base64url(signature))


def test_ed448_has_no_algorithm_here() -> None:
    """EdDSA is Ed25519 in Envoy, and here."""
    assert isinstance(make_key("EdDSA", ""), ed25519.Ed25519PrivateKey)
    from cryptography.hazmat.primitives.asymmetric import ed448

    assert reason(pem(ed448.Ed448PrivateKey.generate())) == "[kty] is not supported in [keys]"
