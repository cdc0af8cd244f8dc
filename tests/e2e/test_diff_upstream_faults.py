"""What upstreams do wrong: answer, log line and counters of the request as Envoy's, with retries and without."""

# ruff: noqa: E501 - tables of configuration, one entry a line

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support.accounts import Sides, account_log, running_sides
from tests.e2e.support.cases import Case, parametrize_cases
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports
from tests.e2e.support.templates import bootstrap, cluster, forward, listener, virtual_host
from tests.e2e.support.wire import encode_request as req

_AGAIN = {
    "num_retries": 1,
    "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
}
#: Actions by virtual host `<name>.test`.
ROUTES: dict[str, Config] = {
    "once": {},
    "reset": {"retry_policy": {**_AGAIN, "retry_on": "reset"}},
    "5xx": {"retry_policy": {**_AGAIN, "retry_on": "5xx"}},
    "connect": {"retry_policy": {**_AGAIN, "retry_on": "connect-failure"}},
    "before": {"retry_policy": {**_AGAIN, "retry_on": "reset-before-request"}},
    "refused": {"cluster": "refused"},
    "refused-5xx": {"cluster": "refused", "retry_policy": {**_AGAIN, "retry_on": "5xx"}},
    "refused-connect": {"cluster": "refused", "retry_policy": {**_AGAIN, "retry_on": "connect-failure"}},
    "nobody": {"cluster": "nobody", "retry_policy": {**_AGAIN, "retry_on": "5xx"}},
    "missing": {"cluster_header": "x-nowhere"},
    "mirrored": {"request_mirror_policies": [{"cluster": "refused"}]},
}
_FAULTS = [
    "close-at-once", "reset-at-once", "half-head", "garbage", "bad-status-line", "bad-header-name", "nul-in-value",
    "length-and-chunked", "two-lengths", "bad-length", "bad-coding", "body-after-204", "too-many-headers",
    "short-body", "short-chunk", "no-last-chunk", "bad-chunk", "999", "103-first", "100-first",
    "http10-length", "until-close", "chunked-trailers", "503", "500", "302",
]  # fmt: skip
_UPGRADE = (("connection", "upgrade"), ("upgrade", "websocket"))


def post(host: str, script: str = "length") -> Case:
    """A POST, which no proxy repeats unasked."""
    return Case(
        f"{host}-{script}-post", (req("POST", "/", host=f"{host}.test", script=script, body=b"0123"),), (0,)
    )


def upgrade(host: str, script: str = "length") -> Case:
    """A request for a WebSocket."""
    return Case(
        f"{host}-{script}-upgrade", (req("GET", "/", *_UPGRADE, host=f"{host}.test", script=script),), (0,)
    )


CASES = [
    *(post(host, script) for host in ("once", "reset", "5xx") for script in _FAULTS),
    *(post(host, script) for host in ("connect", "before", "mirrored") for script in ("close-at-once", "garbage", "503")),
    *(post(host) for host in ("refused", "refused-5xx", "refused-connect")),
    *(upgrade(host, script) for host in ("once", "reset", "5xx") for script in ("close-at-once", "reset-at-once", "garbage", "503", "404", "302", "length", "short-body")),
    *(upgrade(host) for host in ("refused", "refused-5xx", "refused-connect", "nobody", "missing")),
]  # fmt: skip


def _template(directory: Path) -> ConfigTemplate:
    def fill(ports: Ports) -> Config:
        hosts = []
        for name, action in ROUTES.items():
            route = forward({"prefix": "/"}, **action)
            if "cluster_header" in action:
                del route["route"]["cluster"]
            counted = {"include_request_attempt_count": True, "include_attempt_count_in_response": True}
            hosts.append({**virtual_host(name, [f"{name}.test"], [route]), **counted})
        options = {
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "access_log": [account_log(directory, ports)],
        }
        clusters = [
            cluster("echo", ports["upstream"]),
            cluster("refused", ports["closed"]),
            cluster("nobody"),
        ]
        return bootstrap(
            ports["admin"], [listener("plain", ports["plain"], hosts, options=options)], clusters
        )

    return fill


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """Both proxies."""
    directory = tmp_path_factory.mktemp("faults")
    with running_sides(_template(directory), ("plain", "closed"), directory) as running:
        yield running


@parametrize_cases(CASES)
def test_fault(sides: Sides, case: Case) -> None:
    """Status and body, flags and details of the log, tries, and what is counted."""
    for side in (sides.envoy, sides.contender):
        # On a connection that served somebody before, some of these faults are worth another try.
        upstream = side.upstream
        upstream.close_connections()
        upstream.wait_until(lambda upstream=upstream: not upstream.open_connections)  # type: ignore[misc]
    assert not sides.differences(case)
