"""A whole configuration, as frozen dataclasses: what `fastproxy.config` builds and everything else reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastproxy.filters.jwt_authn.settings import JwtAuthnSettings, LocalJwksSettings, ProviderSettings
from fastproxy.listener.settings import AccessLogSettings, ListenAddress, ListenerSettings, SocketOption
from fastproxy.match.settings import StringMatch
from fastproxy.upstream.settings import ClusterSettings


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """The admin interface (`bootstrap.admin`)."""

    host: str
    """IP literal, or the path of a Unix domain socket; see `ListenAddress`."""
    port: int
    mode: int = 0
    """Permissions of the file of a Unix domain socket; 0: what the process's umask leaves."""
    options: tuple[SocketOption, ...] = ()
    allow_paths: tuple[StringMatch, ...] = ()
    """With any, paths that none of them fits are refused."""
    access_logs: tuple[AccessLogSettings, ...] = ()
    """Of its requests."""

    @property
    def address(self) -> ListenAddress:
        """Where it listens."""
        return ListenAddress(self.host, self.port, mode=self.mode, options=self.options)


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Who this proxy is (`bootstrap.node`)."""

    id: str = ""
    cluster: str = ""
    zone: str = ""
    """`locality.zone`; nothing but `/server_info` reads it."""


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Everything a Bootstrap says, checked and ready to build the runtime from."""

    listeners: tuple[ListenerSettings, ...] = ()
    clusters: tuple[ClusterSettings, ...] = ()
    admin: AdminSettings | None = None
    node: NodeSettings = field(default_factory=NodeSettings)
    max_downstream_connections: int | None = None
    """`overload.global_downstream_max_connections`, of all workers together; None: no limit."""
    tls_files: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    """What the files held that TLS on listeners was made from, by name. Keys are among them."""
    jwks_snapshot_dir: str = ""
    """`fastproxy.jwks.snapshot_dir`: where the control plane keeps fetched key sets; empty: nowhere."""

    def providers(self) -> tuple[ProviderSettings, ...]:
        """Every distinct `jwt_authn` provider of every listener, by `source_id`."""
        found: dict[str, ProviderSettings] = {}
        for listener in self.listeners:
            for http in listener.http_managers():
                for http_filter in http.all_filters():
                    if not isinstance(http_filter.config, JwtAuthnSettings):
                        continue
                    for provider in http_filter.config.providers.values():
                        found.setdefault(provider.source_id, provider)
        return tuple(found.values())

    def remote_providers(self) -> tuple[ProviderSettings, ...]:
        """The providers whose keys the control plane must fetch."""
        return tuple(p for p in self.providers() if not isinstance(p.jwks, LocalJwksSettings))
