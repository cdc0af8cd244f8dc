"""What is said about every situation: rule, provider, failed check, cause and fix."""

import pytest

from fastproxy.config.settings import ProxySettings
from fastproxy.explain.checks import ALSO, FAIL
from fastproxy.explain.report import Report
from fastproxy.explain.session import Wishes, explain
from tests.explain.world import NOW, SITUATIONS, Situation


def said(report: Report) -> str:
    return "\n".join((report.cause, report.fix, *report.details, *report.notes))


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: one.name)
async def test_situation_is_explained(situation: Situation, settings: ProxySettings) -> None:
    """The named rule, provider and check; and words that name the cause and the change that mends it."""
    report = await explain(settings, situation.asked, Wishes(at=NOW))

    text = said(report)
    assert (report.status or 0) == situation.status, text
    for piece in situation.says:
        assert piece in text
    matched = [one.number for part in report.filters for one in part.rules if one.matched]
    assert matched == ([] if situation.rule is None else [situation.rule])
    tokens = [token for part in report.filters for token in part.tokens]
    if situation.provider:
        assert situation.provider in [one.provider for one in tokens]
    if situation.fails:
        (judged,) = [one for one in tokens if one.provider == (situation.provider or tokens[0].provider)]
        assert [one.name for one in judged.checks if one.state == FAIL] == [situation.fails]
        assert tuple(one.name for one in judged.checks if one.state == ALSO) == situation.also
    refused = situation.status >= 400 or situation.name == "gRPC"
    assert report.exit_code == int(refused)
    assert bool(report.fix) == refused
