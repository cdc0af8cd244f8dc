"""The schema's own constraints, enforced over every message, packed ones included."""

import pytest

from fastproxy.config.formats import TEXT_FORMATS, check_header_text
from tests.config.support import cluster, jwt_filter, minimal, problem, problems

RETRY = "remote_jwks: {http_uri: {uri: 'https://a/', cluster: backend, timeout: 1s}"


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (minimal(clusters=cluster("connect_timeout: 0s")), "connect_timeout", "greater than 0s"),
        (minimal(manager="max_request_headers_kb: 9000"), "max_request_headers_kb", "at most 8192"),
        (minimal(manager="max_request_headers_kb: 0"), "max_request_headers_kb", "greater than 0"),
        (minimal(manager='server_name: "a\\nb"'), "server_name", "CR or LF"),
        (minimal(manager="codec_type: 77"), "codec_type", "is not one of AUTO"),
        (
            minimal(routes="- match: {path_separated_prefix: /a/}\n  route: {cluster: backend}"),
            "path_separated_prefix",
            "pattern",
        ),
        (minimal(routes="- match: {}\n  route: {cluster: backend}"), "match", "one of prefix or path"),
        (minimal(routes="- match: {prefix: /}"), "routes[0]", "one of route or redirect"),
        (minimal(routes="- route: {cluster: backend}"), "match", "required"),
        (minimal(routes="- match: {prefix: /}\n  direct_response: {status: 42}"), "status", "at least 200"),
        (minimal(routes="- match: {prefix: /}\n  route: {cluster: ''}"), "cluster", "must not be empty"),
        (
            minimal(clusters="- {name: backend, dns_refresh_rate: 1us}".replace("1us", "0.0001s")),
            "dns_refresh_rate",
            "greater than 0.001s",
        ),
        (minimal(filters=jwt_filter("p: {issuer: a}")), 'providers["p"]', "one of remote_jwks or local_jwks"),
        (
            minimal(filters=jwt_filter("p: {" + RETRY + ", cache_duration: 0.0001s}}")),
            "cache_duration",
            "at least 0.001s",
        ),
        (
            minimal(
                filters=jwt_filter("p: {remote_jwks: {http_uri: {uri: 'https://a/', cluster: backend}}}")
            ),
            "timeout",
            "required",
        ),
        (
            minimal(filters=jwt_filter("p: {" + RETRY + "}, from_headers: [{name: ''}]}")),
            "name",
            "must not be empty",
        ),
    ],
)
def test_a_violated_rule_is_reported_at_its_field(text: str, path: str, words: str) -> None:
    """Each of these stops Envoy, too; most of them are typing errors."""
    found = problems(text)[0]

    assert found.path.endswith(path)
    assert words in found.problem
    assert found.line is not None


def test_a_mistake_is_not_reported_twice() -> None:
    """A wrong `stat_prefix` is also an empty one; the second message would send the reader astray."""
    assert problem(minimal().replace("stat_prefix: ingress", "stat_prefix: 5")).problem.startswith(
        "expected text"
    )


def test_a_misspelt_member_of_a_required_oneof_is_one_problem() -> None:
    """`prefx` is what is wrong, not that no path is given."""
    assert "prefx" in problem(minimal(routes="- match: {prefx: /}\n  route: {cluster: backend}")).problem


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("email", "a@b.example", "a@"),
        ("hostname", "a.example.", "-a"),
        ("ip", "::1", "1.2.3"),
        ("ipv4", "1.2.3.4", "::1"),
        ("ipv6", "::1", "1.2.3.4"),
        ("uri", "https://a/", "/a"),
        ("uri_ref", "/a", "http://[a"),
        ("address", "a.example", "a b"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
    ],
)
def test_text_formats(kind: str, good: str, bad: str) -> None:
    """The formats that the schema's rules can ask for."""
    _, test = TEXT_FORMATS[kind]

    assert test(good)
    assert not test(bad)


def test_header_rules_tell_strict_from_tolerant() -> None:
    """Envoy's schema uses both; only strict names are RFC 9110 tokens."""
    assert check_header_text("x-a", is_name=True, strict=True) is None
    assert check_header_text("x a", is_name=True, strict=True) is not None
    assert check_header_text("x a", is_name=True, strict=False) is None
    assert check_header_text("a\tb", is_name=False, strict=True) is None
    assert check_header_text("a\rb", is_name=False, strict=False) is not None
