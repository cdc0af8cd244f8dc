"""`jwt_authn` as the configuration fixes it (Envoy `jwt_authn.v3.JwtAuthentication`). Durations are seconds."""

import hashlib
from dataclasses import dataclass, field

from fastproxy.jwt.verifier import DEFAULT_CACHE_BYTES
from fastproxy.match.settings import PathMatch, RequestConditions, StringMatch


@dataclass(frozen=True, slots=True)
class FetchRetrySettings:
    """`remote_jwks.retry_policy`: further attempts within one fetch and its timeout."""

    num_retries: int = 1
    """Attempts after the first one."""
    base_interval_s: float = 1.0
    max_interval_s: float = 10.0
    """Envoy: ten times the base interval."""


@dataclass(frozen=True, slots=True)
class FetchHeaderSettings:
    """A request header of a key fetch: `fastproxy.jwks.request_headers.<provider>.<name>`.

    The value is `prefix`, then the content of `filename` as it is at the moment of the fetch, then `suffix`.
    """

    name: str
    """Lower case."""
    prefix: str = field(default="", repr=False)
    filename: str = ""
    """Empty: the value is `prefix` alone."""
    suffix: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class RemoteJwksSettings:
    """`remote_jwks`: keys fetched over HTTP by the control plane, through a named cluster."""

    uri: str
    cluster: str
    timeout_s: float
    cache_duration_s: float = 600.0
    retry: FetchRetrySettings | None = None
    """None: one attempt; the background back-off does the rest."""
    failed_refetch_s: float = 1.0
    """`async_fetch.failed_refetch_duration`: the first delay of the back-off after a failed fetch."""
    wait_for_first_fetch: bool = False
    """`async_fetch` without `fast_listener`: listeners accept after the first fetch, good or bad."""
    request_headers: tuple[FetchHeaderSettings, ...] = ()


