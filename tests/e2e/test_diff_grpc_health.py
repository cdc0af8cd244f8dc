"""gRPC health checks beside Envoy: the same server, the same verdicts, and the same words on the wire."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from tests.conftest import require_peer
from tests.e2e.support.health_world import FAST, flags_of, stat
from tests.e2e.support.proxies import (
    Config,
    ConfigTemplate,
    Ports,
    RunningProxy,
    running_envoy,
    running_fastproxy,
)
from tests.e2e.support.templates import bootstrap, cluster, forward, listener, virtual_host

#: What the server says of a service: the status of a HealthCheckResponse, or a gRPC status instead of one.
ANSWERS: dict[str, bytes | grpc.StatusCode] = {
    "": b"\x08\x01",
    "good": b"\x08\x01",
    "unknown": b"\x08\x00",
    "bad": b"\x08\x02",
    "nowhere": b"\x08\x03",
    "nothing": b"",
    "absent": grpc.StatusCode.NOT_FOUND,
    "unready": grpc.StatusCode.UNAVAILABLE,
    "older": grpc.StatusCode.UNIMPLEMENTED,
}


class Server:
    """Answers checks, and keeps how it was asked."""

    def __init__(self) -> None:
        self.answers = dict(ANSWERS)
        self.asked: set[tuple[str, str]] = set()

    def check(self, request: bytes, context: Any) -> bytes:
        """Answer a HealthCheckRequest, whose first field is the service."""
        service = request[2:].decode()
        sent = dict(context.invocation_metadata())
        self.asked.add((service, sent.get("x-checked", "")))
        answer = self.answers[service]
        if isinstance(answer, bytes):
            return answer
        context.abort(answer, "said the test")
        raise AssertionError


@contextmanager
def running_server() -> Iterator[tuple[Server, int]]:
    """The server and its port."""
    server = Server()
    with ThreadPoolExecutor(8) as pool:
        running = grpc.server(pool)
        handlers = {"Check": grpc.unary_unary_rpc_method_handler(server.check)}
        running.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),)
        )
        port = running.add_insecure_port("127.0.0.1:0")
        running.start()
        try:
            yield server, port
        finally:
            running.stop(None).wait()


def _template(port: int, of_cluster: Config) -> ConfigTemplate:
    def fill(ports: Ports) -> Config:
        clusters = []
        for service in ANSWERS:
            check = {
                "service_name": service,
                "initial_metadata": [{"header": {"key": "x-checked", "value": "yes"}}],
            }
            checks = [{**FAST, "grpc_health_check": check}]
            clusters.append(cluster(f"of-{service}", port, health_checks=checks, **of_cluster))
        hosts = [virtual_host("all", ["*"], [forward({"prefix": "/"}, "of-good")])]
        return bootstrap(ports["admin"], [listener("plain", ports["plain"], hosts)], clusters)

    return fill


def _verdicts(proxy: RunningProxy) -> dict[str, list[str]]:
    return {service: list(flags_of(proxy, f"of-{service}").values()) for service in ANSWERS}


def _judge(proxy: RunningProxy, server: Server) -> tuple[object, ...]:
    """Let a proxy check until everything is judged, and again after two services have changed."""
    proxy.wait_until(lambda: stat(proxy, "cluster.of-older.health_check.attempt") >= 3)
    first = _verdicts(proxy)
    server.answers["good"], server.answers["bad"] = b"\x08\x02", b"\x08\x01"
    proxy.wait_until(lambda: _verdicts(proxy)["good"] == ["/failed_active_hc"])
    proxy.wait_until(lambda: _verdicts(proxy)["bad"] == ["healthy"])
    failures = {
        name: stat(proxy, f"cluster.of-unready.health_check.{name}") > 0
        for name in ("failure", "network_failure", "success")
    }
    return first, frozenset(server.asked), failures


def test_every_answer_means_what_it_means_to_envoy(tmp_path: Path) -> None:
    """Only SERVING is healthy, and what changes takes effect."""
    require_peer("envoy")
    found = []
    # Envoy checks this way only where the cluster speaks HTTP/2, which FastProxy does for the checks alone.
    http2: Config = {"http2_protocol_options": {}}
    for name, start, more in (("envoy", running_envoy, http2), ("fastproxy", running_fastproxy, {})):
        directory = tmp_path / name
        directory.mkdir()
        with running_server() as (server, port), start(_template(port, more), ("plain",), directory) as proxy:
            found.append(_judge(proxy, server))
    assert found[1] == found[0]
    verdicts = found[0][0]
    assert isinstance(verdicts, dict)
    assert {service for service, flags in verdicts.items() if flags == ["healthy"]} == {"", "good"}
