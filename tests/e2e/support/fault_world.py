"""What the fault tests are made of: endpoints that are processes, load, a name server, and a proxy over all of them."""

import http.client
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any, Self

import yaml

from fastproxy.clock import monotonic
from tests.control.dns_server import Zone
from tests.control.dns_thread import dns_thread
from tests.e2e.support import endpoint as endpoint_module
from tests.e2e.support.proxies import (
    Config,
    ConfigTemplate,
    Ports,
    RunningProxy,
    free_ports,
    running_fastproxy,
)
from tests.e2e.support.templates import address, bootstrap, forward, listener, virtual_host
from tests.tls.pki import Authority

THREADS = 6
_PATIENCE_S = 30.0
#: What a name server would say, and what the endpoints' certificates say.
NAME = "service.test"
#: Addresses of loopback: endpoints of one name have one port.
FIRST_HOST, HOSTS = 2, 3
#: Where an endpoint moves to.
OTHER_HOST = f"127.0.0.{FIRST_HOST + HOSTS}"
#: The sizes of request bodies: one write, several, and more than a buffer of the kernel or the proxy takes.
_BODY_BYTES = (5, 3_000, 200_000)


class EndpointProcess:
    """One endpoint; it keeps its address when it is killed and started again."""

    def __init__(self, host: str, port: int, log: Path, certificate: tuple[Path, Path] | None) -> None:
        self.host = host
        self.port = port
        self.log = log
        self._certificate = certificate
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Begin to serve, well."""
        pair = self._certificate or ()
        arguments = [self.host, str(self.port), str(self.log), *map(str, pair)]
        command = [sys.executable, "-P", endpoint_module.__file__, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._read() == str(self.port)

    def behave(self, mode: str) -> None:
        """See `endpoint.py`."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(mode + "\n")
        self._process.stdin.flush()
        assert self._read() == mode

    def stop(self) -> None:
        """Its connections stay open, and new ones are accepted by the kernel: nobody is at home."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        """End it without a word."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def seen(self, what: str, prefix: str) -> Counter[str]:
        """How often each request that begins with `prefix` arrived: its `head`, or the `whole` of it."""
        with suppress(FileNotFoundError):
            lines = (line.split() for line in self.log.read_text().splitlines())
            return Counter(name for kind, name in lines if kind == what and name.startswith(prefix))
        return Counter()

    def _read(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@dataclass(slots=True)
class Load:
    """Requests from several connections at once, each with an id of its own."""

    port: int
    method: str
    name: str
    """Begins the ids."""
    path: str = "/"
    requests: int = 240
    done: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    times_ms: list[float] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def run(self, at: Mapping[float, Callable[[], object]]) -> None:
        """Send everything; when such a part of the requests is done, do the things of `at`."""
        threads = [threading.Thread(target=self._send_all) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for part, action in sorted(at.items()):
            count = int(part * self.requests)
            with self._changed:
                assert self._changed.wait_for(lambda count=count: self.done >= count, _PATIENCE_S)  # type: ignore[misc]
            action()
        for thread in threads:
            # Each that meets the fault may wait half a second.
            thread.join(_PATIENCE_S + self.requests / 2 / THREADS)
            assert not thread.is_alive(), "a request got no answer"

    def figures(self) -> str:
        """Times in words."""
        cuts = quantiles(self.times_ms, n=100)
        return f"p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.0f} ms"

    def _send_all(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_S)
        while True:
            with self._changed:
                number = next(self._numbers)
            if number >= self.requests:
                break
            started = monotonic()
            connection.request(
                self.method, self.path, body=self._body(number), headers={"x-id": f"{self.name}-{number}"}
            )
            response = connection.getresponse()
            response.read()
            with self._changed:
                self.done += 1
                self.statuses[response.status] += 1
                self.times_ms.append((monotonic() - started) * 1000)
                self._changed.notify_all()
        connection.close()

    def _body(self, number: int) -> bytes | Iterator[bytes] | None:
        """Of all sizes, and every other one in chunks."""
        if self.method != "POST":
            return None
        size = _BODY_BYTES[number % len(_BODY_BYTES)]
        if number % 2:
            return b"o" * size
        return iter([b"o" * (size // 2), b"o" * (size - size // 2)])


@dataclass(slots=True)
class FaultWorld:
    """Two workers before three endpoints; the tests mistreat the first one."""

    proxy: RunningProxy
    endpoints: list[EndpointProcess]
    zone: Zone
    _expired: tuple[Path, Path] | None
    _moved: EndpointProcess
    _reloads: int = 0
    _first_generation: int = 0

    @property
    def victim(self) -> EndpointProcess:
        """The endpoint that has the fault."""
        return self.endpoints[0]

    def refuse_new_connections(self) -> None:
        """The victim serves those that it has; its certificate has expired, or without TLS it does not listen."""
        self.victim.behave("certificate {} {}".format(*self._expired) if self._expired else "deaf")
        self.victim.behave("last")

    def move(self) -> None:
        """The victim has another address from now on, and its name server knows."""
        self._moved.start()
        self.zone.records[NAME, "A"] = [OTHER_HOST, *(one.host for one in self.endpoints[1:])]
        self.victim.kill()

    def misname(self) -> None:
        """The name server has no answer any more."""
        self.zone.failing = True

    def reload(self) -> None:
        """Another configuration: clusters are replaced, connections with them."""
        if not self._reloads:
            self._first_generation = self._generation()
        self._reloads += 1
        config = yaml.safe_load(self.proxy.config_path.read_text())
        for cluster in config["static_resources"]["clusters"]:
            cluster["connect_timeout"] = f"{0.5 + self._reloads / 1000}s"
        self.proxy.config_path.write_text(yaml.safe_dump(config))
        self.proxy.process.send_signal(signal.SIGHUP)

    def heal(self) -> None:
        """Everything is as it was at the beginning."""
        self._moved.kill()
        self.victim.kill()
        self.victim.start()
        self.zone.failing = False
        self.zone.records[NAME, "A"] = [one.host for one in self.endpoints]
        deadline = monotonic() + _PATIENCE_S
        while f"named::{self.victim.host}:" not in self.proxy.admin("/clusters")[1]:
            assert monotonic() < deadline, "the proxy does not see that the name is what it was"

    def seen(self, what: str, prefix: str) -> Counter[str]:
        """As `EndpointProcess.seen`, of all of them."""
        everybody = [*self.endpoints, self._moved]
        return sum((one.seen(what, prefix) for one in everybody), Counter())

    def seen_by_moved(self, prefix: str) -> int:
        """Requests that arrived where the victim moved to."""
        return self._moved.seen("head", prefix).total()

    def numbers(self) -> dict[str, int]:
        """Counters and gauges of both clusters, added up."""
        _, text = self.proxy.admin("/stats?filter=^cluster%5C.&type=Counters")
        _, gauges = self.proxy.admin("/stats?filter=^cluster%5C.&type=Gauges")
        found: Counter[str] = Counter()
        for line in (text + gauges).splitlines():
            name, _, value = line.partition(": ")
            found[name.split(".", 2)[2]] += int(value)
        return dict(found)

    def wait_until_reloaded(self) -> None:
        """Until what `reload` has changed is in force."""
        deadline = monotonic() + _PATIENCE_S
        while self._generation() <= self._first_generation:
            assert monotonic() < deadline, self.proxy.log()[-2000:]

    def _generation(self) -> int:
        return int(json.loads(self.proxy.admin("/reload_status")[1])["generation"])


def fault_template(
    port: int, hosts: list[str], dns_server: str, authority: Authority | None
) -> ConfigTemplate:
    """What may be repeated is retried on everything, the rest only if it did not reach an endpoint."""
    predicates = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    retry = {
        "num_retries": 5,
        "retry_host_predicate": [{"name": "previous", "typed_config": {"@type": predicates}}],
        "host_selection_retry_max_attempts": 5,
    }
    everything = {**retry, "retry_on": "5xx", "per_try_timeout": "0.4s"}
    careful = {**retry, "retry_on": "connect-failure"}

    def fill(ports: Ports) -> Config:
        post = [{"name": ":method", "string_match": {"exact": "POST"}}]
        routes = []
        for prefix, name in (("/named", "named"), ("/", "static")):
            match = {"prefix": prefix}
            # Who hangs costs a POST its timeout, for it must not go elsewhere.
            routes.append(forward({**match, "headers": post}, name, retry_policy=careful, timeout="1s"))
            routes.append(forward(match, name, retry_policy=everything, timeout="20s"))
        clusters = [
            {**_cluster("static", authority), "type": "STATIC"},
            {**_cluster("named", authority), "type": "STRICT_DNS", **_dns(dns_server)},
        ]
        for cluster, places in zip(clusters, (hosts, [NAME]), strict=True):
            endpoints = [{"endpoint": {"address": address(port, place)}} for place in places]
            cluster["load_assignment"] = {
                "cluster_name": cluster["name"],
                "endpoints": [{"lb_endpoints": endpoints}],
            }
        hosts_ = [virtual_host("all", ["*"], routes)]
        return bootstrap(ports["admin"], [listener("plain", ports["plain"], hosts_)], clusters)

    return fill


def _cluster(name: str, authority: Authority | None) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "name": name,
        "connect_timeout": "0.5s",
        "circuit_breakers": {"thresholds": [{"max_retries": 100, "track_remaining": True}]},
    }
    if authority is not None:
        context = {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": NAME,
            "common_tls_context": {
                "validation_context": {
                    "trusted_ca": {"inline_string": authority.pem.decode()},
                    "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": NAME}}],
                }
            },
        }
        settings["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return settings


def _dns(server: str) -> dict[str, Any]:
    host, _, port = server.rpartition(":")
    resolver = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
    return {
        "dns_lookup_family": "V4_ONLY",
        "dns_refresh_rate": "0.1s",
        "typed_dns_resolver_config": {
            "name": "envoy.network.dns_resolver.cares",
            "typed_config": {"@type": resolver, "resolvers": [address(int(port), host)]},
        },
    }


@contextmanager
def fault_world(directory: Path, *, tls: bool) -> Iterator[FaultWorld]:
    """Start everything; `tls`: towards the endpoints."""
    hosts = [f"127.0.0.{FIRST_HOST + n}" for n in range(HOSTS)]
    port = _shared_port([*hosts, OTHER_HOST])
    authority = Authority() if tls else None
    valid = expired = None
    if authority is not None:
        valid = authority.issue(NAME).write(directory, "valid")
        expired = authority.issue(NAME, days=-1).write(directory, "expired")
    with ExitStack() as stack:
        places = [*hosts, OTHER_HOST]
        made = [EndpointProcess(host, port, directory / f"{host}.log", valid) for host in places]
        endpoints = [stack.enter_context(one) for one in made[:HOSTS]]
        moved = made[HOSTS]
        stack.callback(moved.kill)
        server = stack.enter_context(dns_thread())
        server.zone.records[NAME, "A"] = hosts
        template = fault_template(port, hosts, server.address, authority)
        started = running_fastproxy(template, ("plain",), directory, "--concurrency", "2")
        yield FaultWorld(stack.enter_context(started), endpoints, server.zone, expired, moved)


def _shared_port(hosts: list[str]) -> int:
    """A port that is free on all of these addresses."""
    while True:
        port = free_ports("any")["any"]
        with suppress(OSError):
            for host in hosts:
                with socket.create_server((host, port)):
                    pass
            return port


def shuffled(count: int) -> list[float]:
    """Parts of a load at which something happens, by chance but the same in every run."""
    chance = random.Random(6)
    return sorted(chance.uniform(0.05, 0.95) for _ in range(count))
