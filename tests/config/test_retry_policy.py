"""`retry_policy` of routes and virtual hosts, and what else a file says about retries."""

import pytest

from fastproxy.match.settings import HeaderMatch, StringKind, StringMatch
from fastproxy.router.settings import ForwardAction, ResetHeader, RetryOn, RetrySettings
from fastproxy.upstream.balancer.settings import subset_match
from tests.config.support import load, minimal, problem, warnings

HOST = "type.googleapis.com/envoy.extensions.retry.host"
PRIORITY = (
    "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
)

PREVIOUS = f"{{'@type': {HOST}.previous_hosts.v3.PreviousHostsPredicate}}"


def text(route: str = "", *, virtual_host: str = "", around: str = "") -> str:
    routes = f"- match: {{prefix: /}}\n  route: {{cluster: backend{', ' if route else ''}{route}}}\n{around}"
    return minimal(routes=routes, virtual_host=virtual_host)


def action(route: str = "", *, virtual_host: str = "", around: str = "") -> ForwardAction:
    settings = load(text(route, virtual_host=virtual_host, around=around)).settings
    found = settings.listeners[0].http.route_config.virtual_hosts[0].routes[0].action
    assert isinstance(found, ForwardAction)
    return found


def policy(text: str) -> RetrySettings:
    found = action(f"retry_policy: {{{text}}}").retry
    assert found is not None
    return found


def test_every_field() -> None:
    """What Envoy reads, FastProxy reads."""
    found = policy(
        "retry_on: '5xx, reset,unavailable', num_retries: 4, per_try_timeout: 2s, per_try_idle_timeout: 1.5s, "
        "retry_back_off: {base_interval: 0.1s, max_interval: 3s}, retriable_status_codes: [404, 418], "
        "rate_limited_retry_back_off: {max_interval: 60s, reset_headers: "
        "[{name: Retry-After, format: SECONDS}, {name: X-Reset, format: UNIX_TIMESTAMP}]}, "
        "retriable_headers: [{name: X-Again, string_match: {exact: 'yes'}}], "
        "retriable_request_headers: [{name: ':method', string_match: {exact: GET}}], "
        "host_selection_retry_max_attempts: 5"
    )
    assert found == RetrySettings(
        RetryOn.SERVER_ERROR | RetryOn.RESET | RetryOn.GRPC_UNAVAILABLE,
        max_retries=4,
        per_try_timeout_s=2.0,
        per_try_idle_timeout_s=1.5,
        base_interval_s=0.1,
        max_interval_s=3.0,
        reset_headers=(ResetHeader("retry-after"), ResetHeader("x-reset", is_timestamp=True)),
        max_reset_s=60.0,
        status_codes=frozenset((404, 418)),
        response_headers=(HeaderMatch("x-again", StringMatch(StringKind.EXACT, "yes")),),
        request_headers=(HeaderMatch(":method", StringMatch(StringKind.EXACT, "GET")),),
        max_selections=5,
    )


def test_defaults_are_envoys() -> None:
    """One retry, 25 ms, ten times that."""
    assert policy("retry_on: 5xx") == RetrySettings(RetryOn.SERVER_ERROR, 1, 0.0, 0.0, 0.025, 0.25)
    assert policy("retry_back_off: {base_interval: 0.2s}").max_interval_s == 2.0


def test_where_a_retry_goes() -> None:
    """Predicates and priorities, by the types that Envoy has."""
    found = policy(
        "retry_host_predicate: ["
        f"{{name: a, typed_config: {{'@type': {HOST}.previous_hosts.v3.PreviousHostsPredicate}}}}, "
        f"{{name: b, typed_config: {{'@type': {HOST}.omit_canary_hosts.v3.OmitCanaryHostsPredicate}}}}, "
        f"{{name: c, typed_config: {{'@type': {HOST}.omit_host_metadata.v3.OmitHostMetadataConfig, "
        "metadata_match: {filter_metadata: {envoy.lb: {stage: x}}}}}], "
        f"retry_priority: {{name: d, typed_config: {{'@type': {PRIORITY}, update_frequency: 2}}}}"
    )
    assert found.avoids_previous
    assert found.avoids_canaries
    assert found.avoided_metadata == subset_match({"stage": "x"})
    assert found.priority_update_frequency == 2


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (
            "retry_policy: {retry_back_off: {base_interval: 2s, max_interval: 1s}}",
            "smaller than base_interval",
        ),
        ("retry_policy: {retry_host_predicate: [{name: a}]}", "no typed_config"),
        (
            f"retry_policy: {{retry_priority: {{name: a, typed_config: {PREVIOUS}}}}}",
            "is not supported",
        ),
        ("hedge_policy: {hedge_on_per_try_timeout: true}", "not hedged"),
        ("priority: 7", "priority"),
    ],
)
def test_what_is_wrong_or_missing_is_refused(route: str, words: str) -> None:
    """With a word about what to do."""
    found = problem(text(route))
    assert words in str(found)


def test_a_word_that_is_not_known_is_a_warning() -> None:
    """Envoy ignores it, so a file with a slip retries less than its author thinks."""
    told = warnings(text("retry_policy: {retry_on: '5xx,gateway-eror'}"))
    assert any("gateway-eror" in entry and "gateway-error" in entry for entry in told)


def test_the_policy_of_the_route_replaces_that_of_the_virtual_host() -> None:
    """Whole, not field by field."""
    host = "retry_policy: {retry_on: reset, num_retries: 9}"
    inherited = action(virtual_host=host).retry
    assert inherited is not None
    assert (inherited.conditions, inherited.max_retries) == (RetryOn.RESET, 9)
    own = action("retry_policy: {retry_on: 5xx}", virtual_host=host).retry
    assert own is not None
    assert (own.conditions, own.max_retries) == (RetryOn.SERVER_ERROR, 1)


def test_attempt_counts_and_priority() -> None:
    """Of the virtual host and of the route."""
    found = action(
        "priority: HIGH",
        virtual_host="include_request_attempt_count: true\ninclude_attempt_count_in_response: true",
    )
    assert found.is_high_priority
    assert found.tells_upstream_attempts
    assert found.tells_downstream_attempts
    plain = action()
    assert plain == ForwardAction("backend")


@pytest.mark.parametrize(
    ("virtual_host", "around", "limit"),
    [
        ("", "", None),
        ("request_body_buffer_limit: 10", "", 10),
        ("per_request_buffer_limit_bytes: 20", "", 20),
        ("request_body_buffer_limit: 10", "  request_body_buffer_limit: 0", 0),
        ("request_body_buffer_limit: 10", "  per_request_buffer_limit_bytes: 30", 30),
    ],
)
def test_how_much_of_a_body_is_kept(virtual_host: str, around: str, limit: int | None) -> None:
    """The route's word, else the virtual host's; old name or new."""
    assert action(virtual_host=virtual_host, around=around).replay_limit_bytes == limit


def test_old_and_new_name_of_the_limit_together_are_an_error() -> None:
    """Which one was meant?"""
    both = "request_body_buffer_limit: 10\nper_request_buffer_limit_bytes: 10"
    assert "old name" in problem(text(virtual_host=both)).problem
