"""`buffer` and `header_mutation` from the file, and what routes say about filters in general."""

import pytest

from fastproxy.filters.buffer.filter import BufferFilter
from fastproxy.filters.buffer.settings import BufferRouteSettings, BufferSettings
from fastproxy.filters.build import build_filter
from fastproxy.filters.header_mutation.filter import HeaderMutationFilter
from fastproxy.filters.header_mutation.settings import (
    HeaderMutationRouteSettings,
    HeaderMutationSettings,
    Mutations,
    QueryMutation,
)
from fastproxy.filters.jwt_authn.settings import JwtAuthnSettings
from fastproxy.format.settings import AppendAction, HeaderRuleSettings
from fastproxy.match.settings import StringKind, StringMatch
from tests.config.support import load, minimal, problem, problems

TYPES = "type.googleapis.com/envoy.extensions.filters.http"
FILTERS = f"""
- name: buf
  disabled: true
  typed_config: {{"@type": {TYPES}.buffer.v3.Buffer, max_request_bytes: 1000}}
- name: mut
  typed_config:
    "@type": {TYPES}.header_mutation.v3.HeaderMutation
    most_specific_header_mutations_wins: true
    mutations:
      request_mutations:
      - append: {{header: {{key: X-A, value: "1"}}}}
      - remove: X-B
      response_mutations:
      - remove: x-c
"""
MUTATION = (
    f'{{"@type": {TYPES}.header_mutation.v3.HeaderMutationPerRoute, '
    "mutations: {request_mutations: [{remove: %s}]}}"
)
CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"


def route(configs: str) -> str:
    """A route that speaks of filters."""
    return f"- match: {{prefix: /}}\n  route: {{cluster: backend}}\n  typed_per_filter_config: {configs}\n"


def said(configs: str, host: str = "{}") -> dict[str, object]:
    """What the route says in the end."""
    text = minimal(filters=FILTERS, routes=route(configs), virtual_host=f"typed_per_filter_config: {host}\n")
    (listener,) = load(text).settings.listeners
    return dict(listener.http.route_config.virtual_hosts[0].routes[0].filter_configs)


def test_both_filters_are_read() -> None:
    """In the order of the file; each mutation is a level of its own."""
    (listener,) = load(minimal(filters=FILTERS)).settings.listeners
    buffer, mutation = listener.http.http_filters
    assert (buffer.name, buffer.config) == ("buf", BufferSettings(1000, is_off_by_default=True))
    assert isinstance(mutation.config, HeaderMutationSettings)
    assert mutation.config.specific_last
    assert [
        (one.add[0].name if one.add else "", one.remove) for one in mutation.config.mutations.request
    ] == [
        ("x-a", ()),
        ("", ("x-b",)),
    ]
    assert [one.remove for one in mutation.config.mutations.response] == [("x-c",)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("disabled: true", BufferRouteSettings(is_off=True)),
        ("buffer: {max_request_bytes: 5}", BufferRouteSettings(5)),
    ],
)
def test_a_route_has_its_own_limit(text: str, expected: BufferRouteSettings) -> None:
    """Or none."""
    per_route = f'{{buf: {{"@type": {TYPES}.buffer.v3.BufferPerRoute, {text}}}}}'
    assert said(per_route) == {"buf": expected}
    assert said("{}", per_route) == {"buf": expected}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("disabled: true", BufferRouteSettings(is_off=True)),
        ("config: {}", BufferRouteSettings()),
        (
            f'config: {{"@type": {TYPES}.buffer.v3.BufferPerRoute, buffer: {{max_request_bytes: 5}}}}',
            BufferRouteSettings(5),
        ),
    ],
)
def test_filter_config_switches_any_filter(text: str, expected: BufferRouteSettings) -> None:
    """On, off, or on with settings."""
    assert said(f'{{buf: {{"@type": {CONFIG}, {text}}}}}') == {"buf": expected}


