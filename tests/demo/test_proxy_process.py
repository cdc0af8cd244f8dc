"""The proxy as the demo's child: its file, its start, its end."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
import yaml

from fastproxy.demo.proxy_process import (
    Ports,
    ProxyProcess,
    ProxyStartError,
    config_file,
    configuration,
    write_configuration,
)

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SLEEPER = (sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()")
STUBBORN = (
    sys.executable,
    "-c",
    (
        "import signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('up', flush=True)\n"
        "while True: signal.pause()"
    ),
)


def test_standard_ports_run_the_file_in_configs(tmp_path: Path) -> None:
    """What the user reads and edits is what runs."""
    assert write_configuration(Ports(), tmp_path) == CONFIGS / "demo.yaml"
    assert config_file() == CONFIGS / "demo.yaml"


def test_other_ports_change_nothing_but_ports(tmp_path: Path) -> None:
    """Whoever has a port taken must see the same demo."""
    path = write_configuration(Ports(proxy=1111, issuer=2222, upstream=3333, admin=4444), tmp_path)

    text = path.read_text(encoding="utf-8")
    back = {"1111": "8080", "2222": "8081", "3333": "8082", "4444": "9901"}
    assert path.parent == tmp_path
    assert re.sub("1111|2222|3333|4444", lambda found: back[found[0]], text) == config_file().read_text()
    assert not re.search("8080|8081|8082|9901", text)


def test_ports_may_be_swapped() -> None:
    """Replacing one number after the other would send both to the same port."""
    text = configuration(Ports(proxy=8081, issuer=8080))
    listeners = yaml.safe_load(text)["static_resources"]["listeners"]

    assert listeners[0]["address"]["socket_address"]["port_value"] == 8081
    assert "http://127.0.0.1:8080/auth/realms/funnel" in text


async def test_output_is_kept_and_handed_on() -> None:
    """When the proxy does not start, its last words are all there is."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    proxy = await ProxyProcess.start(SLEEPER)
    proxy.on_line = heard.put_nowait

    assert await heard.get() == "up"
    assert list(proxy.output) == ["up"]
    await proxy.stop()


async def test_stop_ends_the_process() -> None:
    """A proxy that outlives the demo keeps its ports."""
    proxy = await ProxyProcess.start(SLEEPER)

    await proxy.stop()

    with pytest.raises(ProcessLookupError):
        os.kill(proxy.pid, 0)


async def test_stop_kills_a_process_that_does_not_listen() -> None:
    """Ctrl-C must work on the day the proxy hangs, too."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    proxy = await ProxyProcess.start(STUBBORN)
    proxy.on_line = heard.put_nowait
    await heard.get()

    await proxy.stop(timeout_s=0.01)

    with pytest.raises(ProcessLookupError):
        os.kill(proxy.pid, 0)


async def test_stop_after_the_end_is_fine() -> None:
    """The proxy may have ended first."""
    proxy = await ProxyProcess.start((sys.executable, "-c", ""))
    assert await proxy.wait() == 0

    await proxy.stop()


async def test_process_that_ends_early_is_reported_with_its_words() -> None:
    """Waiting a minute for a proxy that is gone helps nobody."""
    proxy = await ProxyProcess.start((sys.executable, "-c", "print('no such file'); raise SystemExit(3)"))

    with pytest.raises(ProxyStartError, match="status 3") as failure:
        await proxy.wait_until_ready("http://127.0.0.1:9")

    assert failure.value.output == ("no such file",)
    await proxy.stop()
