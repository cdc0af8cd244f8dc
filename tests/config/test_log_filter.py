"""Access log filters, formats and `local_reply_config` from a file."""

import pytest

from fastproxy.format.settings import BodyFormatSettings, HeaderValueSettings
from fastproxy.listener.settings import (
    AccessLogSettings,
    CombinedFilter,
    Compared,
    Comparison,
    ComparisonFilter,
    ConditionFilter,
    FlagFilter,
    GrpcStatusFilter,
    LocalReplySettings,
    LogFilterSettings,
    LogMoments,
    LogTypeFilter,
    MetadataFilter,
    NoHealthCheckFilter,
    ReplyMapperSettings,
)
from fastproxy.match.settings import Fraction, HeaderMatch, MetadataMatch, StringKind, StringMatch
from tests.config.support import load, minimal, problem, problems

STDOUT = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
RUNTIME = "layered_runtime: {layers: [{name: a, static_layer: {errors: 400, share: 25, bad: x}}]}"


def log(condition: str, fields: str = "") -> str:
    logger = f"{{'@type': {STDOUT}{fields}}}"
    entry = f"access_log: [{{name: a, filter: {condition}, typed_config: {logger}}}]"
    return minimal(manager=entry, top=RUNTIME)


def built(text: str) -> AccessLogSettings:
    (found,) = load(text).settings.listeners[0].http.access_logs
    return found


MATCHER = "{filter: ns, path: [{key: k}], value: {bool_match: true}}"
STATUS = "{status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: %s}}}}"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (STATUS % "none", ComparisonFilter(Compared.STATUS, Comparison.GE, 500)),
        (STATUS % "errors", ComparisonFilter(Compared.STATUS, Comparison.GE, 400)),
        (
            "{duration_filter: {comparison: {op: LE, value: {default_value: 9, runtime_key: none}}}}",
            ComparisonFilter(Compared.DURATION, Comparison.LE, 9),
        ),
        ("{not_health_check_filter: {}}", NoHealthCheckFilter()),
        (
            "{log_type_filter: {types: [DownstreamEnd, NotSet], exclude: true}}",
            LogTypeFilter(frozenset({"DownstreamEnd", "NotSet"}), exclude=True),
        ),
        ("{response_flag_filter: {flags: [UF, NR]}}", FlagFilter(frozenset({"UF", "NR"}))),
        ("{response_flag_filter: {}}", FlagFilter(frozenset())),
        (
            "{header_filter: {header: {name: X-A, string_match: {prefix: b}}}}",
            ConditionFilter(HeaderMatch("x-a", StringMatch(StringKind.PREFIX, "b"))),
        ),
        (
            "{runtime_filter: {runtime_key: none, percent_sampled: {numerator: 5, denominator: MILLION}}}",
            ConditionFilter(Fraction(5, 1_000_000)),
        ),
        ("{runtime_filter: {runtime_key: share}}", ConditionFilter(Fraction(25, 100))),
        (
            "{grpc_status_filter: {statuses: [CANCELED, UNAUTHENTICATED], exclude: true}}",
            GrpcStatusFilter(frozenset({1, 16}), exclude=True),
        ),
        (
            f"{{metadata_filter: {{match_if_key_not_found: false, matcher: {MATCHER}}}}}",
            MetadataFilter(MetadataMatch("ns", ("k",), value=True), if_missing=False),
        ),
        (
            "{or_filter: {filters: [{response_flag_filter: {}}, {not_health_check_filter: {}}]}}",
            CombinedFilter((FlagFilter(frozenset()), NoHealthCheckFilter()), needs_all=False),
        ),
    ],
)
def test_filters(condition: str, expected: LogFilterSettings) -> None:
    """Every form of Envoy's that can be had, with values from `layered_runtime`."""
    assert built(log(condition)).filter == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (log("{traceable_filter: {}}"), "not supported"),
        (
            log("{and_filter: {filters: [{traceable_filter: {}}, {not_health_check_filter: {}}]}}"),
            "not supported",
        ),
        (log(STATUS % "bad"), "no whole number"),
        (log("{runtime_filter: {runtime_key: bad}}"), "no whole percentage"),
        (log("{not_health_check_filter: {}}", ", log_format: {text_format: '%NOPE%'}"), "unknown operator"),
        (log("{not_health_check_filter: {}}", ", log_format: {json_format: {a: '100%'}}"), "lone %"),
        (minimal(manager="local_reply_config: {body_format: {text_format: '%NOPE%'}}"), "unknown operator"),
        (
            minimal(
                manager="local_reply_config: {mappers: [{filter: {not_health_check_filter: {}}, "
                "headers_to_add: [{header: {key: content-length, value: '1'}}]}]}"
            ),
            "belongs to one connection",
        ),
    ],
)
def test_what_cannot_be_is_an_error(text: str, words: str) -> None:
    """A log that misses what it should hold is noticed when it is needed."""
    assert words in problem(text).problem


