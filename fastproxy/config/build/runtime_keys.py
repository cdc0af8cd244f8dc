"""FastProxy's own settings: keys below `fastproxy.` in the static layers of `layered_runtime`.

Envoy takes any key there, so a file with them still loads in Envoy. Here an unknown one is an error: a typing
error in a security setting must not pass. Keys of Envoy's own are only warned about.
"""

import difflib
import math
from dataclasses import dataclass

from fastproxy.config.problems import quote
from fastproxy.config.view import View

_PREFIX = "fastproxy."
MAX_STALE = "fastproxy.jwks.max_stale_s"
ALLOW_MISSING_EXP = "fastproxy.jwt.allow_missing_exp"
TOKEN_CACHE_SIZE = "fastproxy.jwt.token_cache_size"  # noqa: S105 - a setting's name
KNOWN_KEYS = (MAX_STALE, ALLOW_MISSING_EXP, TOKEN_CACHE_SIZE)
_MAX_CACHE_SIZE = 10_000_000


@dataclass(slots=True)
class RuntimeKeys:
    """The settings with their defaults."""

    max_stale_s: float = 3600.0
    """`fastproxy.jwks.max_stale_s`: how long keys may serve that cannot be refreshed."""
    allow_missing_exp: bool = False
    """`fastproxy.jwt.allow_missing_exp`: accept tokens that never expire, as Envoy does."""
    token_cache_size: int = 1000
    """`fastproxy.jwt.token_cache_size`: verified tokens to keep per provider and worker; 0 keeps none."""


def build_runtime_keys(bootstrap: View) -> RuntimeKeys:
    """Read `layered_runtime`; a later layer overrides an earlier one."""
    keys = RuntimeKeys()
    layered = bootstrap.child("layered_runtime")
    if layered is None:
        return keys
    for layer in layered.children("layers"):
        layer.accept("name")
        layer.without_effect("admin_layer", "runtime keys cannot be changed while the proxy runs")
        if (static := layer.struct("static_layer")) or layer.has("static_layer"):
            _read_layer(layer, _flatten(static), keys)
    return keys


def _read_layer(layer: View, values: dict[str, object], keys: RuntimeKeys) -> None:
    foreign = [key for key in values if not key.startswith(_PREFIX)]
    if foreign:
        layer.warn(
            f"has no effect: FastProxy does not read {', '.join(quote(key) for key in foreign[:5])}"
            + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""),
            field="static_layer",
        )
    for key, value in values.items():
        if key.startswith(_PREFIX):
            _read_key(layer, key, value, keys)


def _read_key(layer: View, key: str, value: object, keys: RuntimeKeys) -> None:
    if key == ALLOW_MISSING_EXP:
        if not isinstance(value, bool):
            _wrong(layer, key, "must be true or false")
            return
        keys.allow_missing_exp = value
        if value:
            layer.warn(f"{key}: tokens without exp are accepted and never expire", field="static_layer")
    elif key == MAX_STALE:
        number = _number(value)
        if number is None or not 0 <= number < math.inf:
            _wrong(layer, key, "must be a number of seconds, 0 or more")
            return
        keys.max_stale_s = number
    elif key == TOKEN_CACHE_SIZE:
        number = _number(value)
        if number is None or not number.is_integer() or not 0 <= number <= _MAX_CACHE_SIZE:
            _wrong(layer, key, f"must be an integer between 0 and {_MAX_CACHE_SIZE}")
            return
        keys.token_cache_size = int(number)
    else:
        near = difflib.get_close_matches(key, KNOWN_KEYS, n=1)
        fix = f"Did you mean {near[0]}?" if near else "Known keys: " + ", ".join(KNOWN_KEYS)
        layer.error(f"unknown setting {quote(key)}", fix, field="static_layer")


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
        if isinstance(value, dict) and value:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
