"""Operators about the connection."""

from fastproxy.format.connection import (
    CONNECTION_OPERATORS,
    build_valid_from,
    build_valid_until,
    direct_remote_address,
)
from fastproxy.format.context import FormatContext
from fastproxy.http.connection_info import ConnectionInfo, TlsInfo
from fastproxy.http.messages import Request
from fastproxy.tls.certificates import read_peer_certificate
from tests.tls.pki import Authority


def context(*, tls: bool) -> FormatContext:
    request = Request(b"GET", b"/", {})
    request.connection = ConnectionInfo(("192.0.2.1", 1), ("192.0.2.2", 2))
    if tls:
        request.connection.requested_server_name = "a.test"
        request.connection.tls = TlsInfo("TLSv1.3", "CIPHER")
        issued = Authority().issue("d.test", uri=("spiffe://x",), email=("a@b",), ip=("192.0.2.9",))
        request.connection.tls.peer = read_peer_certificate(issued.der)
        request.connection.tls.local_uri_sans = ("spiffe://own",)
    return FormatContext(request, 0.0)


def test_every_operator_is_empty_on_a_plain_connection() -> None:
    """The log shows `-`."""
    plain = context(tls=False)
    assert {operator(plain) for operator in CONNECTION_OPERATORS.values()} == {None}


def test_the_session_and_the_certificate_are_told() -> None:
    """Who connected, and how."""
    whole = context(tls=True)
    values = {name: operator(whole) for name, operator in CONNECTION_OPERATORS.items()}
    assert values["REQUESTED_SERVER_NAME"] == "a.test"
    assert (values["DOWNSTREAM_TLS_VERSION"], values["DOWNSTREAM_TLS_CIPHER"]) == ("TLSv1.3", "CIPHER")
    assert values["DOWNSTREAM_PEER_SUBJECT"] == "CN=leaf"
    assert values["DOWNSTREAM_PEER_ISSUER"] == "CN=test-ca"
    assert values["DOWNSTREAM_PEER_URI_SAN"] == "spiffe://x"
    assert values["DOWNSTREAM_PEER_DNS_SAN"] == "d.test"
    assert values["DOWNSTREAM_PEER_EMAIL_SAN"] == "a@b"
    assert values["DOWNSTREAM_PEER_IP_SAN"] == "192.0.2.9"
    assert values["DOWNSTREAM_LOCAL_URI_SAN"] == "spiffe://own"
    assert len(str(values["DOWNSTREAM_PEER_FINGERPRINT_256"])) == 64
    assert len(str(values["DOWNSTREAM_PEER_FINGERPRINT_1"])) == 40
    assert str(values["DOWNSTREAM_PEER_CERT"]).startswith("-----BEGIN%20CERTIFICATE-----%0A")
    assert str(build_valid_until(None)(whole)).endswith(".000Z")
    assert build_valid_from("%Y")(whole) == str(build_valid_from("")(whole))[:4]


def test_the_direct_peer_is_the_tcp_peer() -> None:
    """Also behind a PROXY header, which changes what the request sees."""
    whole = context(tls=False)
    whole.request.connection.remote_address = ("203.0.113.1", 9)
    assert whole.request.direct_remote_address == ("203.0.113.1", 9)
    assert direct_remote_address(whole) == ("192.0.2.1", 1)
