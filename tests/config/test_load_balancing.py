"""Load balancing: every spelling of a policy, and what must not load."""

import pytest

from fastproxy.router.settings import ForwardAction
from fastproxy.upstream.balancer.settings import (
    ConsistentHashing,
    Fallback,
    LeastRequestSettings,
    LoadBalancingSettings,
    MaglevSettings,
    Policy,
    RandomSettings,
    RingHashSettings,
    RoundRobinSettings,
    SlowStartSettings,
    SubsetSelector,
    SubsetSettings,
    subset_match,
)
from tests.config.support import cluster, load, minimal, problem, warnings

TYPE = "type.googleapis.com/envoy.extensions.load_balancing_policies"
SLOW = (
    "slow_start_config: {slow_start_window: 30s, aggression: {default_value: 2, runtime_key: k}, "
    "min_weight_percent: {value: 5}}"
)
LEAST = (
    f"lb_policy: LEAST_REQUEST\nleast_request_lb_config: {{choice_count: 5, {SLOW}, "
    "active_request_bias: {default_value: 0.5, runtime_key: k}}"
)
RING = (
    "lb_policy: RING_HASH\nring_hash_lb_config: {minimum_ring_size: 5, maximum_ring_size: 9, "
    "hash_function: MURMUR_HASH_2}\ncommon_lb_config: {consistent_hashing_lb_config: "
    "{use_hostname_for_hashing: true, hash_balance_factor: 120}}"
)
BOUNDED = ConsistentHashing(balance_factor=150)
NEGATIVE_BIAS = (
    "lb_policy: LEAST_REQUEST\n"
    "least_request_lb_config: {active_request_bias: {default_value: -1, runtime_key: k}}"
)
SAME_KEYS = (
    "lb_subset_config: {subset_selectors: "
    "[{keys: [a], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [a]}]}"
)
SLOW_SETTINGS = SlowStartSettings(30.0, 2.0, 5.0)


def built(text: str) -> LoadBalancingSettings:
    # Host names are hashed in clusters that have some.
    clusters = cluster(text).replace("type: STATIC", "type: STRICT_DNS")
    return load(minimal(clusters=clusters)).settings.clusters[0].load_balancing


def extension(*policies: str) -> str:
    entries = ", ".join(
        f"{{typed_extension_config: {{name: p, typed_config: {{'@type': {TYPE}.{policy}}}}}}}"
        for policy in policies
    )
    return f"load_balancing_policy: {{policies: [{entries}]}}"


def test_the_defaults_are_envoys() -> None:
    """Round robin, half for panic, 140 percent."""
    assert built("") == LoadBalancingSettings(RoundRobinSettings(), 50.0, overprovisioning_factor=140)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lb_policy: ROUND_ROBIN", RoundRobinSettings()),
        (f"round_robin_lb_config: {{{SLOW}}}", RoundRobinSettings(SLOW_SETTINGS)),
        ("lb_policy: LEAST_REQUEST", LeastRequestSettings()),
        (
            LEAST,
            LeastRequestSettings(5, 0.5, SLOW_SETTINGS),
        ),
        ("lb_policy: RANDOM", RandomSettings()),
        ("lb_policy: RING_HASH", RingHashSettings()),
        (
            RING,
            RingHashSettings(
                5, 9, murmur=True, consistent=ConsistentHashing(use_hostname=True, balance_factor=120)
            ),
        ),
        ("lb_policy: MAGLEV\nmaglev_lb_config: {table_size: 1009}", MaglevSettings(1009)),
        (extension("round_robin.v3.RoundRobin"), RoundRobinSettings()),
        (extension(f"round_robin.v3.RoundRobin, {SLOW}"), RoundRobinSettings(SLOW_SETTINGS)),
        (
            extension("least_request.v3.LeastRequest, choice_count: 3, selection_method: FULL_SCAN"),
            LeastRequestSettings(3, full_scan=True),
        ),
        (extension("random.v3.Random"), RandomSettings()),
        (
            extension(
                "ring_hash.v3.RingHash, minimum_ring_size: 5, hash_function: XX_HASH, "
                "consistent_hashing_lb_config: {use_hostname_for_hashing: true}"
            ),
            RingHashSettings(5, consistent=ConsistentHashing(use_hostname=True)),
        ),
        (
            extension("ring_hash.v3.RingHash, hash_balance_factor: 150"),
            RingHashSettings(consistent=BOUNDED),
        ),
        (extension("maglev.v3.Maglev, table_size: 11"), MaglevSettings(11)),
        ("lb_policy: LOAD_BALANCING_POLICY_CONFIG\n" + extension("random.v3.Random"), RandomSettings()),
    ],
)
def test_every_spelling_of_a_policy(text: str, expected: Policy) -> None:
    """The enum with its settings, and the newer messages."""
    assert built(text).policy == expected


