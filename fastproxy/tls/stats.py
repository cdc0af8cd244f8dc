"""Counters of the TLS handshakes of a listener or a cluster (`listener.ADDRESS.ssl.*`, `cluster.NAME.ssl.*`)."""

import ssl

from fastproxy.stats import StatsSink

_COUNTERS = (
    "connection_error",
    "handshake",
    "session_reused",
    "no_certificate",
    "fail_verify_no_cert",
    "fail_verify_error",
    "fail_verify_san",
    "fail_verify_cert_hash",
    "handshake_timeout",
)


class TlsStats:
    """Numbers of one listener or cluster in one worker."""

    __slots__ = (*_COUNTERS, "ciphers", "versions")

    def __init__(self) -> None:
        self.connection_error = 0
        """Handshakes that failed for another reason than a certificate."""
        self.handshake = 0
        self.session_reused = 0
        self.no_certificate = 0
        """Finished handshakes in which the client showed no certificate."""
        self.fail_verify_no_cert = 0
        self.fail_verify_error = 0
        self.fail_verify_san = 0
        self.fail_verify_cert_hash = 0
        self.handshake_timeout = 0
        self.ciphers: dict[str, int] = {}
        self.versions: dict[str, int] = {}

    def on_handshake(self, ssl_object: ssl.SSLObject) -> None:
        """Count a finished handshake."""
        self.handshake += 1
        self.session_reused += bool(ssl_object.session_reused)
        version, cipher = ssl_object.version() or "", (ssl_object.cipher() or ("",))[0]
        self.versions[version] = self.versions.get(version, 0) + 1
        self.ciphers[cipher] = self.ciphers.get(cipher, 0) + 1

    def on_server_refused(self, error: Exception) -> None:
        """Count a handshake with a server that failed; what is no TLS error is counted elsewhere."""
        kind = getattr(error, "kind", "")
        if kind == "san":
            self.fail_verify_san += 1
        elif kind == "cert_hash":
            self.fail_verify_cert_hash += 1
        elif kind == "no_cert":
            self.fail_verify_no_cert += 1
        elif isinstance(error, ssl.SSLCertVerificationError):
            self.fail_verify_error += 1
        if isinstance(error, ssl.SSLError):
            self.connection_error += 1

    def write(self, sink: StatsSink, prefix: str) -> None:
        """Write everything under "listener.ADDRESS.ssl." or "cluster.NAME.ssl."."""
        for name in _COUNTERS:
            sink.counter(prefix + name, getattr(self, name))
        for name, value in self.ciphers.items():
            sink.counter(f"{prefix}ciphers.{name}", value)
        for name, value in self.versions.items():
            sink.counter(f"{prefix}versions.{name}", value)
