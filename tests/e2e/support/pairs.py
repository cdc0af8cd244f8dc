"""Envoy and FastProxy over one template, for test modules that bring a configuration of their own."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.conftest import require_peer
from tests.e2e.support.cases import CONTENDER, Pair
from tests.e2e.support.http_setup import SCRIPTS
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports, running_envoy, running_fastproxy
from tests.e2e.support.templates import bootstrap, cluster, listener
from tests.e2e.support.upstream import ScriptedUpstream


@contextmanager
def running_pair(template: ConfigTemplate, listeners: tuple[str, ...], directory: Path) -> Iterator[Pair]:
    """Both proxies over `template`, which sends to the port `upstream`; they end with the block."""
    require_peer("envoy")
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream(SCRIPTS))

        def fill(ports: Ports) -> Config:
            return template({**ports, "upstream": upstream.port})

        envoy = stack.enter_context(running_envoy(fill, listeners, directory))
        second = directory / "second"
        second.mkdir()
        start = running_envoy if CONTENDER == "envoy" else running_fastproxy
        yield Pair(envoy, stack.enter_context(start(fill, listeners, second)), upstream)


def managers_template(managers: Mapping[str, Config], hosts: list[Config]) -> ConfigTemplate:
    """One listener for each set of connection manager options, all over the same virtual hosts."""

    def fill(ports: Ports) -> Config:
        listeners = [
            listener(name, ports[name], hosts, options=dict(options)) for name, options in managers.items()
        ]
        return bootstrap(
            ports["admin"],
            listeners,
            [cluster("echo", ports["upstream"]), cluster("refused", ports["closed"])],
        )

    return fill
