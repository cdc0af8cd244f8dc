"""When the first certificate expires: `server.days_until_first_cert_expiring`."""

from collections.abc import Iterable
from typing import Final

from fastproxy import clock
from fastproxy.config.settings import ProxySettings
from fastproxy.config.tls_update import CertificateFacts, read_certificates, read_upstream_certificates
from fastproxy.control.tls_watcher import TlsWatcher
from fastproxy.listener.tls.settings import DownstreamTlsSettings
from fastproxy.upstream.settings import UpstreamTlsSettings

_DAY_S: Final = 86400.0
#: Envoy's number for "there is none".
NO_CERTIFICATE: Final = (1 << 32) - 1


class CertificateExpiry:
    """Knows when the certificate or authority that is in force and expires first does so.

    Reading certificates takes its time, so each set of them is read once.
    """

    def __init__(self) -> None:
        self._read: tuple[ProxySettings, int] | None = None
        self._first: float | None = None

    def days_left(self, settings: ProxySettings, tls: TlsWatcher) -> int:
        """Whole days from now on; 0 if it has expired, `NO_CERTIFICATE` if there is none.

        Args:
            settings: the configuration in force, with the certificates that it was loaded with.
            tls: what has become of those in files since then.
        """
        read = self._read
        if read is None or read[0] is not settings or read[1] != tls.epoch:
            self._read = (settings, tls.epoch)
            self._first = _first_expiry(settings, tls)
        if self._first is None:
            return NO_CERTIFICATE
        return max(int((self._first - clock.unix_time()) // _DAY_S), 0)


def _first_expiry(settings: ProxySettings, tls: TlsWatcher) -> float | None:
    downstream: Iterable[DownstreamTlsSettings]
    upstream: Iterable[UpstreamTlsSettings]
    if tls.epoch == 1:
        chains = (chain for listener in settings.listeners for chain in listener.chains())
        downstream = (chain.tls for chain in chains if chain.tls is not None)
        upstream = (cluster.tls for cluster in settings.clusters if cluster.tls is not None)
    else:
        update = tls.state().update
        downstream, upstream = update.chains.values(), update.clusters.values()
    facts: list[CertificateFacts] = [read_certificates(one) for one in downstream]
    facts += [read_upstream_certificates(one) for one in upstream]
    found = [own for one in facts for _, own in one.own]
    found += [authority for one in facts for authority in one.authorities]
    return min((one.not_after_unix for one in found), default=None)
