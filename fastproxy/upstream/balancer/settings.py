"""How a cluster chooses among its endpoints, as the configuration fixes it (spec/clusters.md section 3)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True, slots=True)
class SlowStartSettings:
    """`slow_start_config`: an endpoint that is new, or healthy again, takes its full share only after a while."""

    window_s: float
    aggression: float = 1.0
    """Above 1 the share grows fast at first; 1 is linear."""
    min_weight_percent: float = 10.0


@dataclass(frozen=True, slots=True)
class RoundRobinSettings:
    """ROUND_ROBIN: in turn, each as often as its weight says."""

    slow_start: SlowStartSettings | None = None


@dataclass(frozen=True, slots=True)
class LeastRequestSettings:
    """LEAST_REQUEST: fewest active requests among a few."""

    choice_count: int = 2
    active_request_bias: float = 1.0
    """Weights only: how much active requests count against an endpoint; 0 makes it ROUND_ROBIN."""
    slow_start: SlowStartSettings | None = None
    full_scan: bool = False
    """Look at all endpoints instead of a few; costs time for each of them."""


@dataclass(frozen=True, slots=True)
class RandomSettings:
    """RANDOM: any, weights do not count."""


@dataclass(frozen=True, slots=True)
class ConsistentHashing:
    """What RING_HASH and MAGLEV have in common (`consistent_hashing_lb_config`)."""

    use_hostname: bool = False
    """An endpoint's place depends on its host name instead of its address."""
    balance_factor: int = 0
    """No endpoint has more than this percentage of the average of active requests; 0: no bound."""


@dataclass(frozen=True, slots=True)
class RingHashSettings:
    """RING_HASH: consistent hashing on a ring (ketama)."""

    minimum_ring_size: int = 1024
    maximum_ring_size: int = 8 * 1024 * 1024
    murmur: bool = False
    """`hash_function: MURMUR_HASH_2`."""
    consistent: ConsistentHashing = field(default_factory=ConsistentHashing)


@dataclass(frozen=True, slots=True)
class MaglevSettings:
    """MAGLEV: consistent hashing by a lookup table."""

    table_size: int = 65537
    """A prime."""
    consistent: ConsistentHashing = field(default_factory=ConsistentHashing)


Policy = RoundRobinSettings | LeastRequestSettings | RandomSettings | RingHashSettings | MaglevSettings


@dataclass(frozen=True, slots=True)
class SubsetMatch:
    """`metadata_match` of a route, below `envoy.lb`: which subset of a cluster a request goes to."""

    criteria: tuple[tuple[str, str], ...]
    """Keys and values in JSON, sorted by key; `subset_match` makes one."""

    def overridden_by(self, other: "SubsetMatch") -> "SubsetMatch":
        """Both together; where both name a key, `other` counts."""
        return SubsetMatch(tuple(sorted((dict(self.criteria) | dict(other.criteria)).items())))

    def only(self, keys: tuple[str, ...]) -> "SubsetMatch":
        """The same with fewer keys."""
        return SubsetMatch(tuple(entry for entry in self.criteria if entry[0] in keys))


def subset_match(values: Mapping[str, object]) -> SubsetMatch:
    """What endpoints must have in their metadata, from plain values."""
    return SubsetMatch(tuple((key, encode_value(values[key])) for key in sorted(values)))


def encode_value(value: object) -> str:
    """A metadata value as text by which equal values are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


class Fallback(Enum):
    """Where a request goes whose metadata names no subset (`LbSubsetConfig`)."""

    NO_FALLBACK = "NO_FALLBACK"
    ANY_ENDPOINT = "ANY_ENDPOINT"
    DEFAULT_SUBSET = "DEFAULT_SUBSET"
    KEYS_SUBSET = "KEYS_SUBSET"
    """Selectors only: look again with fewer keys."""


@dataclass(frozen=True, slots=True)
class SubsetSelector:
    """Metadata keys whose values divide the endpoints (`LbSubsetSelector`)."""

    keys: tuple[str, ...]
    """Sorted."""
    fallback: Fallback | None = None
    """None: the cluster's."""
    fallback_keys: tuple[str, ...] = ()
    single_host: bool = False
    """Every combination of values names one endpoint."""


@dataclass(frozen=True, slots=True)
class SubsetSettings:
    """`lb_subset_config`."""

    selectors: tuple[SubsetSelector, ...] = ()
    fallback: Fallback = Fallback.NO_FALLBACK
    default_subset: Mapping[str, object] = field(default_factory=dict)
    list_as_any: bool = False
    """An endpoint whose value is a list belongs to the subset of each of its items."""
    panic_mode_any: bool = False
    """If the fallback finds no endpoint, take any."""


@dataclass(frozen=True, slots=True)
class LoadBalancingSettings:
    """The policy, and how priorities, localities and health come before it."""

    policy: Policy = field(default_factory=RoundRobinSettings)
    panic_threshold: float = 50.0
    """`healthy_panic_threshold` in percent; below it, health is ignored. 0: never."""
    fail_traffic_on_panic: bool = False
    """Answer 503 instead of ignoring health."""
    overprovisioning_factor: int = 140
    """In percent: how much more than its share an endpoint can take."""
    weighted_priority_health: bool = False
    """The health of a priority is counted in weights, not in endpoints."""
    locality_weighted: bool = False
    """`locality_weighted_lb_config`: requests are first spread over localities, by their weights."""
    subsets: SubsetSettings | None = None

    @property
    def uses_hash(self) -> bool:
        """Whether the policy goes by the hash of a request."""
        return isinstance(self.policy, RingHashSettings | MaglevSettings)

    @property
    def hashes_hostnames(self) -> bool:
        """Whether the places of endpoints depend on their host names."""
        policy = self.policy
        return isinstance(policy, RingHashSettings | MaglevSettings) and policy.consistent.use_hostname
