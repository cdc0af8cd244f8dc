"""All rules together: order, duplicates, and that nothing a file can say makes lint fail."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastproxy.config import ConfigError, LoadOptions, load_config
from fastproxy.lint import ALL_RULES, Finding, Rule, Severity, lint
from fastproxy.lint.check import SILENCE_RULES
from fastproxy.lint.survey import Survey
from tests.config.support import load, minimal
from tests.lint.support import CLEAN_PROVIDERS, names, text, warnings

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
EVERY_RULE = (*ALL_RULES, *SILENCE_RULES)

#: A file that is kept as it was published, and what there is to say about it.
AS_PUBLISHED = {
    "envoy-jwt.yaml": ["cleartext-listener", "unnormalized-path", "no-audience", "prefix-boundary"]
}


def test_a_sound_file_gives_nothing() -> None:
    """Noise teaches people to look away."""
    assert names(text()) == []
    assert names(minimal()) == []


def test_warning_is_one_line_with_file_line_rule_path_and_advice() -> None:
    """As compilers and linters write them, so that editors find the place."""
    (warning,) = warnings(text(providers=CLEAN_PROVIDERS.replace("  audiences: [api]\n", "")))

    assert re.fullmatch(
        r"--config-yaml:\d+: \[no-audience\] static_resources\.\S+\.providers\[\"idp\"\]:"
        r" the provider \"idp\" accepts tokens for any audience\. A token .+\. Fix: List in .+\.",
        str(warning),
    )


def test_names_from_the_file_cannot_break_a_line() -> None:
    """Nor move a terminal's cursor."""
    providers = (
        '"a\\u001b[31m\\nb":\n  issuer: https://a.example\n'
        + "\n".join(CLEAN_PROVIDERS.splitlines()[4:])
        + "\n"
    )
    rules = '- match: {prefix: /}\n  requires: {provider_name: "a\\u001b[31m\\nb"}'
    found = warnings(text(rules, providers=providers))

    assert [warning.rule for warning in found] == ["no-audience"]
    assert str(found[0]).isprintable()


def test_part_that_is_used_twice_is_reported_once() -> None:
    """A YAML alias is one place."""
    once = text(providers=CLEAN_PROVIDERS.replace("  audiences: [api]\n", ""))
    address = "address: {socket_address: {address: 127.0.0.1, port_value: 0}}"
    twice = once.replace("    filter_chains:\n", "    filter_chains: &chains\n").replace(
        "  clusters:\n", f"  - {address}\n    filter_chains: *chains\n  clusters:\n"
    )

    assert len(load(twice).settings.listeners) == 2
    assert names(twice) == ["no-audience"]


def test_ignored_rules_say_nothing_and_their_comments_are_not_unused() -> None:
    """`--ignore` is for one run, the comments are for all."""
    source = text(providers=CLEAN_PROVIDERS.replace("  audiences: [api]\n", "")).replace(
        "idp:\n", "idp:  # fastproxy: ignore[no-audience]\n", 1
    )

    assert lint(load(source), ignored=["no-audience"]) == ()


def test_rules_of_ones_own_can_be_given() -> None:
    """A rule is a function and its words, nothing more."""

    def check(survey: Survey) -> Iterator[Finding]:
        for cluster in survey.settings.clusters:
            yield Finding(cluster.config_path, "what")

    rule = Rule("own", Severity.LOW, "summary", "Why", "fix", "Details.", "a: b", check)
    (found,) = lint(load(text()), rules=[rule])

    assert str(found).endswith("[own] static_resources.clusters[0]: what. Why. Fix: fix.")


def test_rules_have_names_and_words() -> None:
    """Messages are built from them: whole sentences, without a stop of their own."""
    found = [rule.name for rule in EVERY_RULE]

    assert len(set(found)) == len(found)
    for rule in EVERY_RULE:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.name)
        for words in (rule.summary, rule.why, rule.fix):
            assert words, rule.name
            assert not words.endswith("."), rule.name
        assert rule.details.endswith((".", ")")), rule.name


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.name)
def test_every_rule_has_a_test_that_it_finds_something(rule: Rule) -> None:
    """A rule that never finds anything is worse than none."""
    tests = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests/lint/rules").glob("test_*.py")
    )

    assert f'"{rule.name}"' in tests


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_published_configurations_pass(path: Path, monkeypatch: pytest.MonkeyPatch, started_in: Path) -> None:
    """They are copied into production; what lint would say about them is right or silenced with a reason."""
    monkeypatch.chdir(started_in)

    found = lint(load_config(Path("configs") / path.name))

    assert [warning.rule for warning in found] == AS_PUBLISHED.get(path.name, []), "\n".join(map(str, found))


