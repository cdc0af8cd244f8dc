"""Published vectors: what the RFCs print must verify, and must not verify once it is changed."""

import json
from pathlib import Path
from typing import Any

import pytest

from fastproxy.jwt import JwkSet, JwtError, Verifier, VerifierSettings
from fastproxy.jwt.encoding import decode_base64url
from fastproxy.jwt.ml_dsa import available_algorithms

VECTORS = [
    vector
    for name in ("rfc7515_rfc8037.json", "rfc7520.json", "rfc9964.json")
    for vector in json.loads((Path(__file__).parent.parent / "vectors" / name).read_text())
    if vector["key"]["kty"] != "AKP" or vector["alg"] in available_algorithms()
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["source"])
def test_published_signature_verifies_and_its_changed_forms_do_not(vector: dict[str, Any]) -> None:
    """The only proof that does not come from our own signer or from PyJWT's."""
    keys = JwkSet.parse(json.dumps({"keys": [vector["key"]]}).encode(), allow_symmetric=True)
    signing_input, _, signature_segment = vector["compact"].encode().rpartition(b".")
    signature = decode_base64url(signature_segment)
    (key,) = keys.select(vector["alg"], vector["key"].get("kid"))

    assert key.check_signature(vector["alg"], signature, signing_input)
    assert not key.check_signature(vector["alg"], signature, signing_input[:-1])
    for position in (0, len(signature) // 2, len(signature) - 1):
        changed = bytearray(signature)
        changed[position] ^= 1
        assert not key.check_signature(vector["alg"], bytes(changed), signing_input)


@pytest.mark.parametrize("vector", VECTORS[:3], ids=lambda vector: vector["source"])
def test_published_token_verifies_as_a_whole(vector: dict[str, Any]) -> None:
    """RFC 7515 A.1 to A.3 carry claims, with line breaks in the JSON as they were signed."""
    keys = JwkSet.parse(json.dumps({"keys": [vector["key"]]}).encode(), allow_symmetric=True)
    verifier = Verifier(VerifierSettings(issuer="joe"), keys)

    verified = verifier.verify(vector["compact"].encode(), 1_300_819_379)

    assert verified.claims == {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}
    with pytest.raises(JwtError):
        verifier.verify(vector["compact"].encode(), 1_300_819_380 + 61)
