"""One JSON Web Key (RFC 7517, RFC 7518 section 6, RFC 8037, RFC 9964) made ready to check signatures.

A key decides at load time which algorithms it serves: by `kty` and `crv`, narrowed by its own `alg`, by its
size for HMAC secrets, and by `use` and `key_ops`. Decoded public keys are kept by content, so a refresh of a
key set that brings the same keys decodes nothing. Secrets are never kept there.
"""

import binascii
import hashlib
from collections.abc import Mapping
from typing import Final

from cachetools import LRUCache
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from fastproxy.jwt import ml_dsa
from fastproxy.jwt.algorithms import (
    ALGORITHMS,
    CheckSignature,
    PublicKey,
    build_check,
    build_hmac_check,
    build_ml_dsa_check,
)
from fastproxy.jwt.encoding import JsonObject, decode_base64url

# NIST SP 800-131A: at least 2048 bits. Above 8192 one verification takes milliseconds, a gift to attackers.
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
# Envoy takes 3 and 65537 only. A 32-bit limit keeps verification cheap and everything in use working.
MAX_RSA_EXPONENT: Final = 2**32 - 1
# 8192 bits are 1366 characters; a leading zero octet and padding still fit.
_MAX_MEMBER_CHARS: Final = 1400
_ED25519_KEY_BYTES: Final = 32
# The points of Ed25519 whose order divides 8, in all their encodings, the sign bit aside. For such a "key" anybody can
# make signatures: that of the neutral element accepts one signature for every text, and OpenSSL does not refuse it.
_SMALL_ORDER_POINTS: Final = frozenset(
    bytes.fromhex(point)
    for point in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
# ML-DSA-87: 2592 bytes are 3456 characters.
_MAX_AKP_CHARS: Final = 3460

_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_CURVE_OF_ALG: Final = {a.name: a.crv for a in ALGORITHMS.values() if a.kty == "EC"}
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "priv"})
# What a public key looks like when somebody pasted it where an HMAC secret belongs.
_PUBLIC_KEY_TEXT: Final = (b"-----BEGIN", b"ssh-rsa ", b"ssh-ed25519 ", b"ecdsa-sha2-")

# Distinct public keys decoded lately, over all key sets of the process: (kty, parameters) -> key.
_decoded: LRUCache[tuple[str, ...], PublicKey] = LRUCache(maxsize=512)


class JwkRejected(ValueError):
    """A key that cannot be used. The message is Envoy's start-up text where Envoy has one."""


class Jwk:
    """One usable key. Immutable; equal `identity` means: the same material, id and permitted algorithms.

    Attributes:
        kid: the key's id, None if it has none.
        kty: `RSA`, `EC`, `OKP`, `AKP` or `oct`.
        algorithms: names of the algorithms that the key may check, and no others.
        identity: a digest of material, id and permitted algorithms; safe to log.
        warning: what an operator should know about the key, or "".
    """

    __slots__ = ("_checks", "algorithms", "identity", "kid", "kty", "warning")

    def __init__(
        self,
        kid: str | None,
        kty: str,
        material: bytes,
        checks: Mapping[str, CheckSignature],
        warning: str = "",
    ) -> None:
        self.kid = kid
        self.kty = kty
        self._checks = dict(checks)
        self.algorithms = tuple(checks)
        self.warning = warning
        parts = (kty.encode(), material, repr(kid).encode(), ",".join(checks).encode())
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        self.identity = hashlib.sha256(framed).hexdigest()

    def check_signature(self, alg: str, signature: bytes, signing_input: bytes) -> bool:
        """Say whether `signature` over `signing_input` is good; False also for an `alg` not of this key."""
        check = self._checks.get(alg)
        return check is not None and check(signature, signing_input)

    def __repr__(self) -> str:
        return f"Jwk(kid={self.kid!r}, kty={self.kty!r}, algorithms={self.algorithms!r})"


