"""Virtual clusters and counted routes: who is counted where, and as what."""

from typing import Any

from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import LocalReply, Request
from fastproxy.match.settings import HeaderMatch, StringKind, StringMatch
from fastproxy.router.counting import GroupStats, RouteCounting, VirtualClusters
from fastproxy.router.settings import VirtualClusterSettings
from fastproxy.stats import StatsSink

SETTINGS = (
    VirtualClusterSettings("writes", (HeaderMatch(":method", StringMatch(StringKind.EXACT, "POST")),)),
    VirtualClusterSettings("deep", (HeaderMatch(":path", StringMatch(StringKind.PREFIX, "/a/b")),)),
)


class Peer:
    """Writes down what reaches the connection."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_interim(self, headers: HeaderMap) -> None:
        self.calls.append("interim")

    def on_response_head(self, status: int, headers: HeaderMap, body: list[bytes], *, complete: bool) -> None:
        self.calls.append(f"head {status} {complete}")

    def on_response_body(self, body: list[bytes], *, complete: bool) -> None:
        self.calls.append(f"body {complete}")

    def on_local_reply(self, reply: LocalReply) -> None:
        self.calls.append(f"reply {reply.status}")

    def on_response_aborted(self, details: str, flag: str) -> None:
        self.calls.append(f"aborted {details} {flag}")

    def pause_request(self) -> None:
        self.calls.append("pause")

    def hold_request(self) -> None:
        self.calls.append("hold")

    def resume_request(self) -> None:
        self.calls.append("resume")

    def on_switched(self, status: int, headers: HeaderMap, early: list[bytes]) -> None:
        self.calls.append(f"switched {status}")

    def on_tunnel_closed(self, details: str, flag: str) -> None:
        self.calls.append(f"closed {details} {flag}")


def asked(method: bytes = b"GET", target: bytes = b"/") -> Request:
    request = Request(method, target, {})
    request.set_target(target)
    return request


def numbers(*groups: GroupStats) -> dict[str, int]:
    """Every counter that is not 0, without the beginning of its name."""
    sink = StatsSink()
    for one in groups:
        one.write(sink)
    return {name.partition(".")[2]: value for name, value in sink.counters.items() if value}


def counted(play: Any, *, retries: int = 0, flags: str = "") -> dict[str, int]:
    """What is counted when `play` does something with the downstream of an exchange."""
    own = GroupStats("r.")
    request = asked()
    counting = RouteCounting(None, own).begin(request, Peer())
    request.retries, request.flags = retries, flags
    play(counting)
    return numbers(own)


def test_first_virtual_cluster_that_holds_counts_the_request() -> None:
    """And `other` the rest, which has no name."""
    clusters = VirtualClusters("v", SETTINGS)
    found = [clusters.select(one)[0] for one in (asked(b"POST", b"/a/b"), asked(b"GET", b"/a/bc?d"), asked())]
    assert found == ["writes", "deep", ""]


def test_request_is_counted_by_its_virtual_cluster_and_by_its_route() -> None:
    """Both see the same; the name is there for logs."""
    clusters, own = VirtualClusters("v", SETTINGS), GroupStats("vhost.v.route.r.")
    request = asked(b"POST")
    peer = Peer()
    counting = RouteCounting(clusters, own).begin(request, peer)
    assert request.counting is counting
    assert counting.virtual_cluster == "writes"
    counting.on_sent()
    counting.on_response_head(200, {}, [], complete=True)
    assert peer.calls == ["head 200 True"]
    assert numbers(*clusters.stats, own) == {
        f"v.{group}.upstream_rq_{name}": 1
        for group in ("vcluster.writes", "route.r")
        for name in ("200", "2xx", "completed", "total")
    }


def test_time_is_that_of_answers_from_upstreams() -> None:
    """From the end of the request to the end of the response."""
    own = GroupStats("r.")
    request = asked()
    counting = RouteCounting(None, own).begin(request, Peer())
    counting.on_local_reply(LocalReply(503, details="no_healthy_upstream", flag="UH"))
    sink = StatsSink()
    own.write(sink)
    assert sink.histograms == {}
    request.sent_monotonic = 1.0
    counting.on_response_head(200, {}, [], complete=False)
    counting.on_response_body([], complete=True)
    own.write(sink)
    assert list(sink.histograms) == ["r.upstream_rq_time"]


def test_timeouts_are_those_of_the_route() -> None:
    """Not those of single tries."""
    slow = LocalReply(504, details="response_timeout", flag="UT")
    assert counted(lambda one: one.on_local_reply(slow))["upstream_rq_timeout"] == 1
    per_try = LocalReply(504, details="upstream_per_try_timeout", flag="UT")
    assert "upstream_rq_timeout" not in counted(lambda one: one.on_local_reply(per_try))


def test_what_came_of_retries_is_counted() -> None:
    """A success, no more of them allowed by the route, or by the circuit breaker."""

    def answer(status: int) -> Any:
        return lambda one: one.on_response_head(status, {}, [], complete=True)

    assert counted(answer(200), retries=2)["upstream_rq_retry_success"] == 1
    assert counted(answer(200), retries=2)["upstream_rq_retry"] == 2
    assert "upstream_rq_retry_success" not in counted(answer(200))
    exceeded = counted(answer(503), retries=1, flags="URX")
    assert (exceeded["upstream_rq_retry_limit_exceeded"], "upstream_rq_retry_success" in exceeded) == (
        1,
        False,
    )
    assert counted(answer(503), flags="UO")["upstream_rq_retry_overflow"] == 1


def test_request_that_found_no_place_is_no_retry_that_found_none() -> None:
    """Both have the flag UO."""
    full = LocalReply(503, details="upstream_reset_before_response_started{overflow}", flag="UO")
    assert "upstream_rq_retry_overflow" not in counted(lambda one: one.on_local_reply(full))
    reset = LocalReply(
        503, details="upstream_reset_before_response_started{connection_termination}", flag="UO,UC"
    )
    assert counted(lambda one: one.on_local_reply(reset))["upstream_rq_retry_overflow"] == 1


def test_everything_else_is_passed_on_as_it_is() -> None:
    """The connection notices no difference."""
    peer = Peer()
    counting = RouteCounting(None, GroupStats("r.")).begin(asked(), peer)
    counting.pause_request()
    counting.resume_request()
    counting.on_switched(101, {}, [])
    counting.on_response_body([], complete=False)
    counting.on_response_aborted("broken", "UC")
    counting.on_tunnel_closed("via_upstream", "")
    assert peer.calls == [
        "pause", "resume", "switched 101", "body False", "aborted broken UC", "closed via_upstream ",
    ]  # fmt: skip
