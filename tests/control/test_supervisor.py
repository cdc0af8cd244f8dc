"""Workers as real processes: started, told, replaced, drained."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from fastproxy.control.backoff import Backoff
from fastproxy.control.options import ControlOptions
from fastproxy.control.shared_memory import SharedMemory
from fastproxy.control.supervisor import Supervisor
from fastproxy.ipc.messages import SetLogLevel, ToMain, ToWorker, WorkerInit
from tests.control.support import behaviour, options, until


class Host:
    """The owner of a supervisor without sockets."""

    def __init__(self, bootstrap: bytes = b"") -> None:
        self.bootstrap = bootstrap or behaviour()
        self.gone: list[int] = []

    def build_init(self, worker_id: int) -> WorkerInit:
        import base64

        return WorkerInit(worker_id, 1, base64.b64encode(self.bootstrap).decode(), "info", [])

    def current_state(self) -> Iterable[ToWorker]:
        return ()

    def listening_sockets(self, worker_id: int) -> dict[int, socket.socket]:
        return {}

    def on_worker_message(self, worker_id: int, message: ToMain) -> None:
        raise AssertionError(message)

    def on_worker_gone(self, worker_id: int) -> None:
        self.gone.append(worker_id)


def start(host: Host, **more: Any) -> Supervisor:
    settings: ControlOptions = options(**more)
    supervisor = Supervisor(host, settings, SharedMemory(1, ()))
    supervisor.start()
    return supervisor


def test_back_off_doubles_up_to_its_limit_and_starts_over() -> None:
    """A broken worker must not become a fork bomb."""
    backoff = Backoff(0.1, 10.0)

    assert [round(backoff.next_delay_s(), 1) for _ in range(9)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    backoff.reset()
    assert backoff.next_delay_s() == 0.1


async def test_start_fails_with_the_workers_own_reason_if_none_can_start() -> None:
    """The operator needs the worker's words, not "exit code 1"."""
    supervisor = start(Host(behaviour("fail")), concurrency=2)

    assert await supervisor.release() == "local JWKS cannot be read"
    await supervisor.kill()


async def test_worker_that_crashes_at_its_start_reports_its_exit_code() -> None:
    """An import error in a worker is such a crash."""
    supervisor = start(Host(behaviour("crash")))

    assert await supervisor.release() == "exit code 7 before it was ready"
    await supervisor.kill()


async def test_interpreter_that_cannot_be_started_is_reported() -> None:
    """No traceback, no endless loop."""
    supervisor = start(Host(), worker_argv=("/nonexistent/python",))

    assert "cannot start a process" in await supervisor.release()
    await supervisor.kill()


async def test_worker_that_never_gets_ready_is_killed_and_counts_as_failed() -> None:
    """A hanging worker must not hold up the start for ever."""
    supervisor = start(Host(behaviour("silent")), worker_start_timeout_s=0.2)

    assert await supervisor.release() == "signal SIGKILL before it was ready"
    await supervisor.kill()


async def test_one_good_worker_is_enough_to_start(tmp_path: Path) -> None:
    """The other one is replaced meanwhile."""
    host = Host(behaviour("crash-once", marker=str(tmp_path / "crashed")))
    supervisor = start(host, concurrency=2, restart_backoff_s=(0.01, 0.01))

    assert await supervisor.release() == ""
    await until(lambda: supervisor.ready_count == 2)
    await supervisor.kill()


async def test_killed_worker_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """A crash costs one worker's connections and nothing else."""
    host = Host()
    supervisor = start(host, restart_backoff_s=(0.01, 0.01))
    await supervisor.release()
    (first,) = supervisor.pids()
    os.kill(first, 9)
    await until(lambda: supervisor.ready_count == 1 and supervisor.pids() != (first,))

    assert host.gone == [0]
    assert supervisor.restarts == 1
    assert "worker 0 ended: signal SIGKILL; starting another in 0.0 s" in caplog.text
    await supervisor.kill()


async def test_kill_leaves_no_process_behind() -> None:
    """Also in a test: a forgotten worker would keep the port."""
    supervisor = start(Host(), concurrency=2)
    await supervisor.release()
    pids = supervisor.pids()
    await supervisor.kill()

    assert all(not Path(f"/proc/{pid}").exists() for pid in pids)


async def test_drain_before_the_workers_were_released_ends_at_once() -> None:
    """SIGTERM while DNS is still being asked."""
    supervisor = start(Host(), concurrency=2)
    await until(lambda: len(supervisor.pids()) == 2)

    assert await supervisor.drain(30.0)
    assert supervisor.pids() == ()


async def test_message_to_a_worker_without_init_is_not_sent() -> None:
    """WorkerInit is always first; what was broadcast before is part of the state that follows it."""
    supervisor = start(Host())
    supervisor.send(0, SetLogLevel("debug"))

    assert await supervisor.release() == ""
    await supervisor.kill()


async def test_worker_that_talks_nonsense_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no way to go on with a peer that cannot be understood."""
    caplog.set_level(logging.INFO, logger="fastproxy")
    script = tmp_path / "babble.py"
    script.write_text(
        "import os, sys\nos.write(int(sys.argv[1]), b'\\x00\\x00\\x00\\x02{}')\n"
        # It goes only when nobody listens to it any more.
        "while os.read(int(sys.argv[1]), 65536): pass\n"
    )
    supervisor = start(Host(), worker_argv=(sys.executable, str(script)))

    assert await supervisor.release() == "channel broken: a frame has an unknown message type"
    await supervisor.kill()


async def test_workers_inherit_only_what_they_are_given(tmp_path: Path) -> None:
    """An inherited key file or socket of somebody else is a leak, and would keep a dead main's port alive."""
    report = tmp_path / "fds"
    script = tmp_path / "fds.py"
    script.write_text(
        "import os\n"
        "numbers = [int(name) for name in os.listdir('/proc/self/fd')]\n"
        "open_ones = [n for n in numbers if n > 2 and os.path.exists(f'/proc/self/fd/{n}')]\n"
        "links = [os.readlink(f'/proc/self/fd/{n}') for n in open_ones]\n"
        f"open({str(report)!r}, 'w').write('\\n'.join(links))\n"
    )
    with Path(os.devnull).open() as stray:
        os.set_inheritable(stray.fileno(), True)
        supervisor = start(Host(), worker_argv=(sys.executable, str(script)))
        await supervisor.release()
        await supervisor.kill()

    # The channel, and the way by which listening sockets come.
    inherited = report.read_text().splitlines()
    assert len(inherited) == 2
    assert all(link.startswith("socket:") for link in inherited)


async def test_supervisor_survives_a_stop_in_its_back_off() -> None:
    """The wait before a restart is long; SIGTERM must not wait for it."""
    supervisor = start(Host(behaviour("crash")), restart_backoff_s=(3600.0, 3600.0))
    await supervisor.release()
    await asyncio.sleep(0)

    assert await supervisor.drain(30.0)
