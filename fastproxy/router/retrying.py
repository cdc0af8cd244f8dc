"""A request that may be tried more than once (Envoy `RetryPolicy`; spec/http.md section 11.3).

    start() --> a try, as in `Exchange` --> its response goes downstream, DONE
                  ^        |
                  |        +-- a response to try again after, a failure, `per_try_timeout` --> PAUSED
                  +------------------------------------- the pause is over -----------------------+

While PAUSED there is no endpoint, no connection and no waiter; the request body goes on being read, and is kept. Always
true: a cluster's `retries` (circuit breaker) are held from the decision to try again to the next decision, or the end.
"""

import asyncio
from random import Random

from fastproxy import clock
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import LocalReply, Request
from fastproxy.router.downstream import Downstream
from fastproxy.router.forward import IDEMPOTENT, Exchange
from fastproxy.router.replay import ReplayBody
from fastproxy.router.retry import RetryPolicy, RetryState
from fastproxy.router.route import Route, encode_expected_timeout
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.errors import UpstreamError, UpstreamReset

_BODY_TOO_LARGE = LocalReply(
    507,
    b"exceeded request buffer limit while retrying upstream",
    details="request_payload_exceeded_retry_buffer_limit",
)
# Chance spreads load here, it protects nothing.
_random = Random()  # noqa: S311


class RetryPlan:
    """What a `RetryingExchange` needs besides what every exchange needs."""

    __slots__ = ("loop", "policy", "replay_limit_bytes")

    def __init__(self, policy: RetryPolicy, loop: asyncio.AbstractEventLoop, replay_limit_bytes: int) -> None:
        self.policy = policy
        self.loop = loop
        self.replay_limit_bytes = replay_limit_bytes
        """How much of a request body is kept, to be sent again."""


