"""Rules about a peer's certificate that the TLS library does not know, made a part of its handshake.

A context with such rules ends the handshake with an error where they are broken, whoever uses it. So there is no second
step that could be forgotten, and no byte of a request is sent before.
"""

import ssl

from fastproxy.tls.certificates import read_peer_certificate
from fastproxy.tls.peer_check import PeerCheck
from fastproxy.tls.settings import PeerValidation

_WORDS = {
    "san": "no name of the certificate matches",
    "cert_hash": "the certificate is none of those that are pinned",
    "no_cert": "the peer showed no certificate",
    "unreadable": "the certificate cannot be read",
}


class PeerRefused(ssl.SSLCertVerificationError):
    """A certificate that the TLS library accepts, and the configuration does not.

    `kind`: `san`, `cert_hash`, `no_cert` or `unreadable`.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(1, _WORDS[kind])
        self.kind = kind
        self.verify_code = 1
        self.verify_message = _WORDS[kind]


def enforce(ctx: ssl.SSLContext, validation: PeerValidation) -> None:
    """Make a client's context refuse servers whose certificate breaks `validation`; without rules it stays as it is.

    Raises:
        ValueError: a regular expression is not valid.
    """
    if not (validation.sans or validation.certificate_hashes or validation.spki_hashes):
        return
    check = PeerCheck(validation)

    class CheckedObject(ssl.SSLObject):
        """What event loops use."""

        def do_handshake(self) -> None:
            super().do_handshake()
            _judge(self.getpeercert(binary_form=True), check)

    class CheckedSocket(ssl.SSLSocket):
        """What blocking clients use."""

        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            _judge(self.getpeercert(binary_form=True), check)

    ctx.sslobject_class = CheckedObject
    ctx.sslsocket_class = CheckedSocket


def _judge(der: bytes | None, check: PeerCheck) -> None:
    if not der:
        raise PeerRefused("no_cert")
    try:
        refusal = check.refusal(read_peer_certificate(der))
    except ValueError:
        raise PeerRefused("unreadable") from None
    if refusal:
        raise PeerRefused(refusal)