TEXTS = [path.read_text(encoding="utf-8") for path in CONFIGS]
VALUES = ["", " {}", " []", " null", " 5", " /", ' "*"', " [a, b]", " true", " /a/../b", " ''", ' "^"', " 1s"]


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_lint_never_raises(data: st.DataObject) -> None:
    """Invariant: whatever loads can be linted. Real files, lines of which are changed, removed or doubled."""
    lines = list(data.draw(st.sampled_from(TEXTS)).splitlines())
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        head, colon, _ = lines[index].partition(":")
        what = data.draw(st.sampled_from(["change", "remove", "double", "comment"]))
        if what == "change":
            lines[index] = head + colon + data.draw(st.sampled_from(VALUES))
        elif what == "remove":
            lines[index] = ""
        elif what == "double":
            lines.insert(index, lines[index])
        else:
            lines[index] += "  # fastproxy: " + data.draw(st.text("ignore-fl[],ax ", max_size=20))
    source = "\n".join(lines)
    try:
        loaded = load_config(None, config_yaml=source)
    except ConfigError:
        return
    for warning in lint(loaded):
        assert str(warning).isprintable()


matches = st.sampled_from(
    [
        "{prefix: /}", '{prefix: ""}', "{prefix: /a}", "{prefix: /a/}", "{path: /a}", "{path_separated_prefix: /a/b}",
        '{safe_regex: {regex: "^/a"}}', '{safe_regex: {regex: "[^/]*"}}', '{safe_regex: {regex: ""}}',
        "{prefix: /A, case_sensitive: false}", '{path: ""}',
        '{prefix: "/\\u00e9\\u0000"}', '{safe_regex: {regex: "/\\u00e9+"}}',
        "{prefix: /a, headers: [{name: x, present_match: true}]}", "{connect_matcher: {}}",
    ]
)  # fmt: skip
requires = st.sampled_from(
    [
        "", "\n  requires: {provider_name: idp}", "\n  requires: {allow_missing: {}}", "\n  requires: {}",
        "\n  requires: {requires_any: {requirements: [{provider_name: idp}, {allow_missing_or_failed: {}}]}}",
        "\n  requirement_name: named",
    ]
)  # fmt: skip


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(matches, requires), max_size=4),
    st.lists(matches, min_size=1, max_size=4),
    st.sampled_from(["", "normalize_path: true"]),
)
def test_lint_never_raises_on_generated_rules_and_routes(
    rules: list[tuple[str, str]], routes: list[str], manager: str
) -> None:
    """The same, deep in what compares paths; odd bytes included."""
    source = text(
        "".join(f"- match: {match}{asks}\n" for match, asks in rules) or "[]",
        requirement_map="named: {provider_name: idp}",
        routes="".join(f"- match: {match}\n  route: {{cluster: backend}}\n" for match in routes),
        manager=manager,
    )
    try:
        loaded = load(source)
    except ConfigError:
        return
    for warning in lint(loaded):
        assert warning.rule in {rule.name for rule in ALL_RULES}
        assert str(warning).isprintable()


def test_warnings_lead_into_files_with_resources_and_comments_there_count(tmp_path: Path) -> None:
    """What is dangerous is so wherever it stands, and is silenced where it stands."""
    cluster = tmp_path / "cds.yaml"
    main = tmp_path / "main.yaml"
    main.write_text(f"dynamic_resources: {{cds_config: {{path_config_source: {{path: {cluster}}}}}}}\n")
    text = (
        "version_info: a\nresources:\n"
        "- '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n"
        "  name: a\n"
        "  transport_socket:\n"
        "    name: tls\n"
        "    typed_config:\n"
        "      '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext\n"
        "      common_tls_context: {validation_context: {trust_chain_verification: ACCEPT_UNTRUSTED}}\n"
    )
    cluster.write_text(text)
    looks = LoadOptions(requires_node=False)
    found = lint(load_config(main, options=looks))
    assert found
    assert all(one.file == str(cluster) and one.path.startswith("resources[0]") for one in found), found
    rules = ", ".join(sorted({one.rule for one in found}))
    cluster.write_text(f"# fastproxy: ignore-file[{rules}]\n" + text)
    assert lint(load_config(main, options=looks)) == ()
