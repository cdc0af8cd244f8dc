"""Keys and tokens of the benchmarks, kept on disk: thousands of RSA signatures take a while to make.

A token is like the one that a Keycloak realm issues: about ten claims, 850 bytes in RS256.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://auth.example.test/auth/realms/bench"
#: 2100-01-01: the files outlive every run.
_EXPIRES = 4102444800
_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class TokenFiles:
    """Where the tokens are, one a line, and the public keys."""

    jwks: str
    rs256: Path
    es256: Path


def prepare_tokens(directory: Path, count: int) -> TokenFiles:
    """Make keys and `count` tokens of each algorithm, or take those that an earlier run left in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    rsa_key = _load_or_make(directory / "rs256.pem", lambda: rsa.generate_private_key(65537, 2048))
    ec_key = _load_or_make(directory / "es256.pem", lambda: ec.generate_private_key(ec.SECP256R1()))
    assert isinstance(rsa_key, rsa.RSAPrivateKey)
    assert isinstance(ec_key, ec.EllipticCurvePrivateKey)
    keys = [
        {
            **RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True),
            "kid": "rs256",
            "alg": "RS256",
            "use": "sig",
        },
        {
            **ECAlgorithm.to_jwk(ec_key.public_key(), as_dict=True),
            "kid": "es256",
            "alg": "ES256",
            "use": "sig",
        },
    ]
    for key in keys:
        key.pop("key_ops", None)
    return TokenFiles(
        json.dumps({"keys": keys}),
        _write_tokens(directory / "rs256.tokens", rsa_key, "RS256", count),
        _write_tokens(directory / "es256.tokens", ec_key, "ES256", count),
    )


def _load_or_make(path: Path, make: Any) -> _PrivateKey:
    if path.exists():
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    else:
        key = make()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(pem)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return key


def _write_tokens(path: Path, key: _PrivateKey, algorithm: str, count: int) -> Path:
    have = path.read_text().split() if path.exists() else []
    if len(have) < count:
        print(f"signing {count - len(have)} {algorithm} tokens, once", flush=True)
        have += [_issue(key, algorithm, number) for number in range(len(have), count)]
        path.write_text("\n".join(have) + "\n")
    return path


def _issue(key: _PrivateKey, algorithm: str, number: int) -> str:
    claims = {
        "exp": _EXPIRES,
        "iat": 1700000000,
        "jti": f"0b5e2c5e-8d5c-4b2c-9a57-{number:012d}",
        "iss": ISSUER,
        "sub": f"5c9dbe1f-7f0d-4dc8-b4c8-{number:012d}",
        "typ": "Bearer",
        "azp": "bench-client",
        "session_state": "a3f8f5a6-5d8e-4a3f-9d0a-5a1f0f7f6b11",
        "realm_access": {"roles": ["offline_access", "uma_authorization"]},
        "scope": "email profile",
        "preferred_username": f"user{number}",
    }
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": algorithm.lower()})
