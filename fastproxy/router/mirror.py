"""Copies of requests (Envoy `request_mirror_policies`; spec/http.md section 11.5).

A copy goes out when its request does, with every header that the request has by then, and with its body as it comes.
Nobody reads the answer. Whatever becomes of a copy, its request neither waits for it nor fails with it: a copy that
cannot be sent as fast as its request is dropped, and there are never more of them than `_MAX_COPIES`.
"""

from collections.abc import Callable, Mapping

from fastproxy import clock
from fastproxy.addresses import is_pipe
from fastproxy.format.header_rules import build_header_rules
from fastproxy.http.headers import HeaderMap, append
from fastproxy.http.messages import LocalReply, Request
from fastproxy.http.trailers import MessageTrailers
from fastproxy.match.fraction import build_fraction_matcher
from fastproxy.match.request import header_values
from fastproxy.match.settings import PathKind, PathMatch
from fastproxy.router.downstream import Downstream
from fastproxy.router.forward import Exchange
from fastproxy.router.retrying import RetryingExchange, RetryPlan
from fastproxy.router.route import Route
from fastproxy.router.settings import ForwardAction, MirrorPolicy, RouteSettings
from fastproxy.upstream.cluster import Cluster

#: Body bytes that may wait for an upstream that takes a copy too slowly. Envoy keeps as much for retries and copies.
_MAX_HELD_BYTES = 1024 * 1024
#: Copies under way in one worker and connection manager; above it requests go without.
_MAX_COPIES = 1024
#: For routes without a timeout: an answer that nobody waits for is not waited for longer than this.
_NO_TIMEOUT_S = 300.0


class Mirror:
    """One copy on its way. `Downstream` of an exchange that answers to nobody."""

    __slots__ = ("_exchange", "_held", "_mirrors", "_waiting", "deadline")

    def __init__(
        self, request: Request, route: Route, cluster: Cluster, mirrors: "ActiveMirrors", timeout_s: float
    ) -> None:
        self._exchange = Exchange(request, route, cluster, self)
        self._mirrors = mirrors
        self._waiting = False
        self._held = 0
        self.deadline = clock.monotonic() + timeout_s
        """When it is given up, in monotonic seconds."""

    def take_trailers(self, trailers: MessageTrailers | None) -> None:
        """The request is complete, with what came behind its body."""
        if trailers is not None and trailers.request:
            own = self._exchange.request.trailers = MessageTrailers()
            own.request = {
                name: list(value) if isinstance(value, list) else value
                for name, value in trailers.request.items()
            }

    def start(self, body: list[bytes], *, complete: bool) -> None:
        """Send what is there; the list is the copy's own."""
        self._mirrors.add(self)
        self._exchange.start(body, complete=complete)
        self._count(body)

    def send_body(self, body: list[bytes], *, complete: bool) -> None:
        """Send more; the list is the copy's own."""
        if self._exchange.is_done:
            return
        self._exchange.send_body(body, complete=complete)
        self._count(body)

    def give_up(self) -> None:
        """The copy is not worth more: its time is over, or its request was not sent completely."""
        self._mirrors.discard(self)
        self._exchange.abort()

    def _count(self, body: list[bytes]) -> None:
        if self._waiting and not self._exchange.is_done:
            for piece in body:
                self._held += len(piece)
            if self._held > _MAX_HELD_BYTES:
                self._exchange.count_abandoned()
                self.give_up()

    # -- Downstream ----------------------------------------------------------------------------------------

    def on_interim(self, headers: HeaderMap) -> None:
        """The body is sent whatever the upstream says of it."""

    def on_response_head(self, status: int, headers: HeaderMap, body: list[bytes], *, complete: bool) -> None:
        """The answer is of no interest."""
        if complete:
            self._mirrors.discard(self)

    def on_response_body(self, body: list[bytes], *, complete: bool) -> None:
        """Neither is its body."""
        if complete:
            self._mirrors.discard(self)

    def on_local_reply(self, reply: LocalReply) -> None:
        """Nor why there was none."""
        self._mirrors.discard(self)

    def on_response_aborted(self, details: str, flag: str) -> None:
        """Nor that it broke off."""
        self._mirrors.discard(self)

    def pause_request(self) -> None:
        """The upstream takes the copy slower than it comes: what waits is counted from now on."""
        self._waiting = True

    def hold_request(self) -> None:
        """There is no connection for the copy yet: what waits is counted as well."""
        self._waiting = True

    def resume_request(self) -> None:
        """It has taken everything."""
        self._waiting = False
        self._held = 0


class ActiveMirrors:
    """The copies of one connection manager that are under way."""

    __slots__ = ("_mirrors",)

    def __init__(self) -> None:
        self._mirrors: set[Mirror] = set()

    @property
    def is_full(self) -> bool:
        """No more copies for now."""
        return len(self._mirrors) >= _MAX_COPIES

    def add(self, mirror: Mirror) -> None:
        """A copy sets out."""
        self._mirrors.add(mirror)

    def discard(self, mirror: Mirror) -> None:
        """A copy has ended."""
        self._mirrors.discard(mirror)

    def give_up_late(self, now: float) -> None:
        """End the copies whose time is over; called about once a second."""
        for mirror in [one for one in self._mirrors if one.deadline <= now]:
            mirror.give_up()

    def __len__(self) -> int:
        return len(self._mirrors)


