"""The command: its input, its output in both forms, its exit codes, and what it never prints."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings, strategies

from fastproxy.cli import cli
from fastproxy.explain.asked import BadQuestion
from fastproxy.explain.cli import explain_command, parse_moment
from tests.explain.world import GOOD, NOW, SITUATIONS, Situation, token
from tests.jwt.support import sign_raw


def run(config_file: Path, *arguments: str, stdin: bytes = b"") -> Result:
    # Judged when the tokens were made: a slow run must not see them expire.
    moment = () if "--at" in arguments else ("--at", str(NOW))
    command = ["-c", str(config_file), "--offline", *moment, *arguments]
    return CliRunner().invoke(explain_command, command, input=stdin)


def arguments_of(situation: Situation) -> list[str]:
    asked = situation.asked
    found = [
        "-X",
        asked.method.decode(),
        "--path",
        asked.target.decode("latin-1"),
        "--host",
        asked.host.decode(),
    ]
    for name, value in asked.headers:
        found += ["-H", f"{name.decode()}: {value.decode('latin-1')}"]
    return found


def test_good_token_from_standard_input(config_file: Path) -> None:
    """The way the documentation recommends: nobody sees it in the list of processes."""
    result = run(config_file, "--token", "-", "--path", "/api", stdin=b"  Bearer " + GOOD + b"\n")

    assert result.exit_code == 0, result.output
    assert result.output.startswith("ALLOWED: to cluster echo\n")
    assert "x-sub: demo" in result.output
    assert "x-jwt-payload: (not shown" in result.output


def test_token_from_a_file_and_from_the_command_line(config_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(token(exp=NOW - 4000) + b"\n")

    assert run(config_file, "--token", f"@{file}", "--path", "/api").exit_code == 1
    assert run(config_file, "--token", GOOD.decode(), "--path", "/api").exit_code == 0
    assert run(config_file, "--token", f"@{file}.none", "--path", "/api").exit_code == 2


def test_text_says_verdict_cause_and_fix_first(config_file: Path) -> None:
    """At 3 a.m. nobody reads to the end."""
    result = run(config_file, "--token", "-", "--path", "/api", stdin=token(exp=NOW - 4000))

    first, why, _, fix, *_ = result.output.splitlines()
    assert first == "REFUSED: 401 Jwt is expired"
    assert why.startswith("  why: exp: ")
    assert "expired 1 h ago" in why
    assert fix == "  fix: Get a new token."
    assert "FAIL        expiry" in result.output
    assert "rule 3: matches: prefix /api -> provider" in result.output


def test_json_has_everything(config_file: Path) -> None:
    """For programs; the numbers are numbers."""
    result = run(config_file, "--json", "--token", "-", "--path", "/api", stdin=token(aud="web"))
    report = json.loads(result.output)

    assert result.exit_code == report["exit_code"] == 1
    assert (report["verdict"], report["status"]) == ("refused", 403)
    (jwt,) = report["filters"]
    assert [one["number"] for one in jwt["rules"] if one["matched"]] == [3]
    (judged,) = jwt["tokens"]
    assert [one["name"] for one in judged["checks"] if one["state"] == "FAIL"] == ["audience"]
    assert report["keys"] == {"main": "from inline_string"}
    assert report["upstream"] is None


def test_curl_command_is_the_request(config_file: Path) -> None:
    command = f"curl -s 'http://api.test:1/strict' -H 'x-strict: {GOOD.decode()}'"
    result = run(config_file, "--curl", command)

    assert result.exit_code == 1
    assert "which `subjects` of provider 'strict' does not accept" in result.output
    assert run(config_file, "--curl", "-", stdin=command.encode()).output == result.output
    assert run(config_file, "--curl", "curl http://api.test/api", "--token", GOOD.decode()).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--curl", "wget http://a"], "does not begin with curl"),
        (["--curl", "curl http://a", "--path", "/x"], "--curl says it all"),
        (["-H", "nonsense"], "'name: value'"),
        (["--token", " "], "the token is empty"),
        (["--token", "a\nb: c"], "line break"),
        (["--listener", "nope"], "'plain'"),
        (["--at", "yesterday"], "--at must be"),
        (["--jwks", "nobody=x"], "the providers are: cookie, dead"),
        (["--jwks", "main=/nonexistent/file"], "cannot be read"),
    ],
)
def test_bad_usage_is_exit_code_2_and_a_sentence(arguments: list[str], words: str, config_file: Path) -> None:
    result = run(config_file, *arguments)

    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_bad_configuration_is_exit_code_2(tmp_path: Path) -> None:
    """With all its problems, as the proxy itself says them."""
    file = tmp_path / "bad.yaml"
    file.write_text("static_resources: {listeners: [{nonsense: 1}]}")
    result = CliRunner().invoke(explain_command, ["-c", str(file)])

    assert result.exit_code == 2
    assert "bad.yaml:1" in result.output


def test_offline_does_not_guess(config_file: Path) -> None:
    """Keys that nobody has are no reason to say refused, or allowed."""
    result = run(config_file, "--token", "-", "--path", "/remote", stdin=GOOD)

    assert result.exit_code == 2
    assert result.output.startswith("CANNOT BE JUDGED")
    assert "--jwks remote=FILE" in result.output


def test_offline_judges_what_needs_no_keys(config_file: Path) -> None:
    """An expired token is expired whatever the keys are."""
    result = run(config_file, "--token", "-", "--path", "/remote", stdin=token(exp=NOW - 4000))

    assert result.exit_code == 1
    assert "expired 1 h ago" in result.output


def test_moment_decides(config_file: Path) -> None:
    """What did the proxy see last night?"""
    arguments = ["--token", "-", "--path", "/api", "--at"]

    assert run(config_file, *arguments, str(NOW + 9000), stdin=GOOD).exit_code == 1
    assert run(config_file, *arguments, str(NOW), stdin=GOOD).exit_code == 0


def test_moments_are_read_in_both_forms() -> None:
    assert parse_moment("1700000000.5") == 1700000000.5
    assert parse_moment("2023-11-14T22:13:20Z") == parse_moment("2023-11-14T23:13:20+01:00") == 1700000000
    assert parse_moment("2023-11-14 22:13:20") == 1700000000
    for text in ("now", "", "-5", "1e9"):
        with pytest.raises(BadQuestion):
            parse_moment(text)


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: one.name)
def test_s53_no_token_is_in_any_output(
    situation: Situation, form: tuple[str, ...], config_file: Path
) -> None:
    """Not whole, not its payload, not its signature: explanations end up in tickets and chats."""
    result = run(config_file, *form, *arguments_of(situation))

    assert result.exit_code in {0, 1, 2}
    values = [value for _, value in situation.asked.headers] + [situation.asked.target]
    for value in values:
        for word in value.replace(b"=", b" ").replace(b'"', b" ").split():
            for part in word.split(b"."):
                if part.startswith(b"eyJ") or len(part) > 40:
                    assert part.decode("latin-1")[:30] not in result.output


HOSTILE: dict[str, bytes] = {
    "terminal escapes": sign_raw(
        "RS256",
        b'{"alg":"RS256","kid":"\\u001b[2Jk"}',
        b'{"iss":"\\u001b]0;x\\u0007\xe2\x80\xae","aud":"[bold]"}',
    ),
    "raw escape": b"\x1b[31mred\x1b[0m",
    "NUL": b"a\x00b",
    "latin-1": b"\xff\xfe.\xff.\xff",
    "a megabyte": b"eyJ" + b"A" * 1_000_000 + b".e30.AAAA",
    "dots": b"." * 5000,
    "deep": sign_raw("RS256", b'{"alg":"RS256"}', b'{"iss":' + b"[" * 90 + b"]" * 90 + b"}"),
    "numbers": sign_raw("RS256", b'{"alg":"RS256"}', b'{"exp":18446744073709551615,"nbf":1e18}'),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_hostile_token_is_explained_and_steers_nothing(
    hostile: bytes, form: tuple[str, ...], config_file: Path
) -> None:
    """No escape sequence reaches the terminal, and nothing fills the screen."""
    for path in ("/api", "/strict", "/any"):
        result = run(config_file, *form, "--token", "-", "--path", path, stdin=hostile)
        assert result.exit_code in {0, 1, 2}, result.output
        assert isinstance(result.exception, SystemExit)
        assert not set(result.output) & set("\x1b\x07\x00\x9b\u202e")
        assert len(result.output) < 20_000


@given(
    raw=strategies.binary(max_size=200).filter(lambda raw: raw.strip() != b""),
    path=strategies.text(max_size=60),
    header=strategies.text(max_size=60),
)
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_explain_never_raises(raw: bytes, path: str, header: str, config_file: Path) -> None:
    """Whatever is pasted: an explanation, or a sentence about the question."""
    result = run(config_file, "--token", "-", "--path", path, "-H", header, stdin=raw)

    assert result.exit_code in {0, 1, 2}
    assert isinstance(result.exception, SystemExit)


@given(claims=strategies.dictionaries(
    strategies.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "nonce", "azp"]),
    strategies.recursive(
        strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(max_size=9),
        lambda inner: strategies.lists(inner, max_size=3),
        max_leaves=4,
    ),
    max_size=8,
))  # fmt: skip
@settings(max_examples=80, suppress_health_check=list(HealthCheck))
def test_explain_never_raises_over_claims(claims: dict[str, Any], config_file: Path) -> None:
    """A well-signed token may say anything."""
    made = sign_raw("RS256", b'{"alg":"RS256","kid":"k1"}', json.dumps(claims).encode())
    result = run(config_file, "--token", "-", "--path", "/any", stdin=made)

    assert result.exit_code in {0, 1}, result.output


def test_command_is_listed_and_reached() -> None:
    """`fastproxy --help` names it."""
    runner = CliRunner()
    assert "explain" in runner.invoke(cli, ["--help"]).output
    assert "--curl" in runner.invoke(cli, ["explain", "--help"]).output
