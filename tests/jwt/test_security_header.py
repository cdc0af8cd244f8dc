"""Security requirements S1 to S14: algorithms, JOSE header, signature, structure."""

import hashlib
import hmac
import json
import socket
import traceback
import tracemalloc
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastproxy.jwt import JwtError, JwtStatus, Verifier, VerifierSettings
from fastproxy.jwt.encoding import decode_base64url, encode_base64url
from tests.jwt.support import (
    NOW,
    accepts,
    claims,
    key_set,
    make_key,
    make_verifier,
    public_jwk,
    refusal,
    sign,
    sign_raw,
)
from tests.jwt.test_jwk import make_certificate

ORDER_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def with_signature(token: bytes, signature: bytes) -> bytes:
    return token.rpartition(b".")[0] + b"." + encode_base64url(signature)


def signature_of(token: bytes) -> bytes:
    return decode_base64url(token.rpartition(b".")[2])


@pytest.mark.parametrize(
    "alg",
    ["none", "None", "NONE", "nOnE", "none ", " none", "n\u00f6ne", "", "null",
     "RS256\u0000", "HS256 ", None, 0, True, [], {},
     ["RS256"], {"alg": "RS256"}],
)  # fmt: skip
def test_s01_alg_none_in_any_spelling_is_refused(alg: object) -> None:
    """With and without a signature, and with the signature of a real token under it."""
    header = encode_base64url(json.dumps({"alg": alg, "kid": "k1"}).encode())
    payload = encode_base64url(json.dumps(claims()).encode())
    real = sign().rpartition(b".")[2]

    for signature in (b"", b"AAAA", real):
        assert not accepts(make_verifier(), header + b"." + payload + b"." + signature)
        assert not accepts(make_verifier(), header + b"." + payload)


def test_s01_missing_alg_is_refused() -> None:
    """A verifier must never choose for the token."""
    assert refusal(make_verifier(), sign(alg=None)) is JwtStatus.HEADER_BAD_ALG


def public_forms(alg: str) -> dict[str, bytes]:
    """Everything that an attacker may take for the text of the public key."""
    private: Any = make_key(alg)
    public = private.public_key()
    jwk = public_jwk(alg)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    certificate = make_certificate(private, hashes.SHA256())
    forms = {
        "pem": pem,
        "pem without last line break": pem.strip(),
        "pem with CRLF": pem.replace(b"\n", b"\r\n"),
        "der": der,
        "openssh": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "jwk": json.dumps(jwk).encode(),
        "compact jwk": json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode(),
        "jwks": json.dumps({"keys": [jwk]}).encode(),
        "certificate": certificate.encode(),
        "certificate body": "".join(certificate.splitlines()[1:-1]).encode(),
        "empty": b"",
    }
    for member in ("n", "x", "y"):
        if member in jwk:
            forms[f"text of {member}"] = jwk[member].encode()
            forms[f"octets of {member}"] = decode_base64url(jwk[member].encode())
    if alg.startswith("RS"):
        forms["pkcs1 pem"] = public.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
        forms["pkcs1 der"] = public.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    else:
        forms["point"] = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        forms["compressed point"] = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return forms


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("alg", ["RS256", "ES256"])
@pytest.mark.parametrize("key_names_alg", [True, False])
def test_s02_hmac_with_the_public_key_as_secret_is_refused(
    alg: str, digest: str, key_names_alg: bool
) -> None:
    """The classic confusion, in every form of the key, with and without kid, beside a real HMAC key too."""
    jwk = public_jwk(alg) if key_names_alg else public_jwk(alg, alg=None)
    verifiers = [make_verifier(jwk), make_verifier(jwk, public_jwk("HS512", alg=None, kid="h"))]
    for secret in public_forms(alg).values():
        for kid in ("k1", None):
            header = {"alg": f"HS{digest[3:]}"} | ({"kid": kid} if kid else {})
            signing_input = b".".join(
                encode_base64url(json.dumps(part).encode()) for part in (header, claims())
            )
            token = signing_input + b"." + encode_base64url(hmac.digest(secret, signing_input, digest))
            for verifier in verifiers:
                assert not accepts(verifier, token)


