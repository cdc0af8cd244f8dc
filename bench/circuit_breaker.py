"""What it costs to count one request against a limit: alone, and together with other workers.

.venv/bin/python bench/circuit_breaker.py
"""

import timeit

from fastproxy.build_info import form
from fastproxy.shared_counts import SharedCounts
from fastproxy.upstream.circuit_breaker import Resource, SharedResource

_ROUNDS = 200_000


def measure(resource: Resource) -> float:
    """Nanoseconds for one request: taken and given back; the best of five."""

    def one_request() -> None:
        resource.acquire()
        resource.release()

    def nothing() -> None:
        return

    taken = min(timeit.repeat(one_request, number=_ROUNDS, repeat=5))
    return (taken - min(timeit.repeat(nothing, number=_ROUNDS, repeat=5))) / _ROUNDS * 1e9


def main() -> None:
    print(f"{form()} form, nanoseconds per request:")
    print(f"  one worker   {measure(Resource(1024)):6.0f}")
    for workers in (2, 4, 8, 16, 64):
        counts = SharedCounts.create(1, workers)
        print(f"  {workers:2} workers   {measure(SharedResource(1024, counts.row(0), 0)):6.0f}")


if __name__ == "__main__":
    main()
