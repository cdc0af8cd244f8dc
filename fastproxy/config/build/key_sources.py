"""Where a provider's keys come from: `remote_jwks`, `local_jwks`, or neither of them (discovery).

Envoy refuses a provider without key source. Here its `issuer` says where the keys are (OpenID Connect Discovery
1.0), so such a provider needs an issuer that is a URL.
"""

import difflib
import re
from urllib.parse import urlsplit

from fastproxy.config.build.cluster_reference import check_cluster
from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.data_source import describe_data_source, read_data_source
from fastproxy.config.build.runtime_keys import ProviderKey
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.filters.jwt_authn.settings import (
    DiscoveryJwksSettings,
    FetchHeaderSettings,
    FetchRetrySettings,
    JwksSettings,
    LocalJwksSettings,
    RemoteJwksSettings,
)
from fastproxy.jwt import JwksError, JwkSet

_DEFAULT_CACHE_DURATION_S = 600.0
_DEFAULT_REFETCH_S = 1.0
# Envoy: these, where the policy does not say (spec/jwt_authn.md section 1.3).
_DEFAULT_RETRIES = 1
_DEFAULT_BASE_INTERVAL_S = 1.0
_MAX_INTERVAL_FACTOR = 10.0

_HEADER_NAME = re.compile(r"[!#$%&'*+\-^_`|~0-9a-z]+")
_HEADER_TEXT = re.compile(r"[\x20-\x7e]*")
_FILE_PLACEHOLDER = re.compile(r"\{file:([^{}]+)\}")
# The fetch sets these itself; another value would break the message, or what is concluded from the answer.
_RESERVED_HEADERS = frozenset(
    {
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "range",
    }
    | {"accept-encoding", "cookie", "if-none-match", "if-modified-since", "if-match", "if-range"}
)


def build_key_source(name: str, view: View, context: BuildContext) -> JwksSettings | None:
    """Build the key source of one provider; None if it cannot be used, which is then reported."""
    remote = view.child("remote_jwks")
    if remote is not None:
        return _build_remote(name, remote, context)
    local = view.child("local_jwks")
    if local is not None:
        return _build_local(name, local, context)
    return _build_discovery(name, view, context)


def check_provider_keys(context: BuildContext) -> None:
    """Report settings for fetching whose provider does not exist or does not fetch like that."""
    runtime = context.runtime
    for key in runtime.discovery_clusters.values():
        _check_known(key, context.discovered_providers, "finds its keys by discovery")
    for key in runtime.request_headers.values():
        _check_known(key, context.fetched_providers, "fetches its keys")


def _check_known(key: ProviderKey, names: set[str], does: str) -> None:
    if key.provider not in names:
        near = difflib.get_close_matches(key.provider, names, n=1)
        key.error(
            f"no JWT provider {quote(key.provider)} {does}", f"Did you mean {quote(near[0])}?" if near else ""
        )


def _build_remote(name: str, remote: View, context: BuildContext) -> RemoteJwksSettings | None:
    context.fetched_providers.add(name)
    http_uri = remote.child("http_uri")
    if http_uri is None:
        return None
    uri, cluster = http_uri.text("uri"), http_uri.text("cluster")
    if uri and not _is_http_url(uri):
        http_uri.error(
            f"Provider '{quote(name)[1:-1]}' has an invalid URI: '{quote(uri)[1:-1]}'",
            "Write an absolute URL, https://issuer.example/certs",
            field="uri",
        )
    if cluster:
        check_cluster(http_uri, "cluster", cluster, context)
        if cluster in context.proxy_protocol_clusters:
            http_uri.error(
                f"the cluster {quote(cluster)} wants a PROXY header, and keys are fetched for no client",
                "Define a cluster without upstream_proxy_protocol for it",
                field="cluster",
            )
    background = remote.child("async_fetch")
    fast, refetch_s = False, _DEFAULT_REFETCH_S
    if background is not None:
        fast = background.flag("fast_listener")
        refetch_s = background.duration_s("failed_refetch_duration", _DEFAULT_REFETCH_S)
    return RemoteJwksSettings(
        uri=uri,
        cluster=cluster,
        timeout_s=http_uri.duration_s("timeout", 0.0),
        cache_duration_s=remote.duration_s("cache_duration", _DEFAULT_CACHE_DURATION_S),
        retry=_build_retry(remote),
        failed_refetch_s=refetch_s,
        wait_for_first_fetch=background is not None and not fast,
        request_headers=_build_headers(name, uri, context),
    )


def _build_retry(remote: View) -> FetchRetrySettings | None:
    policy = remote.child("retry_policy")
    if policy is None:
        return None
    policy.without_effect("retry_on", "a key fetch is repeated after 5xx, 429, connect failures and resets")
    base_s, max_s = _DEFAULT_BASE_INTERVAL_S, None
    back_off = policy.child("retry_back_off")
    if back_off is not None:
        base_s = back_off.duration_s("base_interval", _DEFAULT_BASE_INTERVAL_S)
        max_s = back_off.duration_s("max_interval", base_s * _MAX_INTERVAL_FACTOR)
        if max_s < base_s:
            back_off.error(
                f"max_interval ({max_s:g} s) must not be less than base_interval ({base_s:g} s)",
                field="max_interval",
            )
    return FetchRetrySettings(
        num_retries=policy.integer_or("num_retries", _DEFAULT_RETRIES),
        base_interval_s=base_s,
        max_interval_s=base_s * _MAX_INTERVAL_FACTOR if max_s is None else max_s,
    )


