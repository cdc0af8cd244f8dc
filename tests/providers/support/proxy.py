"""FastProxy in front of an API, with the keys of an identity provider behind TLS, and requests to it."""

from pathlib import Path
from typing import Any

from fastproxy.clock import monotonic
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports, RunningProxy
from tests.e2e.support.templates import (
    bootstrap,
    cluster,
    file_log,
    forward,
    jwt_authn,
    listener,
    rule,
    virtual_host,
)
from tests.e2e.support.upstream import ScriptedUpstream
from tests.e2e.support.wire import PATIENCE_S, Downstream, WireResponse, encode_request
from tests.providers.support.identity_provider import HOST_NAME, IdentityProvider

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
#: The provider's name in the configuration, which is part of the names of its counters.
_PROVIDER = "p"


def provider_template(
    upstream: ScriptedUpstream,
    provider: IdentityProvider,
    trusted_ca: Path,
    *,
    audience: str | None = None,
    cache_duration: str = "300s",
    sni: str = HOST_NAME,
    discovery: bool = False,
) -> ConfigTemplate:
    """Everything needs a token of `provider`, apart from its token endpoint, which can be reached through the proxy.

    Args:
        upstream: the API.
        provider: issues the tokens.
        trusted_ca: PEM file of the authority that its certificate must come from.
        audience: what tokens must be for, unless it is what the provider's tokens are for.
        cache_duration: how long fetched keys are fresh.
        sni: the name that its certificate must have.
        discovery: name no `remote_jwks`, so that the keys are found through the issuer's metadata.
    """
    metadata = provider.metadata()
    token_path = provider.token_path
    settings: Config = {
        "issuer": provider.issuer,
        "audiences": [provider.audience if audience is None else audience],
        "forward_payload_header": "x-jwt-payload",
        # 0 means 60 (Envoy's default), which is too long to wait for.
        "clock_skew_seconds": 1,
    }
    if not discovery:
        uri = {"uri": metadata["jwks_uri"], "cluster": "identity", "timeout": "5s"}
        settings["remote_jwks"] = {"http_uri": uri, "cache_duration": cache_duration}
    routes = [
        forward({"path": token_path}, "identity", host_rewrite_literal=HOST_NAME),
        forward({"prefix": "/"}),
    ]
    tls: Config = {
        "@type": _TLS,
        "sni": sni,
        "common_tls_context": {"validation_context": {"trusted_ca": {"filename": str(trusted_ca)}}},
    }
    socket = {"name": "envoy.transport_sockets.tls", "typed_config": tls}

    def template(ports: Ports) -> Config:
        filters = [
            jwt_authn({_PROVIDER: settings}, [rule({"path": token_path}), rule({"prefix": "/"}, _PROVIDER)])
        ]
        api = listener(
            "plain",
            ports["plain"],
            [virtual_host("all", ["*"], routes)],
            filters=filters,
            options={"access_log": [file_log("/dev/stdout")]},
        )
        clusters = [
            cluster("echo", upstream.port),
            cluster("identity", provider.port, transport_socket=socket),
        ]
        config = bootstrap(ports["admin"], [api], clusters)
        if discovery:
            config["layered_runtime"] = _runtime(
                {f"fastproxy.jwks.discovery_cluster.{_PROVIDER}": "identity"}
            )
        return config

    return template


def _runtime(values: dict[str, Any]) -> Config:
    return {"layers": [{"name": "fastproxy", "static_layer": values}]}


def ask(proxy: RunningProxy, token: str) -> WireResponse:
    """One request to the API with this token."""
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("GET", "/birds", ("authorization", f"Bearer {token}")))
        return downstream.read_response()


def ask_until(proxy: RunningProxy, token: str, status: int) -> WireResponse:
    """Ask again until the answer has this status; fails when it never has."""
    deadline = monotonic() + PATIENCE_S
    while (response := ask(proxy, token)).status != status:
        assert monotonic() < deadline, (response, proxy.log())
    return response


def fetches(proxy: RunningProxy, outcome: str) -> int:
    """How many fetches of the keys ended so far, by outcome: `success` or `failed`."""
    name = f"jwks.{_PROVIDER}.fetch_{outcome}: "
    status, page = proxy.admin("/stats")
    assert status == 200
    (value,) = [line.removeprefix(name) for line in page.splitlines() if line.startswith(name)]
    return int(value)


def wait_for_failed_fetch(proxy: RunningProxy) -> None:
    """Wait until the proxy has seen that the provider is gone."""
    deadline = monotonic() + PATIENCE_S
    while not fetches(proxy, "failed"):
        assert monotonic() < deadline, proxy.log()
