"""Microseconds to find the route of a request, in tables of one route up to 10,000 routes in 1,000 virtual hosts.

A lookup is what a request pays: host to virtual host, path to route, conditions. Hosts and paths are drawn once and
used in turn, so that nothing is found because it was asked for a moment ago; `fresh host` asks for hosts that were
never seen before.

    .venv/bin/python bench/route_lookup.py
    .venv-compiled/bin/python -P bench/route_lookup.py
"""

import argparse
import random
import time
from collections.abc import Iterator

from fastproxy.build_info import form
from fastproxy.http.messages import Request
from fastproxy.match.settings import (
    HeaderMatch,
    PathKind,
    PathMatch,
    RequestConditions,
    StringKind,
    StringMatch,
)
from fastproxy.router.route import Route
from fastproxy.router.settings import (
    DirectResponseAction,
    RouteConfigurationSettings,
    RouteSettings,
    VirtualHostSettings,
)
from fastproxy.router.table import RouteTable

_ANSWER = DirectResponseAction(200)


def make_route(number: int) -> RouteSettings:
    """Every kind in turn: prefixes mostly, as in real files."""
    canary = RequestConditions(headers=(HeaderMatch("x-canary", StringMatch(StringKind.EXACT, "1")),))
    path = f"/team-{number % 97}/service-{number}"
    matches = (
        RouteSettings(PathMatch(PathKind.PREFIX, path + "/"), _ANSWER, f"r{number}"),
        RouteSettings(PathMatch(PathKind.EXACT, path), _ANSWER, f"r{number}"),
        RouteSettings(PathMatch(PathKind.SEPARATED_PREFIX, path), _ANSWER, f"r{number}"),
        RouteSettings(PathMatch(PathKind.PREFIX, path + "/v1/"), _ANSWER, f"r{number}", conditions=canary),
        RouteSettings(PathMatch(PathKind.REGEX, path + "/[0-9]+(/.*)?"), _ANSWER, f"r{number}"),
    )
    return matches[number % len(matches)]


def make_table(hosts: int, routes: int) -> RouteTable:
    """A table in which every host has the same number of routes; one in three domains is a wildcard."""
    catch_all = RouteSettings(PathMatch(PathKind.PREFIX, "/"), _ANSWER, "rest")
    each = routes // hosts
    virtual_hosts = []
    for number in range(hosts):
        domain = (f"host-{number}.test", f"*.tenant-{number}.test", f"api-{number}.*")[number % 3]
        own = [make_route(number * each + one) for one in range(each - 1)]
        virtual_hosts.append(VirtualHostSettings(f"v{number}", (domain,), (*own, catch_all)))
    virtual_hosts.append(VirtualHostSettings("all", ("*",), (catch_all,)))
    return RouteTable(RouteConfigurationSettings("table", tuple(virtual_hosts)))


def make_requests(hosts: int, routes: int, count: int, *, fresh: bool) -> list[Request]:
    """Requests that hit a route of a known host, at random; `fresh`: each with a host of its own."""
    rng = random.Random(1)
    each = routes // hosts
    requests = []
    for index in range(count):
        number = rng.randrange(hosts)
        label = f"x{index}" if fresh else "www"
        host = (f"host-{number}.test", f"{label}.tenant-{number}.test", f"api-{number}.{label}")[number % 3]
        route = make_route(number * each + rng.randrange(max(each - 1, 1)))
        path = route.match.value.replace("[0-9]+(/.*)?", "4711/x")
        path += {PathKind.PREFIX: "list/42", PathKind.SEPARATED_PREFIX: "/42"}.get(route.match.kind, "")
        request = Request(b"GET", path.encode(), {b"accept": b"*/*"})
        request.set_target(path.encode())
        request.authority = host.encode()
        requests.append(request)
    return requests


def measure(table: RouteTable, requests: list[Request], repeat: int) -> float:
    """Microseconds for one lookup, the best of several rounds; what the loop itself costs is taken off."""
    select = table.select_route
    best = min(_rounds(select, requests, repeat))
    return max(best - min(_rounds(_nothing, requests, repeat)), 0.0) * 1e6 / len(requests)


def _nothing(_request: Request) -> Route | None:
    return None


def _rounds(function: object, requests: list[Request], repeat: int) -> Iterator[float]:
    assert callable(function)
    for _ in range(repeat):
        begin = time.perf_counter()
        for request in requests:
            function(request)
        yield time.perf_counter() - begin


def main() -> None:
    """Print one line for each table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    print(f"{form()} form, microseconds for one lookup:")
    for hosts, routes in ((1, 1), (1, 5), (1, 10), (1, 1_000), (1, 10_000), (1_000, 10_000)):
        table = make_table(hosts, routes)
        requests = make_requests(hosts, routes, options.requests, fresh=False)
        line = f"  {routes:6} routes, {hosts:5} hosts {measure(table, requests, options.repeat):7.2f}"
        if hosts > 1:
            requests = make_requests(hosts, routes, options.requests, fresh=True)
            line += f"   fresh host {measure(table, requests, options.repeat):7.2f}"
        print(line)


if __name__ == "__main__":
    main()
