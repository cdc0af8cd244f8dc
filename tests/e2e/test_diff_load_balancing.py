"""Load balancing beside Envoy: the same endpoints where the choice is determined, the same shares where it is not."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from math import sqrt
from typing import Any

import pytest

from tests.conftest import require_peer
from tests.e2e.support.counting import ask, named_upstreams
from tests.e2e.support.proxies import Config, Ports, RunningProxy, running_envoy, running_fastproxy
from tests.e2e.support.templates import address, bootstrap, forward, listener, virtual_host

_LB = "type.googleapis.com/envoy.extensions.load_balancing_policies"
LETTERS = "abcdef"
BY_HEADER = [{"header": {"header_name": "x-user"}}]


def endpoint(port: int, **more: Any) -> Config:
    hostname = more.pop("hostname", None)
    return {"endpoint": {"address": address(port), **({"hostname": hostname} if hostname else {})}, **more}


def lb_metadata(**values: str) -> Config:
    return {"metadata": {"filter_metadata": {"envoy.lb": values}}}


def stage(value: str) -> Config:
    return lb_metadata(stage=value)


def down(port: int, **more: Any) -> Config:
    return endpoint(port, health_status="UNHEALTHY", **more)


def make_clusters(at: dict[str, int]) -> dict[str, Config]:
    """Every cluster by name; its route is `/name`."""
    everybody = [endpoint(at[letter]) for letter in LETTERS]
    weighted = [endpoint(at["a"], load_balancing_weight=3), endpoint(at["b"], load_balancing_weight=1)]
    named = [endpoint(at[letter], hostname=f"pod-{letter}") for letter in LETTERS]
    keyed = [endpoint(at[letter], **lb_metadata(hash_key=letter)) for letter in LETTERS]
    subsets = {
        "lb_subset_config": {
            "fallback_policy": "DEFAULT_SUBSET",
            "default_subset": {"stage": "prod"},
            "subset_selectors": [{"keys": ["stage"]}],
        }
    }
    staged = [endpoint(at["a"], **stage("prod")), endpoint(at["b"], **stage("canary")), endpoint(at["c"])]
    half = [endpoint(at["a"]), down(at["b"])]
    hashing = {"consistent_hashing_lb_config": {"use_hostname_for_hashing": True}}
    return {
        "rotation": flat(everybody),
        "weights": flat(weighted),
        "ring": flat(everybody, lb_policy="RING_HASH"),
        "murmur": flat(
            everybody, lb_policy="RING_HASH", ring_hash_lb_config={"hash_function": "MURMUR_HASH_2"}
        ),
        "small-ring": flat(weighted, lb_policy="RING_HASH", ring_hash_lb_config={"minimum_ring_size": 7}),
        "weighted-ring": flat(weighted, lb_policy="RING_HASH"),
        "named-ring": flat(named, type="STRICT_DNS", lb_policy="RING_HASH", common_lb_config=hashing),
        "keyed-ring": flat(keyed, lb_policy="RING_HASH"),
        "maglev": flat(everybody, lb_policy="MAGLEV"),
        "small-maglev": flat(everybody[::-1], lb_policy="MAGLEV", maglev_lb_config={"table_size": 101}),
        "weighted-maglev": flat(weighted, lb_policy="MAGLEV"),
        "new-maglev": flat(
            everybody,
            load_balancing_policy={
                "policies": [
                    {
                        "typed_extension_config": {
                            "name": "m",
                            "typed_config": {"@type": f"{_LB}.maglev.v3.Maglev"},
                        }
                    }
                ]
            },
        ),
        "ring-priorities": levels([half, everybody[2:4]], lb_policy="RING_HASH"),
        "priorities": levels([half, everybody[2:4]]),
        "weighted-health": levels(
            [[*weighted[:1], down(at["b"], load_balancing_weight=1)], everybody[2:4]],
            policy={"weighted_priority_health": True},
        ),
        "factor": levels([half, everybody[2:3]], policy={"overprovisioning_factor": 100}),
        "second-only": levels([[down(at["a"])], everybody[2:3]]),
        "panic": flat([endpoint(at["a"]), down(at["b"]), down(at["c"])]),
        "no-panic": flat(
            [down(at["a"]), down(at["b"])], common_lb_config={"healthy_panic_threshold": {"value": 0}}
        ),
        "fail-on-panic": flat(
            [endpoint(at["a"]), down(at["b"]), down(at["c"])],
            common_lb_config={"zone_aware_lb_config": {"fail_traffic_on_panic": True}},
        ),
        "out-of-use": flat(
            [
                endpoint(at["a"]),
                endpoint(at["b"]),
                endpoint(at["c"], health_status="DRAINING"),
                endpoint(at["d"], health_status="TIMEOUT"),
            ]
        ),
        "draining-not-counted": flat(
            [endpoint(at["a"]), down(at["b"]), *(endpoint(at[x], health_status="DRAINING") for x in "cde")]
        ),
        "panic-with-draining": flat(
            [endpoint(at["a"]), down(at["b"]), down(at["c"]), endpoint(at["d"], health_status="DRAINING")]
        ),
        "degraded": flat([*everybody[:2], endpoint(at["c"], health_status="DEGRADED")]),
        "flat-zones": {**zones(at)},
        "weighted-zones": zones(at, common_lb_config={"locality_weighted_lb_config": {}}),
        "subset": flat(staged, **subsets),
        "subset-or-none": flat(staged, lb_subset_config={"subset_selectors": [{"keys": ["stage"]}]}),
        "subset-or-any": flat(
            staged,
            lb_subset_config={"fallback_policy": "ANY_ENDPOINT", "subset_selectors": [{"keys": ["stage"]}]},
        ),
    }


def levels(priorities: list[list[Config]], policy: Config | None = None, **more: Any) -> Config:
    groups = [{"priority": number, "lb_endpoints": entries} for number, entries in enumerate(priorities)]
    return {"load_assignment": {"endpoints": groups, **({"policy": policy} if policy else {})}, **more}


def flat(entries: list[Config], **more: Any) -> Config:
    return levels([entries], **more)


def zones(at: dict[str, int], **more: Any) -> Config:
    groups = [
        {
            "locality": {"zone": letter},
            "load_balancing_weight": weight,
            "lb_endpoints": [endpoint(at[letter])],
        }
        for letter, weight in (("a", 1), ("b", 3))
    ]
    return {"load_assignment": {"endpoints": groups}, **more}


def match_stage(value: str) -> Config:
    return {"metadata_match": {"filter_metadata": {"envoy.lb": {"stage": value}}}}


def make_routes(names: list[str]) -> list[Config]:
    found = []
    for name in names:
        if name.startswith("subset"):
            found += [
                forward({"path": f"/{name}/{v}"}, name, **match_stage(v)) for v in ("prod", "canary", "none")
            ]
        found.append(forward({"path": f"/{name}"}, name, hash_policy=BY_HEADER))
    both = {"clusters": [{"name": "subset", "weight": 1, **match_stage("canary")}]}
    found.append({"match": {"path": "/entry"}, "route": {"weighted_clusters": both, **match_stage("prod")}})
    found.append(
        forward(
            {"path": "/query"},
            "ring",
            hash_policy=[{"query_parameter": {"name": "u"}}, {"header": {"header_name": "x-user"}}],
        )
    )
    return found


class Both:
    """The two proxies over the same file and the same upstreams."""

    def __init__(self, envoy: RunningProxy, ours: RunningProxy, at: dict[str, int]) -> None:
        self.proxies = (envoy, ours)
        self.letters = {str(port): letter for letter, port in at.items()}

    def ask(self, path: str, requests: list[dict[str, str]]) -> tuple[str, str]:
        first, second = (ask(proxy.ports["plain"], path, [*requests]) for proxy in self.proxies)
        return first, second

    def shares(self, name: str, count: int = 1000) -> tuple[Counter[str], Counter[str]]:
        first, second = self.ask(f"/{name}", [{}] * count)
        return Counter(first), Counter(second)

    def admin(self, path: str) -> tuple[list[str], list[str]]:
        first, second = (proxy.admin(path)[1].splitlines() for proxy in self.proxies)
        return first, second


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    require_peer("envoy")
    with ExitStack() as stack:
        at = stack.enter_context(named_upstreams(LETTERS))
        clusters = make_clusters(at)

        def template(ports: Ports) -> Config:
            hosts = [virtual_host("all", ["*"], make_routes([*clusters]))]
            built = []
            for name, one in clusters.items():
                assignment = {"cluster_name": name, **one["load_assignment"]}
                built.append({"name": name, "type": "STATIC", **one, "load_assignment": assignment})
            return bootstrap(ports["admin"], [listener("plain", ports["plain"], hosts)], built)

        directory = tmp_path_factory.mktemp("balancing")
        envoy = stack.enter_context(running_envoy(template, ("plain",), directory))
        ours = stack.enter_context(running_fastproxy(template, ("plain",), directory))
        yield Both(envoy, ours, at)


USERS = [{"x-user": f"user-{number}"} for number in range(150)]


@pytest.mark.parametrize(
    "name",
    [
        "ring",
        "murmur",
        "small-ring",
        "weighted-ring",
        "named-ring",
        "keyed-ring",
        "maglev",
        "small-maglev",
        "weighted-maglev",
        "new-maglev",
        "ring-priorities",
    ],
)
def test_equal_hashes_go_to_the_endpoint_that_envoy_chooses(both: Both, name: str) -> None:
    """So a fleet can be changed over machine by machine, and caches behind it stay warm."""
    envoy, ours = both.ask(f"/{name}", USERS)
    assert ours == envoy
    assert len(set(ours)) > 1


def test_query_parameters_and_combined_hashes_are_envoys(both: Both) -> None:
    """Two policies, rotated and mixed."""
    for number in range(20):
        envoy, ours = both.ask(f"/query?u={number}", USERS[:5])
        assert ours == envoy


def test_rotation_is_in_the_order_of_the_file(both: Both) -> None:
    """From any start."""
    for found in both.ask("/rotation", [{}] * 12):
        assert found in LETTERS * 4


def test_weights_are_spread_like_envoys(both: Both) -> None:
    """Three to one."""
    for found in both.ask("/weights", [{}] * 20):
        assert found in "aaab" * 7


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("priorities", {"a": 0.7, "c": 0.15, "d": 0.15}),
        ("factor", {"a": 0.5, "c": 0.5}),
        ("weighted-health", {"a": 1.0}),
        ("second-only", {"c": 1.0}),
        ("panic", {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}),
        ("no-panic", {"-": 1.0}),
        ("fail-on-panic", {"-": 1.0}),
        ("out-of-use", {"a": 0.5, "b": 0.5}),
        ("draining-not-counted", {"a": 1.0}),
        ("degraded", {"a": 0.465, "b": 0.465, "c": 0.07}),
        ("flat-zones", {"a": 0.5, "b": 0.5}),
        ("weighted-zones", {"a": 0.25, "b": 0.75}),
    ],
)
def test_shares_are_envoys(both: Both, name: str, expected: dict[str, float]) -> None:
    """Within six standard deviations, for both."""
    for found in both.shares(name):
        assert set(found) == set(expected)
        for letter, part in expected.items():
            assert abs(found[letter] - 1000 * part) <= 6 * sqrt(1000 * part * (1 - part)) + 1


def test_in_panic_draining_endpoints_are_used_as_well(both: Both) -> None:
    """Whatever one does, the other does."""
    envoy, ours = both.shares("panic-with-draining", 400)
    assert set(ours) == set(envoy)


@pytest.mark.parametrize(
    "path",
    [
        f"/{name}{value}"
        for name in ("subset", "subset-or-none", "subset-or-any")
        for value in ("", "/prod", "/canary", "/none")
    ]
    + ["/entry"],
)
def test_subsets_are_envoys(both: Both, path: str) -> None:
    """Chosen by the route, or where there is none by the fallback; an entry's metadata overrides its route's."""
    envoy, ours = both.ask(path, [{}] * 30)
    assert set(ours) == set(envoy)


def test_the_admin_pages_show_health_weight_and_place_alike(both: Both) -> None:
    """Line by line."""

    def told(lines: list[str]) -> set[str]:
        words = ("health_flags::", "::weight::", "::zone::", "::priority::", "::region::", "::sub_zone::")
        return {line for line in lines if any(word in line for word in words)}

    envoy, ours = both.admin("/clusters")
    assert told(ours) == told(envoy)
    assert len(told(ours)) > 100


def test_membership_and_panic_are_counted_alike(both: Both) -> None:
    """Dashboards."""
    both.shares("panic", 10)
    for name in ("membership_total", "membership_healthy", "membership_degraded", "membership_excluded"):
        envoy, ours = both.admin(f"/stats?filter={name}$")
        assert ours == envoy
    for lines in both.admin("/stats?filter=cluster.(panic|fail-on-panic|degraded).lb_healthy_panic"):
        counts = {line.split(".")[1]: int(line.split(": ")[1]) for line in lines}
        assert counts["panic"] >= 10
        assert counts["degraded"] == 0
