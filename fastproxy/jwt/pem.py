"""PEM text with public keys (RFC 7468 section 13, and PKCS #1 for RSA) as the entries of a key set.

Only for an operator's own files and settings. The kind of a key says which algorithms it serves; there is no `kid`,
so a key serves tokens of every `kid`. What is no public key makes the whole text unusable, for it was not meant to be
here: a private key does not belong on the machine that verifies, and a certificate has dates and a chain that nobody
would check.
"""

import re
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from fastproxy.jwt import ml_dsa
from fastproxy.jwt.encoding import JsonObject, encode_base64url
from fastproxy.jwt.errors import JwksError

_BEGIN: Final = b"-----BEGIN "
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\s]*)-----END \1-----")
#: An RSA key of 8192 bits takes 1.5 KB, one for ML-DSA-87 3.6 KB.
_MAX_BLOCK_BYTES: Final = 16384
_PUBLIC_KEYS: Final = (b"PUBLIC KEY", b"RSA PUBLIC KEY")
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def is_pem(document: bytes) -> bool:
    """Whether a key document is PEM text rather than JSON; lines before the first key may be comments (`#`)."""
    text = document.lstrip()
    return text.startswith((_BEGIN, b"#"))


def parse_pem(document: bytes) -> list[JsonObject]:
    """Read every public key as JWK members, in the order of the text.

    A key of a kind that JOSE has no algorithm for becomes an entry that the key set refuses with its reason.

    Raises:
        JwksError: a private key, a certificate, anything else that is no public key, or text that is not PEM. The
            message holds nothing of the text.
    """
    entries: list[JsonObject] = []
    end = 0
    for found in _BLOCK.finditer(document):
        _check_between(document[end : found.start()])
        end = found.end()
        _check_label(found[1])
        entries.append(_read_key(found[0]))
    _check_between(document[end:])
    if not entries:
        raise JwksError("there is no public key in the PEM text")
    return entries


def _check_between(text: bytes) -> None:
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(_BEGIN):
            # Say what is wrong with the label rather than with the form: the body may be encrypted, and so odd.
            _check_label(stripped.removeprefix(_BEGIN).removesuffix(b"-----"))
            raise JwksError("a PEM block is damaged, or its end is missing")
        if stripped and not stripped.startswith(b"#"):
            raise JwksError("there is something between the PEM blocks that is neither key nor comment")


def _check_label(label: bytes) -> None:
    if label in _PUBLIC_KEYS:
        return
    if b"PRIVATE" in label:
        raise JwksError(
            "the PEM text has a private key; give the public one alone: openssl pkey -in FILE -pubout"
        )
    if b"CERTIFICATE" in label:
        raise JwksError("the PEM text has a certificate; give its key: openssl x509 -in FILE -noout -pubkey")
    raise JwksError("the PEM text has a block that is neither PUBLIC KEY nor RSA PUBLIC KEY")


def _read_key(block: bytes) -> JsonObject:
    if len(block) > _MAX_BLOCK_BYTES:
        raise JwksError("a PEM block is too large for a public key")
    try:
        key = load_pem_public_key(block)
    except UnsupportedAlgorithm:
        return {"kty": "unsupported"}
    except ValueError:
        raise JwksError("a public key in the PEM text cannot be read") from None
    if isinstance(key, rsa.RSAPublicKey):
        rsa_numbers = key.public_numbers()
        return {"kty": "RSA", "n": _encode_integer(rsa_numbers.n), "e": _encode_integer(rsa_numbers.e)}
    if isinstance(key, ec.EllipticCurvePublicKey):
        point = key.public_numbers()
        size = (key.key_size + 7) // 8
        return {
            "kty": "EC",
            # A curve that JOSE has no algorithm for keeps its name, by which the key set refuses it.
            "crv": _CURVES.get(key.curve.name, key.curve.name),
            "x": _encode(point.x.to_bytes(size, "big")),
            "y": _encode(point.y.to_bytes(size, "big")),
        }
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": _encode(key.public_bytes_raw())}
    algorithm = ml_dsa.find_algorithm(key)
    if algorithm is not None:
        pub: bytes = key.public_bytes_raw()  # type: ignore[union-attr]  # the union is cryptography's, wider than ours
        return {"kty": "AKP", "alg": algorithm, "pub": _encode(pub)}
    return {"kty": "unsupported"}


def _encode(data: bytes) -> str:
    return encode_base64url(data).decode()


def _encode_integer(value: int) -> str:
    return _encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))
