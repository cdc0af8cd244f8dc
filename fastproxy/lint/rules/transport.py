"""What travels without protection: keys, upstream traffic, forwarded tokens."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from fastproxy.config.problems import quote
from fastproxy.filters.jwt_authn.settings import (
    DiscoveryJwksSettings,
    JwtAuthnSettings,
    LocalJwksSettings,
    ProviderSettings,
    RequirementSettings,
)
from fastproxy.lint.paths import are_disjoint
from fastproxy.lint.requirements import accepted
from fastproxy.lint.rule import Finding, Rule, Severity
from fastproxy.lint.survey import (
    ManagerSurvey,
    Survey,
    clusters_of,
    forwards,
    is_loopback,
    leaves_machine,
    listed,
    route_configs,
)
from fastproxy.router.settings import RouteSettings


def _check_jwks(survey: Survey) -> Iterator[Finding]:
    for _, _, provider in survey.providers():
        problem = _jwks_problem(survey, provider)
        if problem:
            field = "remote_jwks" if not isinstance(provider.jwks, DiscoveryJwksSettings) else "issuer"
            yield Finding(
                f"{provider.config_path}.{field}", f"the keys of {quote(provider.name)} are fetched {problem}"
            )


def _jwks_problem(survey: Survey, provider: ProviderSettings) -> str:
    jwks = provider.jwks
    if isinstance(jwks, LocalJwksSettings):
        return ""
    if isinstance(jwks, DiscoveryJwksSettings) and not jwks.cluster:
        parts = urlsplit(jwks.issuer)
        return "in clear" if parts.scheme == "http" and not is_loopback(parts.hostname or "") else ""
    cluster = survey.clusters.get(jwks.cluster)
    if cluster is None or not leaves_machine(cluster):
        return ""
    # The cluster decides, not the scheme of the address.
    if cluster.tls is None:
        return f"in clear: the cluster {quote(cluster.name)} has no transport_socket with TLS"
    if not cluster.tls.verifies_peer:
        return f"from anybody: the cluster {quote(cluster.name)} does not verify certificates"
    if not cluster.tls.verifies_name:
        return (
            f"from anybody whose certificate is of the same CA: the cluster {quote(cluster.name)} has trusted_ca and no"
            " sni, so no name is checked"
        )
    return ""


def _check_tls(survey: Survey) -> Iterator[Finding]:
    for cluster in survey.settings.clusters:
        if cluster.tls is not None and not cluster.tls.verifies_peer:
            yield Finding(
                f"{cluster.config_path}.transport_socket",
                f"certificates of the cluster {quote(cluster.name)} are not verified",
            )


def _check_forward(survey: Survey) -> Iterator[Finding]:
    clusters = survey.clusters
    for manager, jwt, provider in survey.providers():
        if not provider.forward:
            continue
        plain: dict[str, None] = {}
        for _, route in manager.routes():
            if provider.name in _providers_at(manager, jwt, route):
                for name in clusters_of(route):
                    cluster = clusters.get(name)
                    if cluster is not None and cluster.tls is None and leaves_machine(cluster):
                        plain[quote(name)] = None
        if plain:
            yield Finding(
                f"{provider.config_path}.forward",
                f"tokens of {quote(provider.name)} are sent on in clear to {listed(plain)}",
            )


def _providers_at(manager: ManagerSurvey, jwt: JwtAuthnSettings, route: RouteSettings) -> set[str]:
    """Providers whose tokens may be accepted on a route."""
    found: list[RequirementSettings | None] = []
    for config in route_configs(jwt, route):
        if config is not None and config.requirement_name:
            found.append(jwt.requirement_map.get(config.requirement_name))
        elif not (config.disabled or config.is_skipped if config is not None else jwt.is_off_by_default):
            found += [rule.requires for rule in jwt.rules if not are_disjoint(rule.match, route.match)]
    return {
        use.provider_name
        for requirement in found
        if requirement is not None
        for use in accepted(requirement, jwt)
    }


def _check_cleartext(survey: Survey) -> Iterator[Finding]:
    for manager in survey.managers:
        listener = manager.listener
        if manager.chain.tls is not None or not manager.filters or not listener.binds:
            continue
        if not any(forwards(route) for _, route in manager.routes()):
            # It redirects to TLS, as a rule.
            continue
        exposed = [str(one) for one in listener.addresses() if not is_loopback(one.host)]
        if exposed:
            yield Finding(
                f"{listener.config_path}.address",
                f"the listener {quote(listener.name)} takes tokens in clear on {listed(exposed)}",
            )


RULES = (
    Rule(
        name="unverified-jwks",
        severity=Severity.HIGH,
        summary="keys are fetched in clear, or from a server that is not verified",
        why="Whoever sits on the way puts keys of their own in, and then signs any token",
        fix="Give the cluster a transport_socket with TLS, sni, and trusted_ca where the CA is private",
        details="The keys decide about every token, so they need more protection than any request. The"
        " `uri` is only what is asked for; how the connection is made is the cluster's business,"
        " as in Envoy. Clusters on loopback are left alone. (S39 of the security list; the same"
        " in nginx-openid-connect.)",
        example="remote_jwks:\n"
        "  http_uri: {uri: http://idp.internal/keys, cluster: idp, timeout: 5s}   # a cluster without TLS",
        check=_check_jwks,
    ),
    Rule(
        name="unverified-tls",
        severity=Severity.HIGH,
        summary="trust_chain_verification: ACCEPT_UNTRUSTED",
        why="Anyone on the way to the upstream can read and change its traffic, tokens included",
        fix="Name the CA in trusted_ca and the upstream in sni, and remove ACCEPT_UNTRUSTED",
        details="FastProxy verifies certificates and names against the system's roots when the file"
        " says nothing; `ACCEPT_UNTRUSTED` is the way out. A private CA belongs into"
        " `trusted_ca`.",
        example="common_tls_context:\n  validation_context: {trust_chain_verification: ACCEPT_UNTRUSTED}",
        check=_check_tls,
    ),
    Rule(
        name="forward-in-clear",
        severity=Severity.MEDIUM,
        summary="forward: true to a cluster without TLS",
        why="A bearer token is good for whoever reads it on the way",
        fix="Remove `forward` and use claim_to_headers, or give the cluster TLS",
        details="Without `forward` the token ends at the proxy, and what the upstream needs can go into"
        " headers. Clusters on loopback are left alone, and so are clusters that tokens of this"
        " provider do not reach.",
        example="providers:\n  idp:\n    forward: true     # and the route's cluster has no transport_socket",
        check=_check_forward,
    ),
    Rule(
        name="cleartext-listener",
        severity=Severity.LOW,
        summary="a listener beyond loopback that verifies tokens, and has no TLS",
        why="A bearer token is good for whoever reads it on the way",
        fix="Give the filter chain a transport_socket with TLS, or listen on 127.0.0.1 or a Unix domain socket; behind"
        " something that ends TLS on a network of its own, silence the rule",
        details="Clients send the same token with every request, so one that is overheard is enough. Listeners that"
        " only redirect are left alone.",
        example="address: {socket_address: {address: 0.0.0.0, port_value: 8080}}\n"
        "filter_chains:\n"
        "- filters: [...]      # http_connection_manager with jwt_authn, and no transport_socket",
        check=_check_cleartext,
    ),
)
