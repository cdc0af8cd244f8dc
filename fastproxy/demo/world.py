"""The demo as a whole: issuer and upstream in this process, the proxy beside it, the story in front."""

import asyncio
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

from aiohttp import web

from fastproxy.demo.issuer import Issuer, build_issuer_app
from fastproxy.demo.proxy_process import Ports, ProxyProcess, ProxyStartError, write_configuration
from fastproxy.demo.report import ConsoleReporter, printable
from fastproxy.demo.story import Places, Story, birds_command, token_command
from fastproxy.demo.upstream import build_upstream_app
from fastproxy.tasks import cancel_and_wait, spawn

HOST = "127.0.0.1"
#: During the story tokens live so long: enough for a handful of requests, short enough to be waited for.
STORY_TOKEN_LIFE_S = 5
#: Afterwards people type, and people are slow. Keycloak's default, too.
MANUAL_TOKEN_LIFE_S = 300

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WHAT = {
    "proxy": ("the proxy", "--proxy-port"),
    "issuer": ("the issuer", "--issuer-port"),
    "upstream": ("the upstream", "--upstream-port"),
    "admin": ("the proxy's admin interface", "--admin-port"),
}


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What can be chosen about a demo."""

    ports: Ports = field(default_factory=Ports)
    once: bool = False
    """Leave after the story instead of staying up."""
    proxy_command: tuple[str, ...] = (sys.executable, "-m", "fastproxy")
    """The proxy to show, before `-c FILE`; the tests show Envoy, too."""
    story_token_life_s: int = STORY_TOKEN_LIFE_S


def taken_ports(ports: Ports) -> list[str]:
    """Say which ports cannot be listened on, one sentence each, with the option that chooses another."""
    problems = []
    for part in fields(ports):
        port = getattr(ports, part.name)
        what, option = _WHAT[part.name]
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As servers do, so that connections of the last run in TIME_WAIT are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                probe.listen(1)
            except OSError as exc:
                reason = exc.strerror or str(exc)
                problems.append(f"port {port} for {what}: {reason}. Choose another with {option}.")
    return problems


@asynccontextmanager
async def serving(app: web.Application, port: int) -> AsyncIterator[None]:
    """Serve an application on loopback as long as the context lasts."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        yield
    finally:
        await runner.cleanup()


async def run_demo(options: DemoOptions, reporter: ConsoleReporter) -> int:
    """Start everything, play the story, stay up if asked to, end everything; give the exit status.

    0: every answer was as told. 1: one was not, or something did not start.
    """
    problems = taken_ports(options.ports)
    if problems:
        for problem in problems:
            reporter.line(problem, "bold red")
        return 1
    issuer = Issuer(f"http://{HOST}:{options.ports.issuer}", access_token_life_s=options.story_token_life_s)
    with _stop_signals() as stop, tempfile.TemporaryDirectory(prefix="fastproxy-demo-") as directory:
        async with (
            serving(build_issuer_app(issuer), options.ports.issuer),
            serving(build_upstream_app(), options.ports.upstream),
        ):
            config = write_configuration(options.ports, Path(directory))
            return await _with_proxy(options, reporter, issuer, config, stop)


@contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """Turn the signals that end a program into an event, so that the proxy is ended first."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Under nohup SIGHUP is ignored, and stays so.
    signals = [s for s in _STOP_SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
    for signum in signals:
        loop.add_signal_handler(signum, stop.set)
    try:
        yield stop
    finally:
        for signum in signals:
            loop.remove_signal_handler(signum)


async def _with_proxy(
    options: DemoOptions, reporter: ConsoleReporter, issuer: Issuer, config: Path, stop: asyncio.Event
) -> int:
    command = (*options.proxy_command, "-c", str(config), "--concurrency", "2", "--drain-time-s", "2")
    _introduce(reporter, options.ports, command)
    proxy = await ProxyProcess.start(command)
    demo = spawn(_play(options.ports, reporter, proxy), name="demo-story")
    stopped = spawn(stop.wait(), name="demo-stop")
    try:
        await asyncio.wait([demo, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not demo.done():
            reporter.note("Stopped before the end.")
            return 1
        if not demo.result():
            return 1
        return 0 if options.once else await _stay_up(options, reporter, issuer, proxy, stopped)
    finally:
        await cancel_and_wait(demo, stopped)
        await proxy.stop()


async def _play(ports: Ports, reporter: ConsoleReporter, proxy: ProxyProcess) -> bool:
    try:
        await proxy.wait_until_ready(f"http://{HOST}:{ports.admin}")
    except ProxyStartError as failure:
        _show_output(reporter, failure.output)
        reporter.line(str(failure), "bold red")
        return False
    story = Story(_places(ports), reporter)
    if await story.play():
        reporter.note("Every answer was as told.")
        return True
    reporter.note("The proxy's last lines:")
    _show_output(reporter, proxy.output)
    reporter.note("Not every answer was as told:")
    for failed in story.failures:
        reporter.line(f"  {failed}", "bold red")
    return False


def _show_output(reporter: ConsoleReporter, lines: Iterable[str]) -> None:
    for line in lines:
        reporter.line(f"  proxy | {printable(line)}", "dim")


async def _stay_up(
    options: DemoOptions,
    reporter: ConsoleReporter,
    issuer: Issuer,
    proxy: ProxyProcess,
    stopped: "asyncio.Task[bool]",
) -> int:
    issuer.access_token_life_s = MANUAL_TOKEN_LIFE_S
    places = _places(options.ports)
    reporter.note(f"Now you: everything stays up until Ctrl-C, and tokens live for {MANUAL_TOKEN_LIFE_S} s.")
    reporter.line(f"   $ {token_command(places)}", "green")
    reporter.line(f"   $ {birds_command(places)}", "green")
    reporter.line(f"   $ curl -s http://{HOST}:{options.ports.admin}/jwks", "green")
    reporter.line(f"   $ curl -s 'http://{HOST}:{options.ports.admin}/stats?filter=jwt_authn'", "green")
    reporter.line("The proxy's log, as it comes:")
    proxy.on_line = lambda line: _show_output(reporter, [line])
    ended = spawn(proxy.wait(), name="demo-proxy-wait")
    await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
    if ended.done():
        reporter.line(f"the proxy ended with status {ended.result()}", "bold red")
        return 1
    await cancel_and_wait(ended)
    reporter.note("Stopping.")
    return 0


def _places(ports: Ports) -> Places:
    return Places(proxy=f"http://{HOST}:{ports.proxy}", issuer=f"http://{HOST}:{ports.issuer}")


def _introduce(reporter: ConsoleReporter, ports: Ports, command: Sequence[str]) -> None:
    reporter.line("FastProxy demo: a front proxy that asks for a token", "bold")
    reporter.line("")
    reporter.line(f"   curl --> {HOST}:{ports.proxy} proxy --> {HOST}:{ports.upstream} data service")
    reporter.line("                       |")
    reporter.line(f"                       +--> {HOST}:{ports.issuer} issuer (tokens, keys)")
    reporter.line("")
    reporter.line(f"The proxy is: {' '.join(command)}", "dim")
