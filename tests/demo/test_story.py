"""The whole demo with real processes: the story must be true of FastProxy, and of Envoy, word for word."""

import asyncio
import io
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from fastproxy.demo.cli import demo_command
from fastproxy.demo.proxy_process import Ports
from fastproxy.demo.report import ConsoleReporter
from fastproxy.demo.world import DemoOptions, run_demo, taken_ports
from fastproxy.tasks import spawn
from tests.conftest import require_peer

FASTPROXY = (sys.executable, "-m", "fastproxy")


class Screen(io.StringIO):
    """What the demo prints, and a call when certain words appear."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[str, Callable[[], None]]] = []

    def when(self, words: str, act: Callable[[], None]) -> None:
        """Call `act` once the words have been printed."""
        self._waiting.append((words, act))

    def write(self, text: str) -> int:
        """Take a piece of output."""
        written = super().write(text)
        for entry in [entry for entry in self._waiting if entry[0] in self.getvalue()]:
            self._waiting.remove(entry)
            entry[1]()
        return written


def _free_ports() -> Ports:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        proxy, issuer, upstream, admin = (each.getsockname()[1] for each in sockets)
    return Ports(proxy=proxy, issuer=issuer, upstream=upstream, admin=admin)


def _command(name: str) -> tuple[str, ...]:
    if name == "envoy":
        return (str(require_peer("envoy")), "--use-dynamic-base-id")
    return FASTPROXY


async def _run(options: DemoOptions, screen: Screen) -> int:
    return await run_demo(options, ConsoleReporter(Console(file=screen, highlight=False)))


@pytest.mark.parametrize("proxy", ["fastproxy", pytest.param("envoy", marks=pytest.mark.peer("envoy"))])
async def test_story_is_true(proxy: str) -> None:
    """The bodies are promised byte for byte, and by Envoy's behaviour, not by our memory of it."""
    screen = Screen()
    options = DemoOptions(ports=_free_ports(), once=True, proxy_command=_command(proxy), story_token_life_s=2)

    status = await _run(options, screen)

    told = screen.getvalue()
    assert status == 0, told
    for words in ("Jwt is missing", "Jwt verification fails", "Jwt is expired", "greater flamingo"):
        assert words in told
    assert told.count("as told\n") == 10
    assert "\x1b" not in told


@pytest.mark.peer("envoy")
async def test_demo_stays_up_until_told_to_stop_and_takes_the_proxy_along() -> None:
    """The user repeats the story by hand; afterwards every port must be free again."""
    screen = Screen()
    ports = _free_ports()
    screen.when("The proxy's log, as it comes:", lambda: os.kill(os.getpid(), signal.SIGINT))
    options = DemoOptions(ports=ports, proxy_command=_command("envoy"), story_token_life_s=1)

    status = await _run(options, screen)

    assert status == 0, screen.getvalue()
    assert f"curl -si -G http://127.0.0.1:{ports.proxy}/users/demo" in screen.getvalue()
    assert taken_ports(ports) == []


@pytest.mark.peer("envoy")
async def test_stop_in_the_middle_of_the_story_ends_everything() -> None:
    """Ctrl-C must not leave a proxy behind, whenever it comes."""
    screen = Screen()
    ports = _free_ports()
    screen.when("Waiting", lambda: os.kill(os.getpid(), signal.SIGTERM))
    options = DemoOptions(ports=ports, once=True, proxy_command=_command("envoy"), story_token_life_s=60)

    assert await _run(options, screen) == 1
    assert "Stopped before the end." in screen.getvalue()
    assert taken_ports(ports) == []


async def test_wrong_answers_fail_the_demo(tmp_path: Path) -> None:
    """`--once` is a check, and a check that cannot fail is none."""
    ports = _free_ports()
    # Says that it is ready, and serves nothing where the proxy should be.
    (tmp_path / "ready").write_text("LIVE\n", encoding="utf-8")
    program = (
        "import functools, http.server as h, sys;"
        f"h.HTTPServer(('127.0.0.1', {ports.admin}),"
        f" functools.partial(h.SimpleHTTPRequestHandler, directory={str(tmp_path)!r})).serve_forever()"
    )
    screen = Screen()
    options = DemoOptions(
        ports=ports, once=True, proxy_command=(sys.executable, "-c", program), story_token_life_s=1
    )

    assert await _run(options, screen) == 1
    assert "NOT AS TOLD: no answer" in screen.getvalue()
    assert "The documentation is open to all: no answer" in screen.getvalue()


async def test_proxy_that_does_not_start_is_shown_with_its_words() -> None:
    """The reason stands in the proxy's output, and there alone."""
    screen = Screen()
    failing = (sys.executable, "-c", "import sys; sys.exit('the file is broken')")

    assert await _run(DemoOptions(ports=_free_ports(), once=True, proxy_command=failing), screen) == 1
    assert "proxy | the file is broken" in screen.getvalue()
    assert "the proxy ended with status 1" in screen.getvalue()


async def test_taken_ports_are_named_with_the_option_that_changes_them() -> None:
    """The commonest reason why a demo does not start; all of them are told at once."""
    screen = Screen()
    ports = _free_ports()
    with socket.socket() as first, socket.socket() as second:
        for taken, port in ((first, ports.proxy), (second, ports.upstream)):
            taken.bind(("127.0.0.1", port))
            taken.listen()

        assert await _run(DemoOptions(ports=ports, once=True), screen) == 1

    told = screen.getvalue()
    assert (
        f"port {ports.proxy} for the proxy: Address already in use. Choose another with --proxy-port." in told
    )
    assert f"port {ports.upstream} for the upstream" in told
    assert "--issuer-port" not in told


async def test_port_that_another_proxy_shares_counts_as_taken() -> None:
    """With SO_REUSEPORT two proxies would answer in turns, and the story would be true every other time."""
    ports = _free_ports()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", ports.proxy))
        other.listen()

        assert len(taken_ports(ports)) == 1


def test_equal_ports_are_bad_usage() -> None:
    """Two parts on one port cannot work, and the message should not come from the second bind."""
    result = CliRunner().invoke(demo_command, ["--proxy-port", "9000", "--admin-port", "9000"])

    assert result.exit_code == 2
    assert "the four ports must differ" in result.output


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_impossible_port_is_bad_usage(port: str) -> None:
    """Port 0 would be a different port for each part that names it."""
    assert CliRunner().invoke(demo_command, ["--proxy-port", port]).exit_code == 2


async def test_demo_leaves_no_task_behind() -> None:
    """A task that outlives the demo would hold the program open."""
    before = asyncio.all_tasks()
    failing = (sys.executable, "-c", "raise SystemExit(1)")

    await spawn(
        _run(DemoOptions(ports=_free_ports(), once=True, proxy_command=failing), Screen()), name="demo"
    )

    assert asyncio.all_tasks() == before
