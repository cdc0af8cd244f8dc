"""`JwtProvider` to settings (spec/jwt_authn.md section 1.2)."""

import re
from collections.abc import Mapping

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.key_sources import build_key_source
from fastproxy.config.build.matchers import build_string_match
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.filters.jwt_authn.settings import (
    ClaimHeaderSettings,
    HeaderLocation,
    LocalJwksSettings,
    ProviderSettings,
)
from fastproxy.jwt import MAX_CLOCK_SKEW_S

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 6265 section 4.1.1: a cookie's name is a token.
_COOKIE_NAME = _HEADER_NAME
# A verified value written over one of these would break the message, or its framing.
_RESERVED_HEADERS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect"}
)
_DEFAULT_HEADERS = (HeaderLocation("authorization", "Bearer "),)
_DEFAULT_PARAMS = ("access_token",)
# Envoy: 0, which is also "not set", means 60.
_DEFAULT_SKEW_S = 60
# Envoy: 4096. A token with an ML-DSA signature takes 3.5 to 7 KB.
_DEFAULT_MAX_TOKEN_BYTES = 8192


def build_provider(name: str, view: View, context: BuildContext) -> ProviderSettings | None:
    """Build one provider; None when it has no key source that can be used (reported)."""
    cache = view.child_or_empty("jwt_cache_config")
    headers, params, cookies = _build_locations(view)
    payload_header = view.text("forward_payload_header").lower()
    if payload_header:
        _check_identity_header(view, "forward_payload_header", payload_header)
    require_expiration = view.flag("require_expiration") or not context.runtime.allow_missing_exp
    subjects = view.child("subjects")
    lists = view.child_or_empty("normalize_payload_in_metadata").texts("space_delimited_claims")
    payload_key = view.text("payload_in_metadata")
    if lists and not payload_key:
        view.warn(
            "has no effect without payload_in_metadata",
            "Set payload_in_metadata",
            field="normalize_payload_in_metadata",
        )
    jwks = build_key_source(name, view, context)
    settings = ProviderSettings(
        name=name,
        issuer=view.text("issuer"),
        audiences=view.texts("audiences"),
        # The settings are not used without keys, but every field has to be read.
        jwks=jwks or LocalJwksSettings(b"", ""),
        forward=view.flag("forward"),
        forward_payload_header=payload_header,
        pad_forward_payload_header=view.flag("pad_forward_payload_header"),
        from_headers=headers,
        from_params=params,
        from_cookies=cookies,
        clock_skew_s=_build_skew(view),
        require_expiration=require_expiration,
        require_at_jwt=context.runtime.require_at_jwt,
        cache_size=cache.integer("jwt_cache_size") or context.runtime.token_cache_size,
        cache_max_bytes=context.runtime.token_cache_bytes,
        cache_max_token_bytes=cache.integer("jwt_max_token_size") or _DEFAULT_MAX_TOKEN_BYTES,
        max_stale_s=context.runtime.max_stale_s,
        subjects=None if subjects is None else build_string_match(subjects),
        max_lifetime_s=view.duration_s("max_lifetime", 0.0) if view.has("max_lifetime") else None,
        claim_headers=tuple(_build_claim_header(name, entry) for entry in view.children("claim_to_headers")),
        payload_in_metadata=payload_key,
        space_delimited_claims=lists,
        header_in_metadata=view.text("header_in_metadata"),
        failed_status_in_metadata=view.text("failed_status_in_metadata"),
        clear_route_cache=view.flag("clear_route_cache"),
        config_path=view.path,
    )
    return None if jwks is None else settings


def check_locations(providers: Mapping[str, View]) -> None:
    """Report identity headers that a token is read from: they are removed before tokens are looked for."""
    locations = {
        _spelt(location.message.name): name
        for name, view in providers.items()
        for location in view.children("from_headers")
    }
    for name, view in providers.items():
        if not view.has("from_headers") and not view.has("from_params") and not view.has("from_cookies"):
            locations.setdefault("authorization", name)
    for view in providers.values():
        _check_not_read(view, "forward_payload_header", locations)
        for claim in view.children("claim_to_headers"):
            _check_not_read(claim, "header_name", locations)


def _check_not_read(view: View, field: str, locations: Mapping[str, str]) -> None:
    header = getattr(view.message, field).lower()
    reader = locations.get(_spelt(header))
    if header and reader is not None:
        view.error(
            f"tokens are read from the header {header}, too (provider {quote(reader)})",
            "Use another header: a copy from the downstream is removed before tokens are looked for",
            field=field,
        )


def _spelt(header: str) -> str:
    return header.lower().replace("_", "-")


def _build_skew(view: View) -> int:
    skew_s = view.integer("clock_skew_seconds") or _DEFAULT_SKEW_S
    if skew_s > MAX_CLOCK_SKEW_S:
        view.error(
            f"a clock skew of more than {MAX_CLOCK_SKEW_S} s would accept tokens long expired",
            f"Use {MAX_CLOCK_SKEW_S} or less",
            field="clock_skew_seconds",
        )
    return skew_s


def _build_locations(view: View) -> tuple[tuple[HeaderLocation, ...], tuple[str, ...], tuple[str, ...]]:
    """Where tokens are read; any explicit place switches both defaults off (spec section 6)."""
    headers = []
    for location in view.children("from_headers"):
        name = location.text("name").lower()
        if name and not _HEADER_NAME.fullmatch(name):
            location.error(f"{quote(name)} is no header name", field="name")
        headers.append(HeaderLocation(name, location.text("value_prefix")))
    params, cookies = view.texts("from_params"), view.texts("from_cookies")
    for cookie in cookies:
        if cookie and not _COOKIE_NAME.fullmatch(cookie):
            view.error(f"{quote(cookie)} is no cookie name", field="from_cookies")
    if not headers and not params and not cookies:
        return _DEFAULT_HEADERS, _DEFAULT_PARAMS, ()
    return tuple(headers), params, cookies


def _build_claim_header(provider: str, view: View) -> ClaimHeaderSettings:
    header = view.text("header_name").lower()
    if header:
        _check_identity_header(view, "header_name", header)
    path = tuple(view.text("claim_name").split(".")) if view.has("claim_name") else ()
    # In the schema from some version on.
    literal: tuple[str, ...] = ()
    if "claim_path" in view.message.DESCRIPTOR.fields_by_name:
        literal = tuple(part.text("key") for part in view.children("claim_path"))
    if bool(path) == bool(literal):
        view.error(
            f"Provider '{quote(provider)[1:-1]}' has a claim_to_headers entry for header "
            f"'{quote(header)[1:-1]}' which does not set exactly one of claim_name and claim_path"
        )
    return ClaimHeaderSettings(header, path or literal)


def _check_identity_header(view: View, field: str, name: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        view.error(f"{quote(name)} is no header name", field=field)
    elif name in _RESERVED_HEADERS:
        view.error(
            f"the header {name} must not be replaced",
            "Use a name of its own, as in x-jwt-payload",
            field=field,
        )
