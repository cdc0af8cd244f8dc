"""What is known about a downstream connection: addresses, and what TLS says about the peer.

One object per connection, complete before the first byte of a request is looked at. Filters read it through
`Request.connection`, network filters get it when they are made.
"""

from collections.abc import Mapping
from itertools import count

#: Numbers for connections, unique in one worker: downstream and upstream ones share them, as in Envoy.
_numbers = count(1)


class PeerCertificate:
    """A client certificate that was verified (RFC 5280); None where the certificate does not say."""

    __slots__ = (
        "chain",
        "der",
        "dns_sans",
        "email_sans",
        "ip_sans",
        "issuer",
        "not_after_unix",
        "not_before_unix",
        "serial",
        "sha256",
        "subject",
        "uri_sans",
    )

    def __init__(
        self,
        der: bytes,
        *,
        sha256: str = "",
        subject: str = "",
        issuer: str = "",
        serial: str = "",
        uri_sans: tuple[str, ...] = (),
        dns_sans: tuple[str, ...] = (),
        email_sans: tuple[str, ...] = (),
        ip_sans: tuple[str, ...] = (),
        not_before_unix: float = 0.0,
        not_after_unix: float = 0.0,
    ) -> None:
        self.der = der
        self.chain: tuple[bytes, ...] = (der,)
        """DER of what the client sent, its own certificate first."""
        self.sha256 = sha256
        """Of the DER form, lower-case hexadecimal."""
        self.subject = subject
        """As RFC 2253 writes it."""
        self.issuer = issuer
        self.serial = serial
        """Lower-case hexadecimal."""
        self.uri_sans = uri_sans
        self.dns_sans = dns_sans
        self.email_sans = email_sans
        self.ip_sans = ip_sans
        self.not_before_unix = not_before_unix
        self.not_after_unix = not_after_unix

    @property
    def principal(self) -> str:
        """Who the peer is, as Envoy's RBAC reads it: the first URI name, else the first DNS name, else the subject."""
        for names in (self.uri_sans, self.dns_sans):
            if names:
                return names[0]
        return self.subject


class TlsInfo:
    """What a finished TLS handshake agreed on."""

    __slots__ = ("alpn", "cipher", "local_uri_sans", "peer", "resumed", "session_id", "version")

    def __init__(self, version: str, cipher: str) -> None:
        self.version = version
        """As in `TLSv1.3`."""
        self.cipher = cipher
        """OpenSSL's name."""
        self.alpn = ""
        """The protocol that was agreed on; empty: none."""
        self.resumed = False
        self.session_id = ""
        self.peer: PeerCertificate | None = None
        """The client's certificate; None: it gave none."""
        self.local_uri_sans: tuple[str, ...] = ()
        """URI names of the certificate that the client was shown."""


class ConnectionInfo:
    """Addresses of both ends, what the first bytes said, and the TLS session if there is one."""

    __slots__ = (
        "application_protocols",
        "chain_metadata",
        "direct_remote_address",
        "filter_chain_name",
        "is_announced",
        "is_closed",
        "listener_metadata",
        "local_address",
        "number",
        "record",
        "remote_address",
        "requested_server_name",
        "tls",
        "transport_failure",
        "transport_protocol",
    )

    def __init__(self, remote_address: tuple[str, int], local_address: tuple[str, int]) -> None:
        self.direct_remote_address = remote_address
        """The TCP peer, whatever a PROXY header says."""
        self.remote_address = remote_address
        """The peer that a PROXY header names; the TCP peer without one."""
        self.local_address = local_address
        """The address that the peer connected to; a PROXY header may name another one."""
        self.number = next(_numbers)
        """Of this connection in this worker."""
        self.is_closed = False
        """It has ended; what was opened for it alone is of no use any more."""
        self.is_announced = True
        """Upstreams that want a PROXY header hear of it (`add_proxy_protocol_connection_state`)."""
        self.filter_chain_name = ""
        """Of the filter chain that serves the connection; empty if it has none."""
        self.requested_server_name = ""
        """The TLS client's server name (SNI), lower case; empty: none, or nobody looked (`tls_inspector`)."""
        self.application_protocols: tuple[str, ...] = ()
        """What the TLS client offers by ALPN; empty as above."""
        self.transport_protocol = ""
        """`tls` or `raw_buffer`; empty: nobody looked."""
        self.tls: TlsInfo | None = None
        """None on a plain connection."""
        self.transport_failure = ""
        """Why TLS failed, for logs."""
        self.listener_metadata: Mapping[str, object] | None = None
        """`metadata` of its listener, for formats; None if that has none."""
        self.chain_metadata: Mapping[str, object] | None = None
        """`metadata` of its filter chain."""
        self.record: object = None
        """What the listener's log will say of it (`ConnectionRecord`); None: it is not logged."""


class UpstreamLink:
    """What is known about a connection to an upstream; it outlives the connection, for the log is written later."""

    __slots__ = ("local_address", "number", "remote_address")

    def __init__(self, local_address: tuple[str, int], remote_address: tuple[str, int]) -> None:
        self.local_address = local_address
        """A Unix domain socket has its path for a host, and port 0."""
        self.remote_address = remote_address
        self.number = next(_numbers)


#: Of a request that came over no connection: a test's, or one that could not be read.
NO_CONNECTION = ConnectionInfo(("", 0), ("", 0))
