"""Silencing comments: which line they speak of, and what is wrong with those that silence nothing."""

import re

import pytest

from fastproxy.lint.silence import read_silences
from tests.lint.support import CLEAN_PROVIDERS, names, text, warnings

NO_AUDIENCE = CLEAN_PROVIDERS.replace("  audiences: [api]\n", "")


def spoken_of(source: str) -> list[tuple[str, int | None]]:
    found, malformed = read_silences(source)
    assert malformed == []
    return [(one.rule, one.target) for one in found]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a: b  # fastproxy: ignore[x]", [("x", 1)]),
        ("a: b\n# fastproxy: ignore[x]\nc: d", [("x", 3)]),
        ("# fastproxy: ignore[x, y-z] because of this\n# and that\n\n  c: d", [("x", 4), ("y-z", 4)]),
        ("#fastproxy:ignore[x]\nc: d", [("x", 2)]),
        ("a: b  # fastproxy: ignore-file[x]", [("x", None)]),
        ("a: b  # why not\n", []),
        ("a: 'b#fastproxy: ignore[x]'", []),
        ("# fastproxy: ignore[x]", [("x", 1)]),
        ("# fastproxy: see docs/lint.md", []),
    ],
)
def test_which_line_a_comment_speaks_of(source: str, expected: list[tuple[str, int | None]]) -> None:
    """Its own when it stands behind something, or else the next one with content."""
    assert spoken_of(source) == expected


@pytest.mark.parametrize(
    "comment", ["ignore", "ignore no-audience", "ignore[]", "ignore[a,]", "ignore-all[a]"]
)
def test_comment_that_is_almost_one_is_malformed(comment: str) -> None:
    """Whoever wrote it believes that something is silenced."""
    silences, malformed = read_silences(f"a: b\n  # fastproxy: {comment}")

    assert silences == []
    assert [one.line for one in malformed] == [2]


@pytest.mark.parametrize(
    "comment", ["  # fastproxy: ignore[no-audience] one service", "\n# fastproxy: ignore-file[no-audience]"]
)
def test_silenced_by_name(comment: str) -> None:
    """The reason stands where the reader of the file looks."""
    assert names(text(providers=NO_AUDIENCE)) == ["no-audience"]
    assert names(text(providers=NO_AUDIENCE).replace("idp:\n", f"idp:{comment}\n", 1)) == []


def test_line_above() -> None:
    """For lines that are long already."""
    source = re.sub(
        r"( +)idp:\n", r"\1# fastproxy: ignore[no-audience]\n\1idp:\n", text(providers=NO_AUDIENCE), count=1
    )

    assert "# fastproxy" in source
    assert names(source) == []


def test_other_rule_is_not_silenced() -> None:
    """A comment is for one mistake, not for the line; and the comment itself is then one."""
    source = text(providers=NO_AUDIENCE).replace("idp:\n", "idp:  # fastproxy: ignore[no-issuer]\n", 1)

    assert names(source) == ["no-audience", "unused-silence"]


def test_unknown_name_is_reported_with_the_nearest() -> None:
    """A typing error silences nothing."""
    source = text(providers=NO_AUDIENCE).replace("idp:\n", "idp:  # fastproxy: ignore[no-audiance]\n", 1)
    about = [warning for warning in warnings(source) if warning.rule == "unknown-silence"]

    assert [(one.what, one.fix) for one in about] == [
        ('there is no rule "no-audiance" that could be silenced', "Did you mean no-audience")
    ]
    assert "no-audience" in names(source)


@pytest.mark.parametrize("form", ["ignore[no-audience]", "ignore-file[no-audience]"])
def test_silencing_nothing_is_reported(form: str) -> None:
    """It would hide the next mistake."""
    assert names(text() + f"# fastproxy: {form}\n") == ["unused-silence"]


def test_malformed_comment_is_reported() -> None:
    """With the words of the comment."""
    (found,) = warnings(text() + "# fastproxy: ignore no-audience\n")

    assert found.rule == "unknown-silence"
    assert '"ignore no-audience" is not ignore[...]' in found.what


def test_silencing_the_silencers_does_not_work() -> None:
    """They have no rule name to be silenced by."""
    assert names(text() + "# fastproxy: ignore-file[unused-silence]\n") == ["unknown-silence"]