class MirroredExchange(RetryingExchange):
    """An exchange whose request goes to other clusters, too. Its copies are sent once, it may be tried again."""

    __slots__ = ("_mirrors",)

    def __init__(  # noqa: PLR0917  # as its base, and one more
        self,
        request: Request,
        route: Route,
        cluster: Cluster,
        downstream: Downstream,
        plan: RetryPlan,
        mirrors: tuple[Mirror, ...],
    ) -> None:
        super().__init__(request, route, cluster, downstream, plan)
        self._mirrors = mirrors

    def start(self, body: list[bytes], *, complete: bool) -> None:
        """As for every exchange; the copies set out as well."""
        mirrors, self._mirrors = self._mirrors, ()
        copies = [list(body) for _ in mirrors]
        super().start(body, complete=complete)
        if self.is_done and not complete:
            # Answered at once: the rest of the body will not be read, so no copy could ever be complete.
            return
        for mirror, own in zip(mirrors, copies, strict=True):
            if complete:
                mirror.take_trailers(self.request.trailers)
            mirror.start(own, complete=complete)
        if not complete:
            self._mirrors = mirrors

    def send_body(self, body: list[bytes], *, complete: bool) -> None:
        """As for every exchange."""
        mirrors = self._mirrors
        copies = [list(body) for _ in mirrors]
        super().send_body(body, complete=complete)
        # Those that it gave up meanwhile take nothing.
        for mirror, own in zip(mirrors, copies, strict=True):
            if complete:
                mirror.take_trailers(self.request.trailers)
            mirror.send_body(own, complete=complete)
        if complete:
            self._mirrors = ()

    def abort(self) -> None:
        """As for every exchange; copies whose request never became complete end with it."""
        super().abort()
        self._give_up_copies()

    def _complete(self, now: float) -> None:
        super()._complete(now)
        self._give_up_copies()

    def _fail(self, reply: LocalReply, *, charged: bool = True) -> None:
        self._give_up_copies()
        super()._fail(reply, charged=charged)

    def _give_up_copies(self) -> None:
        """End the copies that still lack a part of the body: the request has its answer, and nobody reads the rest."""
        mirrors, self._mirrors = self._mirrors, ()
        for mirror in mirrors:
            mirror.give_up()


class MirrorPlan:
    """The mirror policies of one route, compiled."""

    __slots__ = ("_policies", "_timeout_s")

    def __init__(self, policies: tuple[MirrorPolicy, ...], timeout_s: float) -> None:
        self._timeout_s = timeout_s or _NO_TIMEOUT_S
        route = Route(RouteSettings(PathMatch(PathKind.PREFIX, ""), ForwardAction()), envoy_headers=False)
        self._policies = tuple(_CompiledPolicy(one, route) for one in policies)

    def copies_of(
        self, request: Request, clusters: Mapping[str, Cluster], active: ActiveMirrors
    ) -> tuple[Mirror, ...]:
        """The copies that this request is to have, not sent yet; a cluster that does not exist gets none."""
        copies: list[Mirror] = []
        for policy in self._policies:
            cluster = policy.select_cluster(request, clusters)
            if cluster is not None and not active.is_full:
                copies.append(Mirror(policy.copy(request), policy.route, cluster, active, self._timeout_s))
        return tuple(copies)


class _CompiledPolicy:
    __slots__ = ("_cluster", "_cluster_header", "_host", "_keeps_host", "_rules", "_wanted", "route")

    def __init__(self, policy: MirrorPolicy, route: Route) -> None:
        self.route = route
        self._cluster = policy.cluster
        self._cluster_header = policy.cluster_header.encode()
        self._host = policy.host_rewrite_literal.encode()
        self._keeps_host = policy.keeps_host
        self._rules = build_header_rules(policy.request_headers)
        self._wanted: Callable[[Request], bool] | None = (
            None if policy.fraction is None else build_fraction_matcher(policy.fraction)
        )

    def select_cluster(self, request: Request, clusters: Mapping[str, Cluster]) -> Cluster | None:
        if self._wanted is not None and not self._wanted(request):
            return None
        if self._cluster:
            return clusters.get(self._cluster)
        found = header_values(request, self._cluster_header)
        return clusters.get(found[0].decode("utf-8", "replace")) if found else None

    def copy(self, request: Request) -> Request:
        headers: HeaderMap = {
            name: list(value) if isinstance(value, list) else value for name, value in request.headers.items()
        }
        copy = Request(request.method, request.target, headers, request.connection)
        copy.set_target(request.target)
        copy.authority = self._host or (
            request.authority if self._keeps_host else shadow_host(request.authority)
        )
        copy.content_length = request.content_length
        copy.has_body = request.has_body
        copy.remote_address = request.remote_address
        if self._rules is not None:
            self._apply_rules(copy, request)
        # Envoy marks a copy as its own request, and itself as one more hop.
        headers[b"x-envoy-internal"] = b"true"
        own = request.downstream_local_address[0]
        if not is_pipe(own):
            append(headers, b"x-forwarded-for", own.encode())
        return copy

    def _apply_rules(self, copy: Request, request: Request) -> None:
        """Change the copy's headers; a format says the same of a copy as of its request, its host included (Envoy)."""
        assert self._rules is not None
        copy.version = request.version
        copy.scheme = request.scheme
        copy.original_path = request.original_path
        copy.dynamic_metadata = request.dynamic_metadata
        copy.route_metadata = request.route_metadata
        copy.host_metadata = request.host_metadata
        copy.cluster_metadata = request.cluster_metadata
        copy.route_name = request.route_name
        copy.upstream_cluster = request.upstream_cluster
        copy.start_unix = request.start_unix
        copy.start_monotonic = request.start_monotonic
        host = copy.authority
        copy.authority = request.authority
        self._rules.apply_to_request(copy)
        copy.authority = host


def shadow_host(host: bytes) -> bytes:
    """The host of a copy, as Envoy makes it: `-shadow` behind the name, before the port."""
    name, colon, port = host.rpartition(b":")
    if colon and port.isdigit() and b":" not in name:
        return name + b"-shadow:" + port
    return host + b"-shadow"