def test_the_first_policy_that_is_known_wins_and_the_others_are_named() -> None:
    """As in Envoy with policies that it was built without."""
    text = extension("pick_first.v3.PickFirst", "random.v3.Random", "maglev.v3.Maglev, table_size: 4")
    assert built(text).policy == RandomSettings()
    (warning,) = warnings(minimal(clusters=cluster(text)))
    assert "pick_first.v3.PickFirst" in warning
    assert "Maglev" not in warning


def test_the_newer_form_overrides_the_enum() -> None:
    """With a word about it."""
    text = "lb_policy: MAGLEV\n" + extension("random.v3.Random")
    assert built(text).policy == RandomSettings()
    assert any("takes its place" in entry for entry in warnings(minimal(clusters=cluster(text))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("healthy_panic_threshold: {value: 0}", {"panic_threshold": 0.0}),
        ("healthy_panic_threshold: {value: 12.5}", {"panic_threshold": 12.5}),
        ("zone_aware_lb_config: {fail_traffic_on_panic: true}", {"fail_traffic_on_panic": True}),
        ("locality_weighted_lb_config: {}", {"locality_weighted": True}),
    ],
)
def test_what_holds_for_every_policy(text: str, expected: dict[str, object]) -> None:
    """`common_lb_config`."""
    found = built(f"common_lb_config: {{{text}}}")
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    "policy", ["round_robin.v3.RoundRobin", "random.v3.Random", "least_request.v3.LeastRequest"]
)
def test_localities_in_the_newer_form(policy: str) -> None:
    """They stand in the policy."""
    assert built(
        extension(f"{policy}, locality_lb_config: {{locality_weighted_lb_config: {{}}}}")
    ).locality_weighted
    zone_aware = f"{policy}, locality_lb_config: {{zone_aware_lb_config: {{fail_traffic_on_panic: true}}}}"
    assert built(extension(zone_aware)).fail_traffic_on_panic
    assert built(extension("maglev.v3.Maglev, locality_weighted_lb_config: {}")).locality_weighted


def test_overprovisioning_stands_in_the_assignment() -> None:
    """And so does what health is counted in."""
    text = (
        "static_resources: {clusters: [{name: a, load_assignment: {cluster_name: a, "
        "policy: {overprovisioning_factor: 100, weighted_priority_health: true}}}]}"
    )
    found = load(text).settings.clusters[0].load_balancing
    assert (found.overprovisioning_factor, found.weighted_priority_health) == (100, True)


SUBSETS = (
    "fallback_policy: DEFAULT_SUBSET, default_subset: {stage: prod, n: 1}, list_as_any: true, panic_mode_any: true, "
    "subset_selectors: [{keys: [version, stage], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [stage]}, "
    "{keys: [stage], single_host_per_subset: true}]"
)
SUBSET_SETTINGS = SubsetSettings(
    (
        SubsetSelector(("stage", "version"), Fallback.KEYS_SUBSET, ("stage",)),
        SubsetSelector(("stage",), single_host=True),
    ),
    Fallback.DEFAULT_SUBSET,
    {"stage": "prod", "n": 1},
    list_as_any=True,
    panic_mode_any=True,
)


