"""The chain: order, stopping, waiting, and failing closed."""

import asyncio
from collections.abc import Awaitable

import pytest

from fastproxy.filters.base import Outcome
from fastproxy.filters.chain import FILTER_FAILED, FilterChain
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import LocalReply, Request
from fastproxy.stats import StatsSink

REPLY = LocalReply(403, details="x")


class Step:
    """A filter that does one thing and says that it was asked."""

    def __init__(
        self, log: list[str], name: str, outcome: LocalReply | Exception | None, *, wait: bool
    ) -> None:
        self._log = log
        self._name = name
        self._outcome = outcome
        self._wait = wait

    def on_request(self, request: Request) -> Outcome:
        self._log.append(self._name)
        return self._later() if self._wait else self._now()

    def _now(self) -> LocalReply | None:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    async def _later(self) -> LocalReply | None:
        await asyncio.sleep(0)
        return self._now()

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        sink.counter(prefix + self._name, 1)


def steps(*outcomes: LocalReply | Exception | None, waiting: frozenset[int]) -> tuple[FilterChain, list[str]]:
    log: list[str] = []
    made = [Step(log, str(n), outcome, wait=n in waiting) for n, outcome in enumerate(outcomes)]
    return FilterChain(made), log


async def result(outcome: Outcome) -> LocalReply | None:
    return await outcome if isinstance(outcome, Awaitable) else outcome


@pytest.mark.parametrize("waiting", [frozenset(s) for s in ((), (0,), (1,), (2,), (0, 1), (0, 1, 2))])
@pytest.mark.parametrize(
    ("outcomes", "expected", "asked"),
    [
        ((None, None, None), None, "012"),
        ((None, REPLY, None), REPLY, "01"),
        ((REPLY, None, None), REPLY, "0"),
        ((None, None, REPLY), REPLY, "012"),
        ((None, RuntimeError("x"), None), FILTER_FAILED, "01"),
        ((None, None, RuntimeError("x")), FILTER_FAILED, "012"),
    ],
)
async def test_filters_run_once_in_order_until_one_answers(
    outcomes: tuple[LocalReply | Exception | None, ...],
    expected: LocalReply | None,
    asked: str,
    waiting: frozenset[int],
) -> None:
    """Whichever of them wait; an exception is a refusal (S56)."""
    chain, log = steps(*outcomes, waiting=waiting)
    assert await result(chain.on_request(Request(b"GET", b"/", {}))) is expected
    assert "".join(log) == asked


def test_nothing_is_awaited_in_the_usual_case() -> None:
    """A coroutine per request would cost more than most filters."""
    chain, _ = steps(None, None, waiting=frozenset())
    assert chain.on_request(Request(b"GET", b"/", {})) is None
    assert FilterChain([]).on_request(Request(b"GET", b"/", {})) is None


def test_stats_of_all_filters_are_collected() -> None:
    """Under one prefix."""
    chain, _ = steps(None, None, waiting=frozenset())
    sink = StatsSink()
    chain.write_stats(sink, "http.x.")
    assert sink.counters == {"http.x.0": 1, "http.x.1": 1}


class Asks:
    """Makes the route stale, at once or later."""

    def __init__(self, *, wait: bool) -> None:
        self._wait = wait

    def on_request(self, request: Request) -> Outcome:
        if self._wait:
            return self._later(request)
        request.route_is_stale = True
        return None

    async def _later(self, request: Request) -> LocalReply | None:
        await asyncio.sleep(0)
        request.route_is_stale = True
        return None

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Nothing to tell."""


class Notes:
    """Notes what the route says about filters when its turn comes."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def on_request(self, request: Request) -> Outcome:
        self.seen.append(request.filter_configs)
        return None

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Nothing to tell."""


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("last", [False, True])
async def test_a_stale_route_is_selected_again_before_the_next_filter(wait: bool, last: bool) -> None:
    """Otherwise the next filter would go by what another route says, one that is open to all perhaps."""
    selected = []

    def select(request: Request) -> None:
        selected.append(request)
        request.route_is_stale = False
        request.filter_configs = {"new": True}

    notes = Notes()
    asks = Asks(wait=wait)
    chain = FilterChain([notes, asks] if last else [notes, asks, notes], select)
    request = Request(b"GET", b"/", {})
    request.filter_configs = {"old": True}
    assert await result(chain.on_request(request)) is None
    assert selected == [request], "once, also behind the last filter: the router goes by it"
    assert notes.seen == [{"old": True}] + ([] if last else [{"new": True}])


class Answers(Step):
    """A filter that looks at responses, too."""

    def on_response(self, request: Request, headers: HeaderMap) -> None:
        self._log.append(f"<{self._name}")
        self._now()


def test_the_last_filter_sees_a_response_first() -> None:
    """What it adds the filters before it can still take away. Those that do not look at responses are not asked."""
    log: list[str] = []
    chain = FilterChain(
        [
            Answers(log, "0", None, wait=False),
            Step(log, "1", None, wait=False),
            Answers(log, "2", None, wait=False),
        ]
    )
    assert chain.on_response is not None
    assert chain.on_response(Request(b"GET", b"/", {}), {})
    assert log == ["<2", "<0"]


def test_without_response_filters_there_is_nothing_to_call() -> None:
    """Files that have none do not pay for them."""
    chain, _ = steps(None, None, waiting=frozenset())
    assert chain.on_response is None


def test_s56_a_filter_that_fails_over_a_response_holds_it_back() -> None:
    """It may have been there to take something out of it."""
    log: list[str] = []
    chain = FilterChain([Answers(log, "0", RuntimeError("x"), wait=False)])
    assert chain.on_response is not None
    assert not chain.on_response(Request(b"GET", b"/", {}), {})
