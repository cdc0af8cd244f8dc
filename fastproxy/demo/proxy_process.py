"""The proxy as a child process: its configuration, its start, its output, its end."""

import asyncio
import os
import re
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from fastproxy import clock
from fastproxy.demo.exchange import open_session
from fastproxy.tasks import cancel_and_wait, spawn

_START_TIMEOUT_S = 60.0
_POLL_INTERVAL_S = 0.05
_STOP_TIMEOUT_S = 10.0
_KEPT_LINES = 200
#: A line of output longer than this is cut by the reader; far above any access log line.
_MAX_LINE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the four parts listen, all on 127.0.0.1. The defaults are those of `configs/demo.yaml`."""

    proxy: int = 8080
    issuer: int = 8081
    upstream: int = 8082
    admin: int = 9901


class ProxyStartError(Exception):
    """The proxy did not come up; `output` holds its last lines."""

    def __init__(self, reason: str, output: Sequence[str]) -> None:
        super().__init__(reason)
        self.output = tuple(output)


def config_file() -> Path:
    """Find the demo's configuration: `configs/demo.yaml` in a checkout, its packaged twin elsewhere."""
    here = Path(__file__).resolve()
    in_checkout = here.parents[2] / "configs" / "demo.yaml"
    return in_checkout if in_checkout.is_file() else here.with_name("demo.yaml")


def configuration(ports: Ports) -> str:
    """Give the demo's configuration for these ports, comments included."""
    standard = Ports()
    renamed = {
        str(standard.proxy): str(ports.proxy),
        str(standard.issuer): str(ports.issuer),
        str(standard.upstream): str(ports.upstream),
        str(standard.admin): str(ports.admin),
    }
    # In one pass, or a port that takes another's old number would be renamed twice.
    pattern = re.compile(rf"\b({'|'.join(renamed)})\b")
    return pattern.sub(lambda found: renamed[found[1]], config_file().read_text(encoding="utf-8"))


def write_configuration(ports: Ports, directory: Path) -> Path:
    """Give the file to run: the one in `configs/` as it is, or a copy in `directory` with other ports."""
    if ports == Ports():
        return config_file()
    path = directory / "demo.yaml"
    path.write_text(configuration(ports), encoding="utf-8")
    return path


class ProxyProcess:
    """A running proxy. Its output is kept, and handed on line by line while `on_line` is set."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Take over a started process; `start` is the usual way to get one."""
        self.on_line: Callable[[str], None] | None = None
        self.output: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process = process
        assert process.stdout is not None
        self._reader = spawn(self._read(process.stdout), name="demo-proxy-output")

    @classmethod
    async def start(cls, command: Sequence[str]) -> "ProxyProcess":
        """Start `command` in a session of its own, so that Ctrl-C reaches the demo first and alone."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=_MAX_LINE_BYTES,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def wait_until_ready(self, admin_url: str) -> None:
        """Poll the admin interface's `/ready` until it says that traffic is served.

        Raises:
            ProxyStartError: the process ended, or took longer than a minute.
        """
        deadline = clock.monotonic() + _START_TIMEOUT_S
        async with open_session() as session:
            while not await _is_ready(session, f"{admin_url}/ready"):
                if self._process.returncode is not None:
                    await asyncio.wait([self._reader], timeout=1)
                    raise ProxyStartError(
                        f"the proxy ended with status {self._process.returncode}", self.output
                    )
                if clock.monotonic() > deadline:
                    raise ProxyStartError(
                        f"the proxy was not ready within {_START_TIMEOUT_S:.0f} s", self.output
                    )
                await asyncio.sleep(_POLL_INTERVAL_S)

    async def wait(self) -> int:
        """Wait until the process has ended by itself; give its status."""
        return await self._process.wait()

    async def stop(self, timeout_s: float = _STOP_TIMEOUT_S) -> None:
        """End the process: asked first, killed when it has not ended after `timeout_s` seconds."""
        try:
            if self._process.returncode is None:
                self._process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(timeout_s):
                    await self._process.wait()
        except TimeoutError:
            # The session is its own (see `start`): this reaches its workers too.
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
        except ProcessLookupError:
            await self._process.wait()
        finally:
            await cancel_and_wait(self._reader)

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while line := await _read_line(stream):
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            self.output.append(text)
            if self.on_line is not None:
                self.on_line(text)


async def _read_line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # a line above the limit: its rest follows, and nobody waits for it
        return b"...\n"


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
