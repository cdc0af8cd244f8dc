"""`jwt_authn` to settings (envoy.extensions.filters.http.jwt_authn.v3, spec/jwt_authn.md section 1)."""

import difflib
import re
from urllib.parse import urlsplit

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.data_source import describe_data_source, read_data_source
from fastproxy.config.build.path_match import build_path_match
from fastproxy.config.build.routes import check_cluster
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.filters.jwt_authn.settings import (
    HeaderLocation,
    JwtAuthnSettings,
    LocalJwksSettings,
    ProviderSettings,
    RemoteJwksSettings,
    RuleSettings,
)
from fastproxy.jwt import MAX_CLOCK_SKEW_S, JwksError, JwkSet

JWT_AUTHN = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# A verified payload written over one of these would break the message, or its framing.
_RESERVED_HEADERS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect"}
)
_DEFAULT_HEADERS = (HeaderLocation("authorization", "Bearer "),)
_DEFAULT_PARAMS = ("access_token",)
# Envoy: 0, which is also "not set", means 60.
_DEFAULT_SKEW_S = 60
_DEFAULT_CACHE_DURATION_S = 600.0
_DEFAULT_MAX_TOKEN_BYTES = 4096


def build_jwt_authn(config: View, context: BuildContext) -> JwtAuthnSettings:
    """Build the whole filter; whatever is wrong with it is reported."""
    providers = {}
    names = []
    for name, view in config.entries("providers").items():
        names.append(name)
        provider = _build_provider(name, view, context)
        if provider is not None:
            providers[name] = provider
    rules = [_build_rule(view, names) for view in config.children("rules")]
    return JwtAuthnSettings(providers, tuple(rule for rule in rules if rule is not None))


def _build_provider(name: str, view: View, context: BuildContext) -> ProviderSettings | None:
    cache = view.child_or_empty("jwt_cache_config")
    headers, params = _build_locations(view)
    payload_header = view.text("forward_payload_header").lower()
    _check_payload_header(view, payload_header, headers)
    require_expiration = view.flag("require_expiration") or not context.runtime.allow_missing_exp
    skew_s = view.integer("clock_skew_seconds") or _DEFAULT_SKEW_S
    if skew_s > MAX_CLOCK_SKEW_S:
        view.error(
            f"a clock skew of more than {MAX_CLOCK_SKEW_S} s would accept tokens long expired",
            f"Use {MAX_CLOCK_SKEW_S} or less",
            field="clock_skew_seconds",
        )
    jwks = _build_jwks(name, view, context)
    issuer, audiences = view.text("issuer"), view.texts("audiences")
    forward, pad = view.flag("forward"), view.flag("pad_forward_payload_header")
    cache_size, max_token = cache.integer("jwt_cache_size"), cache.integer("jwt_max_token_size")
    if jwks is None:
        return None
    return ProviderSettings(
        name=name,
        issuer=issuer,
        audiences=audiences,
        jwks=jwks,
        forward=forward,
        forward_payload_header=payload_header,
        pad_forward_payload_header=pad,
        from_headers=headers,
        from_params=params,
        clock_skew_s=skew_s,
        require_expiration=require_expiration,
        cache_size=cache_size or context.runtime.token_cache_size,
        cache_max_token_bytes=max_token or _DEFAULT_MAX_TOKEN_BYTES,
        max_stale_s=context.runtime.max_stale_s,
    )


def _build_locations(view: View) -> tuple[tuple[HeaderLocation, ...], tuple[str, ...]]:
    """Where tokens are read; any explicit place switches both defaults off (spec section 6)."""
    headers = []
    for location in view.children("from_headers"):
        name = location.text("name").lower()
        if name and not _HEADER_NAME.fullmatch(name):
            location.error(f"{quote(name)} is no header name", field="name")
        headers.append(HeaderLocation(name, location.text("value_prefix")))
    params = view.texts("from_params")
    if not headers and not params and not view.has("from_cookies"):
        return _DEFAULT_HEADERS, _DEFAULT_PARAMS
    return tuple(headers), params


def _check_payload_header(view: View, name: str, headers: tuple[HeaderLocation, ...]) -> None:
    field = "forward_payload_header"
    if not name:
        return
    if not _HEADER_NAME.fullmatch(name):
        view.error(f"{quote(name)} is no header name", field=field)
    elif name in _RESERVED_HEADERS:
        view.error(
            f"the header {name} must not be replaced", "Use a name of its own, x-jwt-payload", field=field
        )
    elif name in {location.name for location in headers}:
        # A client's copy is removed before tokens are looked for, so every request would be refused.
        view.error(f"tokens are read from the header {name}, too", "Use another header", field=field)


def _build_jwks(
    name: str, view: View, context: BuildContext
) -> RemoteJwksSettings | LocalJwksSettings | None:
    remote = view.child("remote_jwks")
    if remote is not None:
        return _build_remote_jwks(name, remote, context)
    local = view.child("local_jwks")
    return None if local is None else _build_local_jwks(name, local)


def _build_remote_jwks(name: str, remote: View, context: BuildContext) -> RemoteJwksSettings | None:
    remote.child("async_fetch")
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
    return RemoteJwksSettings(
        uri=uri,
        cluster=cluster,
        timeout_s=http_uri.duration_s("timeout", 0.0),
        cache_duration_s=remote.duration_s("cache_duration", _DEFAULT_CACHE_DURATION_S),
    )


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


def _build_local_jwks(name: str, local: View) -> LocalJwksSettings | None:
    document = read_data_source(local)
    if document is None:
        return None
    try:
        keys = JwkSet.parse(document, allow_symmetric=True)
    except JwksError as exc:
        local.error(
            f"Provider '{quote(name)[1:-1]}' in jwt_authn config has invalid local jwks: {exc}",
            f'It was read from {describe_data_source(local)}; expected is {{"keys": [...]}}',
        )
        return None
    for warning in keys.warnings:
        local.warn(f"Provider '{quote(name)[1:-1]}': {warning}")
    for index, _, reason in keys.ignored:
        local.warn(f"Provider '{quote(name)[1:-1]}': key {index} of the set is not used: {reason}")
    return LocalJwksSettings(document, describe_data_source(local))


def _build_rule(view: View, providers: list[str]) -> RuleSettings | None:
    match = build_path_match(view.child_or_empty("match"))
    view.unsupported("requirement_name", "requirement_map is not supported yet", "Use requires.provider_name")
    requires = view.child("requires")
    name = None
    if requires is not None:
        kind = requires.selected("requires_type")
        if kind is None:
            requires.warn("an empty requirement lets every request through", "Remove it, or name a provider")
        elif kind == "provider_name":
            name = requires.text(kind)
            _check_provider(requires, name, providers)
        else:
            requires.unsupported(kind, f"{kind} is not supported yet", "Use provider_name")
            # The rule would otherwise be taken for one that needs no token.
            return None
    return None if match is None else RuleSettings(match, name)


def _check_provider(requires: View, name: str, providers: list[str]) -> None:
    if name in providers:
        return
    near = difflib.get_close_matches(name, providers, n=1)
    fix = f"Did you mean {quote(near[0])}?" if near else "Add it to providers"
    requires.error(f"Required provider ['{quote(name)[1:-1]}'] is not configured", fix, field="provider_name")