def test_a_mapper_needs_a_filter() -> None:
    """Envoy demands one."""
    assert problems(minimal(manager="local_reply_config: {mappers: [{status_code: 500}]}"))


def test_empty_values_can_be_omitted_from_a_log() -> None:
    """`omit_empty_values`."""
    text = log("{not_health_check_filter: {}}", ", log_format: {text_format: x, omit_empty_values: true}")
    assert (built(text).text_format, built(text).omit_empty) == ("x", True)


def test_local_reply_config() -> None:
    """Every field of it."""
    http = (
        load(
            minimal(
                manager="""
local_reply_config:
  mappers:
  - filter: {response_flag_filter: {flags: [UF]}}
    status_code: 502
    body: {inline_string: gone}
    headers_to_add: [{header: {key: X-A, value: b}}]
    body_format_override: {json_format: {why: "%LOCAL_REPLY_BODY%"}, content_type: application/problem+json}
  - filter: {not_health_check_filter: {}}
  body_format: {text_format_source: {inline_string: "<%LOCAL_REPLY_BODY%>"}, omit_empty_values: true}
"""
            )
        )
        .settings.listeners[0]
        .http
    )

    assert http.local_replies == LocalReplySettings(
        (
            ReplyMapperSettings(
                FlagFilter(frozenset({"UF"})),
                502,
                b"gone",
                (HeaderValueSettings("x-a", "b"),),
                BodyFormatSettings("", {"why": "%LOCAL_REPLY_BODY%"}, "application/problem+json"),
            ),
            ReplyMapperSettings(NoHealthCheckFilter()),
        ),
        BodyFormatSettings("<%LOCAL_REPLY_BODY%>", omit_empty=True),
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", LogMoments()),
        ("access_log_options: {}", LogMoments()),
        (
            "access_log_flush_interval: 5s\nflush_access_log_on_new_request: true",
            LogMoments(at_start=True, interval_s=5.0),
        ),
        (
            "access_log_options: {access_log_flush_interval: 0.5s, flush_access_log_on_new_request: true}",
            LogMoments(at_start=True, interval_s=0.5),
        ),
        (
            "access_log_options: {flush_log_on_tunnel_successfully_established: true}",
            LogMoments(at_tunnel=True),
        ),
    ],
)
def test_when_requests_are_logged(fields: str, expected: LogMoments) -> None:
    """The new place and the old one."""
    assert load(minimal(manager=fields)).settings.listeners[0].http.log_moments == expected


def test_both_places_are_one_too_many() -> None:
    """Which of them counts nobody could tell."""
    text = minimal(manager="flush_access_log_on_new_request: true\naccess_log_options: {}")
    assert "both set" in problem(text).problem


def test_connections_and_the_admin_interface_have_logs_of_their_own() -> None:
    """`Listener.access_log`, `Admin.access_log` and the older `access_log_path`."""
    entry = f"{{name: a, typed_config: {{'@type': {STDOUT}}}}}"
    admin = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}, "
    text = minimal(
        listener=f"access_log: [{entry}]", top=f"{admin}access_log: [{entry}], access_log_path: /tmp/a}}"
    )
    settings = load(text).settings
    assert settings.listeners[0].access_logs == (AccessLogSettings("/dev/stdout"),)
    assert settings.admin is not None
    assert settings.admin.access_logs == (AccessLogSettings("/dev/stdout"), AccessLogSettings("/tmp/a"))
