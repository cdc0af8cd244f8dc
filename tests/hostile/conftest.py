"""One FastProxy for all hostile tests: they must leave it alive."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.e2e.support.proxies import Config, ConfigTemplate, Ports, RunningProxy, running_fastproxy
from tests.e2e.support.templates import EVERYTHING_TO_ECHO, bootstrap, cluster, jwt_authn, listener, rule
from tests.e2e.support.tokens import ISSUER, RsaKey, jwks
from tests.e2e.support.upstream import ScriptedUpstream, SeenRequest
from tests.e2e.support.wire import Downstream, WireResponse, encode_request


@dataclass(frozen=True, slots=True)
class Target:
    """The proxy under attack: `open` asks for no token, `guarded` for one, `hasty` gives a head two seconds."""

    proxy: RunningProxy
    upstream: ScriptedUpstream
    key: RsaKey

    def attack(
        self, wire: bytes, *, listener: str = "open", step: int = 0
    ) -> tuple[list[WireResponse], bool]:
        """Send bytes, whole or in steps, then FIN; every answer, and whether the proxy closed."""
        with Downstream(self.proxy.ports[listener]) as downstream:
            if step:
                downstream.send_in_steps(wire, step)
            else:
                downstream.send(wire)
            downstream.half_close()
            responses = downstream.read_responses([b"GET"] * 100)
            rest = downstream.read_to_end() if not responses or responses[-1].complete else b""
            assert rest == b"", rest[:200]
            return responses, downstream.eof

    def seen_after_fence(self) -> list[SeenRequest]:
        """What reached the upstream, apart from one good request made now: it also proves that the proxy lives."""
        with Downstream(self.proxy.ports["open"]) as downstream:
            downstream.send(encode_request("GET", "/fence"))
            assert downstream.read_response().status == 200
        return [seen for seen in self.upstream.take_requests() if seen.path != b"/fence"]


def _template(upstream_port: int, keys: str) -> ConfigTemplate:
    provider = {
        "issuer": ISSUER,
        "local_jwks": {"inline_string": keys},
        "forward_payload_header": "x-jwt-payload",
    }
    rules = [rule({"prefix": "/open"}), rule({"prefix": "/"}, "p")]

    def template(ports: Ports) -> Config:
        listeners = [
            listener("open", ports["open"], EVERYTHING_TO_ECHO),
            listener(
                "guarded", ports["guarded"], EVERYTHING_TO_ECHO, filters=[jwt_authn({"p": provider}, rules)]
            ),
            listener("hasty", ports["hasty"], EVERYTHING_TO_ECHO, options={"request_headers_timeout": "1s"}),
        ]
        return bootstrap(ports["admin"], listeners, [cluster("echo", upstream_port)])

    return template


@pytest.fixture(scope="session")
def running_target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The proxy and its upstream, once."""
    key = RsaKey("k")
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream())
        template = _template(upstream.port, jwks(key.jwk()))
        directory = tmp_path_factory.mktemp("hostile")
        proxy = stack.enter_context(running_fastproxy(template, ("open", "guarded", "hasty"), directory))
        yield Target(proxy, upstream, key)


@pytest.fixture
def target(running_target: Target) -> Iterator[Target]:
    """The proxy, before and after each attack alive and without a traceback in its log."""
    running_target.seen_after_fence()
    logged = len(running_target.proxy.log())
    yield running_target
    assert running_target.proxy.process.poll() is None
    assert "Traceback" not in running_target.proxy.log()[logged:]