def test_mutations_of_every_level_are_kept() -> None:
    """Most specific first; any other filter goes by the most specific level alone."""
    found = said(f"{{mut: {MUTATION % 'x-route'}}}", f"{{mut: {MUTATION % 'x-host'}}}")["mut"]
    assert isinstance(found, HeaderMutationRouteSettings)
    assert [one.request[0].remove for one in found.levels] == [("x-route",), ("x-host",)]
    off = said(f'{{mut: {{"@type": {CONFIG}, disabled: true}}}}', f"{{mut: {MUTATION % 'x-host'}}}")["mut"]
    assert isinstance(off, HeaderMutationRouteSettings)
    assert off.is_off


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("request_mutations: [{remove: host}]", "part of the request line"),
        ("request_mutations: [{append: {header: {key: content-length, value: '1'}}}]", "one connection"),
        ("response_mutations: [{append: {header: {key: x, value: '%NONE%'}}}]", "unknown operator"),
        ("response_mutations: [{remove_on_match: {key_matcher: {safe_regex: {regex: (}}}}]", "invalid regex"),
        ("request_trailers_mutations: [{remove: host}]", "part of the request line"),
        ("query_parameter_mutations: [{}]", "one of append and remove has to say"),
        ("query_parameter_mutations: [{append: {}}]", "there is no record"),
        ("query_parameter_mutations: [{append: {record: {key: a}}}]", "only text is a value"),
        ("query_parameter_mutations: [{append: {record: {key: a, value: {b: c}}}}]", "only text is a value"),
        ("query_parameter_mutations: [{append: {record: {key: a, value: '%NONE%'}}}]", "unknown operator"),
        (
            "query_parameter_mutations: [{remove: q, append: {record: {key: a, value: b}}}]",
            "only one of append and remove",
        ),
    ],
)
def test_what_cannot_be_done_is_an_error(text: str, words: str) -> None:
    """With its line, at load."""
    filters = f"""
- name: mut
  typed_config:
    "@type": {TYPES}.header_mutation.v3.HeaderMutation
    mutations:
      {text}
"""
    found = problem(minimal(filters=filters))
    assert words in found.problem


def test_query_and_matching_names_are_read() -> None:
    """Changes to trailers are read as those to headers."""
    filters = f"""
- name: mut
  typed_config:
    "@type": {TYPES}.header_mutation.v3.HeaderMutation
    mutations:
      request_mutations: [{{remove_on_match: {{key_matcher: {{prefix: x-, ignore_case: true}}}}}}]
      query_parameter_mutations:
      - append: {{record: {{key: a, value: "%REQ(x)%"}}, action: OVERWRITE_IF_EXISTS}}
      - remove: b
      response_trailers_mutations: [{{remove: x-t}}]
"""
    loaded = load(minimal(filters=filters))
    (mutation,) = loaded.settings.listeners[0].http.http_filters
    assert isinstance(mutation.config, HeaderMutationSettings)
    assert mutation.config.mutations == Mutations(
        request=(
            HeaderRuleSettings(remove_matching=(StringMatch(StringKind.PREFIX, "x-", ignore_case=True),)),
        ),
        query=(
            QueryMutation("a", "%REQ(x)%", AppendAction.OVERWRITE_IF_EXISTS),
            QueryMutation("b", action=None),
        ),
        response_trailers=(HeaderRuleSettings(remove=("x-t",)),),
    )
    assert loaded.warnings == ()


def test_the_wrong_type_for_a_route_is_an_error() -> None:
    """And the right one is named."""
    text = minimal(filters=FILTERS, routes=route(f"{{buf: {MUTATION % 'x'}}}"))
    assert "BufferPerRoute" in problem(text).problem


def test_a_buffer_needs_a_limit() -> None:
    """Envoy's own rule."""
    filters = f'- name: buf\n  typed_config: {{"@type": {TYPES}.buffer.v3.Buffer}}\n'
    assert problems(minimal(filters=filters))


def test_every_kind_of_settings_has_its_filter() -> None:
    """What can be read can be built."""
    (listener,) = load(minimal(filters=FILTERS)).settings.listeners
    made = []
    for one in listener.http.http_filters:
        assert not isinstance(one.config, JwtAuthnSettings)
        made.append(type(build_filter(one.name, one.config)))
    assert made == [BufferFilter, HeaderMutationFilter]
