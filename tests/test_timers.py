"""LazyTimer against the plain thing: one loop timer per deadline."""

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.timers import LazyTimer
from tests.listener.support import START, SteppedLoop


def test_it_fires_once_at_its_deadline() -> None:
    """Not before, not twice."""
    loop, fired = SteppedLoop(), list[float]()
    timer = LazyTimer(loop.as_loop(), lambda: fired.append(loop.now))
    timer.set(loop.now, 10)
    assert timer.is_set
    loop.advance(9.9)
    assert fired == []
    loop.advance(100)
    assert fired == [START + 10]
    assert not timer.is_set


def test_a_later_deadline_needs_no_new_loop_timer() -> None:
    """That is what makes it cheap: once per request it only stores a number."""
    loop, fired = SteppedLoop(), list[float]()
    timer = LazyTimer(loop.as_loop(), lambda: fired.append(loop.now))
    for _ in range(100):
        timer.set(loop.now, 10)
        loop.advance(1)
        timer.clear()
    assert loop.live_timers == 1
    timer.set(loop.now, 10)
    loop.advance(30)
    assert fired == [START + 110]


def test_an_earlier_deadline_is_kept() -> None:
    """A short timeout after a long one."""
    loop, fired = SteppedLoop(), list[float]()
    timer = LazyTimer(loop.as_loop(), lambda: fired.append(loop.now))
    timer.set(loop.now, 100)
    timer.set(loop.now, 5)
    loop.advance(200)
    assert fired == [START + 5]


def test_closed_timers_hold_nothing() -> None:
    """The loop's timer refers to the connection."""
    loop = SteppedLoop()
    timer = LazyTimer(loop.as_loop(), lambda: None)
    timer.set(loop.now, 5)
    timer.close()
    timer.close()
    assert loop.live_timers == 0


STEPS = st.lists(st.tuples(st.sampled_from(["set", "clear", "wait"]), st.integers(1, 30)), max_size=30)


@given(STEPS)
def test_it_behaves_like_a_timer_that_is_made_anew_each_time(steps: list[tuple[str, int]]) -> None:
    """The plain version is the oracle (style.md section 8)."""
    loop, fired, expected = SteppedLoop(), list[float](), list[float]()
    timer = LazyTimer(loop.as_loop(), lambda: fired.append(loop.now))
    deadline = 0.0
    for action, value in steps:
        if action == "set":
            timer.set(loop.now, value)
            deadline = loop.now + value
        elif action == "clear":
            timer.clear()
            deadline = 0.0
        else:
            if deadline and deadline <= loop.now + value:
                expected.append(deadline)
                deadline = 0.0
            loop.advance(value)
    assert fired == expected
    assert timer.is_set == bool(deadline)
    assert loop.live_timers <= 1
