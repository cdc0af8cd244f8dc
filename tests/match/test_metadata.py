"""Conditions on dynamic metadata (Envoy `MetadataMatcher`, `ValueMatcher`)."""

from typing import Any

import pytest

from fastproxy.http.messages import Request
from fastproxy.match.metadata import ABSENT, build_metadata_matcher, build_value_matcher
from fastproxy.match.settings import (
    AnyMatch,
    ListMatch,
    MetadataMatch,
    NullMatch,
    NumberMatch,
    PresentMatch,
    StringKind,
    StringMatch,
    ValueMatch,
)

ACME = StringMatch(StringKind.EXACT, "acme")
CLAIMS: dict[str, Any] = {"tenant": "acme", "nested": {"roles": ["read", "write"]}, "none": None, "level": 3}


def request(metadata: dict[str, dict[str, Any]] | None) -> Request:
    made = Request(b"GET", b"/", {})
    made.dynamic_metadata = metadata
    return made


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        (NullMatch(), None, True),
        (NullMatch(), ABSENT, False),
        (NullMatch(), 0, False),
        (NumberMatch(3), 3, True),
        (NumberMatch(3), 3.0, True),
        (NumberMatch(1), True, False),
        (NumberMatch(3), "3", False),
        (NumberMatch(1, 3), 1, True),
        (NumberMatch(1, 3), 2.5, True),
        (NumberMatch(1, 3), 3, False),
        (NumberMatch(0, 3), False, False),
        (ACME, "acme", True),
        (ACME, "acme ", False),
        (ACME, ["acme"], False),
        (StringMatch(StringKind.REGEX, "a.*"), "acme", True),
        (StringMatch(StringKind.EXACT, "Jürgen"), "Jürgen", True),
        (StringMatch(StringKind.PREFIX, "a"), "\ud800", False),
        (True, True, True),
        (True, 1, False),
        (False, False, True),
        (False, None, False),
        (PresentMatch(), None, True),
        (PresentMatch(), "", True),
        (PresentMatch(), ABSENT, False),
        (PresentMatch(present=False), "", False),
        (PresentMatch(present=False), ABSENT, False),
        (ListMatch(ACME), ["x", "acme"], True),
        (ListMatch(ACME), [], False),
        (ListMatch(ACME), "acme", False),
        (AnyMatch((ACME, NumberMatch(3))), 3, True),
        (AnyMatch((ACME, NumberMatch(3))), 4, False),
    ],
)
def test_a_value_has_to_be_of_the_type_that_is_asked_for(
    condition: ValueMatch, value: object, expected: bool
) -> None:
    """`"3"` is no number and `true` is not 1: the issuer chose the type, and a route relies on it."""
    assert build_value_matcher(condition)(value) is expected


@pytest.mark.parametrize(
    ("path", "condition", "expected"),
    [
        (("tenant",), ACME, True),
        (("nested", "roles"), ListMatch(StringMatch(StringKind.EXACT, "write")), True),
        (("nested",), PresentMatch(), True),
        (("tenant", "deeper"), PresentMatch(), False),
        (("nested", "roles", "0"), PresentMatch(), False),
        (("none",), NullMatch(), True),
        (("other",), PresentMatch(), False),
    ],
)
def test_a_path_leads_through_objects_only(
    path: tuple[str, ...], condition: ValueMatch, expected: bool
) -> None:
    """Lists have no names, texts no members."""
    one = request({"jwt": {"payload": CLAIMS}})
    for invert in (False, True):
        matches = build_metadata_matcher(MetadataMatch("jwt", ("payload", *path), condition, invert))
        assert matches(one) is (expected is not invert)


@pytest.mark.parametrize("metadata", [None, {}, {"other": {"tenant": "acme"}}])
def test_without_metadata_only_an_inverted_condition_holds(
    metadata: dict[str, dict[str, Any]] | None,
) -> None:
    """Before a filter has run there is none; as in Envoy "not acme" is true then."""
    assert not build_metadata_matcher(MetadataMatch("jwt", ("tenant",), ACME))(request(metadata))
    assert build_metadata_matcher(MetadataMatch("jwt", ("tenant",), ACME, invert=True))(request(metadata))
