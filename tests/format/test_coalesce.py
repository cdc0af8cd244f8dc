"""`%COALESCE%`: the first operator that has a value."""

import pytest

from fastproxy.format.compile import compile_json, compile_text
from fastproxy.format.context import FormatContext
from fastproxy.http.messages import Request


def written(argument: str, length: str = "") -> str:
    request = Request(b"GET", b"/", {b"x-b": b"bbb", b"cookie": b"c=1", b"x-empty": b""})
    return compile_text(f"<%COALESCE({argument}){length}%>")(FormatContext(request, 0.0))


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ('{"operators": ["PROTOCOL"]}', "HTTP/1.1"),
        ('{"operators": [{"command": "REQ", "param": "x-a"}, {"command": "REQ", "param": "x-b"}]}', "bbb"),
        ('{"operators": [{"command": "REQ", "param": "x-a?x-b", "max_length": 2}, "PROTOCOL"]}', "bb"),
        ('{"operators": [{"command": "REQ", "param": "x-empty"}, "PROTOCOL"]}', "HTTP/1.1"),
        ('{"operators": [{"command": "REQ", "param": "x-a"}]}', "-"),
        ('{"operators": ["UPSTREAM_HOST", "RESPONSE_CODE"]}', "0"),
    ],
)
def test_the_first_value_counts(argument: str, expected: str) -> None:
    """In the order in which they are given; a number that is 0 is a value."""
    assert written(argument) == f"<{expected}>"


def test_the_whole_may_be_cut() -> None:
    """As `%REQ(x):3%` is."""
    assert written('{"operators": ["PROTOCOL"]}', ":4") == "<HTTP>"


def test_a_lone_operator_keeps_its_type_in_json() -> None:
    """Through the choice, too."""
    line = compile_json({"n": '%COALESCE({"operators": ["UPSTREAM_HOST", "RESPONSE_CODE"]})%'})
    assert line(FormatContext(Request(b"", b"", {}), 0.0)) == '{"n":0}\n'


def test_s53_credentials_do_not_come_out_of_an_operator_inside_another() -> None:
    """The inner one is built as it would be alone."""
    assert written('{"operators": [{"command": "REQ", "param": "cookie"}]}') == "<[redacted]>"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("", "needs an argument"),
        ("x", "not JSON"),
        ("{}", "at least one operator"),
        ("[]", "at least one operator"),
        ('{"operators": []}', "at least one operator"),
        ('{"operators": "PROTOCOL"}', "at least one operator"),
        ('{"operators": [1]}', "operator 0: neither a name nor an object"),
        ('{"operators": ["PROTOCOL", "NOPE"]}', "operator 1: unknown operator"),
        ('{"operators": [{"param": "x"}]}', "command and param are texts"),
        ('{"operators": [{"command": "REQ", "param": 1}]}', "command and param are texts"),
        ('{"operators": [{"command": "REQ"}]}', "needs an argument"),
        ('{"operators": [{"command": "REQ", "param": "x", "max_length": 0}]}', "above 0"),
        ('{"operators": [{"command": "REQ", "param": "x", "max_length": true}]}', "above 0"),
        ('{"operators": [{"command": "PROTOCOL", "max_length": 2}]}', "takes no length"),
        ('{"operators": [{"command": "REQ", "parm": "x"}]}', "unknown member parm"),
    ],
)
def test_what_makes_no_sense_is_an_error_when_it_is_compiled(argument: str, message: str) -> None:
    """Not a dash in every line."""
    with pytest.raises(ValueError, match=message):
        written(argument)
