"""Requirements that let more pass than a glance tells."""

import pytest

from tests.lint.support import CLOSED, line, names, only, text


@pytest.mark.parametrize(
    "inside",
    [
        "[{provider_name: idp}, {allow_missing: {}}]",
        "[{provider_name: idp}, {requires_any: {requirements: [{provider_name: idp}, {allow_missing: {}}]}}]",
    ],
)
def test_allow_missing_inside_any(inside: str) -> None:
    """Once for each place, also where lists are nested."""
    source = text(f"- match: {{prefix: /}}\n  requires:\n    requires_any: {{requirements: {inside}}}")

    assert only(source, "allow-missing-in-any").path.endswith("]")


def test_allow_missing_inside_any_of_a_named_requirement() -> None:
    """At the entry of the map, and once, however many rules name it."""
    source = text(
        "- match: {prefix: /a}\n  requirement_name: x\n- match: {prefix: /}\n  requirement_name: x",
        requirement_map=(
            "x:\n  requires_any:\n    requirements:\n    - provider_name: idp\n    - allow_missing: {}"
        ),
    )

    assert line(source, only(source, "allow-missing-in-any")) == "- allow_missing: {}"


@pytest.mark.parametrize(
    "requires",
    [
        "{allow_missing: {}}",
        "{requires_any: {requirements: [{provider_name: idp}, {provider_name: idp}]}}",
        "{requires_all: {requirements: [{provider_name: idp}, {allow_missing: {}}]}}",
    ],
)
def test_missing_tokens_that_are_said_plainly(requires: str) -> None:
    """Alone it means what it says, and in requires_all it opens nothing."""
    assert names(text(f"- match: {{prefix: /}}\n  requires: {requires}")) == []


@pytest.mark.parametrize(
    "requires",
    [
        "{allow_missing_or_failed: {}}",
        ("{requires_any: {requirements: [{provider_name: idp}, {allow_missing_or_failed: {}}]}}"),
    ],
)
def test_allow_missing_or_failed(requires: str) -> None:
    """Wherever it stands."""
    only(text(f"- match: {{prefix: /}}\n  requires: {requires}"), "allow-missing-or-failed")


def test_empty_requirement() -> None:
    """It looks like protection."""
    source = text("- match: {prefix: /}\n  requires: {}", requirement_map="x: {provider_name: idp}")

    assert names(source) == ["unused-requirement", "empty-requirement"]


def test_rule_without_requirement_is_open_on_purpose() -> None:
    """Saying nothing is how a file says that a path is open."""
    assert names(text("- match: {path: /open}\n" + CLOSED.strip())) == []
