"""Keys, tokens and verifiers for the tests of the core. PyJWT signs: it is the peer, not the subject."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from fastproxy.jwt import JwkSet, JwtError, JwtStatus, Verifier, VerifierSettings
from fastproxy.jwt.encoding import encode_base64url
from fastproxy.jwt.ml_dsa import available_algorithms

NOW = 1_700_000_000
ISSUER = "https://issuer.example"
SECRETS = {"HS256": b"k" * 32, "HS384": b"l" * 48, "HS512": b"m" * 64}
PUBLIC_ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
#: Where the installed `cryptography` has them.
ML_DSA_ALGORITHMS = tuple(sorted(available_algorithms()))
ALL_ALGORITHMS = PUBLIC_ALGORITHMS + ML_DSA_ALGORITHMS + tuple(SECRETS)

PrivateKey: TypeAlias = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)
Json: TypeAlias = dict[str, Any]


@cache
def make_key(alg: str, name: str = "") -> PrivateKey:
    """A private key that fits `alg`; the same for the same `name`, for generating RSA keys is slow."""
    if alg[:2] in {"RS", "PS"}:
        return _make_rsa_key(name)
    if alg == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if alg in ML_DSA_ALGORITHMS:
        makers: dict[str, Callable[[], PrivateKey]] = {
            "ML-DSA-44": mldsa.MLDSA44PrivateKey.generate,
            "ML-DSA-65": mldsa.MLDSA65PrivateKey.generate,
            "ML-DSA-87": mldsa.MLDSA87PrivateKey.generate,
        }
        return makers[alg]()
    curves: dict[str, ec.EllipticCurve] = {
        "ES256": ec.SECP256R1(),
        "ES384": ec.SECP384R1(),
        "ES512": ec.SECP521R1(),
    }
    return ec.generate_private_key(curves[alg])


@cache
def _make_rsa_key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def integer(value: int) -> str:
    """An integer as JWK has it (RFC 7518 section 2, Base64urlUInt)."""
    return encode_base64url(value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")).decode()


def coordinate(value: int, crv: str) -> str:
    """An EC coordinate as JWK has it: as long as the field."""
    return encode_base64url(value.to_bytes({"P-256": 32, "P-384": 48, "P-521": 66}[crv], "big")).decode()


def public_jwk(alg: str, name: str = "", /, **more: Any) -> Json:
    """The public JWK (for HMAC the secret one) of `make_key(alg, name)`; `more` adds, None removes."""
    jwk: Json
    if alg in SECRETS:
        jwk = {"kty": "oct", "k": encode_base64url(SECRETS[alg]).decode()}
    else:
        key = make_key(alg, name)
        if isinstance(key, rsa.RSAPrivateKey):
            rsa_numbers = key.public_key().public_numbers()
            jwk = {"kty": "RSA", "n": integer(rsa_numbers.n), "e": integer(rsa_numbers.e)}
        elif isinstance(key, ec.EllipticCurvePrivateKey):
            point = key.public_key().public_numbers()
            crv = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[alg]
            jwk = {"kty": "EC", "crv": crv, "x": coordinate(point.x, crv), "y": coordinate(point.y, crv)}
        elif alg in ML_DSA_ALGORITHMS:
            jwk = {"kty": "AKP", "pub": encode_base64url(key.public_key().public_bytes_raw()).decode()}
        else:
            x = key.public_key().public_bytes_raw()
            jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(x).decode()}
    jwk |= {"kid": "k1", "alg": alg, "use": "sig"} | more
    return {member: value for member, value in jwk.items() if value is not None}


def key_set(*jwks: Json, allow_symmetric: bool = True) -> JwkSet:
    """A parsed key set of these JWKs."""
    return JwkSet.parse(json.dumps({"keys": jwks}).encode(), allow_symmetric=allow_symmetric)


def claims(**more: Any) -> Json:
    """Claims that a verifier of these tests accepts; `more` changes them, None removes."""
    base: Json = {"iss": ISSUER, "sub": "demo", "aud": "api", "iat": NOW, "exp": NOW + 300}
    return {name: value for name, value in (base | more).items() if value is not None}


def sign_raw(alg: str, header: bytes, payload: bytes, name: str = "", secret: bytes | None = None) -> bytes:
    """A token with exactly these header and payload bytes, signed as `alg` says."""
    signing_input = encode_base64url(header) + b"." + encode_base64url(payload)
    if alg in ML_DSA_ALGORITHMS:
        ml_dsa_key: Any = make_key(alg, name)
        return signing_input + b"." + encode_base64url(ml_dsa_key.sign(signing_input))
    key = secret or SECRETS.get(alg) or make_key(alg, name)
    signature = pyjwt.algorithms.get_default_algorithms()[alg].sign(signing_input, key)
    return signing_input + b"." + encode_base64url(signature)


def sign(alg: str = "RS256", payload: Json | None = None, /, *, name: str = "", **header: Any) -> bytes:
    """A token of `payload` (default: `claims()`); `header` changes JOSE header members, None removes."""
    members = {"alg": alg, "typ": "JWT", "kid": "k1"} | header
    members = {member: value for member, value in members.items() if value is not None}
    return sign_raw(
        alg, json.dumps(members).encode(), json.dumps(claims() if payload is None else payload).encode(), name
    )


def make_verifier(*jwks: Json, **settings: Any) -> Verifier:
    """A verifier for ISSUER and the audience `api`, with these keys or else the default RS256 key."""
    policy = {"issuer": ISSUER, "audiences": ("api",)} | settings
    return Verifier(VerifierSettings(**policy), key_set(*(jwks or (public_jwk("RS256"),))))


def refusal(verifier: Verifier, token: bytes, now: float = NOW) -> JwtStatus:
    """The status with which `verifier` refuses `token`; fails the test when it does not."""
    with pytest.raises(JwtError) as caught:
        verifier.verify(token, now)
    return caught.value.status


def accepts(verifier: Verifier, token: bytes, now: float = NOW) -> bool:
    """Whether `verifier` accepts `token`."""
    try:
        verifier.verify(token, now)
    except JwtError:
        return False
    return True
