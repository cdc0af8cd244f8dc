"""The real proxies of the end-to-end tests, started once for all of them."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from tests.conftest import require_peer
from tests.e2e.support.cases import CONTENDER, Pair
from tests.e2e.support.http_setup import HTTP_LISTENERS, SCRIPTS, http_template
from tests.e2e.support.jwt_setup import JWT_LISTENERS, TokenBook, jwt_template, start_key_servers
from tests.e2e.support.proxies import ConfigTemplate, RunningProxy, running_envoy, running_fastproxy
from tests.e2e.support.routing_setup import ROUTING_LISTENERS, TenantTokens, routing_template
from tests.e2e.support.upstream import ScriptedUpstream


@pytest.fixture(scope="session")
def http_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies over the configuration of `http_setup`."""
    require_peer("envoy")
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream(SCRIPTS))
        directory = tmp_path_factory.mktemp("http")
        template = http_template(upstream.port)
        envoy, contender = _start_both(stack, template, HTTP_LISTENERS, directory)
        yield Pair(envoy, contender, upstream)


@pytest.fixture(scope="session")
def token_book() -> TokenBook:
    """The keys and tokens of the JWT tests."""
    return TokenBook()


@pytest.fixture(scope="session")
def jwt_pair(tmp_path_factory: pytest.TempPathFactory, token_book: TokenBook) -> Iterator[Pair]:
    """Both proxies over the configuration of `jwt_setup`."""
    require_peer("envoy")
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream(SCRIPTS))
        key_server = stack.enter_context(start_key_servers(token_book))
        directory = tmp_path_factory.mktemp("jwt")
        template = jwt_template(upstream.port, key_server.port, token_book)
        envoy, contender = _start_both(stack, template, JWT_LISTENERS, directory)
        yield Pair(envoy, contender, upstream, token_book.fill)


@dataclass(frozen=True, slots=True)
class RoutingWorld:
    """Both proxies over the configuration of `routing_setup`, and the upstream that gets the copies."""

    pair: Pair
    copies: ScriptedUpstream


@pytest.fixture(scope="session")
def routing_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoutingWorld]:
    """Both proxies over the configuration of `routing_setup`."""
    require_peer("envoy")
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream(SCRIPTS))
        copies = stack.enter_context(ScriptedUpstream(SCRIPTS))
        tokens = TenantTokens()
        template = routing_template(upstream.port, copies.port, tokens)
        directory = tmp_path_factory.mktemp("routing")
        envoy, contender = _start_both(stack, template, ROUTING_LISTENERS, directory)
        yield RoutingWorld(Pair(envoy, contender, upstream, tokens.fill), copies)


@pytest.fixture(scope="session")
def routing_pair(routing_world: RoutingWorld) -> Pair:
    """The two proxies alone."""
    return routing_world.pair


def _start_both(
    stack: ExitStack, template: ConfigTemplate, listeners: tuple[str, ...], directory: Path
) -> tuple[RunningProxy, RunningProxy]:
    envoy = stack.enter_context(running_envoy(template, listeners, directory))
    if CONTENDER == "envoy":
        (directory / "second").mkdir()
        return envoy, stack.enter_context(running_envoy(template, listeners, directory / "second"))
    return envoy, stack.enter_context(running_fastproxy(template, listeners, directory))


class StartFastProxy(Protocol):
    """Starts a FastProxy that ends with the test."""

    def __call__(
        self, template: ConfigTemplate, *options: str, listeners: tuple[str, ...] = ("plain",)
    ) -> RunningProxy:
        """Start it over `template`; `options` go to its command line."""


@pytest.fixture
def start_fastproxy(tmp_path: Path) -> Iterator[StartFastProxy]:
    """A FastProxy of the test's own."""
    with ExitStack() as stack:

        def start(
            template: ConfigTemplate, *options: str, listeners: tuple[str, ...] = ("plain",)
        ) -> RunningProxy:
            directory = Path(tempfile.mkdtemp(dir=tmp_path))
            return stack.enter_context(running_fastproxy(template, listeners, directory, *options))

        yield start


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    """An upstream of the test's own."""
    with ScriptedUpstream(SCRIPTS) as one:
        yield one
