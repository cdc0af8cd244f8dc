"""TLS towards upstreams (Envoy `UpstreamTlsContext`)."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from fastproxy.upstream.settings.address import Address


@dataclass(frozen=True, slots=True, weakref_slot=True)
class UpstreamTlsSettings:
    """TLS towards the endpoints of one cluster (Envoy `UpstreamTlsContext`)."""

    context: ssl.SSLContext = field(compare=False)
    """Ready to use, verification settings included."""
    sni: str = ""
    """Name to send and to verify; empty means the endpoint's host name."""
    verifies_name: bool = True
    """Only certificates of this upstream are accepted, not any of its authority."""
    verifies_peer: bool = True
    """False: anybody's certificate is accepted (`ACCEPT_UNTRUSTED`)."""
    host_sni: bool = False
    """`auto_host_sni`: the endpoint's host name is sent instead of `sni`, if it has one."""
    auto_sni: bool = False
    """The name is the host of each request, and connections are kept apart by it."""
    auto_sni_header: bytes = b""
    """`override_auto_sni_header`, lower case: this header of the request comes before its host."""
    check_contexts: Mapping[tuple[str, ...], ssl.SSLContext] = field(
        default_factory=dict, compare=False, repr=False
    )
    """The same, offering other protocols (ALPN), for health checks that need that."""
    own_chain: bytes = field(default=b"", compare=False, repr=False)
    """The client certificate with its chain, PEM; for /certs, `context` has it, too."""
    own_origin: str = field(default="", compare=False)
    """Where that came from."""
    trusted_ca: bytes | None = field(default=None, compare=False, repr=False)
    """The authorities of servers, PEM; for /certs as well. None: the system's, or nobody's."""
    fingerprint: str = ""
    """Stands for `context` in comparisons: contexts cannot be compared, and a reload keeps clusters that are equal."""

    def context_for(self, alpn: tuple[str, ...]) -> ssl.SSLContext:
        """The context that offers these protocols; empty: what the cluster offers.

        Raises:
            KeyError: the configuration has no health check that offers them.
        """
        return self.check_contexts[alpn] if alpn else self.context

    def renew(self, changed: "UpstreamTlsSettings") -> None:
        """Certificates or authorities have changed: whoever holds these settings uses those contexts from now on.

        The one thing here that changes, so that nobody who has got hold of the settings can go on with old trust.
        """
        object.__setattr__(self, "context", changed.context)
        object.__setattr__(self, "check_contexts", changed.check_contexts)

    def server_name(self, address: Address) -> str:
        """The name to send to an address, and to verify if one is."""
        if self.host_sni and address.hostname:
            return address.hostname
        return self.sni or address.hostname or address.host
