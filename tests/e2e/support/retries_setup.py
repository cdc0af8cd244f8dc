"""The configuration behind the differential tests of retries and circuit breakers."""

from typing import Any

from tests.e2e.support.proxies import Config, ConfigTemplate, Ports
from tests.e2e.support.templates import bootstrap, cluster, forward, listener
from tests.e2e.support.upstream import After, Answer

RETRY_LISTENERS = ("plain", "inside", "closed")

#: `retry_on` of the virtual hosts `c-<name>.test`.
CONDITIONS = {
    "none": "",
    "5xx": "5xx",
    "gateway": "gateway-error",
    "reset": "reset",
    "before": "reset-before-request",
    "connect": "connect-failure",
    "4xx": "retriable-4xx",
    "codes": "retriable-status-codes",
    "headers": "retriable-headers",
    "limited": "envoy-ratelimited",
    "refused": "refused-stream",
    "grpc": "cancelled,unavailable",
    "two": " 5xx , retriable-4xx,unknown",
}


def _answer(status: str, *headers: str) -> Answer:
    lines = [f"HTTP/1.1 {status}", *headers, "content-length: 2", "", "ok"]
    return Answer(("\r\n".join(lines).encode(),))


RETRY_SCRIPTS = {
    "200": _answer("200 OK"),
    "404": _answer("404 Not Found"),
    "409": _answer("409 Conflict"),
    "418": _answer("418 Teapot"),
    "500": _answer("500 Oops"),
    "502": _answer("502 Bad"),
    "503": _answer("503 Unavailable"),
    "504": _answer("504 Late"),
    "600": _answer("600 Odd"),
    "limited": _answer("503 Unavailable", "x-envoy-ratelimited: true"),
    "overloaded": _answer("503 Unavailable", "x-envoy-overloaded: true"),
    "again": _answer("200 OK", "x-again: yes"),
    "grpc-1": _answer("200 OK", "content-type: application/grpc", "grpc-status: 1"),
    "grpc-14": _answer("200 OK", "content-type: application/grpc", "grpc-status: 14"),
    "grpc-2": _answer("200 OK", "content-type: application/grpc", "grpc-status: 2"),
    "close": Answer((), After.CLOSE),
    "reset": Answer((), After.RESET),
    "invalid": Answer((b"nonsense\r\n\r\n",), After.CLOSE),
    "half": Answer((b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",), After.RESET),
    "hang": Answer((), After.HANG),
    "stall": Answer((b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",), After.HANG),
}

#: What the log would say, in a header of the answer.
_TOLD = {
    "header": {
        "key": "x-told",
        "value": "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    }
}
_QUICK = {"base_interval": "0.001s", "max_interval": "0.002s"}


def _host(name: str, routes: list[Config], **more: Any) -> Config:
    return {
        "name": name,
        "domains": [f"{name}.test"],
        "routes": routes,
        "include_request_attempt_count": True,
        "include_attempt_count_in_response": True,
        "response_headers_to_add": [_TOLD],
        **more,
    }


def _routes(policy: Config | None, target: str = "echo", **action: Any) -> list[Config]:
    retry = {} if policy is None else {"retry_policy": {"num_retries": 2, "retry_back_off": _QUICK, **policy}}
    # Without a timeout no header says how much of it is left, which no two proxies agree on.
    action = {"timeout": "0s", **action}
    return [
        forward({"prefix": "/refused"}, "refused", **retry, **action),
        forward({"prefix": "/"}, target, **retry, **action),
    ]


def _limits(name: str, port: int, **limits: Any) -> Config:
    return cluster(name, port, circuit_breakers={"thresholds": [limits]})


def retry_template(upstream_port: int) -> ConfigTemplate:
    """Virtual hosts by what they test."""

    def template(ports: Ports) -> Config:
        always = {"retry_on": "5xx"}
        hosts = [
            _host(
                f"c-{name}",
                _routes(
                    {
                        "retry_on": words,
                        "retriable_status_codes": [404, 418],
                        "retriable_headers": [{"name": "x-again", "string_match": {"exact": "yes"}}],
                    }
                ),
            )
            for name, words in CONDITIONS.items()
        ]
        hosts += [
            _host("no-policy", _routes(None)),
            _host("of-host", _routes(None), retry_policy={"retry_on": "5xx", "retry_back_off": _QUICK}),
            _host(
                "replaced",
                _routes({"retry_on": "retriable-4xx"}),
                retry_policy={"retry_on": "5xx", "num_retries": 5},
            ),
            _host("zero", _routes({**always, "num_retries": 0})),
            _host("by-request", _routes({**always, "retriable_request_headers": [{"name": "x-safe"}]})),
            _host("per-try", _routes({**always, "per_try_timeout": "0.15s"})),
            _host("per-try-once", _routes({"per_try_timeout": "0.15s"})),
            _host("per-try-idle", _routes({"per_try_idle_timeout": "0.15s"})),
            _host("small-body", _routes(always), per_request_buffer_limit_bytes=4),
            _host("no-requests", _routes(always, "no-requests")),
            _host("no-pending", _routes(always, "no-pending")),
            _host("no-retries", _routes(always, "no-retries")),
            _host("no-budget", _routes(always, "no-budget")),
            _host("high", _routes(always, "no-requests", priority="HIGH")),
            _host("nowhere", _routes(always, "nowhere")),
            _host("silent", _routes({**always, "num_retries": 1}), include_attempt_count_in_response=False),
        ]
        inside = {
            "use_remote_address": True,
            "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]},
        }
        clusters = [
            cluster("echo", upstream_port),
            cluster("refused", ports["closed"]),
            cluster("nowhere"),
            _limits("no-requests", upstream_port, max_requests=0),
            _limits("no-pending", upstream_port, max_pending_requests=0),
            _limits("no-retries", upstream_port, max_retries=0),
            _limits(
                "no-budget",
                upstream_port,
                retry_budget={"budget_percent": {"value": 0}, "min_retry_concurrency": 0},
            ),
        ]
        listeners = [
            listener("plain", ports["plain"], hosts),
            listener("inside", ports["inside"], hosts, options=inside),
        ]
        return bootstrap(ports["admin"], listeners, clusters)

    return template
