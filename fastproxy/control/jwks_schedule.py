"""When one provider's key set is fetched, kept and given up. Decides; fetches nothing and reads no clock.

States and what moves them (all times are monotonic seconds):

    EMPTY ----success----> FRESH --expires_at--> STALE --stale_until--> WITHDRAWN
      |                      ^  |                  |                       |
      +-failure: back-off    |  +--success---------+------success----------+
                             +---------------------+

What always holds:

- one fetch at a time: `on_fetch_started` ... `on_success` | `on_unchanged` | `on_failure`;
- a failure never changes what is held, a success always replaces it (S41);
- `epoch` grows when the content that workers should use changes, and then only: new keys, and withdrawal;
- what tokens say can cause one fetch per cool-down and no more, whatever they say (S36), and cannot move the
  times of the background refresh, expiry or withdrawal (S42).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from fastproxy.control.backoff import Backoff

#: Envoy fetches on every request when `cache_duration` is below a second; here that would be a busy loop.
_LEAST_INTERVAL_S = 1.0
#: `Cache-Control: max-age` below this counts as this: a source that says 1 would be asked every second by every
#: proxy. Its upper bound is `cache_duration`.
LEAST_MAX_AGE_S = 10.0
#: A refresh starts after this part of the keys' lifetime, at random within it: fleets that started together
#: must not ask together, and a failing first try leaves time for more before the keys are stale.
_REFRESH_WINDOW = (0.8, 0.9)


class Action(Enum):
    """What is due now."""

    WAIT = "wait"
    FETCH = "fetch"
    WITHDRAW = "withdraw"


class RefreshAnswer(Enum):
    """What to do about a worker's `JwksRefreshRequest`."""

    FETCH = "a fetch is due now; its result is the answer"
    JOIN = "a fetch is under way; its result is the answer"
    COOLING = "the last forced fetch is too recent; what is held is the answer"


@dataclass(frozen=True, slots=True)
class SchedulePolicy:
    """Durations of a schedule, in seconds."""

    cache_duration_s: float
    """`remote_jwks.cache_duration`: how long keys are fresh, unless the source says less."""
    max_stale_s: float
    """How long they may serve after that while they cannot be refreshed (`fastproxy.jwks.max_stale_s`)."""
    cooldown_s: float = 10.0
    """The least time between two fetches that requests asked for."""
    retry_first_s: float = 1.0
    """The first delay after a failure (`async_fetch.failed_refetch_duration`); it doubles from there."""
    retry_longest_s: float = 30.0
    """A first delay above it stands."""


