"""FastProxy's own settings: keys below `fastproxy.` in the static layers of `layered_runtime`.

Envoy takes any key there, so a file with them still loads in Envoy. Here an unknown one is an error: a typing
error in a security setting must not pass. Keys of Envoy's own are only warned about.
"""

import difflib
import math
from dataclasses import dataclass, field

from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.jwt.verifier import DEFAULT_CACHE_BYTES

_PREFIX = "fastproxy."
MAX_STALE = "fastproxy.jwks.max_stale_s"
SNAPSHOT_DIR = "fastproxy.jwks.snapshot_dir"
ALLOW_PRIVATE_NETWORKS = "fastproxy.jwks.allow_private_networks"
#: Followed by a provider's name.
DISCOVERY_CLUSTER = "fastproxy.jwks.discovery_cluster."
#: Followed by a provider's name, a dot and a header's name.
REQUEST_HEADERS = "fastproxy.jwks.request_headers."
ALLOW_MISSING_EXP = "fastproxy.jwt.allow_missing_exp"
REQUIRE_AT_JWT = "fastproxy.jwt.require_at_jwt"
TOKEN_CACHE_SIZE = "fastproxy.jwt.token_cache_size"  # noqa: S105 - a setting's name
TOKEN_CACHE_BYTES = "fastproxy.jwt.token_cache_bytes"  # noqa: S105 - a setting's name
KNOWN_KEYS = (
    MAX_STALE,
    SNAPSHOT_DIR,
    ALLOW_PRIVATE_NETWORKS,
    ALLOW_MISSING_EXP,
    REQUIRE_AT_JWT,
    TOKEN_CACHE_SIZE,
    TOKEN_CACHE_BYTES,
)
_PER_PROVIDER = (DISCOVERY_CLUSTER, REQUEST_HEADERS)
_MAX_CACHE_SIZE = 10_000_000
_MAX_CACHE_BYTES = 2**40


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A setting for one provider, and where it stands: whether the provider exists shows later."""

    layer: View
    key: str
    provider: str
    value: str

    def error(self, problem: str, fix: str = "") -> None:
        """Report a mistake in this setting."""
        self.layer.error(f"{self.key}: {problem}", fix, field="static_layer")

    def warn(self, problem: str, fix: str = "") -> None:
        """Tell something about this setting that does not stop the load."""
        self.layer.warn(f"{self.key}: {problem}", fix, field="static_layer")


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A key of Envoy's or of the operator's own, and where it stands."""

    layer: View
    value: object


@dataclass(slots=True)
class RuntimeKeys:
    """The settings with their defaults."""

    max_stale_s: float = 3600.0
    """`fastproxy.jwks.max_stale_s`: how long keys may serve that cannot be refreshed."""
    allow_missing_exp: bool = False
    """`fastproxy.jwt.allow_missing_exp`: accept tokens that never expire, as Envoy does."""
    require_at_jwt: bool = False
    """`fastproxy.jwt.require_at_jwt`: accept tokens of the type `at+jwt` alone (RFC 9068)."""
    token_cache_size: int = 1000
    """`fastproxy.jwt.token_cache_size`: verified tokens to keep per provider and worker; 0 keeps none."""
    token_cache_bytes: int = DEFAULT_CACHE_BYTES
    """`fastproxy.jwt.token_cache_bytes`: memory they may take, per provider and worker; 0 keeps none."""
    snapshot_dir: str = ""
    """`fastproxy.jwks.snapshot_dir`: where fetched key sets are kept for the next start; empty: nowhere."""
    allow_private_networks: bool = False
    """`fastproxy.jwks.allow_private_networks`: discovered keys may lie at addresses that are not public."""
    discovery_clusters: dict[str, ProviderKey] = field(default_factory=dict)
    """`fastproxy.jwks.discovery_cluster.<provider>`: the cluster's name, by provider."""
    request_headers: dict[tuple[str, str], ProviderKey] = field(default_factory=dict)
    """`fastproxy.jwks.request_headers.<provider>.<name>`: the value, by provider and lower-case name."""
    foreign: dict[str, ForeignKey] = field(default_factory=dict)
    """Every key that is not below `fastproxy.`."""
    _read: set[str] = field(default_factory=set)

    def read(self, key: str) -> object:
        """The value of a key that a field of the configuration names (`runtime_key`); None if it has none."""
        self._read.add(key)
        found = self.foreign.get(key)
        return None if found is None else found.value

    def warn_about_unread(self) -> None:
        """Tell, when everything is built, which keys nothing went by."""
        unread: dict[int, list[str]] = {}
        layers: dict[int, View] = {}
        for key, foreign in self.foreign.items():
            if key not in self._read:
                unread.setdefault(id(foreign.layer), []).append(key)
                layers[id(foreign.layer)] = foreign.layer
        for number, keys in unread.items():
            layers[number].warn(
                f"has no effect: FastProxy does not read {', '.join(quote(key) for key in keys[:5])}"
                + (f" and {len(keys) - 5} more" if len(keys) > 5 else ""),
                field="static_layer",
            )

    def read_count(self, key: str) -> int | None:
        """The value of one of Envoy's own keys that is a count; None if it is not set, or wrong (reported)."""
        value = self.read(key)
        if value is None:
            return None
        number = _number(value)
        if number is None or not number.is_integer() or not 0 <= number < 1 << 32:
            _wrong(self.foreign[key].layer, key, "must be a whole number, 0 or more")
            return None
        return int(number)


