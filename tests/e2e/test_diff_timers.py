"""Every timer in every phase of a request, and which of several comes first, as in Envoy."""

# ruff: noqa: E501 - tables of configuration, one entry a line

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.support.accounts import Sides, account_log, running_sides
from tests.e2e.support.cases import CONTENDER, Case, parametrize_cases
from tests.e2e.support.differences import HINTS_AND_RETRIES
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports
from tests.e2e.support.templates import bootstrap, cluster, forward, listener, virtual_host
from tests.e2e.support.wire import encode_request as req

_LATER = {
    "retry_on": "5xx",
    "rate_limited_retry_back_off": {
        "reset_headers": [{"name": "retry-after", "format": "SECONDS"}],
        "max_interval": "300s",
    },
}
_ONCE_MORE = {
    "retry_on": "5xx",
    "num_retries": 1,
    "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
}
_STREAM = {"max_stream_duration": {"max_stream_duration": "0.4s"}}
_UPGRADES = {"upgrade_configs": [{"upgrade_type": "websocket"}]}
#: Actions by virtual host `<name>.test`; without a `timeout` there is none.
ROUTES: dict[str, Config] = {
    "off": {},
    "route": {"timeout": "0.4s"},
    "idle": {"idle_timeout": "0.4s"},
    "stream": _STREAM,
    "try": {"retry_policy": {"per_try_timeout": "0.3s"}},
    "try-again": {"retry_policy": {**_ONCE_MORE, "per_try_timeout": "0.3s"}},
    "try-idle": {"retry_policy": {"per_try_idle_timeout": "0.3s"}},
    "try-idle-again": {"retry_policy": {**_ONCE_MORE, "per_try_idle_timeout": "0.3s"}},
    "try-reset": {"retry_policy": {**_ONCE_MORE, "retry_on": "reset", "per_try_timeout": "0.3s"}},
    "try-gateway": {"retry_policy": {**_ONCE_MORE, "retry_on": "gateway-error", "per_try_timeout": "0.3s"}},
    "try-connect": {"retry_policy": {**_ONCE_MORE, "retry_on": "connect-failure", "per_try_timeout": "0.3s"}},
    "try-before": {"retry_policy": {**_ONCE_MORE, "retry_on": "reset-before-request", "per_try_timeout": "0.3s"}},
    "try-longer-than-route": {"timeout": "0.4s", "retry_policy": {**_ONCE_MORE, "per_try_timeout": "5s"}},
    "try-within-route": {"timeout": "0.5s", "retry_policy": {**_ONCE_MORE, "num_retries": 5, "per_try_timeout": "0.3s"}},
    "try-before-idle": {"idle_timeout": "4s", "retry_policy": {"per_try_idle_timeout": "0.3s", "per_try_timeout": "3s"}},
    "route-before-idle": {"timeout": "0.4s", "idle_timeout": "4s"},
    "idle-before-route": {"timeout": "4s", "idle_timeout": "0.3s"},
    "stream-before-route": {"timeout": "4s", **_STREAM},
    "route-before-stream": {"timeout": "0.3s", "max_stream_duration": {"max_stream_duration": "4s"}},
    "pause-route": {"timeout": "0.4s", "retry_policy": _LATER},
    "pause-idle": {"idle_timeout": "0.4s", "retry_policy": _LATER},
    "pause-stream": {**_STREAM, "retry_policy": _LATER},
    "brief": {"cluster": "brief"},
    "brief-again": {"cluster": "brief", "retry_policy": _ONCE_MORE},
    "brief-reset": {"cluster": "brief", "retry_policy": {**_ONCE_MORE, "retry_on": "reset"}},
    "mirrored": {"timeout": "4s", "request_mirror_policies": [{"cluster": "shadow"}]},
    "mirror-of-late": {"timeout": "0.4s", "request_mirror_policies": [{"cluster": "shadow"}]},
}  # fmt: skip
_BUFFER = {
    "name": "buffer",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
        "max_request_bytes": 4096,
    },
}
_LISTENERS = ("plain", "whole", "idle", "stream", "buffering", "inside", "whole-and-idle", "closed")