class RetryingExchange(Exchange):
    """Forwards one request, in as many tries as its policy allows."""

    __slots__ = (
        "_avoided_priorities",
        "_body",
        "_ended_at",
        "_flag",
        "_hash",
        "_holds_retry",
        "_idle_timer",
        "_pause",
        "_plan",
        "_state",
        "_tried",
        "_try_timer",
    )

    def __init__(
        self, request: Request, route: Route, cluster: Cluster, downstream: Downstream, plan: RetryPlan
    ) -> None:
        super().__init__(request, route, cluster, downstream)
        self._plan = plan
        self._state = RetryState(plan.policy, request)
        self._body = ReplayBody(plan.replay_limit_bytes)
        """The request body so far."""
        self._ended_at = 0.0
        """When the request had been received completely, in monotonic seconds."""
        self._hash: int | None = None
        self._tried: list[Endpoint] = []
        self._avoided_priorities: frozenset[int] = frozenset()
        self._holds_retry = False
        self._flag = ""
        """Why it is not tried again although it should be, for the log."""
        self._pause: asyncio.TimerHandle | None = None
        self._try_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    # -- the downstream's side -----------------------------------------------------------------------------

    def start(self, body: list[bytes], *, complete: bool) -> None:
        """As for every exchange; the body is kept."""
        self._keep(body, complete=complete)
        super().start(body, complete=complete)

    def send_body(self, body: list[bytes], *, complete: bool) -> None:
        """As for every exchange; the body is kept."""
        self._keep(body, complete=complete)
        if self._pause is None:
            super().send_body(body, complete=complete)
            self._restart_idle_timer()
            return
        self._request_ended = complete
        if not self._body.is_whole:
            # It was to be tried again, and now it cannot be: the first bytes are gone.
            self._fail(_BODY_TOO_LARGE)

    def abort(self) -> None:
        """As for every exchange."""
        self._stop_timers()
        self._return_retry()
        super().abort()

    def on_timeout(self) -> None:
        """As for every exchange: the time is for all tries together."""
        self._stop_timers()
        super().on_timeout()

    # -- the connection's side -----------------------------------------------------------------------------

    def on_interim(self, headers: HeaderMap) -> None:
        """As for every exchange; with the downstream told to go on, another try has come too late (Envoy)."""
        super().on_interim(headers)
        self._restart_idle_timer()
        if self.request.response_status == 100:
            self._state.disable()
            self._return_retry()

    def on_response_head(self, status: int, headers: HeaderMap, body: list[bytes], *, complete: bool) -> None:
        """Pass the head on, or try again."""
        self._stop_try_timer()
        self._restart_idle_timer()
        wanted = self._may_retry() and self._state.wants_response(status, headers, clock.unix_time())
        if self._holds_retry and not wanted:
            self._cluster.stats.upstream_rq_retry_success += 1
        if self._decide(wanted=wanted):
            self._discard_response(status, headers, complete=complete)
            return
        if self.request.retries and self._ended_at:
            # Envoy: the time of all tries together.
            self._sent_at = self._ended_at
        self._settle(headers)
        self._pass_on(status, headers, body, complete=complete)

    def on_response_body(self, body: list[bytes], *, complete: bool) -> None:
        """As for every exchange."""
        self._restart_idle_timer()
        super().on_response_body(body, complete=complete)

    # -- inside --------------------------------------------------------------------------------------------

    def _settle(self, headers: HeaderMap) -> None:
        """The downstream gets the response with this head: there is no other try."""
        self._body.drop()
        self.request.flags = self._flag
        if self._route.tells_downstream_attempts:
            headers[b"x-envoy-attempt-count"] = b"%d" % (self.request.retries + 1)

    def _pass_on(self, status: int, headers: HeaderMap, body: list[bytes], *, complete: bool) -> None:
        super().on_response_head(status, headers, body, complete=complete)

    def _keep(self, body: list[bytes], *, complete: bool) -> None:
        if complete:
            self._ended_at = clock.monotonic()
        if not self._body.add(body) and self._state.is_enabled:
            self._state.disable()
            self._cluster.stats.retry_or_shadow_abandoned += 1
            self._return_retry()

    def _select_endpoint(self) -> Endpoint | None:
        # Once: it may make a cookie, and a retry that need not avoid an endpoint goes where the hash says.
        self._hash = self._route.hash_of(self._cluster, self.request)
        return self._cluster.select_endpoint(self._hash, self._route.subset)

    def _rewrite_host(self, host: bytes) -> None:
        if self.request.retries:
            # The first try has told about the host that there was before.
            self.request.authority = host
        else:
            super()._rewrite_host(host)

    def _send_request(self, connection: UpstreamConnection, body: list[bytes]) -> None:
        if not connection.served and not self._state.is_enabled:
            # Only what meets a connection that was closed meanwhile is sent again unasked, and this one is new.
            self._body.drop()
        super()._send_request(connection, body)
        self._on_sent()
        self._restart_idle_timer()

    def _write_body(
        self, connection: UpstreamConnection, body: list[bytes], head: bytes, *, complete: bool
    ) -> None:
        super()._write_body(connection, body, head, complete=complete)
        if not head:
            self._on_sent()

    def _on_sent(self) -> None:
        timeout_s = self._plan.policy.settings.per_try_timeout_s
        if not timeout_s or not self._request_ended or self._connection is None or self._response_started:
            return
        if self._try_timer is None and not (self.timeout_s and timeout_s >= self.timeout_s):
            self._try_timer = self._plan.loop.call_later(timeout_s, self._on_try_timeout)

    def _may_send_again(self, error: UpstreamError) -> bool:
        """As for every exchange; a body that was kept can be sent again."""
        return (
            isinstance(error, UpstreamReset)
            and error.reused
            and not self._response_started
            and not self._retried
            and self._body.is_whole
            and self.request.method in IDEMPOTENT
        )

    def _send_again(self) -> None:
        self._stop_try_timer()
        self._waiting_body = self._body.copy()
        super()._send_again()

    def _may_retry(self) -> bool:
        return self._body.is_whole and not self._response_started

    def _decide(self, *, wanted: bool) -> bool:
        """Whether to try again, if that is `wanted` and may be; then one of the cluster's retries is held."""
        self._return_retry()
        self._flag = ""
        if not wanted:
            return False
        stats, state = self._cluster.stats, self._state
        if state.retries_left <= 0:
            stats.upstream_rq_retry_limit_exceeded += 1
            self._flag = "URX"
            return False
        state.retries_left -= 1
        if not self._breaker.acquire_retry():
            stats.upstream_rq_retry_overflow += 1
            self._flag = "UO"
            return False
        self._holds_retry = True
        return True

    def _return_retry(self) -> None:
        if self._holds_retry:
            self._holds_retry = False
            self._breaker.retries.release()

    def _discard_response(self, status: int, headers: HeaderMap, *, complete: bool) -> None:
        """No downstream is to see this response; who watches the endpoint is."""
        self._cluster.stats.retried_statuses[status] += 1
        endpoint = self._endpoint
        if endpoint is not None:
            endpoint.stats.rq_error += 1
            if endpoint.monitor is not None:
                endpoint.monitor.on_response(status, headers)
        if complete:
            # The connection is back in its pool already.
            self._connection = None
            self._requests.release()
        self._try_later()

    def _on_failure(self, error: UpstreamError, *, was_sent: bool) -> None:
        wanted = self._may_retry() and self._state.wants_error(error, was_sent=was_sent)
        if self._decide(wanted=wanted):
            self._try_later()
        else:
            self._fail_with(error)

    def _on_try_timeout(self) -> None:
        self._try_timer = None
        stats = self._cluster.stats
        stats.upstream_rq_per_try_timeout += 1
        self._give_up_try("upstream_per_try_timeout")

    def _on_idle_timeout(self) -> None:
        self._idle_timer = None
        stats = self._cluster.stats
        stats.upstream_rq_per_try_idle_timeout += 1
        self._give_up_try("upstream_per_try_idle_timeout")

    def _give_up_try(self, details: str) -> None:
        """The try takes too long."""
        if self._endpoint is not None:
            self._endpoint.count_timeout()
        wanted = self._may_retry() and self._state.wants_error(None, was_sent=True)
        if self._decide(wanted=wanted):
            self._release_upstream()
            self._try_later()
        else:
            self._release_upstream()
            reply = self.timeout_reply
            self._fail(LocalReply(reply.status, reply.body, details=details, flag=self._flagged(reply.flag)))

    def _try_later(self) -> None:
        """End this try, and have another one after a pause."""
        self._release_upstream()
        self._stop_timers()
        self._end_try()
        if self._endpoint is not None:
            self._tried.append(self._endpoint)
            self._endpoint = None
        self._waiting_body = []
        state = self._state
        self._pause = self._plan.loop.call_later(state.next_pause_s(_random.random), self._try_again)
        # What the last connection could not take must not keep the rest of the body from being read and kept.
        self._downstream.resume_request()

    def _try_again(self) -> None:
        self._pause = None
        request, route, stats = self.request, self._route, self._cluster.stats
        stats.upstream_rq_retry += 1
        if self._state.waits_for_reset:
            stats.upstream_rq_retry_backoff_ratelimited += 1
        else:
            stats.upstream_rq_retry_backoff_exponential += 1
        request.retries += 1
        self._retried = False
        endpoint = self._select_another()
        if endpoint is None:
            self._fail_unsent()
            return
        if route.tells_upstream_attempts:
            request.headers[b"x-envoy-attempt-count"] = b"%d" % (request.retries + 1)
        if route.envoy_headers:
            self._tell_time_left()
        self._begin(endpoint, self._body.copy())

    def _tell_time_left(self) -> None:
        left_s = self.timeout_s
        if left_s and self._ended_at:
            left_s = max(0.001, left_s - (clock.monotonic() - self._ended_at))
        expected_ms = encode_expected_timeout(left_s, self._plan.policy.settings.per_try_timeout_s)
        if expected_ms:
            self.request.headers[b"x-envoy-expected-rq-timeout-ms"] = expected_ms

    def _select_another(self) -> Endpoint | None:
        settings, cluster = self._plan.policy.settings, self._cluster
        every = settings.priority_update_frequency
        if every and len(self._tried) % every == 0:
            avoided = frozenset(endpoint.priority for endpoint in self._tried)
            # When all of them were tried it begins anew, with every one of them.
            self._avoided_priorities = avoided if cluster.has_usable_besides(avoided) else frozenset()
        return cluster.select_another(
            self._rejects, settings.max_selections, self._hash, self._route.subset, self._avoided_priorities
        )

    def _rejects(self, endpoint: Endpoint) -> bool:
        settings = self._plan.policy.settings
        if settings.avoids_previous and endpoint in self._tried:
            return True
        if settings.avoids_canaries and endpoint.is_canary:
            return True
        return settings.avoided_metadata is not None and endpoint.has_metadata(settings.avoided_metadata)

    def _build_reply(self, error: UpstreamError) -> LocalReply:
        reply = super()._build_reply(error)
        flag = self._flagged(reply.flag)
        return LocalReply(reply.status, reply.body, details=reply.details, flag=flag, headers=reply.headers)

    def _flagged(self, flag: str) -> str:
        """What ended the last try, behind why there is no other."""
        return f"{self._flag},{flag}" if self._flag else flag

    def _fail(self, reply: LocalReply, *, charged: bool = True) -> None:
        self._stop_timers()
        self._return_retry()
        if self._route.tells_downstream_attempts and not self._response_started:
            told = (b"x-envoy-attempt-count", b"%d" % (self.request.retries + 1))
            reply = LocalReply(
                reply.status,
                reply.body,
                details=reply.details,
                flag=reply.flag,
                headers=(*reply.headers, told),
            )
        super()._fail(reply, charged=charged)

    def _complete(self, now: float) -> None:
        self._stop_timers()
        super()._complete(now)

    # -- timers --------------------------------------------------------------------------------------------

    def _restart_idle_timer(self) -> None:
        timeout_s = self._plan.policy.settings.per_try_idle_timeout_s
        if timeout_s and self._request_ended and self._connection is not None:
            if self._idle_timer is not None:
                self._idle_timer.cancel()
            self._idle_timer = self._plan.loop.call_later(timeout_s, self._on_idle_timeout)

    def _stop_try_timer(self) -> None:
        if self._try_timer is not None:
            self._try_timer.cancel()
            self._try_timer = None

    def _stop_timers(self) -> None:
        self._stop_try_timer()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
