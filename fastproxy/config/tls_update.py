"""TLS of listeners and clusters, built again from a running configuration when one of its files has changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.downstream_tls import DOWNSTREAM_TLS, build_downstream_tls
from fastproxy.config.build.health_checks import find_check_alpn
from fastproxy.config.build.secrets import Secrets
from fastproxy.config.build.tls_files import TlsFiles
from fastproxy.config.build.tls_parts import TlsSources
from fastproxy.config.build.upstream_http import build_upstream_http
from fastproxy.config.build.upstream_proxy_protocol import unwrap_proxy_protocol
from fastproxy.config.build.upstream_tls import UPSTREAM_TLS, build_upstream_tls
from fastproxy.config.problems import ConfigError, ConfigProblem, Place, ProblemLog
from fastproxy.config.schema import Bootstrap
from fastproxy.config.view import View
from fastproxy.listener.tls.settings import DownstreamTlsSettings
from fastproxy.tls.certificates import read_authorities, read_own_certificate
from fastproxy.tls.settings import OwnCertificate
from fastproxy.upstream.settings import UpstreamTlsSettings


@dataclass(frozen=True, slots=True)
class TlsUpdate:
    """The TLS of every listener and cluster as it is now."""

    chains: dict[tuple[int, int], DownstreamTlsSettings]
    """By listener and filter chain, both as positions: in `ProxySettings.listeners` and `ListenerSettings.chains()`."""
    clusters: dict[str, UpstreamTlsSettings]
    """By name; those alone that something can change."""
    files: dict[str, bytes] = field(repr=False)
    """What was read, by file name; keys are among it."""


def rebuild_tls(bootstrap: bytes, files: Mapping[str, bytes] | None = None) -> TlsUpdate:
    """Build the TLS settings of all listeners and clusters from a `Bootstrap` that was loaded before.

    Args:
        bootstrap: serialised.
        files: the content of every file that they name; None: read and try them. A chain that needs a file which is
            not among them comes back without certificates, and a cluster with trust in nobody.

    Raises:
        ConfigError: a file cannot be read, or does not fit the others. No message quotes what a file holds.
    """
    message = Bootstrap()
    try:
        message.ParseFromString(bootstrap)
    except DecodeError as exc:
        raise ConfigError((ConfigProblem("", None, "", "not a serialised Bootstrap message"),)) from exc
    problems = ProblemLog()
    static = View(message, Place("", None), "", problems).child_or_empty("static_resources")
    reader = TlsFiles(given=files)
    sources = TlsSources(reader, Secrets(static, reader))
    found = {}
    for position, listener in enumerate(static.children("listeners")):
        chains = list(listener.children("filter_chains"))
        default = listener.child("default_filter_chain")
        if default is not None:
            chains.append(default)
        for index, chain in enumerate(chains):
            socket = chain.child("transport_socket")
            config = None if socket is None else socket.typed("typed_config")
            if config is not None and config.type_name == DOWNSTREAM_TLS:
                found[position, index] = build_downstream_tls(config, sources)
    context = BuildContext(tls=sources)
    clusters = {}
    for cluster in static.children("clusters"):
        _, owner = unwrap_proxy_protocol(cluster)
        socket = owner.child("transport_socket")
        config = None if socket is None else socket.typed("typed_config")
        if config is not None and config.type_name == UPSTREAM_TLS and config.has("common_tls_context"):
            clusters[cluster.text("name")] = build_upstream_tls(
                config, context, build_upstream_http(cluster).names, find_check_alpn(cluster)
            )
    problems.raise_if_failed()
    return TlsUpdate(found, clusters, reader.contents)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What the certificates of one filter chain or cluster say."""

    own: tuple[tuple[str, OwnCertificate], ...]
    """With where each came from."""
    authorities: tuple[OwnCertificate, ...]
    """Whom those of the peers are verified against."""


def read_certificates(tls: DownstreamTlsSettings) -> CertificateFacts:
    """Read the certificates of one filter chain; they have been tried before."""
    trusted = tls.validation.trusted_ca
    return CertificateFacts(
        tuple((one.origin, read_own_certificate(one.chain)) for one in tls.certificates),
        () if trusted is None else read_authorities(trusted),
    )


def read_upstream_certificates(tls: UpstreamTlsSettings) -> CertificateFacts:
    """Read the client certificate and the authorities of one cluster; they have been tried before."""
    return CertificateFacts(
        ((tls.own_origin, read_own_certificate(tls.own_chain)),) if tls.own_chain else (),
        () if tls.trusted_ca is None else read_authorities(tls.trusted_ca),
    )
