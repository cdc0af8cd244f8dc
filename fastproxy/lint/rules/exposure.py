"""Who can reach what: the admin interface, upstreams past the filter, issuers through a route."""

from collections.abc import Iterator

from fastproxy.config.problems import quote
from fastproxy.filters.jwt_authn.settings import DiscoveryJwksSettings, LocalJwksSettings, ProviderSettings
from fastproxy.lint.rule import Finding, Rule, Severity
from fastproxy.lint.survey import ManagerSurvey, Survey, clusters_of, is_loopback


def _check_admin(survey: Survey) -> Iterator[Finding]:
    admin = survey.settings.admin
    if admin is not None and not is_loopback(admin.host):
        yield Finding("admin.address", f"the admin interface listens on {admin.host}")


def _check_headers(survey: Survey) -> Iterator[Finding]:
    for manager, _, provider in survey.providers():
        routed = _clusters(manager)
        for path, header in _headers(provider):
            for other in survey.managers:
                shared = routed & _clusters(other)
                if (
                    other == manager
                    or not shared
                    or header in _stripped(other)
                    or _is_private(other, manager)
                ):
                    continue
                yield Finding(
                    path,
                    f"the upstream {quote(min(shared))} is told who asks by {quote(header)}, and the listener"
                    f" {quote(other.listener.name)}{survey.line_of(other.listener.config_path)} sends requests there"
                    " without removing that header",
                )
                break


def _check_set(survey: Survey) -> Iterator[Finding]:
    for manager in survey.managers:
        owned = _stripped(manager)
        for _, route in manager.routes() if owned else ():
            added = {one.name: one for level in route.request_headers for one in level.add}
            for name, one in added.items():
                if _spelt(name) in owned:
                    yield Finding(
                        route.config_path,
                        f"requests of this route get {quote(name)} from request_headers_to_add"
                        + (", with what the client sent" if "%REQ(" in one.value else ""),
                    )


def _headers(provider: ProviderSettings) -> Iterator[tuple[str, str]]:
    if provider.forward_payload_header:
        yield f"{provider.config_path}.forward_payload_header", _spelt(provider.forward_payload_header)
    for index, claim in enumerate(provider.claim_headers):
        yield f"{provider.config_path}.claim_to_headers[{index}]", _spelt(claim.header_name)


def _stripped(manager: ManagerSurvey) -> set[str]:
    """Headers that a manager's filters remove from every request (S46)."""
    providers = [provider for jwt in manager.filters for provider in jwt.providers.values()]
    return {header for provider in providers for _, header in _headers(provider)}


def _is_private(other: ManagerSurvey, manager: ManagerSurvey) -> bool:
    """A listener on loopback beside a public one: who gets there could ask the upstream directly."""
    return is_loopback(other.listener.host) and not is_loopback(manager.listener.host)


def _spelt(header: str) -> str:
    return header.lower().replace("_", "-")


def _clusters(manager: ManagerSurvey) -> set[str]:
    return {name for _, route in manager.routes() for name in clusters_of(route)}


def _check_shared_cluster(survey: Survey) -> Iterator[Finding]:
    routed = {name for manager in survey.managers for name in _clusters(manager)}
    for _, _, provider in survey.providers():
        jwks = provider.jwks
        if isinstance(jwks, LocalJwksSettings) or jwks.cluster not in routed:
            continue
        field = "issuer" if isinstance(jwks, DiscoveryJwksSettings) else "remote_jwks"
        yield Finding(
            f"{provider.config_path}.{field}",
            f"keys of {quote(provider.name)} come from the cluster {quote(jwks.cluster)}, which routes lead to",
        )


RULES = (
    Rule(
        name="open-admin",
        severity=Severity.HIGH,
        summary="the admin interface listens beyond loopback",
        why="It needs no password: whoever reaches it can stop the proxy and read its configuration",
        fix="Bind it to 127.0.0.1, and let a scraper reach it through something that asks who is there",
        details="`/quitquitquit` ends the process and `/config_dump` shows the configuration. Silence"
        " it where a network policy lets nobody but the monitoring in. (S64 of the security"
        " list)",
        example="admin:\n  address:\n    socket_address: {address: 0.0.0.0, port_value: 9901}",
        check=_check_admin,
    ),
    Rule(
        name="identity-header-open",
        severity=Severity.HIGH,
        summary="an upstream that believes identity headers can be reached without the filter",
        why="A client writes the header itself, and the upstream takes it for verified",
        fix="Put jwt_authn with the same header in front of that listener's routes, too, or use"
        " another cluster",
        details="`jwt_authn` removes identity headers that came from outside on every route of its"
        " listener, the exempt ones included, but only there. A second listener that leads to"
        " the same upstream, for internal use or for redirects, lets them through"
        " (envoyproxy/envoy#35553 is a relative).",
        example="# listener one: jwt_authn with forward_payload_header: x-jwt-payload, routes to cluster api\n"
        "# listener two: no jwt_authn, routes to cluster api",
        check=_check_headers,
    ),
    Rule(
        name="identity-header-set",
        severity=Severity.HIGH,
        summary="request_headers_to_add writes a header that carries a verified claim",
        why="The upstream cannot tell it from what jwt_authn verified, and on exempt routes there"
        " is nothing else",
        fix="Use another header name, or leave the header to jwt_authn",
        details="`jwt_authn` removes what came from outside and writes what it verified; headers of"
        " routes are added after it. With `%REQ(...)%` in the value the client decides what the"
        " upstream believes.",
        example="request_headers_to_add:\n"
        "- header: {key: x-user, value: '%REQ(x-login)%'}\n"
        "# and in jwt_authn\n"
        "claim_to_headers:\n"
        "- {header_name: x-user, claim_name: sub}",
        check=_check_set,
    ),
    Rule(
        name="shared-jwks-cluster",
        severity=Severity.LOW,
        summary="routes send requests to the cluster that keys are fetched from",
        why="Requests of clients reach every path of the issuer, also those that only this proxy"
        " should see, and what they do to its connections or health is done to the key fetch,"
        " too",
        fix="Give the key fetch a cluster of its own",
        details="Proxying a login page is legitimate. A cluster of its own with the same endpoints"
        " keeps limits, health and credentials of the two apart.",
        example="routes:\n"
        "- match: {prefix: /login}\n"
        "  route: {cluster: idp}\n"
        "# and in the provider\n"
        "remote_jwks:\n"
        "  http_uri: {uri: https://idp.example/keys, cluster: idp, timeout: 5s}",
        check=_check_shared_cluster,
    ),
)