def test_s03_algorithm_must_fit_the_key_it_meets() -> None:
    """By the key's own alg and by its curve, even where the mathematics would work."""
    assert not accepts(make_verifier(public_jwk("RS256")), sign("PS256"))
    assert not accepts(make_verifier(public_jwk("RS256")), sign("RS512"))
    assert not accepts(make_verifier(public_jwk("PS256")), sign("RS256"))
    for alg in ("ES384", "ES512", "EdDSA", "RS256"):
        token = sign_raw(
            "ES256", json.dumps({"alg": alg, "kid": "k1"}).encode(), json.dumps(claims()).encode()
        )
        for jwk in (public_jwk("ES256"), public_jwk("ES256", alg=None)):
            assert not accepts(make_verifier(jwk), token)


def test_s03_ecdsa_hash_is_bound_to_the_curve() -> None:
    """Envoy takes ES256's hash on a P-384 key that has no alg."""
    private = make_key("ES384")
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    header = json.dumps({"alg": "ES256", "kid": "k1"}).encode()
    signing_input = encode_base64url(header) + b"." + encode_base64url(json.dumps(claims()).encode())
    r, s = decode_dss_signature(private.sign(signing_input, ec.ECDSA(hashes.SHA256())))
    token = signing_input + b"." + encode_base64url(r.to_bytes(48, "big") + s.to_bytes(48, "big"))

    assert not accepts(make_verifier(public_jwk("ES384", alg=None)), token)


def test_s04_symmetric_key_of_a_remote_set_is_never_used() -> None:
    """A published secret is none."""
    keys = key_set(public_jwk("RS256"), public_jwk("HS256", kid="h"), allow_symmetric=False)

    assert [key.kty for key in keys.keys] == ["RSA"]
    assert "symmetric" in keys.ignored[0][2]
    assert not accepts(Verifier(VerifierSettings(), keys), sign("HS256", kid="h"))


def test_s04_mixed_local_set_loads_with_a_warning_and_kinds_stay_apart() -> None:
    """Even under one kid."""
    keys = key_set(public_jwk("RS256", alg=None), public_jwk("HS256", alg=None))
    verifier = Verifier(VerifierSettings(), keys)

    assert any("symmetric" in warning for warning in keys.warnings)
    assert accepts(verifier, sign("RS256"))
    assert accepts(verifier, sign("HS256"))
    assert [key.kty for key in keys.select("HS256", "k1")] == ["oct"]
    assert [key.kty for key in keys.select("RS256", "k1")] == ["RSA"]


def test_s04_public_key_text_is_refused_as_an_hmac_secret() -> None:
    """An operator who pastes a PEM as a secret would make every client an issuer."""
    for text in (
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n",
        b"\n-----BEGIN CERTIFICATE-----",
        b"ssh-rsa AAAA" + b"A" * 50,
    ):
        jwk = public_jwk("HS256", k=encode_base64url(text).decode())
        keys = key_set(public_jwk("RS256"), jwk)
        assert "HMAC secret" in keys.ignored[0][2]