def _build_local(name: str, local: View, context: BuildContext) -> LocalJwksSettings | None:
    filename = local.text("filename") if local.selected("specifier") == "filename" else ""
    watched = local.child("watched_directory")
    if watched is not None:
        # The file is watched by its content, which sees every way of replacing it, this directory's included.
        watched.accept("path")
        if not filename:
            local.without_effect("watched_directory", "only a filename can be watched")
    origin = describe_data_source(local)
    if filename and not context.read_key_files:
        return LocalJwksSettings(b"", origin, filename)
    document = read_data_source(local)
    if document is None:
        return None
    try:
        keys = JwkSet.parse(document, allow_symmetric=True)
    except JwksError as exc:
        local.error(
            f"Provider '{quote(name)[1:-1]}' in jwt_authn config has invalid local jwks: {exc}",
            f'It was read from {origin}; expected is {{"keys": [...]}}, or public keys in PEM',
        )
        return None
    for warning in keys.warnings:
        local.warn(f"Provider '{quote(name)[1:-1]}': {warning}")
    for index, _, reason in keys.ignored:
        local.warn(f"Provider '{quote(name)[1:-1]}': key {index} of the set is not used: {reason}")
    return LocalJwksSettings(document, origin, filename)


def _build_discovery(name: str, view: View, context: BuildContext) -> DiscoveryJwksSettings | None:
    context.fetched_providers.add(name)
    context.discovered_providers.add(name)
    issuer = view.text("issuer")
    if not _is_issuer_url(issuer):
        view.error(
            "one of remote_jwks or local_jwks is required",
            "Or write the issuer's https URL as issuer, without query and fragment, and the keys are found by"
            " OpenID Connect Discovery",
        )
        return None
    key = context.runtime.discovery_clusters.get(name)
    if key is not None:
        _check_key_cluster(key, context)
    elif issuer.startswith("http:"):
        view.warn(
            "the keys are fetched in clear: whoever sits on the way can replace them",
            "Use an https issuer, or name a cluster in fastproxy.jwks.discovery_cluster",
            field="issuer",
        )
    return DiscoveryJwksSettings(
        issuer=issuer,
        cluster="" if key is None else key.value,
        allow_private_networks=context.runtime.allow_private_networks,
        request_headers=_build_headers(name, issuer, context),
    )


def _check_key_cluster(key: ProviderKey, context: BuildContext) -> None:
    if key.value in context.cluster_names or context.clusters_may_be_gone:
        return
    if context.clusters_complete:
        near = difflib.get_close_matches(key.value, context.cluster_names, n=1)
        fix = f"Did you mean {quote(near[0])}?" if near else "Define it in static_resources.clusters"
        key.error(f"unknown cluster {quote(key.value)}", fix)


def _build_headers(provider: str, uri: str, context: BuildContext) -> tuple[FetchHeaderSettings, ...]:
    found = []
    for (owner, name), key in sorted(context.runtime.request_headers.items()):
        if owner != provider:
            continue
        header = _build_header(name, key)
        if header is None:
            continue
        found.append(header)
        if uri.startswith("http:"):
            key.warn("the header is sent in clear", "Use an https uri and a cluster with TLS")
    return tuple(found)


def _build_header(name: str, key: ProviderKey) -> FetchHeaderSettings | None:
    """Read `Bearer {file:/run/token}`; no message repeats the value, for it may be a secret."""
    if not _HEADER_NAME.fullmatch(name):
        key.error("the last part of the setting is no header name")
        return None
    if name in _RESERVED_HEADERS:
        key.error(f"the header {name} is set by the fetch itself")
        return None
    before, _, after = key.value.partition("{file:")
    match = _FILE_PLACEHOLDER.search(key.value)
    if match is not None:
        before, after = key.value[: match.start()], key.value[match.end() :]
    elif after:
        key.error("{file: is not closed", 'Write "Bearer {file:/run/secrets/token}"')
        return None
    if "{file:" in after:
        key.error("more than one {file:...}", "Use one file for the secret part")
        return None
    if not _HEADER_TEXT.fullmatch(before + after) or (match is not None and "\0" in match[1]):
        key.error("the value has characters that a header cannot have", "Use visible ASCII")
        return None
    if match is None:
        key.warn("the value stands in the configuration", "Keep secrets in a file: {file:/run/secrets/token}")
        return FetchHeaderSettings(name, before)
    return FetchHeaderSettings(name, before, match[1], after)


def _is_http_url(uri: str) -> bool:
    if not uri.isascii() or any(char <= " " or char == "\x7f" for char in uri):
        return False
    try:
        parts = urlsplit(uri)
        # Reading the port is what checks it.
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        return False


def _is_issuer_url(issuer: str) -> bool:
    """OpenID Connect Discovery 1.0 section 3: a URL without query and fragment. Credentials belong nowhere."""
    return _is_http_url(issuer) and not any(char in issuer for char in "?#@\\")
