"""Where retries go, and when, beside Envoy: predicates, priorities, and pauses that an upstream asks for."""

import http.client
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.conftest import require_peer
from tests.e2e.support.health_world import SickPair, sick_pair, stat, upstreams
from tests.e2e.support.proxies import Config, Ports, RunningProxy
from tests.e2e.support.templates import address, bootstrap, forward, listener, virtual_host

_TYPES = "type.googleapis.com/envoy.extensions.retry"
_PREVIOUS = {"@type": f"{_TYPES}.host.previous_hosts.v3.PreviousHostsPredicate"}
_CANARIES = {"@type": f"{_TYPES}.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate"}
_METADATA = {
    "@type": f"{_TYPES}.host.omit_host_metadata.v3.OmitHostMetadataConfig",
    "metadata_match": {"filter_metadata": {"envoy.lb": {"zone": "far"}}},
}
_PRIORITIES = {
    "@type": f"{_TYPES}.priority.previous_priorities.v3.PreviousPrioritiesConfig",
    "update_frequency": 1,
}
_LIMITED = {"reset_headers": [{"name": "retry-after", "format": "SECONDS"}], "max_interval": "5s"}


def _avoiding(predicate: Config) -> Config:
    # So many choices that chance does not end with one that is to be avoided.
    return {
        "retry_host_predicate": [{"name": "any", "typed_config": predicate}],
        "host_selection_retry_max_attempts": 30,
    }


#: Policies by path: the first endpoint fails, and the second one is what the policy avoids.
POLICIES: dict[str, Config] = {
    "any": {},
    "previous": _avoiding(_PREVIOUS),
    "canaries": _avoiding(_CANARIES),
    "metadata": _avoiding(_METADATA),
    "priorities": {"retry_priority": {"name": "any", "typed_config": _PRIORITIES}},
    "limited": {"rate_limited_retry_back_off": _LIMITED},
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SickPair]:
    """Of `a`, `b` and `c` the first one fails; `b` is a canary, and far away."""
    require_peer("envoy")
    with ExitStack() as stack:
        servers = stack.enter_context(upstreams("abc"))

        def endpoint(letter: str) -> Config:
            found: Config = {"endpoint": {"address": address(servers[letter].server_port)}}
            if letter == "b":
                found["metadata"] = {"filter_metadata": {"envoy.lb": {"canary": True, "zone": "far"}}}
            return found

        def built(name: str, localities: list[str]) -> dict[str, Any]:
            parts = [
                {"priority": number, "lb_endpoints": [endpoint(letter) for letter in letters]}
                for number, letters in enumerate(localities)
            ]
            assignment = {"cluster_name": name, "endpoints": parts}
            # By chance, so that it does not matter how a retry moves a rotation on.
            fields = {"type": "STATIC", "connect_timeout": "2s", "lb_policy": "RANDOM"}
            return {"name": name, **fields, "load_assignment": assignment}

        def template(ports: Ports) -> Config:
            routes, clusters = [], []
            for name, more in POLICIES.items():
                policy = {
                    "retry_on": "5xx",
                    "num_retries": 1,
                    "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
                    **more,
                }
                routes.append(forward({"prefix": f"/{name}"}, name, retry_policy=policy))
                localities = {"priorities": ["a", "bc"], "limited": ["a"]}
                clusters.append(built(name, localities.get(name, ["abc"])))
            host = {**virtual_host("all", ["*"], routes), "include_attempt_count_in_response": True}
            return bootstrap(ports["admin"], [listener("plain", ports["plain"], [host])], clusters)

        directory = tmp_path_factory.mktemp("hosts")
        found = stack.enter_context(sick_pair(template, ("plain",), directory, servers))
        servers["a"].status = 503
        yield found


def _answers(proxy: RunningProxy, path: str, count: int) -> Counter[tuple[str, int, str]]:
    """Who answered in which try, and with what."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.ports["plain"], timeout=20)
    found: Counter[tuple[str, int, str]] = Counter()
    for _ in range(count):
        connection.request("GET", path)
        response = connection.getresponse()
        found[response.read().decode(), response.status, response.headers["x-envoy-attempt-count"]] += 1
    connection.close()
    return found


@pytest.mark.parametrize("name", ["any", "previous", "canaries", "metadata", "priorities"])
def test_retries_go_where_envoys_go(pair: SickPair, name: str) -> None:
    """Who was tried, canaries, endpoints with some metadata and priorities are left out."""
    expected, found = (set(_answers(proxy, f"/{name}", 120)) for proxy in pair.proxies)
    assert found == expected
    retried = {letter for letter, _, attempt in found if attempt == "2"}
    assert retried == {"any": set("abc"), "previous": set("bc"), "priorities": set("bc")}.get(name, set("ac"))


def test_an_upstream_says_when_to_come_again(pair: SickPair) -> None:
    """`rate_limited_retry_back_off`: what is not well formed, or too late, does not count."""
    told = []
    for proxy in pair.proxies:
        counts = []
        for value in ("1", "0", "9", "soon", ""):
            pair.servers["a"].headers = {"retry-after": value}
            before = [stat(proxy, f"cluster.limited.upstream_rq_retry_backoff_{kind}") for kind in _KINDS]
            _answers(proxy, "/limited", 1)
            after = [stat(proxy, f"cluster.limited.upstream_rq_retry_backoff_{kind}") for kind in _KINDS]
            counts.append([later - sooner for later, sooner in zip(after, before, strict=True)])
        pair.servers["a"].headers = {}
        told.append(counts)
    assert told[1] == told[0]
    assert told[0] == [[1, 0], [0, 1], [0, 1], [0, 1], [0, 1]]


_KINDS = ("ratelimited", "exponential")