def test_s05_keys_and_links_in_the_header_are_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token does not bring its own key, and nothing is fetched."""

    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    forged = public_jwk("RS256", "forger")
    for extra in (
        {"jwk": forged},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "http://127.0.0.1:1/cert"},
        {"x5c": ["AAAA"], "x5t": "AAAA"},
    ):
        for kid in ("k1", None):
            assert not accepts(make_verifier(), sign(name="forger", kid=kid, **extra))


def test_s05_honest_token_with_such_members_still_verifies_by_our_keys() -> None:
    """Some issuers add x5t or jku to every token."""
    assert accepts(make_verifier(), sign(x5t="AAAA", jku="https://issuer.example/jwks"))


@pytest.mark.parametrize(
    "kid",
    ["../../dev/null", "/etc/passwd", "file:///etc/passwd", "https://evil.example/k", "k1' OR '1'='1", "k1\x00",
     "K1", "k1 ", " k1", "k" * 5000, "k\u0131"],
)  # fmt: skip
def test_s06_hostile_kid_is_compared_as_an_exact_string(kid: str) -> None:
    """It is a name, never a path, an address or a query."""
    assert refusal(make_verifier(), sign(kid=kid)) is JwtStatus.NO_MATCHING_KEY


def test_s06_oversized_or_mistyped_kid_is_refused() -> None:
    """10 KB of kid does not reach the JSON parser."""
    assert refusal(make_verifier(), sign(kid="k" * 10_000)) is JwtStatus.HEADER_BAD_JSON
    for kid in (1, ["k1"], {"k1": 1}, True):
        assert refusal(make_verifier(), sign(kid=kid)) is JwtStatus.HEADER_BAD_KID


@pytest.mark.parametrize(
    "crit", [["exp"], ["b64"], ["unknown"], [], "exp", 1, {}, ["absent", "kid"], [[]], True]
)
def test_s07_crit_is_refused(crit: object) -> None:
    """RFC 7515 section 4.1.11: an extension that is not understood invalidates the token, and none is."""
    token = sign(crit=crit, exp=NOW + 300)

    assert refusal(make_verifier(), token) is JwtStatus.VERIFICATION_FAILED


def test_s07_null_crit_is_refused() -> None:
    """Present is present."""
    header = b'{"alg":"RS256","kid":"k1","crit":null}'

    assert not accepts(make_verifier(), sign_raw("RS256", header, json.dumps(claims()).encode()))


@pytest.mark.parametrize("b64", [False, True, "false", 0])
def test_s08_b64_is_refused_before_the_payload_is_decoded(b64: object) -> None:
    """RFC 7797: with it the payload would not be base64url at all."""
    header = encode_base64url(json.dumps({"alg": "RS256", "kid": "k1", "b64": b64}).encode())

    with pytest.raises(JwtError) as caught:
        make_verifier().verify(header + b'.{"not":"base64"}.AAAA', NOW)
    assert caught.value.status is JwtStatus.VERIFICATION_FAILED
    assert "b64" in caught.value.detail


@pytest.mark.parametrize(("alg", "size"), [("ES256", 32), ("ES384", 48), ("ES512", 66)])
def test_s09_ecdsa_signature_must_have_the_exact_form(alg: str, size: int) -> None:
    """DER, lengthened, shortened, swapped and split forms of a good signature."""
    verifier = make_verifier(public_jwk(alg))
    token = sign(alg)
    good = signature_of(token)
    r, s = good[:size], good[size:]
    der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))

    assert accepts(verifier, token)
    for bad in (
        der,
        good + b"\x00",
        b"\x00" + good,
        b"\x00" + r + b"\x00" + s,
        good[:-1],
        good[1:],
        r,
        s + r,
        good * 2,
    ):
        assert refusal(verifier, with_signature(token, bad)) is JwtStatus.VERIFICATION_FAILED


def test_s09_zero_and_out_of_range_ecdsa_values_are_refused() -> None:
    """CVE-2022-21449: a verifier that forgets to check accepts zeros for every message and every key."""
    verifier = make_verifier(public_jwk("ES256"))
    token = sign("ES256")
    good = signature_of(token)
    r, s = int.from_bytes(good[:32], "big"), int.from_bytes(good[32:], "big")
    values = (0, 1, ORDER_P256 - 1, ORDER_P256, ORDER_P256 + 1, 2**256 - 1)

    pairs = [(a, b) for a in values for b in values] + [(r, b) for b in values] + [(a, s) for a in values]
    for a, b in pairs:
        assert not accepts(verifier, with_signature(token, a.to_bytes(32, "big") + b.to_bytes(32, "big")))
    assert not accepts(verifier, token.rpartition(b".")[0] + b".MAYCAQACAQA")


def test_s09_rsa_and_ed25519_signatures_of_other_lengths_are_refused() -> None:
    """Shortened, lengthened and all-zero forms."""
    for alg in ("RS256", "PS256", "EdDSA"):
        verifier, token = make_verifier(public_jwk(alg)), sign(alg)
        good = signature_of(token)
        for bad in (
            good[:-1],
            good + b"\x00",
            b"\x00" + good,
            bytes(len(good)),
            b"\xff" * len(good),
            b"\x01",
        ):
            assert not accepts(verifier, with_signature(token, bad))


def test_s11_each_token_has_one_spelling() -> None:
    """Padding, blanks, the other alphabet and unused bits: refused in each of the three segments."""
    verifier = make_verifier()
    segments = sign().split(b".")
    for position in range(3):
        segment = segments[position]
        bits = {2: 16, 3: 4}.get(len(segment) % 4)
        variants = [
            segment + b"=",
            segment + b"==",
            segment + b" ",
            b" " + segment,
            segment + b"\n",
            segment + b"A",
        ]
        variants += [
            segment[:5] + bad + segment[5:] for bad in (b"\t", b"+", b"/", b"=", b"\x00", b"%", b"\xc3\xa9")
        ]
        if bits:
            alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
            last = alphabet.index(segment[-1:])
            variants.append(segment[:-1] + alphabet[last + 1 : last + 2])
        for variant in variants:
            assert not accepts(
                verifier, b".".join([*segments[:position], variant, *segments[position + 1 :]])
            )
    assert accepts(verifier, b".".join(segments))


@pytest.mark.parametrize("token", [b"." * 60_000, b"a." * 30_000, b"." * 16_000, b"a" * 10_000_000])
def test_s12_dots_cost_no_memory(token: bytes) -> None:
    """CVE-2025-30204: splitting at every dot made 60,000 objects per request."""
    verifier = make_verifier()
    tracemalloc.start()
    try:
        assert refusal(verifier, token) is JwtStatus.BAD_FORMAT
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_s13_size_is_checked_before_anything_is_decoded() -> None:
    """The limit is the policy's; one byte decides."""
    token = sign("RS256", claims(pad="x" * 20_000))

    assert refusal(make_verifier(), token) is JwtStatus.BAD_FORMAT
    assert accepts(make_verifier(max_token_bytes=len(token)), token)
    assert refusal(make_verifier(max_token_bytes=len(token) - 1), token) is JwtStatus.BAD_FORMAT


