"""Retries and circuit breakers beside Envoy: how often the upstream was asked, and what the downstream was told."""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import require_peer
from tests.e2e.support.cases import CONTENDER, Case, Pair, parametrize_cases
from tests.e2e.support.differences import EARLY_REPLY, STALE_CONNECTION
from tests.e2e.support.proxies import RunningProxy, running_envoy, running_fastproxy
from tests.e2e.support.retries_setup import CONDITIONS, RETRY_LISTENERS, RETRY_SCRIPTS, retry_template
from tests.e2e.support.upstream import ScriptedUpstream
from tests.e2e.support.wire import encode_request


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies over the configuration of `retries_setup`."""
    require_peer("envoy")
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream(RETRY_SCRIPTS))
        template = retry_template(upstream.port)
        directory = tmp_path_factory.mktemp("retries")
        envoy = stack.enter_context(running_envoy(template, RETRY_LISTENERS, directory))
        (directory / "second").mkdir()
        start = running_envoy if CONTENDER == "envoy" else running_fastproxy
        contender = stack.enter_context(start(template, RETRY_LISTENERS, directory / "second"))
        yield Pair(envoy, contender, upstream)


def case(
    name: str,
    *headers: tuple[str, str],
    host: str,
    script: str | None = "503",
    target: str = "/",
    **more: object,
) -> Case:
    """A GET, or a POST if there is a body."""
    body = more.pop("body", None)
    # A reused connection that closes under a GET is another matter; see STALE below.
    broken = script in {"close", "reset"}
    wire = encode_request(
        "POST" if broken or body is not None else "GET",
        target,
        *headers,
        host=f"{host}.test",
        script=script,
        body=body,  # type: ignore[arg-type]
    )
    return Case(name, (wire,), (0,), any_order=True, **more)  # type: ignore[arg-type]


#: No connection, and what an upstream can do with one.
_ANSWERS = sorted(RETRY_SCRIPTS.keys() - {"hang", "stall", "half"})
EVERY_CONDITION = [
    case(f"{name}-{script}", host=f"c-{name}", script=script) for name in CONDITIONS for script in _ANSWERS
] + [case(f"{name}-refused", host=f"c-{name}", target="/refused") for name in CONDITIONS]

POLICIES = [
    case("none", host="no-policy"),
    case("of-the-host", host="of-host"),
    case("the-route-replaces-the-host", host="replaced"),
    case("the-route-replaces-the-host-409", host="replaced", script="409"),
    case("zero", host="zero"),
    case("zero-refused", host="zero", target="/refused"),
    case("request-header-there", ("x-safe", "1"), host="by-request"),
    case("request-header-missing", host="by-request"),
    case("body", host="c-5xx", body=b"hello"),
    case("body-reset", host="c-5xx", script="reset", body=b"hello"),
    case("body-fits", host="small-body", body=b"1234"),
    case("body-too-large", host="small-body", body=b"12345"),
    case("per-try", host="per-try", script="hang"),
    case("per-try-once", host="per-try-once", script="hang"),
    case("per-try-after-the-head", host="per-try-once", script="200"),
    case("per-try-idle", host="per-try-idle", script="hang"),
    case("per-try-idle-after-the-head", host="per-try-idle", script="stall"),
    case("half-an-answer", host="c-5xx", script="half"),
    case("count-not-in-the-response", host="silent"),
    case("nobody-to-ask", host="nowhere"),
]

BREAKERS = [
    case("no-requests", host="no-requests"),
    case("no-pending", host="no-pending"),
    case("no-retries", host="no-retries"),
    case("no-budget", host="no-budget"),
    case("no-retries-refused-answer", host="no-retries", script="reset"),
    case("no-retries-and-none-needed", host="no-retries", script="200"),
    case("high-priority", host="high", script="200"),
    case("body", host="no-requests", body=b"hello", differs=EARLY_REPLY, fastproxy_statuses=(503,)),
]

STALE = [
    Case(
        f"{method}-{script}".lower(),
        (
            encode_request("GET", "/", host="no-policy.test", script="200"),
            encode_request(method, "/", host="no-policy.test", script=script, body=body),
        ),
        (200, 503),
        any_order=True,
        differs=None if method == "POST" else STALE_CONNECTION,
    )
    for method, body in (("GET", None), ("PUT", b"hello"), ("POST", b"hello"))
    for script in ("close", "reset")
]


def _ask(name: str, *headers: tuple[str, str], script: str = "503", host: str = "no-policy") -> Case:
    return case(name, *headers, host=host, script=script, listener="inside")


HEADERS = [
    _ask("retry-on", ("x-envoy-retry-on", "5xx")),
    _ask("retry-on-unknown", ("x-envoy-retry-on", "often")),
    _ask("retry-on-list", ("x-envoy-retry-on", "reset, 5xx")),
    _ask("grpc-on", ("x-envoy-retry-grpc-on", "unavailable"), script="grpc-14"),
    _ask("grpc-word-in-the-other-header", ("x-envoy-retry-on", "unavailable"), script="grpc-14"),
    _ask("max-retries", ("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "3")),
    _ask("max-retries-zero", ("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "0")),
    _ask("max-retries-junk", ("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "many")),
    _ask("max-retries-alone", ("x-envoy-max-retries", "3")),
    _ask("max-retries-over-the-policy", ("x-envoy-max-retries", "3"), host="c-5xx"),
    _ask(
        "status-codes",
        ("x-envoy-retry-on", "retriable-status-codes"),
        ("x-envoy-retriable-status-codes", "200,418"),
        script="418",
    ),
    _ask(
        "status-codes-add-to-the-policy",
        ("x-envoy-retriable-status-codes", "409"),
        host="c-codes",
        script="409",
    ),
    _ask(
        "header-names",
        ("x-envoy-retry-on", "retriable-headers"),
        ("x-envoy-retriable-header-names", "X-Again, x-other"),
        script="again",
    ),
    _ask("conditions-add-up", ("x-envoy-retry-on", "retriable-4xx"), host="c-5xx", script="409"),
    _ask(
        "per-try-timeout",
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "150"),
        script="hang",
    ),
    _ask("hedge", ("x-envoy-hedge-on-per-try-timeout", "true"), script="200"),
    case(
        "not-from-outside",
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-max-retries", "3"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "1"),
        host="no-policy",
    ),
]


@parametrize_cases(EVERY_CONDITION)
def test_conditions(pair: Pair, case: Case) -> None:
    """Each condition retries what Envoy's retries, and nothing else."""
    pair.check(case)


