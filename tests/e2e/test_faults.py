"""Endpoints that fail under load: what a retry can hide, no downstream sees; and nothing is done twice."""

import http.client
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.e2e.support import endpoint as endpoint_module
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports, RunningProxy, running_fastproxy
from tests.e2e.support.templates import address, bootstrap, forward, listener, virtual_host

_THREADS = 6
_REQUESTS = 40
_PATIENCE_S = 30.0


class EndpointProcess:
    """One endpoint; it keeps its port when it is killed and started again."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        command = [sys.executable, "-P", endpoint_module.__file__, str(self.port), str(self.log)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._read())

    def behave(self, mode: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(mode + "\n")
        self._process.stdin.flush()
        assert self._read() == mode

    def stop(self) -> None:
        """Its connections stay open, and new ones are accepted by the kernel: nobody is at home."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _read(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class Load:
    """Requests from several connections at once, each with an id of its own."""

    def __init__(self, proxy: RunningProxy, method: str, name: str) -> None:
        self._name = f"{method}-{name}".lower()
        self._port = proxy.ports["plain"]
        self._method = method
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self.done = 0
        self.statuses: Counter[int] = Counter()

    def run(self, at: dict[int, Callable[[], object]]) -> None:
        """Send everything; when so many requests are done, do the things of `at`."""
        threads = [threading.Thread(target=self._send_all) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        for count, action in sorted(at.items()):
            with self._changed:
                assert self._changed.wait_for(lambda count=count: self.done >= count, _PATIENCE_S)  # type: ignore[misc]
            action()
        for thread in threads:
            thread.join(_PATIENCE_S)
            assert not thread.is_alive(), "a request got no answer"

    def _send_all(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE_S)
        for _ in range(_REQUESTS):
            with self._changed:
                number = next(self._numbers)
            body = b"order" if self._method == "POST" else None
            connection.request(self._method, "/", body=body, headers={"x-id": f"{self._name}-{number}"})
            response = connection.getresponse()
            response.read()
            with self._changed:
                self.done += 1
                self.statuses[response.status] += 1
                self._changed.notify_all()
        connection.close()


def template(ports_of_endpoints: list[int]) -> ConfigTemplate:
    """What may be repeated is retried on everything, the rest only if it did not reach an endpoint."""
    retry = {
        "num_retries": 5,
        "retry_host_predicate": [
            {
                "name": "previous",
                "typed_config": {
                    "@type": "type.googleapis.com/"
                    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": 5,
    }
    everything = {**retry, "retry_on": "5xx", "per_try_timeout": "0.4s"}
    careful = {**retry, "retry_on": "connect-failure"}

    def fill(ports: Ports) -> Config:
        posts = {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]}
        routes = [
            forward(posts, "service", retry_policy=careful, timeout="20s"),
            forward({"prefix": "/"}, "service", retry_policy=everything, timeout="20s"),
        ]
        endpoints = [{"endpoint": {"address": address(port)}} for port in ports_of_endpoints]
        service = {
            "name": "service",
            "type": "STATIC",
            "connect_timeout": "0.5s",
            "load_assignment": {"cluster_name": "service", "endpoints": [{"lb_endpoints": endpoints}]},
            "circuit_breakers": {"thresholds": [{"max_retries": 100}]},
        }
        hosts = [virtual_host("all", ["*"], routes)]
        return bootstrap(ports["admin"], [listener("plain", ports["plain"], hosts)], [service])

    return fill


@dataclass(frozen=True, slots=True)
class World:
    """Two workers before three endpoints; the tests mistreat the first one."""

    proxy: RunningProxy
    endpoints: tuple[EndpointProcess, ...]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Started once: the endpoints keep their ports."""
    directory = tmp_path_factory.mktemp("faults")
    with ExitStack() as stack:
        endpoints = [stack.enter_context(EndpointProcess(directory / f"{n}.log")) for n in range(3)]
        config = template([one.port for one in endpoints])
        proxy = stack.enter_context(running_fastproxy(config, ("plain",), directory, "--concurrency", "2"))
        yield World(proxy, tuple(endpoints))


@pytest.fixture(autouse=True)
def revive(world: World) -> Iterator[None]:
    """The first endpoint is well again after every test."""
    yield
    world.endpoints[0].kill()
    world.endpoints[0].start()


def flap(endpoint: EndpointProcess) -> dict[int, Callable[[], object]]:
    """Gone and back, again and again."""
    return {
        count: endpoint.kill if number % 2 == 0 else endpoint.start
        for number, count in enumerate(range(20, 221, 20))
    }


FAULTS: dict[str, Callable[[EndpointProcess], dict[int, Callable[[], object]]]] = {
    "killed": lambda one: {40: one.kill},
    "killed-and-back": lambda one: {40: one.kill, 120: one.start},
    "stopped": lambda one: {40: one.stop},
    "hung": lambda one: {40: lambda: one.behave("hang")},
    "slow": lambda one: {40: lambda: one.behave("slow")},
    "resetting": lambda one: {40: lambda: one.behave("reset")},
    "closing": lambda one: {40: lambda: one.behave("close")},
    "503": lambda one: {40: lambda: one.behave("503")},
    "flapping": flap,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_one_endpoint_is_hidden(world: World, fault: str) -> None:
    """Two healthy ones are left, and a GET may be repeated: no downstream sees an error."""
    load = Load(world.proxy, "GET", fault)
    load.run(FAULTS[fault](world.endpoints[0]))

    assert load.statuses == {200: _THREADS * _REQUESTS}


@pytest.mark.parametrize("fault", ["killed", "resetting", "closing", "503", "flapping"])
def test_what_may_have_had_an_effect_is_not_done_twice(world: World, fault: str) -> None:
    """A POST reaches one endpoint once, or none; whatever the downstream is told."""
    load = Load(world.proxy, "POST", fault)
    load.run(FAULTS[fault](world.endpoints[0]))

    lines = [line for one in world.endpoints for line in one.log.read_text().split()]
    arrived = Counter(line for line in lines if line.startswith(f"post-{fault}-"))
    assert set(arrived.values()) == {1}
    assert load.statuses[200] >= _THREADS * _REQUESTS / 2
    assert len(arrived) >= load.statuses[200]
    assert set(load.statuses) <= {200, 503}
