"""Choosing among weighted clusters."""

from collections import Counter

import pytest

from fastproxy.http.headers import append
from fastproxy.http.messages import Request
from fastproxy.router.hash_policy import RequestHash, stable_hash
from fastproxy.router.settings import HashPolicy, HeaderHash
from fastproxy.router.weighted import ClusterChoice


def request(*numbers: bytes, draw: int = -1) -> Request:
    made = Request(b"GET", b"/", {})
    made.random_value = draw << 32 if draw >= 0 else -1
    for number in numbers:
        append(made.headers, b"x-pick", number)
    return made


def test_chance_gives_each_cluster_its_weight() -> None:
    """Every number once: the shares are exact."""
    choice = ClusterChoice((20, 0, 50, 30), b"", None)
    shares = Counter(choice.select(request(draw=number)) for number in range(100))
    assert shares == {0: 20, 2: 50, 3: 30}


def test_a_request_stays_with_its_choice() -> None:
    """A route that is selected again must not send half of the requests elsewhere."""
    choice = ClusterChoice((1, 1), b"", None)
    for _ in range(50):
        one = request()
        assert len({choice.select(one) for _ in range(3)}) == 1


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((b"0",), 0),
        ((b"19",), 0),
        ((b"20",), 1),
        ((b"99",), 1),
        ((b"100",), 0),
        ((b"18446744073709551615",), 0),
    ],
)
def test_a_header_can_decide(numbers: tuple[bytes, ...], expected: int) -> None:
    """`header_name`: the number modulo the sum of the weights."""
    assert ClusterChoice((20, 80), b"x-pick", None).select(request(*numbers, draw=50)) == expected


@pytest.mark.parametrize(
    "numbers",
    [(), (b"",), (b"-1",), (b"1.5",), (b"x",), (b"0", b"0"), (b"18446744073709551616",), (b"9" * 99,)],
)
def test_a_header_without_a_number_leaves_it_to_chance(numbers: tuple[bytes, ...]) -> None:
    """Whatever a downstream sends."""
    choice = ClusterChoice((20, 80), b"x-pick", None)
    assert [choice.select(request(*numbers, draw=draw)) for draw in (19, 20)] == [0, 1]


def test_the_hash_policy_can_decide() -> None:
    """`use_hash_policy`: the same user, the same cluster."""
    policy = RequestHash((HashPolicy(HeaderHash("x-pick")),))
    choice = ClusterChoice((50, 50), b"", policy)
    for name in (b"a", b"b", b"c", b"d"):
        assert choice.select(request(name, draw=7)) == stable_hash(name) % 100 // 50
    assert choice.select(request(draw=99)) == 1, "without a hash it is chance"
