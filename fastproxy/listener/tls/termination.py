"""Ending TLS for one filter chain: the contexts in force, and what a finished handshake tells.

Changed certificates replace the contexts in one step. Handshakes under way go on with what they began with, and so do
the connections that are open: nothing is dropped.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from fastproxy.http.connection_info import ConnectionInfo, TlsInfo
from fastproxy.large_reads import SharedBufferProtocol
from fastproxy.listener.connection_log import end_connection
from fastproxy.listener.network_filter import ConnectionProtocol
from fastproxy.listener.tls.contexts import ServerContexts
from fastproxy.listener.tls.settings import DownstreamTlsSettings
from fastproxy.tls.certificates import read_peer_certificate
from fastproxy.tls.peer_check import PeerCheck
from fastproxy.tls.stats import TlsStats

#: What Envoy says of a certificate whose names or whose fingerprint do not fit.
_REFUSALS = ("verify cert: hash mismatch", "verify cert: SAN matcher")


class TlsTermination:
    """What handshakes of one filter chain go by."""

    __slots__ = ("_check", "_contexts", "settings", "stats")

    def __init__(self, settings: DownstreamTlsSettings, stats: TlsStats) -> None:
        """Make the contexts, unless the certificates are still to come; errors are those of `ServerContexts`."""
        self.stats = stats
        self.settings = settings
        self._contexts: ServerContexts | None = None
        self._check = PeerCheck(settings.validation)
        if settings.certificates:
            self.replace(settings)

    def replace(self, settings: DownstreamTlsSettings) -> None:
        """Put other certificates and rules into force.

        Raises:
            ssl.SSLError, OSError, ValueError: they cannot be used; those in force stay.
        """
        contexts, check = ServerContexts(settings), PeerCheck(settings.validation)
        self._contexts, self._check, self.settings = contexts, check, settings

    @property
    def context(self) -> ssl.SSLContext | None:
        """What a handshake begins with; None: there is no certificate yet, and no connection can be served."""
        return None if self._contexts is None else self._contexts.default

    def opening(self, info: ConnectionInfo, make_protocol: Callable[[], ConnectionProtocol]) -> "TlsOpening":
        """Make what waits for the end of a handshake, and then for `make_protocol` to say what serves."""
        return TlsOpening(self, info, make_protocol)

    def conclude(self, ssl_object: ssl.SSLObject, info: ConnectionInfo) -> bool:
        """Judge a finished handshake and note what it tells; False: the connection must be cut, unserved."""
        stats = self.stats
        tls = TlsInfo(ssl_object.version() or "", (ssl_object.cipher() or ("",))[0])
        tls.alpn = ssl_object.selected_alpn_protocol() or ""
        tls.resumed = bool(ssl_object.session_reused)
        der = ssl_object.getpeercert(binary_form=True)
        if der:
            try:
                tls.peer = read_peer_certificate(der)
            except ValueError:
                # What cannot be read cannot be judged.
                stats.fail_verify_error += 1
                return False
            tls.peer.chain = _peer_chain(ssl_object, der)
            refusal = self._check.refusal(tls.peer)
            if refusal:
                info.transport_failure = (
                    f"TLS_error: CERTIFICATE_VERIFY_FAILED: {_REFUSALS[refusal == 'san']}"
                )
                if refusal == "san":
                    stats.fail_verify_san += 1
                else:
                    stats.fail_verify_cert_hash += 1
                return False
        else:
            stats.no_certificate += 1
        if self._contexts is not None:
            tls.local_uri_sans = self._contexts.own_uri_sans(ssl_object.context)
        stats.on_handshake(ssl_object)
        info.tls = tls
        return True

    def on_failure(self, error: BaseException) -> None:
        """Count a handshake that failed."""
        stats = self.stats
        if isinstance(error, ssl.SSLCertVerificationError):
            stats.fail_verify_error += 1
        elif isinstance(error, ssl.SSLError) and error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            stats.fail_verify_no_cert += 1
        elif isinstance(error, ConnectionAbortedError | TimeoutError) and "handshake" in str(error):
            stats.handshake_timeout += 1
        elif isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            # Who leaves in the middle of a handshake has made no mistake.
            stats.connection_error += 1


class TlsOpening:
    """The protocol of a connection until its handshake has been judged; then the network filter takes over."""

    __slots__ = ("_info", "_is_refused", "_make_protocol", "_termination")

    def __init__(
        self,
        termination: TlsTermination,
        info: ConnectionInfo,
        make_protocol: Callable[[], ConnectionProtocol],
    ) -> None:
        self._termination = termination
        self._info = info
        self._is_refused = False
        self._make_protocol = make_protocol

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Called by the event loop when the handshake is done, before any byte of the peer's is handed over."""
        ssl_object: ssl.SSLObject = transport.get_extra_info("ssl_object")
        if not self._termination.conclude(ssl_object, self._info):
            self._is_refused = True
            transport.abort()
            return
        protocol = self._make_protocol()
        transport.set_protocol(SharedBufferProtocol(protocol))  # type: ignore[arg-type]  # by shape
        protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Only of a connection that is being cut: not looked at."""

    def eof_received(self) -> bool:
        """Called by the event loop: the transport closes itself."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # the event loop's signature
        """The connection was cut; after a handshake that failed, which nobody has judged, its error says why."""
        if self._is_refused:
            end_connection(self._info)

    def pause_writing(self) -> None:
        """Nothing is written here."""

    def resume_writing(self) -> None:
        """Nothing is written here."""


def _peer_chain(ssl_object: ssl.SSLObject, leaf: bytes) -> tuple[bytes, ...]:
    """The certificates that the client sent, its own first, DER; of a resumed session its own alone."""
    # Public since Python 3.13, and behind an underscore before; what is missing costs the chain in a header.
    inner: Any = getattr(ssl_object, "_sslobj", None)
    try:
        if hasattr(ssl_object, "get_unverified_chain"):
            found = [bytes(one) for one in ssl_object.get_unverified_chain()]
        else:
            # 2: `_ssl.ENCODING_DER`.
            found = [one.public_bytes(2) for one in inner.get_unverified_chain() or ()]
    except (AttributeError, ssl.SSLError):
        return (leaf,)
    return tuple(found) if found and found[0] == leaf else (leaf,)