def build_runtime_keys(bootstrap: View) -> RuntimeKeys:
    """Read `layered_runtime`; a later layer overrides an earlier one."""
    keys = RuntimeKeys()
    layered = bootstrap.child("layered_runtime")
    if layered is None:
        return keys
    layers = layered.children("layers")
    _check_names(layers)
    for layer in layers:
        layer.without_effect("admin_layer", "runtime keys cannot be changed while the proxy runs")
        if (static := layer.struct("static_layer")) or layer.has("static_layer"):
            _read_layer(layer, _flatten(static), keys)
    return keys


def _check_names(layers: list[View]) -> None:
    seen: set[str] = set()
    admin_layers = 0
    for layer in layers:
        name = layer.text("name")
        if name in seen:
            layer.error(f"duplicate layer name {quote(name)}", "Rename or remove one of them", field="name")
        seen.add(name)
        admin_layers += layer.has("admin_layer")
        if admin_layers > 1 and layer.has("admin_layer"):
            layer.error("there is another admin_layer before this one", "Remove it", field="admin_layer")


def _read_layer(layer: View, values: dict[str, object], keys: RuntimeKeys) -> None:
    for key, value in values.items():
        if key.startswith(_PREFIX):
            _read_key(layer, key, value, keys)
        else:
            keys.foreign[key] = ForeignKey(layer, value)


def _read_key(layer: View, key: str, value: object, keys: RuntimeKeys) -> None:
    if key in (ALLOW_MISSING_EXP, ALLOW_PRIVATE_NETWORKS, REQUIRE_AT_JWT):
        _read_flag(layer, key, value, keys)
    elif key in (MAX_STALE, TOKEN_CACHE_SIZE, TOKEN_CACHE_BYTES):
        _read_number(layer, key, value, keys)
    elif key == SNAPSHOT_DIR:
        if not isinstance(value, str) or not value or "\0" in value:
            _wrong(layer, key, "must be the name of a directory")
            return
        keys.snapshot_dir = value
    elif key.startswith(_PER_PROVIDER):
        _read_provider_key(layer, key, value, keys)
    else:
        near = difflib.get_close_matches(key, KNOWN_KEYS, n=1)
        known = (*KNOWN_KEYS, *(f"{prefix}<provider>" for prefix in _PER_PROVIDER))
        fix = f"Did you mean {near[0]}?" if near else "Known keys: " + ", ".join(known)
        layer.error(f"unknown setting {quote(key)}", fix, field="static_layer")


def _read_flag(layer: View, key: str, value: object, keys: RuntimeKeys) -> None:
    if not isinstance(value, bool):
        _wrong(layer, key, "must be true or false")
    elif key == ALLOW_PRIVATE_NETWORKS:
        keys.allow_private_networks = value
    elif key == REQUIRE_AT_JWT:
        keys.require_at_jwt = value
    else:
        keys.allow_missing_exp = value
        if value:
            layer.warn(f"{key}: tokens without exp are accepted and never expire", field="static_layer")


def _read_number(layer: View, key: str, value: object, keys: RuntimeKeys) -> None:
    number = _number(value)
    if key == MAX_STALE:
        if number is None or not 0 <= number < math.inf:
            _wrong(layer, key, "must be a number of seconds, 0 or more")
            return
        keys.max_stale_s = number
        return
    limit = _MAX_CACHE_SIZE if key == TOKEN_CACHE_SIZE else _MAX_CACHE_BYTES
    if number is None or not number.is_integer() or not 0 <= number <= limit:
        _wrong(layer, key, f"must be an integer between 0 and {limit}")
    elif key == TOKEN_CACHE_SIZE:
        keys.token_cache_size = int(number)
    else:
        keys.token_cache_bytes = int(number)


def _read_provider_key(layer: View, key: str, value: object, keys: RuntimeKeys) -> None:
    if not isinstance(value, str) or not value:
        # The value may be a secret that was not quoted, so it is not repeated.
        _wrong(layer, key, "must be text")
    elif key.startswith(DISCOVERY_CLUSTER):
        provider = key.removeprefix(DISCOVERY_CLUSTER)
        keys.discovery_clusters[provider] = ProviderKey(layer, key, provider, value)
    else:
        # A provider's name may have dots; the name of a header that matters here has none.
        provider, _, header = key.removeprefix(REQUEST_HEADERS).rpartition(".")
        if not provider or not header:
            _wrong(layer, key, "must end in a provider's name, a dot and a header's name")
            return
        keys.request_headers[provider, header.lower()] = ProviderKey(layer, key, provider, value)


def _wrong(layer: View, key: str, problem: str) -> None:
    layer.error(f"{key} {problem}", field="static_layer")


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    # `0.5` is text by Envoy's YAML rules.
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return None


def _flatten(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Nested mappings mean dotted keys, as in Envoy: `fastproxy: {jwt: {...}}` is `fastproxy.jwt...`."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        # Envoy: a mapping with one of these is a share of requests, and so a value.
        is_share = isinstance(value, dict) and ("numerator" in value or "denominator" in value)
        if isinstance(value, dict) and value and not is_share:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