def parse_jwk(members: JsonObject, *, allow_symmetric: bool) -> Jwk:
    """Make a key from its JWK object (RFC 7517 section 4).

    Padding in base64url members is tolerated, for issuers write it and the set comes from a trusted place.

    Args:
        members: the decoded JWK.
        allow_symmetric: whether `oct` keys may be used. False for sets from the network (S4): a published
            secret is none.

    Raises:
        JwkRejected: unknown, malformed, weak, or not meant for checking signatures.
    """
    kty = members.get("kty")
    if kty is None:
        raise JwkRejected("[kty] is missing in [keys]")
    if not isinstance(kty, str):
        raise JwkRejected("[kty] is bad in [keys]")
    _check_purpose(members)
    # As in Envoy, `kid` and `alg` of other types count as absent, and an empty kid is none.
    kid, alg = members.get("kid"), members.get("alg")
    kid = kid if isinstance(kid, str) and kid else None
    alg = alg if isinstance(alg, str) else None
    if kty == "oct":
        return _parse_oct(members, kid, alg, allow_symmetric=allow_symmetric)
    warning = "private members in the key set" if _PRIVATE_MEMBERS & members.keys() else ""
    if kty == "RSA":
        return _parse_rsa(members, kid, alg, warning)
    if kty == "EC":
        return _parse_ec(members, kid, alg, warning)
    if kty == "OKP":
        return _parse_okp(members, kid, alg, warning)
    if kty == "AKP":
        return _parse_akp(members, kid, alg, warning)
    raise JwkRejected("[kty] is not supported in [keys]")


def parse_certificate(kid: str, pem: str) -> Jwk:
    """Make a key from a PEM certificate (the other key-set form that Envoy reads: RSA only, dates ignored).

    Raises:
        JwkRejected: not a certificate, not RSA, or a weak key.
    """
    try:
        key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise JwkRejected("X509 parse pubkey fails") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise JwkRejected("X509 parse pubkey internal fails: get pubkey")
    numbers = key.public_numbers()
    return _rsa_jwk(kid or None, None, numbers.n, numbers.e, "")


def _check_purpose(members: JsonObject) -> None:
    use = members.get("use")
    if use is not None and use != "sig":
        raise JwkRejected("[use] is not sig")
    operations = members.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        raise JwkRejected("[key_ops] has no verify")


def _build_checks(kty: str, crv: str, alg: str | None, key: PublicKey) -> dict[str, CheckSignature]:
    return {
        algorithm.name: build_check(algorithm, key)
        for algorithm in ALGORITHMS.values()
        if algorithm.kty == kty and algorithm.crv == crv and alg in (None, algorithm.name)
    }


def _parse_rsa(members: JsonObject, kid: str | None, alg: str | None, warning: str) -> Jwk:
    if alg is not None and not alg.startswith(("RS", "PS")):
        raise JwkRejected("[alg] is not started with [RS] or [PS] for an RSA key")
    if alg is not None and alg not in ALGORITHMS:
        raise JwkRejected("[alg] of an RSA key is not a signature algorithm")
    if "n" not in members:
        raise JwkRejected("[n] field is missing for a RSA key")
    bad = "Jwks RSA [n] or [e] field is missing or has a parse error"
    return _rsa_jwk(kid, alg, _read_integer(members, "n", bad), _read_integer(members, "e", bad), warning)


def _rsa_jwk(kid: str | None, alg: str | None, n: int, e: int, warning: str) -> Jwk:
    bits = n.bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise JwkRejected(f"RSA key of {bits} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are supported")
    if n % 2 == 0 or e % 2 == 0 or not 3 <= e <= MAX_RSA_EXPONENT:
        raise JwkRejected("RSA key with an unsafe [n] or [e]")
    known = ("RSA", f"{n:x}", f"{e:x}")
    key = _decoded.get(known)
    if key is None:
        try:
            key = _decoded[known] = rsa.RSAPublicNumbers(e, n).public_key()
        except (ValueError, UnsupportedAlgorithm):
            raise JwkRejected("Jwks RSA [n] or [e] field is missing or has a parse error") from None
    return Jwk(kid, "RSA", "/".join(known).encode(), _build_checks("RSA", "", alg, key), warning)


def _parse_ec(members: JsonObject, kid: str | None, alg: str | None, warning: str) -> Jwk:
    if alg is not None and not alg.startswith("ES"):
        raise JwkRejected("[alg] is not started with [ES] for an EC key")
    crv = members.get("crv")
    if crv is None:
        # Envoy: the curve is the algorithm's, or else P-256.
        crv = _CURVE_OF_ALG.get(alg, "") if alg is not None else "P-256"
    if not isinstance(crv, str) or crv not in _CURVES or (alg is not None and alg not in _CURVE_OF_ALG):
        raise JwkRejected("[crv] or [alg] field is not supported for an EC key")
    if alg is not None and _CURVE_OF_ALG[alg] != crv:
        raise JwkRejected("[crv] field specified is not compatible with [alg] for an EC key")
    bad = "Jwks EC [x] or [y] field is an invalid Base64."
    x, y = _read_integer(members, "x", bad), _read_integer(members, "y", bad)
    known = ("EC", crv, f"{x:x}", f"{y:x}")
    key = _decoded.get(known)
    if key is None:
        try:
            # Refuses a point that is not on the curve.
            key = _decoded[known] = ec.EllipticCurvePublicNumbers(x, y, _CURVES[crv]).public_key()
        except (ValueError, UnsupportedAlgorithm):
            raise JwkRejected("Jwks EC [x] and [y] fields have a parse error.") from None
    return Jwk(kid, "EC", "/".join(known).encode(), _build_checks("EC", crv, alg, key), warning)


