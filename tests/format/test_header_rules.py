"""Header rules: what a level removes and adds, and in which order levels count."""

import pytest

from fastproxy.format.header_rules import build_header_rules
from fastproxy.format.settings import AppendAction, HeaderRuleSettings, HeaderValueSettings
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request
from fastproxy.match.settings import StringKind, StringMatch


def value(
    name: str, text: str, action: AppendAction = AppendAction.APPEND, *, keep: bool = False
) -> HeaderValueSettings:
    return HeaderValueSettings(name, text, action, keep)


def level(*added: HeaderValueSettings, remove: tuple[str, ...] = ()) -> HeaderRuleSettings:
    return HeaderRuleSettings(added, remove)


def to_request(headers: HeaderMap, *levels: HeaderRuleSettings) -> HeaderMap:
    request = Request(b"GET", b"/", headers)
    rules = build_header_rules(levels)
    assert rules is not None
    rules.apply_to_request(request)
    return request.headers


def to_response(headers: HeaderMap, *levels: HeaderRuleSettings) -> HeaderMap:
    rules = build_header_rules(levels)
    assert rules is not None
    rules.apply_to_response(Request(b"GET", b"/", {b"x-r": b"of request"}), headers)
    return headers


@pytest.mark.parametrize(
    ("action", "absent", "present"),
    [
        (AppendAction.APPEND, b"new", [b"old", b"new"]),
        (AppendAction.ADD_IF_ABSENT, b"new", b"old"),
        (AppendAction.OVERWRITE, b"new", b"new"),
        (AppendAction.OVERWRITE_IF_EXISTS, None, b"new"),
    ],
)
def test_append_actions(action: AppendAction, absent: bytes | None, present: bytes | list[bytes]) -> None:
    """Each of Envoy's four."""
    assert to_request({}, level(value("x-a", "new", action))).get(b"x-a") == absent
    assert to_request({b"x-a": b"old"}, level(value("x-a", "new", action))) == {b"x-a": present}


def test_names_with_a_single_slot_are_joined() -> None:
    """As when a peer sends them twice; which names these are depends on the direction."""
    rule = level(value("accept", "b"), value("vary", "b"))
    assert to_request({b"accept": b"a", b"vary": b"a"}, rule) == {b"accept": b"a,b", b"vary": [b"a", b"b"]}
    assert to_response({b"accept": b"a", b"vary": b"a"}, rule) == {b"accept": [b"a", b"b"], b"vary": b"a,b"}


def test_removals_come_first() -> None:
    """Removing and adding a name leaves the new value; a value does not see what was removed."""
    rule = level(value("x-a", "new%REQ(x-a)%"), remove=("x-a", "x-b", "x-none"))
    assert to_request({b"x-a": [b"1", b"2"], b"x-b": b"3"}, rule) == {b"x-a": b"new"}


def test_values_of_a_level_do_not_see_each_other() -> None:
    """So that two headers can be swapped."""
    swap = level(
        value("x-a", "%REQ(x-b)%", AppendAction.OVERWRITE), value("x-b", "%REQ(x-a)%", AppendAction.OVERWRITE)
    )
    assert to_request({b"x-a": b"1", b"x-b": b"2"}, swap) == {b"x-a": b"2", b"x-b": b"1"}


def test_levels_follow_each_other() -> None:
    """The last one to overwrite wins, and a later level sees what an earlier one did."""
    first = level(value("x-a", "1", AppendAction.OVERWRITE))
    second = level(value("x-a", "2", AppendAction.OVERWRITE), value("x-seen", "%REQ(x-a)%"))
    assert to_request({}, first, second) == {b"x-a": b"2", b"x-seen": b"1"}


def test_empty_values_are_not_sent_unless_kept() -> None:
    """`keep_empty_value`."""
    rule = level(value("x-a", "%REQ(x-none)%"), value("x-b", "%REQ(x-none)%", keep=True), value("x-c", ""))
    assert to_request({}, rule) == {b"x-b": b""}


def test_s47_a_value_with_a_line_end_is_not_sent() -> None:
    """A claim would bring headers of its own."""
    request = Request(b"GET", b"/", {})
    request.dynamic_metadata = {"n": {"c": "a\r\nx-admin: 1"}}
    rules = build_header_rules([level(value("x-a", "<%DYNAMIC_METADATA(n:c)%>"), value("x-b", "b"))])
    assert rules is not None
    rules.apply_to_request(request)
    assert request.headers == {b"x-b": b"b"}


def test_response_rules_see_request_and_response() -> None:
    """`%RESP()%` is the response as it is before the level."""
    rule = level(value("x-a", "%REQ(x-r)%, %RESP(x-s)%"))
    assert to_response({b"x-s": b"of response"}, rule)[b"x-a"] == b"of request, of response"


def test_no_rules_cost_nothing() -> None:
    """The hot path tests one attribute."""
    assert build_header_rules([]) is None
    assert build_header_rules([HeaderRuleSettings()]) is None


def test_names_are_removed_by_conditions() -> None:
    """Before anything is added, like names that are given."""
    rules = HeaderRuleSettings(
        (HeaderValueSettings("x-new", "1"),),
        remove_matching=(StringMatch(StringKind.PREFIX, "x-"), StringMatch(StringKind.REGEX, "a[0-9]")),
    )
    found = to_request({b"x-a": b"1", b"x-b": [b"1", b"2"], b"a1": b"1", b"a12": b"1"}, rules)
    assert found == {b"a12": b"1", b"x-new": b"1"}


def test_s51_what_frames_a_message_is_never_removed_by_a_condition() -> None:
    """Without its length a body would be read as the next request."""
    everything = HeaderRuleSettings(remove_matching=(StringMatch(StringKind.REGEX, ".*"),))
    headers: HeaderMap = {b"content-length": b"5", b"transfer-encoding": b"chunked", b"te": b"trailers"}
    assert to_request({**headers, b"cookie": b"a"}, everything) == headers
    assert to_response({**headers, b"set-cookie": b"a"}, everything) == headers
