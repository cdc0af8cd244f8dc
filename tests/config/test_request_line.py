"""Hosts, paths and schemes of the file that are sent as they stand."""

import json

import pytest

from fastproxy.config import load_config
from tests.config.support import problem
from tests.e2e.support.templates import bootstrap, cluster, forward, listener, redirect, virtual_host

_MATCH = {"prefix": "/"}


def _file(route: dict[str, object], options: dict[str, object] | None = None) -> str:
    hosts = [virtual_host("v", ["*"], [route])]
    return json.dumps(bootstrap(1, [listener("l", 2, hosts, options=options)], [cluster("echo", 3)]))


_HOSTS = ("a b", "a/b", "user@a", "a\r\nx: y", "é.example")
_PATHS = ("/a b", "/a\r\nx: y", "/é", "/a\t")


def _refused() -> list[object]:
    found = []
    for host in _HOSTS:
        found += [
            (_file(forward(_MATCH, host_rewrite_literal=host)), "route.host_rewrite_literal"),
            (_file(redirect(_MATCH, host_redirect=host)), "redirect.host_redirect"),
            (
                _file(forward(_MATCH), {"http_protocol_options": {"default_host_for_http_10": host}}),
                "http_protocol_options.default_host_for_http_10",
            ),
        ]
    for path in (*_PATHS, "/a#b"):
        found += [
            (_file(forward(_MATCH, prefix_rewrite=path)), "route.prefix_rewrite"),
            (_file(redirect(_MATCH, prefix_rewrite=path)), "redirect.prefix_rewrite"),
        ]
    found += [(_file(redirect(_MATCH, path_redirect=path)), "redirect.path_redirect") for path in _PATHS]
    for scheme in ("a b", "https:", "a\r\nx: y", "1a"):
        found.append((_file(redirect(_MATCH, scheme_redirect=scheme)), "redirect.scheme_redirect"))
    return [pytest.param(text, field, id=f"{number}-{field}") for number, (text, field) in enumerate(found)]


@pytest.mark.parametrize(("text", "field"), _refused())
def test_what_cannot_be_sent_is_refused(text: str, field: str) -> None:
    """A blank in a path makes a request line that two servers read in two ways; a line end, another message (S51)."""
    assert problem(text).path.endswith(field)


@pytest.mark.parametrize(
    "route",
    [
        forward(_MATCH, host_rewrite_literal="a.example:8080", prefix_rewrite="/a%20b?c=d"),
        forward(_MATCH, host_rewrite_literal="[::1]:80"),
        redirect(_MATCH, scheme_redirect="app+x", host_redirect="a.example", path_redirect="/a?b#c"),
    ],
)
def test_what_can_be_sent_is_taken(route: dict[str, object]) -> None:
    """Ports, literals, escapes; in an address to go to also a fragment."""
    load_config(None, config_yaml=_file(route))
