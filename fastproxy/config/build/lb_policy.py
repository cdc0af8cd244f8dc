"""How a cluster balances load: `lb_policy` with its settings, `load_balancing_policy`, `common_lb_config`."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from fastproxy.config.build.lb_subset import build_subsets
from fastproxy.config.build.load_assignment import DEFAULT_OVERPROVISIONING, build_assignment_policy
from fastproxy.config.view import View
from fastproxy.upstream.balancer.settings import (
    ConsistentHashing,
    LeastRequestSettings,
    LoadBalancingSettings,
    MaglevSettings,
    Policy,
    RandomSettings,
    RingHashSettings,
    RoundRobinSettings,
    SlowStartSettings,
)

_EXTENSIONS = "envoy.extensions.load_balancing_policies."
_SUBSET = _EXTENSIONS + "subset.v3.Subset"
_MAX_RING = 8 * 1024 * 1024
#: Points that take about a second to compute.
_LARGE_RING = 1_000_000
_ONE_PLACE = ("zone_aware_lb_config", "locality_weighted_lb_config", "consistent_hashing_lb_config")
_KNOWN = "FastProxy has ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH and MAGLEV"


def build_load_balancing(cluster: View) -> LoadBalancingSettings:
    """Build everything that decides which endpoint gets a request."""
    common = cluster.child_or_empty("common_lb_config")
    threshold = common.child("healthy_panic_threshold")
    assignment = cluster.child("load_assignment")
    factor, weighted = (
        (DEFAULT_OVERPROVISIONING, False) if assignment is None else build_assignment_policy(assignment)
    )
    found = LoadBalancingSettings(
        panic_threshold=50.0 if threshold is None else threshold.number("value"),
        overprovisioning_factor=factor,
        weighted_priority_health=weighted,
    )
    if cluster.has("load_balancing_policy") or cluster.choice("lb_policy") == "LOAD_BALANCING_POLICY_CONFIG":
        return _build_extension(cluster, common, found)
    subsets = cluster.child("lb_subset_config")
    return replace(
        _build_locality(common, found),
        policy=_build_policy(cluster, _build_hashing(common.child("consistent_hashing_lb_config"))),
        subsets=None if subsets is None else build_subsets(subsets),
    )


# `lb_policy`.


def _build_policy(cluster: View, hashing: ConsistentHashing) -> Policy:
    name = cluster.choice("lb_policy")
    known = _POLICIES.get(name)
    if known is None:
        cluster.error(f"{name} is not supported", _KNOWN, field="lb_policy")
        return RoundRobinSettings()
    field, build = known
    settings = cluster.child(field) if field else None
    return build(settings, hashing)


def _round_robin(settings: View | None, _hashing: ConsistentHashing) -> Policy:
    return RoundRobinSettings(_build_slow_start(settings))


def _least_request(settings: View | None, _hashing: ConsistentHashing) -> Policy:
    if settings is None:
        return LeastRequestSettings()
    bias = settings.child("active_request_bias")
    if bias is not None:
        bias.accept("runtime_key")
        if bias.number("default_value") < 0:
            bias.error("must not be negative", field="default_value")
    return LeastRequestSettings(
        choice_count=settings.integer_or("choice_count", 2),
        active_request_bias=1.0 if bias is None else bias.number("default_value"),
        slow_start=_build_slow_start(settings),
    )


def _random(_settings: View | None, _hashing: ConsistentHashing) -> Policy:
    return RandomSettings()


def _ring_hash(settings: View | None, hashing: ConsistentHashing) -> Policy:
    if settings is None:
        return RingHashSettings(consistent=hashing)
    minimum = settings.integer_or("minimum_ring_size", 1024)
    maximum = settings.integer_or("maximum_ring_size", _MAX_RING)
    if minimum > maximum:
        settings.error(
            f"minimum_ring_size ({minimum}) > maximum_ring_size ({maximum})", field="minimum_ring_size"
        )
    if minimum > _LARGE_RING:
        settings.warn(
            f"a ring of {minimum} points keeps every worker busy for seconds whenever an endpoint comes or goes, and"
            " takes up to 30 MB for each million",
            "100 points for each endpoint spread requests well",
            field="minimum_ring_size",
        )
    murmur = settings.choice("hash_function") == "MURMUR_HASH_2"
    return RingHashSettings(minimum, maximum, murmur, hashing)


def _maglev(settings: View | None, hashing: ConsistentHashing) -> Policy:
    size = 65537 if settings is None else settings.integer_or("table_size", 65537)
    if settings is not None and not _is_prime(size):
        settings.error(
            "The table size of maglev must be prime number",
            f"The next one is {next(n for n in range(size, 2 * size + 3) if _is_prime(n))}",
            field="table_size",
        )
    return MaglevSettings(size, hashing)


_POLICIES: dict[str, tuple[str, Callable[[View | None, ConsistentHashing], Policy]]] = {
    "ROUND_ROBIN": ("round_robin_lb_config", _round_robin),
    "LEAST_REQUEST": ("least_request_lb_config", _least_request),
    "RANDOM": ("", _random),
    "RING_HASH": ("ring_hash_lb_config", _ring_hash),
    "MAGLEV": ("maglev_lb_config", _maglev),
}


# `load_balancing_policy`: the same policies in messages of their own.


@dataclass(frozen=True, slots=True)
class _Extension:
    name: str
    """In `_POLICIES`."""
    locality_field: str
    """The message that says how localities are treated; empty: the fields stand in the policy itself."""


_BY_TYPE = {
    _EXTENSIONS + "round_robin.v3.RoundRobin": _Extension("ROUND_ROBIN", "locality_lb_config"),
    _EXTENSIONS + "least_request.v3.LeastRequest": _Extension("LEAST_REQUEST", "locality_lb_config"),
    _EXTENSIONS + "random.v3.Random": _Extension("RANDOM", "locality_lb_config"),
    _EXTENSIONS + "ring_hash.v3.RingHash": _Extension("RING_HASH", ""),
    _EXTENSIONS + "maglev.v3.Maglev": _Extension("MAGLEV", ""),
}


def _build_extension(cluster: View, common: View, found: LoadBalancingSettings) -> LoadBalancingSettings:
    typed = cluster.child("load_balancing_policy")
    if typed is None:
        cluster.error("load_balancing_policy is missing", "Set it, or another lb_policy", field="lb_policy")
        return found
    if cluster.choice("lb_policy") != "LOAD_BALANCING_POLICY_CONFIG":
        cluster.without_effect("lb_policy", "load_balancing_policy takes its place")
    for field in _ONE_PLACE:
        common.unsupported(
            field,
            "cannot be combined with load_balancing_policy",
            "Set it in the policy's own configuration",
        )
    cluster.unsupported(
        "lb_subset_config",
        "cannot be combined with load_balancing_policy",
        f"Use the policy {_SUBSET}",
    )
    return _build_first_known(typed, found, may_be_subset=True)


def _build_first_known(
    typed: View, found: LoadBalancingSettings, *, may_be_subset: bool
) -> LoadBalancingSettings:
    """The first policy of the list that FastProxy has; Envoy does the same with those that it has."""
    chosen: LoadBalancingSettings | None = None
    skipped: list[str] = []
    for policy in typed.children("policies"):
        entry = policy.child_or_empty("typed_extension_config")
        entry.accept("name", "typed_config")
        config = entry.typed("typed_config")
        if config is None:
            continue
        known = config.type_name in _BY_TYPE or (may_be_subset and config.type_name == _SUBSET)
        if chosen is None and known:
            chosen = _build_typed(config, found)
            continue
        # Settings of a policy that is not used matter no more than the policy.
        config.accept(*(field.name for field, _ in config.message.ListFields()))
        if not known:
            skipped.append(config.type_name)
    if chosen is None:
        typed.error(
            f"none of the policies is supported: {', '.join(skipped) or 'the list is empty'}",
            f"FastProxy has {', '.join(sorted(_BY_TYPE))}",
            field="policies",
        )
        return found
    if skipped:
        typed.warn(f"not supported, so the next policy is used: {', '.join(skipped)}", field="policies")
    return chosen


def _build_typed(config: View, found: LoadBalancingSettings) -> LoadBalancingSettings:
    if config.type_name == _SUBSET:
        config.unsupported("allow_redundant_keys")
        inner = config.child_or_empty("subset_lb_policy")
        return replace(_build_first_known(inner, found, may_be_subset=False), subsets=build_subsets(config))
    extension = _BY_TYPE[config.type_name]
    _, build = _POLICIES[extension.name]
    locality = config.child(extension.locality_field) if extension.locality_field else config
    if locality is not None:
        found = _build_locality(locality, found)
    hashing = ConsistentHashing()
    if not extension.locality_field:
        hashing = _build_hashing(config.child("consistent_hashing_lb_config"))
    if extension.name == "RING_HASH":
        # The older places of the same settings.
        hashing = ConsistentHashing(
            hashing.use_hostname or config.flag("use_hostname_for_hashing"),
            hashing.balance_factor or _build_balance_factor(config),
        )
    policy = build(config, hashing)
    if isinstance(policy, LeastRequestSettings):
        full_scan = config.choice("selection_method") == "FULL_SCAN"
        config.accept("enable_full_scan")
        policy = replace(policy, full_scan=full_scan or config.flag_or("enable_full_scan", default=False))
    return replace(found, policy=policy)


# What several of them have in common.


def _build_locality(owner: View, found: LoadBalancingSettings) -> LoadBalancingSettings:
    """`zone_aware_lb_config` and `locality_weighted_lb_config`, wherever they stand."""
    has_zone_aware = "zone_aware_lb_config" in owner.message.DESCRIPTOR.fields_by_name
    zone_aware = owner.child("zone_aware_lb_config") if has_zone_aware else None
    fail_on_panic = False
    if zone_aware is not None:
        why = "there is no local cluster, so there is no local zone to prefer"
        zone_aware.without_effect("routing_enabled", why)
        zone_aware.without_effect("min_cluster_size", why)
        fail_on_panic = zone_aware.flag("fail_traffic_on_panic")
    weighted = owner.child("locality_weighted_lb_config") is not None
    return replace(found, locality_weighted=weighted, fail_traffic_on_panic=fail_on_panic)


def _build_hashing(settings: View | None) -> ConsistentHashing:
    if settings is None:
        return ConsistentHashing()
    return ConsistentHashing(settings.flag("use_hostname_for_hashing"), _build_balance_factor(settings))


def _build_balance_factor(settings: View) -> int:
    return settings.integer_or("hash_balance_factor", 0)


def _build_slow_start(settings: View | None) -> SlowStartSettings | None:
    slow_start = None if settings is None else settings.child("slow_start_config")
    if slow_start is None:
        return None
    window_s = slow_start.duration_s("slow_start_window", 0.0)
    aggression = slow_start.child("aggression")
    if aggression is not None:
        aggression.accept("runtime_key")
        if aggression.number("default_value") <= 0:
            aggression.error("must be above 0", field="default_value")
            return None
    smallest = slow_start.child("min_weight_percent")
    if window_s <= 0:
        return None
    return SlowStartSettings(
        window_s,
        1.0 if aggression is None else aggression.number("default_value"),
        10.0 if smallest is None else smallest.number("value"),
    )


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
