"""Counters of the TLS handshakes of a listener (`listener.ADDRESS.ssl.*`)."""

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
    """Numbers of one listener in one worker."""

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

    def write(self, sink: StatsSink, prefix: str) -> None:
        """Write everything under "listener.ADDRESS.ssl."."""
        for name in _COUNTERS:
            sink.counter(prefix + name, getattr(self, name))
        for name, value in self.ciphers.items():
            sink.counter(f"{prefix}ciphers.{name}", value)
        for name, value in self.versions.items():
            sink.counter(f"{prefix}versions.{name}", value)