_HALF = (("content-length", "10"),)
_UPGRADE = (("connection", "upgrade"), ("upgrade", "websocket"))


def get(host: str, script: str = "no-answer", *headers: tuple[str, str], listener: str = "plain") -> Case:
    """A GET to a virtual host."""
    more = "-" + "-".join(headers[-1]) if headers else ""
    wire = req("GET", "/", *headers, host=f"{host}.test", script=script)
    return Case(f"{listener}-{host}-{script}{more}", (wire,), (0,), listener)


def post(host: str, script: str = "no-answer", listener: str = "plain") -> Case:
    """A POST whose body has been sent."""
    wire = req("POST", "/", host=f"{host}.test", script=script, body=b"0123456789")
    return Case(f"{listener}-{host}-{script}-post", (wire,), (0,), listener)


def half(host: str, script: str = "no-answer", listener: str = "plain") -> Case:
    """A POST of which half of the body never comes."""
    wire = req("POST", "/", *_HALF, host=f"{host}.test", script=script) + b"01234"
    return Case(f"{listener}-{host}-{script}-half", (wire,), (0,), listener)


def upgrade(host: str, listener: str = "plain", script: str = "switch") -> Case:
    """A tunnel that falls silent."""
    wire = req("GET", "/", *_UPGRADE, host=f"{host}.test", script=script)
    return Case(f"{listener}-{host}-{script}-upgrade", (wire,), (0,), listener)


_ALL = sorted(ROUTES.keys() - {"off", "pause-route", "pause-idle", "pause-stream"})
#: Half of a request stays half of one only where a timer ends it.
_ENDED_BEFORE_ITS_BODY = ["idle", "stream", "brief", "brief-again", "idle-before-route", "stream-before-route", "try-before-idle"]  # fmt: skip
CASES = [
    *(get(host) for host in _ALL if host != "mirrored"),
    *(post(host) for host in _ALL if host != "mirrored"),
    *(get(host, "body-then-silence") for host in ("route", "idle", "stream", "try-idle", "try-idle-again", "brief", "brief-again", "route-before-idle", "idle-before-route", "try-before-idle")),
    *(get(host, "head-then-silence") for host in ("route", "idle", "stream", "try-idle", "brief")),
    *(get(host, "hints-then-silence") for host in ("idle", "stream", "brief")),
    replace(get("try-idle-again", "hints-then-silence"), differs=HINTS_AND_RETRIES),
    *(half(host) for host in _ENDED_BEFORE_ITS_BODY),
    *(half(host, "early-and-silent") for host in ("idle", "stream", "brief")),
    *(get(host, "503-come-later") for host in ("pause-route", "pause-idle", "pause-stream")),
    *(post(host, "503-come-later") for host in ("pause-route", "pause-idle", "pause-stream")),
    *(get(host, "slow-200") for host in ("try", "try-again", "off", "mirrored")),
    *(upgrade(host) for host in ("idle", "stream", "try-idle", "brief", "route-before-idle")),
    *(upgrade(host, script="no-answer") for host in ("route", "idle", "stream", "brief")),
    get("off", listener="idle"), half("off", listener="idle"), post("off", listener="idle"),
    get("off", "body-then-silence", listener="idle"), half("off", "early-and-silent", listener="idle"),
    upgrade("off", "idle"), get("route", listener="idle"),
    half("off", listener="buffering"), half("off", listener="whole"),
    get("off", "slow-200", listener="whole"), post("off", "slow-200", listener="whole"),
    half("idle", listener="whole-and-idle"), half("off", listener="whole-and-idle"),
    get("off", listener="stream"), half("off", listener="stream"), get("off", "body-then-silence", listener="stream"),
    half("off", "early-and-silent", listener="stream"), upgrade("off", "stream"),
    get("off", "no-answer", ("x-envoy-upstream-rq-timeout-ms", "300"), listener="inside"),
    get("route", "slow-200", ("x-envoy-upstream-rq-timeout-ms", "5000"), listener="inside"),
    get("route", "no-answer", ("x-envoy-upstream-rq-timeout-ms", "junk"), listener="inside"),
    get("route", "slow-200", ("x-envoy-upstream-rq-timeout-ms", "0"), listener="inside"),
    get("route", "no-answer", ("x-envoy-upstream-rq-timeout-alt-response", "yes"), listener="inside"),
    get("try", "no-answer", ("x-envoy-upstream-rq-timeout-alt-response", "1"), listener="inside"),
    get("idle", "no-answer", ("x-envoy-upstream-rq-timeout-alt-response", "1"), listener="inside"),
    get("stream", "no-answer", ("x-envoy-upstream-rq-timeout-alt-response", "1"), listener="inside"),
    get("off", "503", ("x-envoy-upstream-rq-timeout-alt-response", "1"), listener="inside"),
    get("off", "no-answer", ("x-envoy-upstream-rq-per-try-timeout-ms", "300"), listener="inside"),
    get("ruled"), get("ruled", "no-answer", ("x-envoy-upstream-rq-timeout-ms", "300"), listener="inside"),
    get("asking", "slow-200"), get("asking", "slow-200", listener="inside"),
    get("asking", "slow-200", ("x-envoy-upstream-rq-timeout-ms", "3000"), listener="inside"),
    get("route", "slow-200", ("x-envoy-upstream-rq-timeout-ms", "5000")),
    get("route", "no-answer", ("x-envoy-upstream-rq-timeout-alt-response", "yes")),
]  # fmt: skip


