"""What the builders share while one configuration is built."""

import ssl
from dataclasses import dataclass, field

from fastproxy.config.build.runtime_keys import RuntimeKeys
from fastproxy.config.build.tls_parts import TlsSources
from fastproxy.upstream.settings import DnsResolverSettings


@dataclass(slots=True)
class BuildContext:
    """Facts from one part of the configuration that another part needs."""

    runtime: RuntimeKeys = field(default_factory=RuntimeKeys)
    cluster_names: frozenset[str] = frozenset()
    service_cluster: str = ""
    """`node.cluster`."""
    service_node: str = ""
    """`node.id`."""
    proxy_protocol_clusters: frozenset[str] = frozenset()
    """Clusters whose connections begin with a PROXY header: of no use for requests."""
    clusters_complete: bool = True
    """False when a cluster has no readable name: references to clusters can then not be judged."""
    clusters_may_be_gone: bool = False
    """What is being built is in force as it is: a cluster that it names and that is gone is a warning."""
    default_tls: ssl.SSLContext | None = None
    """TLS with default settings, built once: reading the system's roots takes milliseconds."""
    dns_resolver: DnsResolverSettings | None = None
    """Of clusters that name none."""
    outlier_log: str = ""
    """The file for the events of outlier detection, of all clusters."""
    tls: TlsSources | None = None
    """Where the certificates of listeners come from; set before a listener is built."""
    read_key_files: bool = True
    """False in a worker: the control plane sends it the content of watched `local_jwks` files."""
    fetched_providers: set[str] = field(default_factory=set)
    """Names of the providers whose keys are fetched: only they can have settings for fetching."""
    discovered_providers: set[str] = field(default_factory=set)
    """Those of them whose keys are found by OpenID Connect Discovery."""
