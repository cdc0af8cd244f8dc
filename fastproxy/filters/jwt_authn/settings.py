"""`jwt_authn` as the configuration fixes it (Envoy `jwt_authn.v3.JwtAuthentication`). Durations are seconds."""

from dataclasses import dataclass, field

from fastproxy.match.settings import PathMatch


@dataclass(frozen=True, slots=True)
class RemoteJwksSettings:
    """`remote_jwks`: keys fetched over HTTP by the control plane, through a named cluster."""

    uri: str
    cluster: str
    timeout_s: float
    cache_duration_s: float = 600.0


@dataclass(frozen=True, slots=True)
class LocalJwksSettings:
    """`local_jwks`: keys read when the configuration is built."""

    jwks: bytes
    """The JWKS document."""
    origin: str
    """Where it came from, for messages: a file name, `inline_string`..."""


@dataclass(frozen=True, slots=True)
class HeaderLocation:
    """One `from_headers` entry: where in the request head a token may be."""

    name: str
    """Lower case."""
    value_prefix: str = ""


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One `providers` entry: who issues tokens, with which keys, and where they travel."""

    name: str
    issuer: str
    audiences: tuple[str, ...]
    jwks: RemoteJwksSettings | LocalJwksSettings
    forward: bool = False
    forward_payload_header: str = ""
    pad_forward_payload_header: bool = False
    from_headers: tuple[HeaderLocation, ...] = (HeaderLocation("authorization", "Bearer "),)
    from_params: tuple[str, ...] = ("access_token",)
    clock_skew_s: int = 60
    require_expiration: bool = True
    """Stricter than Envoy (S20): the runtime key `fastproxy.jwt.allow_missing_exp` relaxes it."""
    cache_size: int = 1000
    cache_max_token_bytes: int = 4096
    """Verified tokens above this length are not cached (`jwt_cache_config.jwt_max_token_size`)."""
    max_stale_s: float = 3600.0
    """How long the last good remote keys serve while they cannot be refreshed (`fastproxy.jwks.max_stale_s`)."""

    @property
    def source_id(self) -> str:
        """Names this provider's key source in messages from the control plane.

        Keys are kept per provider and source, never per issuer alone (S18).
        """
        if isinstance(self.jwks, RemoteJwksSettings):
            return f"{self.name}|{self.jwks.cluster}|{self.jwks.uri}"
        return f"{self.name}|local"


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """One `rules` entry; the first whose path matches decides. `provider_name` None: no token is needed."""

    match: PathMatch
    provider_name: str | None = None


@dataclass(frozen=True, slots=True)
class JwtAuthnSettings:
    """The whole filter."""

    providers: dict[str, ProviderSettings] = field(default_factory=dict)
    rules: tuple[RuleSettings, ...] = ()
