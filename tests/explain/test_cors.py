"""Preflights and the pages of other origins, explained."""

from pathlib import Path

import pytest

from fastproxy.config import load_config
from fastproxy.explain.asked import build_request
from fastproxy.explain.report import ALLOWED, REFUSED, Report
from fastproxy.explain.session import Wishes, explain
from tests.config.support import load, minimal

ROOT = Path(__file__).resolve().parents[2]
TYPES = "type.googleapis.com/envoy.extensions.filters.http.cors.v3"
FILTER = f'- name: cors\n  typed_config: {{"@type": {TYPES}.Cors}}\n'
APP, EVIL = "origin: https://app.example.com", "origin: https://evil.example.com"
METHOD = "access-control-request-method: PUT"


async def example(monkeypatch: pytest.MonkeyPatch, method: str, path: str, *headers: str) -> Report:
    """What is said about a request to configs/cors.yaml."""
    monkeypatch.chdir(ROOT)
    settings = load_config(Path("configs/cors.yaml")).settings
    asked = build_request(token=None, method=method, path=path, host="", headers=headers)
    return await explain(settings, asked, Wishes(at=0.0, offline=True))


async def test_preflight_of_a_listed_origin_is_answered_before_anybody_asks_for_a_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That is no refusal, although the request goes nowhere."""
    report = await example(monkeypatch, "OPTIONS", "/things", APP, METHOD)
    assert (report.verdict, report.status, report.exit_code) == (ALLOWED, 200, 0)
    assert "answers this preflight" in report.cause
    assert report.notes == ['CORS filter "cors": the origin "https://app.example.com" is allowed.']


@pytest.mark.parametrize(
    ("method", "headers"),
    [("OPTIONS", (EVIL, METHOD)), ("OPTIONS", (APP,)), ("OPTIONS", (METHOD,)), ("GET", (APP, METHOD))],
)
async def test_s50_nothing_but_a_preflight_of_a_listed_origin_passes_without_a_token(
    monkeypatch: pytest.MonkeyPatch, method: str, headers: tuple[str, ...]
) -> None:
    """CORS in front of jwt_authn opens no door."""
    report = await example(monkeypatch, method, "/things", *headers)
    assert (report.verdict, report.status) == (REFUSED, 401)


async def test_what_a_browser_does_with_the_response_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Developers see a CORS error there, and not what caused it."""
    refused = await example(monkeypatch, "GET", "/things", EVIL)
    assert any("is not allowed: browsers keep the response" in note for note in refused.notes)
    public = await example(monkeypatch, "GET", "/public", EVIL)
    assert any("is allowed" in note for note in public.notes)
    assert (await example(monkeypatch, "GET", "/things")).notes == []


@pytest.mark.parametrize(
    ("per_filter", "words"),
    [
        ("{}", "no policy is for this route"),
        (
            '{cors: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}',
            "no policy",
        ),
        (
            (
                f'{{cors: {{"@type": {TYPES}.CorsPolicy, allow_origin_string_match: [{{exact: "*"}}],'
                " filter_enabled: {default_value: {numerator: 20}}}}"
            ),
            "is allowed. The policy is obeyed for 20 of 100 requests",
        ),
        (
            f'{{cors: {{"@type": {TYPES}.CorsPolicy, forward_not_matching_preflights: false}}}}',
            "Its preflights are not forwarded",
        ),
    ],
)
async def test_why_a_policy_does_not_help(per_filter: str, words: str) -> None:
    """There is none, it is off, or it is not always obeyed."""
    settings = load(minimal(filters=FILTER, virtual_host=f"typed_per_filter_config: {per_filter}\n")).settings
    asked = build_request(token=None, method="GET", path="/", host="", headers=[EVIL])
    report = await explain(settings, asked, Wishes(at=0.0, offline=True))
    assert words in report.notes[-1]


async def test_filter_that_is_off_is_named() -> None:
    """The policy is there, and reads as if it were obeyed."""
    host = f'typed_per_filter_config: {{cors: {{"@type": {TYPES}.CorsPolicy, max_age: "1"}}}}\n'
    config = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
    routes = (
        "- match: {prefix: /}\n  route: {cluster: backend}\n"
        f'  typed_per_filter_config: {{cors: {{"@type": {config}, disabled: true}}}}\n'
    )
    settings = load(minimal(filters=FILTER, virtual_host=host, routes=routes)).settings
    asked = build_request(token=None, method="GET", path="/", host="", headers=[EVIL])
    report = await explain(settings, asked, Wishes(at=0.0, offline=True))
    assert "it is off on this route" in report.notes[-1]
