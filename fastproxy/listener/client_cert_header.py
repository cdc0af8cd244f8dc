"""`x-forwarded-client-cert`: what is told about the client's certificate (Envoy, spec/filters.md section 8.1).

An element is `Key=value;Key=value`, elements are separated by commas, and a value with separators in it is quoted. The
upstream believes what it reads, so a header from outside that could be read in two ways is not passed on, and no name
from a certificate can end a value or begin another.
"""

import re
from ssl import DER_cert_to_PEM_cert
from urllib.parse import quote

from fastproxy.http.connection_info import PeerCertificate, TlsInfo
from fastproxy.http.messages import Request
from fastproxy.listener.settings import ForwardClientCert

_NAME = b"x-forwarded-client-cert"
#: One element after another; a value is quoted, with `\"` inside, or has neither quotes nor separators.
_VALUE = rb'(?:"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"|[^",;\x00-\x20\x7f]*)'
_PAIR = rb"[A-Za-z]+=" + _VALUE
_ELEMENT = rb"[ \t]*" + _PAIR + rb"(?:[ \t]*;[ \t]*" + _PAIR + rb")*[ \t]*"
_WELL_FORMED = re.compile(_ELEMENT + rb"(?:," + _ELEMENT + rb")*")
#: Characters of a name that stand for themselves in an unquoted value.
_PLAIN = "!#$&'()*+-./:=?@[]_~%^{|}"


class ClientCertHeader:
    """One `forward_client_cert_details` with its `set_current_client_cert_details`, for modes other than SANITIZE."""

    __slots__ = ("_details", "_mode")

    def __init__(self, mode: ForwardClientCert, details: frozenset[str]) -> None:
        self._mode = mode
        self._details = details

    def apply(self, request: Request) -> None:
        """Set, keep or remove the header of one request. Once per request where it is configured."""
        if self._mode is ForwardClientCert.ALWAYS_FORWARD_ONLY:
            return
        headers = request.headers
        tls = request.connection.tls
        if tls is None or tls.peer is None or self._mode is ForwardClientCert.SANITIZE:
            headers.pop(_NAME, None)
            return
        if self._mode is ForwardClientCert.FORWARD_ONLY:
            return
        element = encode_element(tls, tls.peer, self._details)
        known = headers.get(_NAME)
        if (
            self._mode is ForwardClientCert.APPEND_FORWARD
            and isinstance(known, bytes)
            and _WELL_FORMED.fullmatch(known)
        ):
            element = known + b"," + element
        headers[_NAME] = element


def encode_element(tls: TlsInfo, peer: PeerCertificate, details: frozenset[str]) -> bytes:
    """Encode what is told about one certificate, in Envoy's order."""
    parts = [f"By={_plain(tls.local_uri_sans[0])}"] if tls.local_uri_sans else []
    parts.append(f"Hash={peer.sha256}")
    if "cert" in details:
        parts.append(f'Cert="{_pem(peer.der)}"')
    if "chain" in details:
        parts.append(f'Chain="{"".join(_pem(one) for one in peer.chain)}"')
    if "subject" in details:
        # A distinguished name escapes quotes and backslashes by itself (RFC 2253 section 2.4).
        parts.append(f'Subject="{peer.subject}"')
    if "uri" in details:
        # Envoy says `URI=` where there is none.
        parts += [f"URI={_plain(name)}" for name in peer.uri_sans or ("",)]
    if "dns" in details:
        parts += [f"DNS={_plain(name)}" for name in peer.dns_sans]
    return ";".join(parts).encode("ascii")


def _plain(name: str) -> str:
    return quote(name, safe=_PLAIN, errors="replace")


def _pem(der: bytes) -> str:
    return quote(DER_cert_to_PEM_cert(der), safe="")
