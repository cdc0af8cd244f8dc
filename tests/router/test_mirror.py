"""Copies of requests: the request never waits for them and never fails with them."""

from typing import Any

import pytest

from fastproxy.format.settings import AppendAction, HeaderRuleSettings, HeaderValueSettings
from fastproxy.match.settings import Fraction
from fastproxy.router.mirror import shadow_host
from fastproxy.router.settings import MirrorPolicy
from fastproxy.upstream.settings import ClusterSettings, ThresholdSettings
from tests.listener.support import CLUSTER, GET, OK, FakeUpstream, Proxy, head_of, status_of, to_service

POLICY = MirrorPolicy(CLUSTER)


class MirroringProxy(Proxy):
    """The copies go to the same cluster: the request takes the newest idle connection, its copy the other one."""

    def __init__(
        self, *policies: MirrorPolicy, cluster: ClusterSettings | None = None, **action: Any
    ) -> None:
        super().__init__(routes=[to_service(mirrors=policies or (POLICY,), **action)], cluster=cluster)

    def __enter__(self) -> "MirroringProxy":
        super().__enter__()
        self.offer()
        return self

    @property
    def copy(self) -> FakeUpstream:
        """Where the copy went."""
        return self.upstreams[-2]


def post(body: bytes, length: int) -> bytes:
    return b"POST / HTTP/1.1\r\nhost: a:81\r\ncontent-length: %d\r\n\r\n" % length + body


def test_a_copy_says_that_it_is_one() -> None:
    """`-shadow` host, and one more hop (spec/http.md section 11.5)."""
    with MirroringProxy() as proxy:
        proxy.send(b"GET /x?y HTTP/1.1\r\nhost: a:81\r\nx-twice: 1\r\nx-twice: 2\r\n\r\n")
        assert head_of(proxy.copy.take().replace(b"x-twice: 1\r\n", b""))[0] == b"GET /x?y HTTP/1.1"
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200
        proxy.copy.respond(OK)
        proxy.check_nothing_left()


def test_the_request_itself_is_not_changed() -> None:
    """Headers of the copy are its own."""
    with MirroringProxy() as proxy:
        proxy.send(GET)
        copied, sent = head_of(proxy.copy.take())[1], head_of(proxy.upstream.take())[1]
        assert copied.pop(b"host") == b"a-shadow"
        assert copied.pop(b"x-envoy-internal") == b"true"
        assert copied.pop(b"x-forwarded-for") == b"203.0.113.9"
        assert sent.pop(b"host") == b"a"
        assert copied == sent


def test_rules_change_the_copy_alone() -> None:
    """A copy can go without credentials, and say what it is; what marks it as a copy cannot be overwritten."""
    overwrite = AppendAction.OVERWRITE
    rules = (
        HeaderRuleSettings(remove=("cookie",)),
        HeaderRuleSettings((HeaderValueSettings("x-of", "%REQ(:authority)%%REQ(:path)% %PROTOCOL%"),)),
        HeaderRuleSettings((HeaderValueSettings("x-envoy-internal", "no", overwrite),)),
    )
    with MirroringProxy(MirrorPolicy(CLUSTER, request_headers=rules)) as proxy:
        proxy.send(b"GET /x?y HTTP/1.1\r\nhost: a\r\ncookie: s=1\r\n\r\n")
        copied, sent = head_of(proxy.copy.take())[1], head_of(proxy.upstream.take())[1]
        assert (copied[b"x-of"], copied[b"x-envoy-internal"]) == (b"a/x?y HTTP/1.1", b"true")
        assert b"cookie" not in copied
        assert copied[b"host"] == b"a-shadow"
        assert sent[b"cookie"] == b"s=1"
        assert b"x-of" not in sent


def test_formats_of_a_copy_read_the_metadata_of_its_request() -> None:
    """That of the cluster is of the one that the request goes to, as its other values are."""
    cluster = ClusterSettings(CLUSTER, metadata='{"n": {"k": "cluster"}}')
    value = "%METADATA(CLUSTER:n:k)% %UPSTREAM_CLUSTER% %METADATA(ROUTE:n:k)%"
    rules = (HeaderRuleSettings((HeaderValueSettings("x-of", value),)),)
    with MirroringProxy(MirrorPolicy(CLUSTER, request_headers=rules), cluster=cluster) as proxy:
        proxy.send(GET)
        assert head_of(proxy.copy.take())[1][b"x-of"].strip() == b"cluster " + CLUSTER.encode()


@pytest.mark.parametrize(
    ("policy", "host"),
    [
        (MirrorPolicy(CLUSTER, keeps_host=True), b"a:81"),
        (MirrorPolicy(CLUSTER, host_rewrite_literal="copy.test"), b"copy.test"),
        (POLICY, b"a-shadow:81"),
    ],
)
def test_hosts_of_copies(policy: MirrorPolicy, host: bytes) -> None:
    """As the policy says."""
    with MirroringProxy(policy) as proxy:
        proxy.send(post(b"", 0))
        assert head_of(proxy.copy.take())[1][b"host"] == host


