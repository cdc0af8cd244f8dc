"""Paths lead back to lines: what a message says about a place can be looked up."""

import pytest

from fastproxy.config import Position, locate
from fastproxy.config.problems import Place
from fastproxy.config.settings import ProxySettings
from tests.config.support import jwt_filter, load, minimal

JWKS = """local_jwks: {inline_string: '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'}"""  # noqa: E501 a key is a line
TEXT = minimal(
    filters=jwt_filter(
        f"""
'my "idp"[0].x':
  issuer: https://a.example
  {JWKS}
second:
  issuer: https://b.example
  {JWKS}
""",
        """
- match: {prefix: /a}
- match: {prefix: /}
  requires: {provider_name: second}
""",
    )
)


def line_of(text: str) -> int:
    (found,) = [number for number, line in enumerate(TEXT.splitlines(), 1) if text in line]
    return found


def every_path(settings: ProxySettings) -> dict[str, str]:
    """What stands where, of everything that carries its path."""
    listener = settings.listeners[0]
    manager = listener.http
    host = manager.route_config.virtual_hosts[0]
    jwt = manager.jwt_authn[0]
    return {
        listener.config_path: "- address: {socket_address: {address: 127.0.0.1, port_value: 0}}",
        manager.config_path: "typed_config:",
        host.config_path: "- name: all",
        host.routes[0].config_path: "- match: {prefix: /}",
        jwt.config_path: "typed_config:",
        jwt.providers["second"].config_path: "second:",
        jwt.providers['my "idp"[0].x'].config_path: """'my "idp"[0].x':""",
        jwt.rules[0].config_path: "- match: {prefix: /a}",
        jwt.rules[1].config_path: "- match: {prefix: /}",
        settings.clusters[0].config_path: "- name: backend",
    }


def test_everything_that_says_where_it_stands_is_found_there() -> None:
    """A path that leads nowhere sends an operator to the wrong line."""
    loaded = load(TEXT)
    paths = every_path(loaded.settings)

    assert len(paths) == 10
    for path, text in paths.items():
        position = locate(loaded.places, path)
        assert position.is_written, path
        assert position.line is not None
        assert text in TEXT.splitlines()[position.line - 1], path


def test_a_field_that_is_not_written_is_near_what_contains_it() -> None:
    """Defaults have no line of their own."""
    loaded = load(TEXT)
    path = loaded.settings.listeners[0].http.jwt_authn[0].providers["second"].config_path

    assert locate(loaded.places, f"{path}.audiences") == Position(
        "--config-yaml", line_of("second:"), is_written=False
    )


def test_a_rule_knows_the_requirement_that_it_names() -> None:
    """Otherwise nobody could say which entries of requirement_map are used."""
    text = TEXT.replace("requires: {provider_name: second}", "requirement_name: named").replace(
        "    rules:",
        "    requirement_map: {named: {provider_name: second}}\n    rules:".replace("\n", "\n          "),
    )

    rules = load(text).settings.listeners[0].http.jwt_authn[0].rules

    assert [rule.requirement_name for rule in rules] == ["", "named"]


@pytest.mark.parametrize("path", ["nothing", "a[7]", 'a["no"]', "a..", "[", "a]", ""])
def test_a_path_that_leads_nowhere_gives_the_nearest_place(path: str) -> None:
    """Never an exception: it is only a message that needs it."""
    root = Place("f.yaml", 1, {"a": Place("f.yaml", 2, {0: Place("f.yaml", 3), "k": Place("f.yaml", 4)})})

    assert locate(root, path).line in {1, 2}


def test_keys_are_found_as_messages_quote_them() -> None:
    """Long ones are cut, odd ones escaped."""
    long, odd = "x" * 500, 'a"\n]'
    root = Place(
        "f", 1, {"m": Place("f", 2, {long: Place("f", 3), odd: Place("f", 4, {"n": Place("f", 5)})})}
    )

    assert locate(root, f'm["{"x" * 120}..."]').line == 3
    assert locate(root, 'm["a"\\n]"].n').line == 5