def _template(directory: Path) -> ConfigTemplate:
    def fill(ports: Ports) -> Config:
        hosts = []
        for name, action in ROUTES.items():
            route = forward({"prefix": "/"}, **{"timeout": "0s", **action})
            hosts.append(virtual_host(name, [f"{name}.test"], [route]))
        # Rules see what callers have said about timeouts.
        told = {"request_headers_to_remove": ["x-envoy-expected-rq-timeout-ms"]}
        ruled = virtual_host("ruled", ["ruled.test"], [forward({"prefix": "/"}, timeout="0.4s")])
        hosts.append({**ruled, **told})
        own = {"header": {"key": "x-envoy-upstream-rq-timeout-ms", "value": "100"}}
        asking = virtual_host("asking", ["asking.test"], [forward({"prefix": "/"}, timeout="4s")])
        hosts.append({**asking, "request_headers_to_add": [own]})
        inside = {
            "use_remote_address": True,
            "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]},
        }
        managers: dict[str, Config] = {
            "plain": {},
            "whole": {"request_timeout": "0.4s"},
            "idle": {"stream_idle_timeout": "0.4s"},
            "stream": {"common_http_protocol_options": {"max_stream_duration": "0.4s"}},
            "buffering": {"stream_idle_timeout": "0.4s"},
            "inside": inside,
            "whole-and-idle": {"request_timeout": "3s", "stream_idle_timeout": "0.3s"},
        }  # fmt: skip
        common = {**_UPGRADES, "access_log": [account_log(directory, ports)]}
        listeners = [
            listener(name, ports[name], hosts, options={**common, **options}, filters=[_BUFFER] if name == "buffering" else [])
            for name, options in managers.items()
        ]  # fmt: skip
        brief = {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "common_http_protocol_options": {"max_stream_duration": "0.3s"},
            "explicit_http_config": {"http_protocol_options": {}},
        }
        protocol = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": brief}
        clusters = [
            cluster("echo", ports["upstream"]),
            cluster("shadow", ports["closed"]),
            cluster("brief", ports["upstream"], typed_extension_protocol_options=protocol),
        ]
        return bootstrap(ports["admin"], listeners, clusters)

    return fill


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """Both proxies."""
    directory = tmp_path_factory.mktemp("timers")
    with running_sides(_template(directory), _LISTENERS, directory) as running:
        yield running


@parametrize_cases(CASES)
def test_timer(sides: Sides, case: Case) -> None:
    """The answer or where it is cut, flags and details of the log, and what is counted."""
    found = sides.differences(case)
    if case.differs is None:
        assert not found
    else:
        assert found or CONTENDER == "envoy", (
            f"`{case.differs.id}` is listed but makes no difference any more"
        )