@pytest.mark.parametrize(
    ("host", "shadow"),
    [
        (b"a", b"a-shadow"),
        (b"a:80", b"a-shadow:80"),
        (b"[::1]", b"[::1]-shadow"),
        (b"[::1]:80", b"[::1]:80-shadow"),
    ],
)
def test_shadow_hosts(host: bytes, shadow: bytes) -> None:
    """Before the port, where there is one to be told apart."""
    assert shadow_host(host) == shadow


def test_bodies_are_copied_as_they_come() -> None:
    """In pieces; the answer to the copy is nobody's business."""
    with MirroringProxy() as proxy:
        proxy.send(post(b"hel", 5))
        proxy.copy.respond(b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops")
        proxy.send(b"lo")
        assert proxy.upstream.take().endswith(b"\r\n\r\nhello")
        assert b"\r\n\r\nhel" in proxy.copy.take()
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200


def test_a_slow_copy_is_dropped() -> None:
    """It holds a bounded part of the body, and the request goes on."""
    with MirroringProxy() as proxy:
        size = 3 * 1024 * 1024
        proxy.send(post(b"", size))
        proxy.copy.block()
        for _ in range(size // 65536):
            proxy.send(b"x" * 65536)
        assert proxy.copy.is_closed()
        assert len(proxy.copy.take()) < 1024 * 1024 + 200_000
        assert len(proxy.upstream.take()) > size
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200
        assert proxy.stats().counters["cluster.service.retry_or_shadow_abandoned"] == 1


def test_a_copy_that_catches_up_is_kept() -> None:
    """What counts is what waits, not what was sent."""
    with MirroringProxy() as proxy:
        size = 3 * 1024 * 1024
        proxy.send(post(b"", size))
        for _ in range(size // 65536):
            proxy.copy.block()
            proxy.send(b"x" * 65536)
            proxy.copy.unblock()
        assert not proxy.copy.is_closed()
        assert len(proxy.copy.take()) > size


def test_a_copy_without_an_answer_is_given_up() -> None:
    """After the route's timeout; its connection is closed, for nobody knows what would still come."""
    with MirroringProxy(timeout_s=5.0) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.advance(4)
        assert not proxy.copy.is_closed()
        proxy.advance(2)
        assert proxy.copy.is_closed()
        proxy.check_nothing_left()


def test_a_downstream_that_leaves_takes_an_incomplete_copy_along() -> None:
    """Half a request is worth nothing to anybody."""
    with MirroringProxy() as proxy:
        proxy.send(post(b"hel", 5))
        proxy.leave()
        assert proxy.copy.is_closed()


def test_a_complete_copy_survives_its_downstream() -> None:
    """It was asked for, and it is there."""
    with MirroringProxy() as proxy:
        proxy.send(post(b"hello", 5))
        proxy.leave()
        assert not proxy.copy.is_closed()
        proxy.copy.respond(OK)
        proxy.check_nothing_left()


@pytest.mark.parametrize(
    "policy",
    [
        MirrorPolicy("nobody"),
        MirrorPolicy(cluster_header="x-copy-to"),
        MirrorPolicy(CLUSTER, fraction=Fraction(0, 100)),
    ],
)
def test_without_a_cluster_or_a_share_there_is_no_copy(policy: MirrorPolicy) -> None:
    """The request does not notice."""
    with MirroringProxy(policy) as proxy:
        proxy.send(GET)
        assert proxy.upstream.take().startswith(b"GET / ")
        assert proxy.copy.take() == b""


def test_copies_are_bounded() -> None:
    """A cluster that never answers must not collect them without end."""
    limits = ThresholdSettings(max_requests=5000)
    with MirroringProxy(cluster=ClusterSettings(CLUSTER, thresholds=(limits, limits))) as proxy:
        for _ in range(1100):
            proxy.offer()
            proxy.send(GET)
            proxy.upstream.respond(OK)
        assert proxy.stats().gauges["cluster.service.upstream_rq_active"] == 1024
        proxy.advance(16)
        proxy.send(GET)
        assert proxy.stats().gauges["cluster.service.upstream_rq_active"] == 2


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n", b"nonsense\r\n\r\n"]
)
def test_a_copy_of_a_request_that_was_answered_early_is_given_up(answer: bytes) -> None:
    """Nobody reads the rest of the body: half sent it would hold its connection until its timeout."""
    with MirroringProxy() as proxy:
        proxy.send(post(b"ab", 100))
        assert proxy.copy.take().endswith(b"ab")
        proxy.upstream.respond(answer)
        assert status_of(proxy.take()) in (413, 502)
        assert proxy.copy.is_closed()
        assert proxy.manager.is_idle or proxy.manager.open_connections == 1
        assert len(proxy.manager.router._mirrors) == 0
        assert proxy.stats().gauges["cluster.service.upstream_rq_active"] == 0


async def test_a_request_that_finds_no_endpoint_leaves_no_half_copy() -> None:
    """It is answered before its body is here; a copy could never become complete."""
    with MirroringProxy() as proxy:
        proxy.cluster.update_endpoints([])
        proxy.send(post(b"ab", 100))
        assert status_of(proxy.take()) == 503
        assert len(proxy.manager.router._mirrors) == 0
        assert proxy.stats().gauges["cluster.service.upstream_rq_active"] == 0
