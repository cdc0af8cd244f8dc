"""Files with resources beside a configuration, the same for several proxies, and waiting until all have taken them."""

import http.client
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import sleep

import yaml

from fastproxy.clock import monotonic
from tests.conftest import require_peer
from tests.e2e.support.counting import ask
from tests.e2e.support.proxies import Config, ConfigTemplate, RunningProxy, running_envoy, running_fastproxy
from tests.e2e.support.templates import address
from tests.e2e.support.wire import PATIENCE_S

_API = "type.googleapis.com/envoy.config."
NODE = {"id": "node", "cluster": "fleet"}


def typed(kind: str, resource: Config) -> Config:
    """A resource: `cluster`, `listener`, `route` or `endpoint`."""
    names = {
        "cluster": "cluster.v3.Cluster",
        "listener": "listener.v3.Listener",
        "route": "route.v3.RouteConfiguration",
        "endpoint": "endpoint.v3.ClusterLoadAssignment",
    }
    return {"@type": _API + names[kind], **resource}


def assignment(name: str, *ports: int, **more: object) -> Config:
    """The endpoints of a cluster."""
    entries = [{"endpoint": {"address": address(port)}, **more} for port in ports]
    return typed("endpoint", {"cluster_name": name, "endpoints": [{"lb_endpoints": entries}]})


def file_source(path: Path) -> Config:
    """A `ConfigSource`."""
    return {"path_config_source": {"path": str(path)}}


def put(path: Path, version: str, *resources: Config) -> None:
    """Replace a file by rename."""
    replace_text(path, yaml.safe_dump({"version_info": version, "resources": list(resources)}))


def replace_text(path: Path, text: str) -> None:
    """Replace a file by rename, whatever it says."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def stat(proxy: RunningProxy, name: str) -> int:
    """A counter or gauge; -1 if there is none of that name."""
    return int(proxy.admin(f"/stats?filter=^{name}$")[1].rpartition(": ")[2] or "-1")


def text_stat(proxy: RunningProxy, name: str) -> str:
    """A text readout, with its quotes."""
    return proxy.admin(f"/stats?filter=^{name}$")[1].rpartition(": ")[2].strip()


def wait_for_stat(proxy: RunningProxy, name: str, value: int) -> None:
    """Until a counter has reached a value."""
    deadline = monotonic() + PATIENCE_S
    while (found := stat(proxy, name)) < value:
        assert monotonic() < deadline, f"{proxy.name}: {name} is {found}\n{proxy.log()[-2000:]}"
        sleep(0.02)
    assert found == value, f"{proxy.name}: {name} is {found}\n{proxy.log()[-2000:]}"


def wait_for_answers(proxy: RunningProxy, path: str, expected: str) -> None:
    """Until these upstreams, and no others, answer; workers hear of a change a moment after the admin page."""
    deadline = monotonic() + PATIENCE_S
    while (found := set(ask(proxy.ports["plain"], path, [{}] * 8))) != set(expected):
        assert monotonic() < deadline, f"{proxy.name}: {path} {found}\n{proxy.log()[-2000:]}"
        sleep(0.02)


def get(proxy: RunningProxy, path: str, port: str = "plain") -> tuple[int, str]:
    """Status and body of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.ports[port], timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@contextmanager
def both(
    template: ConfigTemplate, directory: Path, listeners: tuple[str, ...] = ("plain",)
) -> Iterator[list[RunningProxy]]:
    """Envoy and FastProxy over the same configuration and files."""
    require_peer("envoy")
    with ExitStack() as stack:
        yield [
            stack.enter_context(running_envoy(template, listeners, directory)),
            stack.enter_context(running_fastproxy(template, listeners, directory, "--concurrency", "2")),
        ]