def _parse_okp(members: JsonObject, kid: str | None, alg: str | None, warning: str) -> Jwk:
    if alg not in (None, "EdDSA"):
        raise JwkRejected("[alg] is not [EdDSA] for an OKP key")
    if members.get("crv") != "Ed25519":
        raise JwkRejected("[crv] field is not supported for an OKP key")
    x = _read_octets(members, "x", "Jwks OKP [x] field is an invalid Base64.")
    if len(x) != _ED25519_KEY_BYTES:
        raise JwkRejected("Jwks OKP [x] field is wrong length.")
    if x[:-1] + bytes((x[-1] & 0x7F,)) in _SMALL_ORDER_POINTS:
        raise JwkRejected("Ed25519 key of small order: anybody could sign for it")
    known = ("OKP", x.hex())
    key = _decoded.get(known)
    if key is None:
        try:
            key = _decoded[known] = ed25519.Ed25519PublicKey.from_public_bytes(x)
        except (ValueError, UnsupportedAlgorithm):
            raise JwkRejected("Jwks OKP [x] field is an invalid Base64.") from None
    return Jwk(kid, "OKP", x, _build_checks("OKP", "Ed25519", alg, key), warning)


def _parse_akp(members: JsonObject, kid: str | None, alg: str | None, warning: str) -> Jwk:
    """RFC 9964 section 3: `alg` is required, for it says what the key is."""
    if alg not in ml_dsa.PUBLIC_KEY_BYTES:
        raise JwkRejected("[alg] is not ML-DSA-44, ML-DSA-65 or ML-DSA-87 for an AKP key")
    if alg not in ml_dsa.available_algorithms():
        raise JwkRejected(f"{alg} is {ml_dsa.describe_availability()}")
    pub = _read_octets(members, "pub", "Jwks AKP [pub] field is an invalid Base64.", _MAX_AKP_CHARS)
    try:
        key = ml_dsa.load_public_key(alg, pub)
    except ValueError:
        raise JwkRejected("Jwks AKP [pub] field is wrong length.") from None
    return Jwk(kid, "AKP", pub, {alg: build_ml_dsa_check(ALGORITHMS[alg], key)}, warning)


def _parse_oct(members: JsonObject, kid: str | None, alg: str | None, *, allow_symmetric: bool) -> Jwk:
    if not allow_symmetric:
        raise JwkRejected("a symmetric key in a remote key set is never used")
    if alg is not None and (alg not in ALGORITHMS or ALGORITHMS[alg].kty != "oct"):
        raise JwkRejected("[alg] does not start with [HS] for an HMAC key")
    secret = _read_octets(members, "k", "Jwks Oct key is an invalid Base64")
    if secret.lstrip().startswith(_PUBLIC_KEY_TEXT):
        raise JwkRejected("the text of a public key is used as an HMAC secret")
    checks = {
        algorithm.name: build_hmac_check(algorithm, secret)
        for algorithm in ALGORITHMS.values()
        # RFC 7518 section 3.2: the key must be at least as long as the hash.
        if algorithm.kty == "oct" and alg in (None, algorithm.name) and len(secret) >= algorithm.hash_bytes
    }
    if not checks:
        raise JwkRejected("HMAC secret shorter than its hash (RFC 7518 section 3.2)")
    return Jwk(kid, "oct", hashlib.sha256(secret).digest(), checks)


def _read_octets(members: JsonObject, name: str, error: str, max_chars: int = _MAX_MEMBER_CHARS) -> bytes:
    text = members.get(name)
    if not isinstance(text, str) or not text or len(text) > max_chars:
        raise JwkRejected(error)
    try:
        raw = text.encode("ascii")
        return decode_base64url(raw.rstrip(b"=") if len(raw) % 4 == 0 else raw)
    except (ValueError, binascii.Error):
        raise JwkRejected(error) from None


def _read_integer(members: JsonObject, name: str, error: str) -> int:
    return int.from_bytes(_read_octets(members, name, error), "big")
