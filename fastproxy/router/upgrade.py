"""A request that leaves HTTP: an upgrade (RFC 9110 section 7.8) or CONNECT (section 9.3.6).

    WAITING --the upstream agrees: 101, or 2xx to CONNECT--> SWITCHED --either side closes--> DONE
       the upstream does not agree --> its answer is an ordinary response, DONE

Nothing but the head goes upstream before it has agreed (S52). After that bytes pass as they are, in the ways that a
body takes: what comes from the downstream is body of a request without end, what comes from the upstream body of its
response, with the same flow control. The end of one side is the end of the other, once it has everything (Envoy).
"""

from fastproxy import clock
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request
from fastproxy.router.downstream import UpgradableDownstream
from fastproxy.router.retrying import RetryingExchange, RetryPlan
from fastproxy.router.route import Route
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.errors import UpstreamError, UpstreamInvalidResponse


class UpgradeExchange(RetryingExchange):
    """Forwards one upgrade or CONNECT request, and then whatever both sides say.

    Until the upstream has agreed it is tried again as any other request is; but its request has no end, and so there is
    nothing from which `per_try_timeout` and `per_try_idle_timeout` could count (Envoy).
    """

    __slots__ = ("_peer", "_switched")

    def __init__(
        self,
        request: Request,
        route: Route,
        cluster: Cluster,
        downstream: UpgradableDownstream,
        plan: RetryPlan,
    ) -> None:
        super().__init__(request, route, cluster, downstream, plan)
        self._peer = downstream
        self._switched = False

    # -- the upstream's side -------------------------------------------------------------------------------

    def on_switched(self, status: int, headers: HeaderMap, early: list[bytes]) -> None:
        """The upstream speaks the protocol that was asked for."""
        self._switched = True
        if self._holds_retry:
            self._cluster.stats.upstream_rq_retry_success += 1
        self._decide(wanted=False)
        self._settle(headers)
        self._response_started = True
        self._request_ended = False
        # The route's timeout is for the answer, and here it is.
        self.timeout_s = 0.0
        self.request.details = "via_upstream"
        self.request.response_monotonic = clock.monotonic()
        self._cluster.stats.statuses[status] += 1
        if b"x-envoy-internal" in self.request.headers:
            self._cluster.stats.internal_statuses[status] += 1
        if self._endpoint is not None:
            self._endpoint.stats.rq_success += 1
        headers.pop(b"x-envoy-upstream-service-time", None)
        if self._cluster.keeps_case:
            self._keep_names()
        self._peer.on_switched(status, headers, early)

    def _pass_on(self, status: int, headers: HeaderMap, body: list[bytes], *, complete: bool) -> None:
        # An answer other than 101: CONNECT is granted with any 2xx, anything else stays HTTP.
        connects = self.request.method == b"CONNECT"
        if connects and status < 300:
            if complete or b"content-length" in headers or b"transfer-encoding" in headers:
                # RFC 9110 section 9.3.6: there is no content, and what says so could hide where the tunnel begins.
                self._refuse_answer()
                return
            self.on_switched(status, headers, body)
        elif status < 400 and not connects:
            self._end_unsuccessful(status, headers, complete=complete)
        else:
            super()._pass_on(status, headers, body, complete=complete)

    def on_response_body(self, body: list[bytes], *, complete: bool) -> None:
        """More of what the upstream says."""
        if complete and self._switched:
            self._end_tunnel("via_upstream", "")
        else:
            super().on_response_body(body, complete=complete)

    def on_upstream_error(self, error: UpstreamError) -> None:
        """The upstream closed a tunnel, or never answered."""
        if not self._switched or self.is_done:
            super().on_upstream_error(error)
            return
        details = error.details().replace("before_response_started", "after_response_started")
        self._end_tunnel(details, error.flag)

    # -- the downstream's side -----------------------------------------------------------------------------

    def abort(self) -> None:
        """The downstream is gone; what it said before still reaches the upstream."""
        connection = self._connection
        if self._switched and connection is not None and not self.is_done:
            self._connection = None
            self._requests.release()
            connection.close_after_flush()
            self.is_done = True
            self._end_try()
        else:
            super().abort()

    # -- inside --------------------------------------------------------------------------------------------

    def _keep(self, body: list[bytes], *, complete: bool) -> None:
        """Nothing: no try sends more than the head before the upstream has agreed."""

    def _on_sent(self) -> None:
        """No `per_try_timeout`."""

    def _restart_idle_timer(self) -> None:
        """No `per_try_idle_timeout`."""

    def _send_request(self, connection: UpstreamConnection, body: list[bytes]) -> None:
        connection.expect_switch(self)
        super()._send_request(connection, body)
        # The request has no end, so there is no time from its end to the answer (Envoy).
        self._sent_at = 0.0

    def _refuse_answer(self) -> None:
        self._release_upstream()
        self._fail(self._build_reply(UpstreamInvalidResponse()))

    def _end_unsuccessful(self, status: int, headers: HeaderMap, *, complete: bool) -> None:
        """A success that is none: its body could be taken for the new protocol's bytes (Envoy)."""
        if not complete and self._connection is not None:
            self._connection.close()
        self._response_started = True
        if self._endpoint is not None:
            self._endpoint.stats.rq_success += 1
        now = self.request.response_monotonic = clock.monotonic()
        self._complete(now)
        headers.pop(b"transfer-encoding", None)
        # Of what is not there.
        headers.pop(b"content-type", None)
        headers.pop(b"x-envoy-attempt-count", None)
        headers.pop(b"x-envoy-upstream-service-time", None)
        headers[b"content-length"] = b"0"
        self.request.details = "websocket_handshake_unsuccessful"
        self._downstream.on_response_head(status, headers, [], complete=True)

    def _end_tunnel(self, details: str, flag: str) -> None:
        self._connection = None
        self._requests.release()
        self.is_done = True
        self._end_try()
        self._peer.on_tunnel_closed(details, flag)


class TcpTunnel(UpgradeExchange):
    """CONNECT that ends here: the cluster gets the tunnel's bytes alone (Envoy `connect_config`)."""

    __slots__ = ()

    def _send_request(self, connection: UpstreamConnection, body: list[bytes]) -> None:
        pool, endpoint = self._pool, self._endpoint
        if connection.served and pool is not None and endpoint is not None:
            # HTTP was spoken on it: whoever is at its other end expects more of that. Not given back, for the limits
            # of the cluster may allow no other one beside it.
            self._requests.release()
            connection.close()
            # The try waits (again), until `_end_waiting`.
            self._cluster.stats.upstream_rq_waiting += 1
            endpoint.stats.rq_waiting += 1
            pool.connect(self, self._breaker)
            return
        self._connection = connection
        self.request.upstream_link = connection.link
        if self.request.counting is not None:
            self.request.counting.on_sent()
        connection.start_raw(self)
        if self._blocked_response:
            connection.pause_reading()
        self.on_switched(200, {}, [])