def test_s14_encrypted_and_compressed_tokens_are_refused() -> None:
    """Five parts are a JWE; `zip` in a signed token is a bomb or a mistake."""
    with pytest.raises(JwtError) as caught:
        make_verifier().verify(b"a.b.c.d.e", NOW)
    assert caught.value.status is JwtStatus.BAD_FORMAT
    assert "JWE" in caught.value.detail
    for value in ("DEF", "", None, 1):
        header = json.dumps({"alg": "RS256", "kid": "k1", "zip": value}).encode()
        token = sign_raw("RS256", header, json.dumps(claims()).encode())
        assert refusal(make_verifier(), token) is JwtStatus.VERIFICATION_FAILED


@pytest.mark.parametrize(
    "token",
    [sign("RS256", claims(sub="SECRET"), name="forger"), sign(kid="SECRET"), b"SECRET.a.b", b"SECRET",
     sign("RS256", claims(exp=1, sub="SECRET")), sign_raw("RS256", b"{SECRET", b"{}"),
     sign_raw("RS256", b'{"alg":"RS256"}', b"{SECRET"), sign("RS256", claims(), SECRET=1, alg="SECRET")],
)  # fmt: skip
def test_s53_no_traceback_of_a_refusal_holds_token_text(token: bytes) -> None:
    """A cache lookup that fails names its key, the token: such an error must not hang on the refusal."""
    for verifier in (make_verifier(), Verifier(VerifierSettings())):
        with pytest.raises(JwtError) as caught:
            verifier.verify(token, NOW)
        printed = "".join(traceback.format_exception(caught.value))
        assert "SECRET" not in printed
        assert not any(
            segment and segment.decode() in printed for segment in token.split(b".") if len(segment) > 5
        )


def test_hmac_signature_is_what_the_standard_library_makes() -> None:
    """RFC 7518 section 3.2, and its comparison takes constant time."""
    token = sign("HS256")
    signing_input = token.rpartition(b".")[0]

    assert signature_of(token) == hmac.new(b"k" * 32, signing_input, hashlib.sha256).digest()
    assert accepts(make_verifier(public_jwk("HS256")), token)
