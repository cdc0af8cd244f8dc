"""Virtual clusters and routes with a `stat_prefix`: the same numbers and names as Envoy's."""

from collections.abc import Iterator

import pytest

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.pairs import running_pair
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import bootstrap, cluster, direct, forward, listener, redirect, virtual_host
from tests.e2e.support.wire import encode_request as req


def _named(route: Config) -> Config:
    """The response says by which virtual cluster the request was counted."""
    return {
        **route,
        "response_headers_to_add": [{"header": {"key": "x-counted", "value": "%VIRTUAL_CLUSTER_NAME%"}}],
    }


def _virtual_cluster(name: str, path: str, *more: Config) -> Config:
    return {"name": name, "headers": [{"name": ":path", "string_match": {"prefix": path}}, *more]}


def template(ports: Ports) -> Config:
    """One host with virtual clusters, one without."""
    share = {"name": "echo", "weight": 1}
    routes = [
        _named(redirect({"prefix": "/moved"}, path_redirect="/x")),
        _named(direct({"prefix": "/direct"}, 200, "made")),
        _named({**forward({"prefix": "/own"}), "stat_prefix": "own"}),
        _named({**direct({"prefix": "/made"}, 200, "made"), "stat_prefix": "made"}),
        _named(forward({"prefix": "/refused"}, "refused")),
        _named(forward({"prefix": "/slow"}, timeout="0.2s")),
        _named(forward({"prefix": "/retry"}, timeout="0s", retry_policy={"retry_on": "5xx"})),
        _named(forward({"prefix": "/rewritten"}, prefix_rewrite="/slow")),
        _named({"match": {"prefix": "/shared"}, "route": {"weighted_clusters": {"clusters": [share]}}}),
        _named(forward({"prefix": "/"})),
    ]
    post = {"name": ":method", "string_match": {"exact": "POST"}}
    host = {
        **virtual_host("counted", ["*"], routes),
        "virtual_clusters": [
            _virtual_cluster("writes", "/w", post),
            *(_virtual_cluster(one, f"/{one}") for one in ("moved", "refused", "slow", "retry", "shared")),
        ],
    }
    hosts = [virtual_host("plain", ["plain.test"], [_named(forward({"prefix": "/"}))]), host]
    clusters = [cluster("echo", ports["upstream"]), cluster("refused", ports["closed"])]
    return bootstrap(ports["admin"], [listener("plain", ports["plain"], hosts)], clusters)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies over the template."""
    with running_pair(template, ("plain", "closed"), tmp_path_factory.mktemp("counting")) as running:
        yield running


def ask(
    id_: str, target: str, status: int = 200, *, method: str = "GET", script: str | None = None,
    host: str = "h.test",
) -> Case:  # fmt: skip
    """One request."""
    return Case(id_, (req(method, target, script=script, host=host),), (status,), any_order=True)


CASES = [
    ask("other", "/x"),
    ask("other-fails", "/x", 500, script="500"),
    ask("no-virtual-clusters", "/w", method="POST", host="plain.test"),
    ask("write", "/w", method="POST"),
    ask("write-fails", "/w", 503, method="POST", script="503"),
    ask("read", "/w"),
    ask("redirect", "/moved", 301),
    ask("direct", "/direct"),
    ask("own", "/own"),
    ask("own-not-found", "/own", 404, script="404"),
    ask("made", "/made"),
    ask("refused", "/refused", 503),
    ask("slow", "/slow", 504, script="no-answer"),
    ask("retried", "/retry", 500, script="500"),
    ask("not-retried", "/retry"),
    ask("rewritten", "/rewritten"),
    ask("shared", "/shared"),
]


@parametrize_cases(CASES)
def test_request_is_counted_by_the_same(pair: Pair, case: Case) -> None:
    """Before it is rewritten."""
    pair.check(case)


def _statistics(pair: Pair) -> list[list[str]]:
    texts = [proxy.admin("/stats?filter=^vhost")[1] for proxy in (pair.envoy, pair.contender)]
    return [
        sorted(line for line in text.split("\n") if line and "upstream_rq_time:" not in line)
        for text in texts
    ]


def test_numbers_are_the_same(pair: Pair) -> None:
    """Name by name, zeros included."""
    for case in CASES:
        for proxy in (pair.envoy, pair.contender):
            pair.observe(proxy, case)
    expected, found = _statistics(pair)
    assert found == expected
    assert any(line.startswith("vhost.counted.vcluster.writes.upstream_rq_5xx: ") for line in found)


def test_families_and_labels_are_the_same(pair: Pair) -> None:
    """Dashboards go by them."""
    for case in CASES:
        for proxy in (pair.envoy, pair.contender):
            pair.observe(proxy, case)
    samples = [
        {
            (name, frozenset(labels.rstrip("}").split(",")))
            for name, _, labels in (
                line.rpartition(" ")[0].partition("{")
                for line in proxy.admin("/stats/prometheus")[1].split("\n")
                if line.startswith("envoy_vhost_") and "_time_" not in line
            )
        }
        for proxy in (pair.envoy, pair.contender)
    ]
    assert samples[1] == samples[0]
    assert len(samples[0]) > 20
