"""Operators about the downstream connection: addresses, server name, TLS session and client certificate."""

from collections.abc import Callable
from hashlib import sha1
from ssl import DER_cert_to_PEM_cert
from urllib.parse import quote

from fastproxy.format.context import FormatContext, Operator
from fastproxy.format.times import time_writer
from fastproxy.http.connection_info import PeerCertificate, TlsInfo


def direct_remote_address(context: FormatContext) -> tuple[str, int]:
    """The TCP peer, whatever a PROXY header says."""
    return context.request.connection.direct_remote_address


def _tls(read: Callable[[TlsInfo], object]) -> Operator:
    def operator(context: FormatContext) -> object:
        tls = context.request.connection.tls
        return None if tls is None else read(tls) or None

    return operator


def _peer(read: Callable[[PeerCertificate], object]) -> Operator:
    return _tls(lambda tls: None if tls.peer is None else read(tls.peer))


def build_valid_from(argument: str | None) -> Operator:
    """`%DOWNSTREAM_PEER_CERT_V_START(template)%`: since when the client certificate is valid, in UTC."""
    write = time_writer(argument)
    return _peer(lambda peer: write(peer.not_before_unix))


def build_valid_until(argument: str | None) -> Operator:
    """`%DOWNSTREAM_PEER_CERT_V_END(template)%`: until when it is."""
    write = time_writer(argument)
    return _peer(lambda peer: write(peer.not_after_unix))


def _sans(names: tuple[str, ...]) -> str:
    return ",".join(names)


#: Operators without argument, by name (spec/http.md section 10).
CONNECTION_OPERATORS: dict[str, Operator] = {
    "REQUESTED_SERVER_NAME": lambda c: c.request.connection.requested_server_name or None,
    "DOWNSTREAM_TLS_VERSION": _tls(lambda tls: tls.version),
    "DOWNSTREAM_TLS_CIPHER": _tls(lambda tls: tls.cipher),
    "DOWNSTREAM_TLS_SESSION_ID": _tls(lambda tls: tls.session_id),
    "DOWNSTREAM_LOCAL_URI_SAN": _tls(lambda tls: _sans(tls.local_uri_sans)),
    "DOWNSTREAM_PEER_SUBJECT": _peer(lambda peer: peer.subject),
    "DOWNSTREAM_PEER_ISSUER": _peer(lambda peer: peer.issuer),
    "DOWNSTREAM_PEER_SERIAL": _peer(lambda peer: peer.serial),
    "DOWNSTREAM_PEER_FINGERPRINT_256": _peer(lambda peer: peer.sha256),
    "DOWNSTREAM_PEER_FINGERPRINT_1": _peer(lambda peer: sha1(peer.der, usedforsecurity=False).hexdigest()),
    "DOWNSTREAM_PEER_URI_SAN": _peer(lambda peer: _sans(peer.uri_sans)),
    "DOWNSTREAM_PEER_DNS_SAN": _peer(lambda peer: _sans(peer.dns_sans)),
    "DOWNSTREAM_PEER_EMAIL_SAN": _peer(lambda peer: _sans(peer.email_sans)),
    "DOWNSTREAM_PEER_IP_SAN": _peer(lambda peer: _sans(peer.ip_sans)),
    "DOWNSTREAM_PEER_CERT": _peer(lambda peer: quote(DER_cert_to_PEM_cert(peer.der), safe="")),
}
