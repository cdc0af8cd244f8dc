"""Where one endpoint is checked, and by which names."""

import ssl
from dataclasses import dataclass

from fastproxy.upstream.settings import Address, UpstreamProxyProtocolSettings, UpstreamTlsSettings


@dataclass(frozen=True, slots=True)
class Target:
    """Where one endpoint is checked."""

    address: Address
    """With the host name that TLS uses, if there is one."""
    cluster: str
    tls: UpstreamTlsSettings | None = None
    hostname: str = ""
    """`health_check_config.hostname`."""
    alpn: tuple[str, ...] = ()
    """What TLS offers to speak; empty: what the cluster says."""
    announces: UpstreamProxyProtocolSettings | None = None
    """The PROXY header that connections begin with; None: none."""

    def authority(self, configured: str) -> str:
        """The `host` that is sent: what is said about the endpoint, else about the check, else the cluster's name."""
        return self.hostname or configured or self.cluster

    @property
    def context(self) -> ssl.SSLContext | None:
        """TLS as it is now: certificates are renewed; None: there is none."""
        return None if self.tls is None else self.tls.context_for(self.alpn)

    @property
    def server_hostname(self) -> str | None:
        """The name that TLS sends and verifies."""
        if self.tls is None:
            return None
        return self.tls.server_name(self.address)
