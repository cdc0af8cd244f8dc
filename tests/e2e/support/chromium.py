"""A headless Chromium, driven through its DevTools protocol: what a user of a browser would see and do."""

import json
import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.conftest import require_peer
from tests.e2e.support.wire import PATIENCE_S

_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-default-apps", "--no-default-browser-check", "--mute-audio", "--remote-debugging-port=0",
)  # fmt: skip
_LOADED = "Page.loadEventFired"
_ANNOUNCEMENT = b"DevTools listening on "


class BrowserError(AssertionError):
    """The browser did not do what it was told."""


class Tab:
    """One page of a running browser."""

    def __init__(self, devtools: ClientConnection) -> None:
        self._devtools = devtools
        self._numbers = count(1)
        self._session = ""
        self._events: deque[dict[str, Any]] = deque()
        """What happened on the page since it was last asked to go somewhere."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")

    def open(self, url: str) -> None:
        """Go to a page, and return when it is loaded."""
        self._events.clear()
        failed = self._call("Page.navigate", url=url).get("errorText")
        if failed:
            raise BrowserError(f"{url}: {failed}")
        self._wait_for_load()

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise BrowserError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def click(self, selector: str) -> None:
        """Click on an element with the mouse, where it stands on the page, and wait for the page that it leads to."""
        spot = self.evaluate(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); one.scrollIntoView();"
            " const box = one.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        self._events.clear()
        for kind in ("mousePressed", "mouseReleased"):
            self._call(
                "Input.dispatchMouseEvent", type=kind, x=spot[0], y=spot[1], button="left", clickCount=1
            )
        self._wait_for_load()

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        number = next(self._numbers)
        call: dict[str, object] = {"id": number, "method": method, "params": parameters}
        if self._session:
            call["sessionId"] = self._session
        self._devtools.send(json.dumps(call))
        while (answer := self._receive()).get("id") != number:
            self._events.append(answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _wait_for_load(self) -> None:
        while self._events:
            if self._events.popleft().get("method") == _LOADED:
                return
        while self._receive().get("method") != _LOADED:
            pass

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._devtools.recv(PATIENCE_S))
        return message


@contextmanager
def running_chromium(directory: Path) -> Iterator[Tab]:
    """A browser with a fresh profile in `directory`, and one empty page of it; it ends with the block."""
    command = [str(require_peer("chromium")), *_OPTIONS, f"--user-data-dir={directory}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        addresses: Queue[str] = Queue()
        reader = Thread(target=_read_log, args=(process, addresses), name="chromium-log", daemon=True)
        reader.start()
        try:
            with connect(addresses.get(timeout=2 * PATIENCE_S), max_size=None, proxy=None) as devtools:
                yield Tab(devtools)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
            reader.join(PATIENCE_S)


def _read_log(process: subprocess.Popen[bytes], addresses: Queue[str]) -> None:
    """Read what the browser writes, to its end, so that it never has to wait; tell the address of its DevTools."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(_ANNOUNCEMENT):
            addresses.put(line.removeprefix(_ANNOUNCEMENT).decode().strip())