def test_subsets_in_both_forms() -> None:
    """The newer one names the policy within subsets, too."""
    found = built(f"lb_policy: RANDOM\nlb_subset_config: {{{SUBSETS}}}")
    assert (found.policy, found.subsets) == (RandomSettings(), SUBSET_SETTINGS)
    inner = extension("maglev.v3.Maglev").replace("load_balancing_policy", "subset_lb_policy")
    found = built(extension(f"subset.v3.Subset, {SUBSETS}, {inner}"))
    assert (found.policy, found.subsets) == (MaglevSettings(), SUBSET_SETTINGS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lb_policy: CLUSTER_PROVIDED", "CLUSTER_PROVIDED is not supported"),
        ("lb_policy: LOAD_BALANCING_POLICY_CONFIG", "load_balancing_policy is missing"),
        (extension("pick_first.v3.PickFirst"), "none of the policies is supported"),
        (extension(), "the list is empty"),
        ("lb_policy: MAGLEV\nmaglev_lb_config: {table_size: 1000}", "must be prime number"),
        (
            "lb_policy: RING_HASH\nring_hash_lb_config: {minimum_ring_size: 5, maximum_ring_size: 4}",
            "minimum_ring_size (5) > maximum_ring_size (4)",
        ),
        (
            NEGATIVE_BIAS,
            "must not be negative",
        ),
        (
            "round_robin_lb_config: {slow_start_config: {slow_start_window: 1s, aggression: {runtime_key: k}}}",
            "must be above 0",
        ),
        (
            "common_lb_config: {locality_weighted_lb_config: {}}\n" + extension("random.v3.Random"),
            "cannot be combined with load_balancing_policy",
        ),
        (
            "lb_subset_config: {}\n" + extension("random.v3.Random"),
            "cannot be combined with load_balancing_policy",
        ),
        ("lb_subset_config: {locality_weight_aware: true}", "localities are not weighed within subsets"),
        ("lb_subset_config: {metadata_fallback_policy: FALLBACK_LIST}", "not supported"),
        ("lb_subset_config: {subset_selectors: [{keys: []}]}", "needs keys"),
        (
            SAME_KEYS,
            "some of the selector's keys, and not all",
        ),
        (RING, "Cannot use hostname"),
        (
            "lb_subset_config: {subset_selectors: [{keys: [a, b], fallback_keys_subset: [a]}]}",
            "only the fallback_policy KEYS_SUBSET",
        ),
    ],
)
def test_what_would_balance_otherwise_than_it_says_is_refused(text: str, words: str) -> None:
    """With the place and a way out."""
    assert words in problem(minimal(clusters=cluster(text))).problem


def test_a_ring_that_takes_seconds_to_compute_is_warned_about() -> None:
    """Envoy's file loads, and the operator is told why workers are busy."""
    text = "lb_policy: RING_HASH\nring_hash_lb_config: {minimum_ring_size: %d}"
    (warning,) = warnings(minimal(clusters=cluster(text % 1_000_001)))
    assert "minimum_ring_size" in warning
    assert warnings(minimal(clusters=cluster(text % 1_000_000))) == []


def test_settings_of_another_policy_are_a_warning() -> None:
    """Envoy ignores them without a word."""
    found = warnings(minimal(clusters=cluster("maglev_lb_config: {table_size: 4}")))
    assert any("not in use" in entry for entry in found)


def match(text: str) -> str:
    return f"metadata_match: {{filter_metadata: {{{text}}}}}"


def actions(routes: str) -> ForwardAction:
    action = (
        load(minimal(routes=routes)).settings.listeners[0].http.route_config.virtual_hosts[0].routes[0].action
    )
    assert isinstance(action, ForwardAction)
    return action


def test_a_route_names_a_subset_by_metadata() -> None:
    """In any order; numbers are numbers."""
    text = match("envoy.lb: {version: 2, stage: prod}")
    found = actions(f"- match: {{prefix: /}}\n  route: {{cluster: backend, {text}}}")
    assert found.subset == subset_match({"stage": "prod", "version": 2})


def test_an_entry_of_weighted_clusters_names_one_of_its_own() -> None:
    """Merged with the route's when the route is compiled."""
    entry = f"{{name: backend, weight: 1, {match('envoy.lb: {stage: canary}')}}}"
    found = actions(
        f"- match: {{prefix: /}}\n  route: {{weighted_clusters: {{clusters: [{entry}]}}, {match('envoy.lb: {v: 1}')}}}"
    )
    assert found.weighted_clusters is not None
    assert found.weighted_clusters.clusters[0].subset == subset_match({"stage": "canary"})
    assert found.subset == subset_match({"v": 1})


def test_metadata_that_load_balancing_does_not_look_at_is_a_warning() -> None:
    """A namespace that is misspelt would switch subsets off without a word."""
    routes = f"- match: {{prefix: /}}\n  route: {{cluster: backend, {match('envoy.lbb: {a: b}')}}}"
    assert any("envoy.lbb" in entry for entry in warnings(minimal(routes=routes)))
