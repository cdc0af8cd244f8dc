"""What an exchange leaves behind: its bytes, its line in the access log, and every number that it moved."""

import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import require_peer
from tests.e2e.support.cases import CONTENDER, Case
from tests.e2e.support.exchange import Observed, differences_between, perform
from tests.e2e.support.http_setup import SCRIPTS
from tests.e2e.support.proxies import (
    Config,
    ConfigTemplate,
    Ports,
    RunningProxy,
    running_envoy,
    running_fastproxy,
)
from tests.e2e.support.upstream import ScriptedUpstream

_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
_MEMBERS = {
    "case": "%REQ(x-case)%",
    "code": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "sent": "%BYTES_SENT%",
    "received": "%BYTES_RECEIVED%",
}
#: Counters of requests. Those of connections depend on when the other side closes, but for what is named here.
_COUNTED = re.compile(
    r"^(?:cluster|http)\.(?!admin\.|async-client\.)\S*(?:_rq_(?!pending_total)\w+|no_route|no_cluster"
    r"|retry_or_shadow_abandoned|_flow_control_\w+|cx_protocol_error|cx_connect_fail|cx_connect_timeout"
    r"|cx_none_healthy|_overflow|\.rq_\w+|cx_upgrades_total|ejections\w*)$"
)
#: Ports of the two proxies and their upstreams differ.
_PORT = re.compile(r"127\.0\.0\.1:\d+")
#: Written often, so that no case waits for its line.
_FLUSH = ("--file-flush-interval-msec", "20")


@dataclass(frozen=True, slots=True)
class Account:
    """One exchange with one proxy."""

    seen: Observed
    logged: tuple[Mapping[str, object], ...]
    counted: Mapping[str, int]

    def differences_from(self, other: "Account") -> list[str]:
        """One line for each; empty if everything is the same."""
        found = differences_between(*(_without_time_left(one.seen.without_order()) for one in (other, self)))
        if self.logged != other.logged:
            found.append(f"logged {other.logged} != {self.logged}")
        names = sorted(self.counted.keys() | other.counted.keys())
        found += [
            f"{name}: {other.counted.get(name, 0)} != {self.counted.get(name, 0)}"
            for name in names
            if self.counted.get(name, 0) != other.counted.get(name, 0)
        ]
        return found


@dataclass(slots=True)
class Side:
    """A proxy with an upstream of its own, so that two of them can be played to at once."""

    proxy: RunningProxy
    upstream: ScriptedUpstream
    log_path: Path

    def account_of(self, case: Case) -> Account:
        """Play a case and wait until everything that it causes has happened."""
        assert self.proxy.process.poll() is None, f"{self.proxy.name} is gone\n{self.proxy.log()}"
        before = self._settled_counts()
        logged = len(self._log_lines())
        seen = perform(_marked(case).script, self.proxy.ports[case.listener], self.upstream, bytes)
        after = self._settled_counts()
        expected = logged + sum(bool(request) for request in case.requests)
        self.proxy.wait_until(lambda: len(self._log_lines()) >= expected)
        moved = {name: number - before.get(name, 0) for name, number in after.items()}
        return Account(
            seen,
            tuple(map(_read_line, self._log_lines()[logged:])),
            {name: number for name, number in moved.items() if number},
        )

    def _log_lines(self) -> list[str]:
        # A last line that is not complete has no end.
        return self.log_path.read_text().split("\n")[:-1] if self.log_path.exists() else []

    def _settled_counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}

        def is_quiet() -> bool:
            counts.clear()
            busy = False
            for line in self.proxy.admin("/stats?filter=%5E(http%7Ccluster)")[1].splitlines():
                name, _, text = line.rpartition(": ")
                if not text.isdigit() or name.startswith("http.admin."):
                    continue
                if name.endswith(("rq_active", "rq_pending_active")):
                    busy = busy or text != "0"
                elif _COUNTED.match(name):
                    counts[name] = int(text)
            return not busy

        self.proxy.wait_until(is_quiet)
        return dict(counts)


@dataclass(frozen=True, slots=True)
class Sides:
    """The reference and the contender."""

    envoy: Side
    contender: Side

    def differences(self, case: Case) -> list[str]:
        """Play a case to both at once; one line for each difference."""
        with ThreadPoolExecutor(2) as pool:
            reference, contender = (
                pool.submit(side.account_of, case) for side in (self.envoy, self.contender)
            )
            expected, found = reference.result(), contender.result()
        assert case.statuses in ((0,), expected.seen.statuses), f"the reference answered {expected}"
        return found.differences_from(expected)


@contextmanager
def running_sides(template: ConfigTemplate, listeners: tuple[str, ...], directory: Path) -> Iterator[Sides]:
    """Both proxies over `template`, which sends to the port `upstream` and has `account_log`."""
    require_peer("envoy")
    with ExitStack() as stack:
        sides = []
        for number, start in enumerate(
            (running_envoy, running_envoy if CONTENDER == "envoy" else running_fastproxy)
        ):
            own = directory / str(number)
            own.mkdir()
            upstream = stack.enter_context(ScriptedUpstream(SCRIPTS))

            def fill(ports: Ports, port: int = upstream.port) -> Config:
                return template({**ports, "upstream": port})

            proxy = stack.enter_context(start(fill, listeners, own, *_FLUSH))
            sides.append(Side(proxy, upstream, _log_path(directory, proxy.ports["admin"])))
        yield Sides(*sides)


def account_log(directory: Path, ports: Ports) -> Config:
    """The access log of the proxy with these ports; `directory` is that of `running_sides`."""
    return {
        "name": "file",
        "typed_config": {
            "@type": _FILE_LOG,
            "path": str(_log_path(directory, ports["admin"])),
            "log_format": {"json_format": _MEMBERS},
        },
    }


def _log_path(directory: Path, admin_port: int) -> Path:
    return directory / f"access-{admin_port}"


def _read_line(text: str) -> dict[str, object]:
    line: dict[str, object] = json.loads(text)
    return {
        name: _PORT.sub("<address>", value) if isinstance(value, str) else value
        for name, value in line.items()
    }


def _without_time_left(seen: Observed) -> Observed:
    """The same without what each try after the first is told about its time: that depends on the machine."""
    first, *others = seen.upstream or ({},)
    told = b"x-envoy-expected-rq-timeout-ms"
    for one in others:
        fields = one["headers"]
        assert isinstance(fields, list)
        one["headers"] = [(name, b"<ms>" if name == told else value) for name, value in fields]
    return Observed(seen.responses, (first, *others) if seen.upstream else (), seen.closed)


def _marked(case: Case) -> Case:
    named = []
    for request in case.requests:
        line, _, rest = request.partition(b"\r\n")
        named.append(line + b"\r\nx-case: " + case.id.encode() + b"\r\n" + rest)
    return Case(case.id, tuple(named), case.statuses, case.listener, half_close=case.half_close)