class JwksSchedule:
    """The schedule of one key source.

    Args:
        policy: its durations.
        now: monotonic seconds; the first fetch is due at once.
        uniform: source of jitter, `random.uniform` unless a test wants to know.
    """

    def __init__(
        self, policy: SchedulePolicy, now: float, *, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._policy = policy
        self._uniform = uniform
        self._backoff = Backoff(policy.retry_first_s, max(policy.retry_first_s, policy.retry_longest_s))
        self._next_fetch_at = now
        self._next_forced_at = now
        self._forced = False
        self._is_extra_fetch = False
        self._fingerprint: bytes | None = None
        self.fetching = False
        """A fetch is under way."""
        self.epoch = 0
        """Version of the content; 0 until the first keys."""
        self.lifetime_s = policy.cache_duration_s
        """How long the keys of the last good fetch are fresh."""
        self.expires_at: float | None = None
        """When the held keys become stale; None if none are held."""
        self.failures = 0
        """Failed fetches since the last good one."""

    @property
    def holds_keys(self) -> bool:
        """Keys are in force, fresh or stale."""
        return self._fingerprint is not None

    def is_stale(self, now: float) -> bool:
        """Tell whether the held keys are past their lifetime."""
        return self.expires_at is not None and now >= self.expires_at

    @property
    def stale_until(self) -> float | None:
        """When the held keys are withdrawn unless a fetch succeeds; None if none are held."""
        return None if self.expires_at is None else self.expires_at + self._policy.max_stale_s

    @property
    def next_fetch_at(self) -> float:
        """When the next background fetch is due."""
        return self._next_fetch_at

    def due(self, now: float) -> Action:
        """Say what is due. Withdrawal comes first: it is what fails closed."""
        if (limit := self.stale_until) is not None and now >= limit:
            return Action.WITHDRAW
        if not self.fetching and (self._forced or now >= self._next_fetch_at):
            return Action.FETCH
        return Action.WAIT

    def next_due_at(self) -> float:
        """Return the time at which `due` may say something else than now; infinity: not before an event."""
        times = [] if self.fetching else [float("-inf") if self._forced else self._next_fetch_at]
        if (limit := self.stale_until) is not None:
            times.append(limit)
        return min(times, default=float("inf"))

    def on_refresh_request(self, now: float) -> RefreshAnswer:
        """Take a worker's word that a token names a key it does not have.

        The token's sender chooses that key name. Without the cool-down a stream of made-up names becomes a
        stream of requests to the identity provider (S36).
        """
        if self.fetching or self._forced:
            return RefreshAnswer.JOIN
        if now < self._next_forced_at:
            return RefreshAnswer.COOLING
        self._next_forced_at = now + self._policy.cooldown_s
        self._forced = True
        return RefreshAnswer.FETCH

    def on_reachable(self, now: float) -> None:
        """The source's cluster got addresses: without keys, the next try need not wait for its back-off."""
        if not self.holds_keys and not self.fetching:
            self._backoff.reset()
            self._next_fetch_at = min(self._next_fetch_at, now)

    def on_fetch_started(self, now: float) -> None:
        """A fetch began; nothing else is fetched until its end is reported."""
        assert not self.fetching
        self.fetching = True
        self._forced = False
        self._is_extra_fetch = now < self._next_fetch_at

    def on_success(self, now: float, fingerprint: bytes, max_age_s: float | None = None) -> bool:
        """Usable keys came.

        Args:
            now: monotonic seconds.
            fingerprint: digest of the content; equal content has an equal digest.
            max_age_s: how long the source says that they are fresh; None if it does not.

        Returns:
            Whether the content changed, that is whether `epoch` grew.
        """
        changed = fingerprint != self._fingerprint
        if changed:
            self._fingerprint = fingerprint
            self.epoch += 1
        self.on_unchanged(now, max_age_s)
        return changed

    def on_unchanged(self, now: float, max_age_s: float | None = None) -> None:
        """The source says that what is held is still current (304), or that was found by `on_success`."""
        self.fetching = False
        self.failures = 0
        self._backoff.reset()
        self.lifetime_s = self._bound_lifetime(max_age_s)
        self.expires_at = now + self.lifetime_s
        self._next_fetch_at = now + max(self.lifetime_s * self._uniform(*_REFRESH_WINDOW), _LEAST_INTERVAL_S)

    def on_restored(self, now: float, fingerprint: bytes, age_s: float, lifetime_s: float) -> bool:
        """Keys of an earlier run were found, fetched `age_s` ago and fresh for `lifetime_s` from then.

        They age from their fetch, not from now: a restart prolongs nothing (S42). The first fetch stays due.

        Returns:
            False: they are past `max_stale_s` already, and nothing was taken.
        """
        lifetime_s = min(lifetime_s, self._bound_lifetime(None))
        expires_at = now - age_s + lifetime_s
        if now >= expires_at + self._policy.max_stale_s:
            return False
        self._fingerprint, self.epoch = fingerprint, self.epoch + 1
        self.lifetime_s, self.expires_at = lifetime_s, expires_at
        return True

    def _bound_lifetime(self, max_age_s: float | None) -> float:
        longest_s = max(self._policy.cache_duration_s, _LEAST_INTERVAL_S)
        return longest_s if max_age_s is None else min(max(max_age_s, LEAST_MAX_AGE_S), longest_s)

    def on_failure(self, now: float) -> float:
        """No usable keys came; what is held stays.

        Returns:
            Seconds until the next try.
        """
        self.fetching = False
        self.failures += 1
        if self._is_extra_fetch:
            # A token asked for it. Its failure leaves the background schedule and its back-off alone.
            return max(self._next_fetch_at - now, 0.0)
        delay_s = self._backoff.next_delay_s() * self._uniform(0.8, 1.2)
        self._next_fetch_at = now + delay_s
        return delay_s

    def on_withdrawn(self) -> None:
        """The keys were too old and are gone; the next ones are a change even if they are the same."""
        self._fingerprint = None
        self.expires_at = None
        self.epoch += 1