@parametrize_cases(POLICIES)
def test_policies(pair: Pair, case: Case) -> None:
    """Where a policy comes from, what limits it, and what the downstream sees at its end."""
    pair.check(case)


@parametrize_cases(BREAKERS)
def test_circuit_breakers(pair: Pair, case: Case) -> None:
    """Status, body, flag and `x-envoy-overloaded`."""
    pair.check(case)


@parametrize_cases(HEADERS)
def test_headers_of_callers(pair: Pair, case: Case) -> None:
    """From inside they steer, from outside they are removed; an upstream never gets them."""
    pair.check(case)


@parametrize_cases(STALE)
def test_a_reused_connection_that_closes(pair: Pair, case: Case) -> None:
    """Sent once more where that is safe, and only there."""
    pair.check(case)


_COUNTED = re.compile(
    r"cluster\.(echo|refused|no-\w+)\.(upstream_rq_(retry|per_try|pending_overflow|active_overflow)\w*"
    r"|retry\.upstream_rq\w*|retry_or_shadow_abandoned|circuit_breakers\.(default|high)\.\w+_open): (\d+)"
)


def _counts(proxy: RunningProxy) -> dict[str, int]:
    _, text = proxy.admin("/stats")
    return {match[0].rpartition(": ")[0]: int(match[5]) for match in _COUNTED.finditer(text)}


def test_the_same_is_counted(pair: Pair) -> None:
    """After the same requests: dashboards and alerts go on working."""
    played = [*POLICIES, *BREAKERS, *HEADERS, *EVERY_CONDITION[::7]]
    told = []
    for proxy in (pair.envoy, pair.contender):
        before = _counts(proxy)
        for one in played:
            pair.observe(proxy, one)
        told.append({name: value - before.get(name, 0) for name, value in _counts(proxy).items()})
    expected, found = ({name: value for name, value in one.items() if value} for one in told)
    assert found == expected
    assert expected