@dataclass(frozen=True, slots=True)
class DiscoveryJwksSettings:
    """No key source, but an `issuer`: OpenID Connect Discovery 1.0 finds the keys. FastProxy's own."""

    issuer: str
    """The configured issuer, an http or https URL; the discovered one must equal it."""
    cluster: str = ""
    """`fastproxy.jwks.discovery_cluster.<provider>`; empty: the issuer's host itself, by DNS, and the
    system's roots."""
    timeout_s: float = 10.0
    """For metadata and key set together."""
    cache_duration_s: float = 600.0
    allow_private_networks: bool = False
    """`fastproxy.jwks.allow_private_networks`: `jwks_uri` may lead to addresses that are not public (S38)."""
    request_headers: tuple[FetchHeaderSettings, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalJwksSettings:
    """`local_jwks`: keys that the configuration has or names."""

    jwks: bytes = field(repr=False)
    """The JWKS document. In a worker it is empty for a watched file: the control plane sends the keys."""
    origin: str
    """Where it came from, for messages: a file name, `inline_string`..."""
    filename: str = ""
    """The file to watch; empty if the keys do not come from one."""


JwksSettings = RemoteJwksSettings | DiscoveryJwksSettings | LocalJwksSettings


@dataclass(frozen=True, slots=True)
class HeaderLocation:
    """One `from_headers` entry: where in the request head a token may be."""

    name: str
    """Lower case."""
    value_prefix: str = ""


@dataclass(frozen=True, slots=True)
class ClaimHeaderSettings:
    """One `claim_to_headers` entry: a header that gets a claim."""

    header_name: str
    """Lower case."""
    path: tuple[str, ...]
    """Member names from the payload down: `claim_name` split at its dots, or `claim_path`."""


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One `providers` entry: who issues tokens, with which keys, and where they travel."""

    name: str
    issuer: str
    audiences: tuple[str, ...]
    jwks: JwksSettings
    forward: bool = False
    forward_payload_header: str = ""
    pad_forward_payload_header: bool = False
    from_headers: tuple[HeaderLocation, ...] = (HeaderLocation("authorization", "Bearer "),)
    from_params: tuple[str, ...] = ("access_token",)
    from_cookies: tuple[str, ...] = ()
    clock_skew_s: int = 60
    require_expiration: bool = True
    """Stricter than Envoy (S20): the runtime key `fastproxy.jwt.allow_missing_exp` relaxes it."""
    require_at_jwt: bool = False
    """The runtime key `fastproxy.jwt.require_at_jwt`: `typ` must be `at+jwt` (RFC 9068); no ID token passes (S26)."""
    cache_size: int = 1000
    cache_max_bytes: int = DEFAULT_CACHE_BYTES
    """Memory that the kept tokens may take, by estimate: the runtime key `fastproxy.jwt.token_cache_bytes`."""
    cache_max_token_bytes: int = 8192
    """Verified tokens above this length are not cached (`jwt_cache_config.jwt_max_token_size`)."""
    max_stale_s: float = 3600.0
    """How long the last good remote keys serve while they cannot be refreshed (`fastproxy.jwks.max_stale_s`)."""
    subjects: StringMatch | None = None
    """Applied to `sub`; a missing one is the empty text."""
    max_lifetime_s: float | None = None
    """`exp` must be less than this ahead of now."""
    claim_headers: tuple[ClaimHeaderSettings, ...] = ()
    payload_in_metadata: str = ""
    """Metadata key of the payload; empty: it is not written."""
    space_delimited_claims: tuple[str, ...] = ()
    """`normalize_payload_in_metadata`: these become lists, in the metadata alone."""
    header_in_metadata: str = ""
    failed_status_in_metadata: str = ""
    clear_route_cache: bool = False
    config_path: str = field(default="", compare=False, repr=False)
    """Where it stands in the configuration, for messages: `static_resources.listeners[0]`..."""

    @property
    def source_id(self) -> str:
        """Names this provider's key source in messages from the control plane.

        Keys are kept per provider and source, never per issuer alone (S18).
        """
        jwks = self.jwks
        if isinstance(jwks, RemoteJwksSettings):
            return f"{self.name}|{jwks.cluster}|{jwks.uri}"
        if isinstance(jwks, DiscoveryJwksSettings):
            return f"{self.name}|discovery|{jwks.cluster}|{jwks.issuer}"
        if jwks.filename:
            return f"{self.name}|file|{jwks.filename}"
        # Filters of two listeners may use one provider name for different inline keys.
        return f"{self.name}|local|{hashlib.sha256(jwks.jwks).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class RequiresProvider:
    """`provider_name`, or `provider_and_audiences`."""

    provider_name: str
    audiences: tuple[str, ...] = ()
    """Instead of the provider's own; empty: the provider's own apply."""


@dataclass(frozen=True, slots=True)
class RequiresAny:
    """`requires_any`."""

    requirements: "tuple[RequirementSettings, ...]"


@dataclass(frozen=True, slots=True)
class RequiresAll:
    """`requires_all`."""

    requirements: "tuple[RequirementSettings, ...]"


@dataclass(frozen=True, slots=True)
class AllowsMissing:
    """`allow_missing`."""


@dataclass(frozen=True, slots=True)
class AllowsMissingOrFailed:
    """`allow_missing_or_failed`."""


@dataclass(frozen=True, slots=True)
class RequiresNothing:
    """An empty requirement: every request satisfies it."""


RequirementSettings = (
    RequiresProvider | RequiresAny | RequiresAll | AllowsMissing | AllowsMissingOrFailed | RequiresNothing
)


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """One `rules` entry; the first that matches decides. Without `requires` no token is needed."""

    match: PathMatch
    requires: RequirementSettings | None = None
    conditions: RequestConditions = field(default_factory=RequestConditions)
    """What else must hold for the rule to match."""
    requirement_name: str = field(default="", compare=False)
    """Where `requires` comes from, if it is an entry of `requirement_map`."""
    config_path: str = field(default="", compare=False, repr=False)
    """Where it stands in the configuration, for messages: `static_resources.listeners[0]`..."""


@dataclass(frozen=True, slots=True)
class PerRouteSettings:
    """What a route or a virtual host says about the filter (`typed_per_filter_config`).

    All of it at its default: the filter applies, also where it is switched off by default.
    """

    requirement_name: str = ""
    """Of `requirement_map`; the rules are then not consulted."""
    disabled: bool = False
    """No token is needed. Identity headers are removed all the same (S46)."""
    is_skipped: bool = False
    """The filter is off (`FilterConfig.disabled`): as `disabled`, and it counts nothing."""


@dataclass(frozen=True, slots=True)
class JwtAuthnSettings:
    """The whole filter."""

    providers: dict[str, ProviderSettings] = field(default_factory=dict)
    rules: tuple[RuleSettings, ...] = ()
    requirement_map: dict[str, RequirementSettings] = field(default_factory=dict)
    bypass_cors_preflight: bool = False
    strip_failure_response: bool = False
    stat_prefix: str = ""
    name: str = ""
    """The filter's own name in `http_filters`, by which routes speak of it."""
    is_off_by_default: bool = False
    """`disabled` in `http_filters`: only routes that say so have it."""
    config_path: str = field(default="", compare=False, repr=False)
    """Where it stands in the configuration, for messages: `static_resources.listeners[0]`..."""
