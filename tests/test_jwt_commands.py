"""`fastproxy jwt`: what it says, what it never says, and its exit codes."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fastproxy import clock, jwt_commands
from fastproxy.advice.words import describe_date, format_age
from fastproxy.jwt.encoding import encode_base64url
from fastproxy.jwt_commands import jwt_group
from tests.jwt.support import ISSUER, NOW, claims, public_jwk, sign, sign_raw


@pytest.fixture(autouse=True)
def _still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "unix_time", lambda: float(NOW))


@pytest.fixture
def jwks_file(tmp_path: Path) -> str:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [public_jwk("RS256"), public_jwk("ES256", kid="enc", use="enc")]}))
    return str(file)


def run(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(jwt_group, arguments, input=stdin)


def verify(token: bytes, jwks: str, *more: str) -> Result:
    return run("verify", token.decode(), "--jwks", jwks, "--issuer", ISSUER, "--audience", "api", *more)


# ---- decode ---------------------------------------------------------------------------------------------------------


def test_decode_shows_header_claims_and_human_times() -> None:
    """The step at jwt.io, without sending the token to anybody."""
    result = run("decode", sign("RS256", claims(exp=NOW - 200, nbf=NOW + 7300, iat=NOW - 60)).decode())

    assert result.exit_code == 0
    assert '"alg": "RS256"' in result.output
    assert f'"iss": "{ISSUER}"' in result.output
    assert "exp (expires): 2023-11-14 22:10:00 UTC, expired 3 min ago" in result.output
    assert "not valid for another 2 h" in result.output
    assert "RS256, 256 bytes, not checked" in result.output


def test_decode_never_claims_validity() -> None:
    """A tool that shows a forged token must not lend it authority."""
    for token in (sign(), sign(name="forger")):
        output = run("decode", token.decode()).output
        assert output.startswith("NOT VERIFIED")
        assert "VERIFIED" not in output.replace("NOT VERIFIED", "")
        assert "valid" not in output.lower().replace("not valid", "")


def test_decode_reads_standard_input_and_what_people_copy_along() -> None:
    """`curl ... | fastproxy jwt decode -`, and the header value with its Bearer."""
    for stdin in (sign() + b"\n", b"  Bearer " + sign() + b"\r\n"):
        assert run("decode", "-", stdin=stdin).exit_code == 0
    assert run("decode", "-", stdin=b"\n").exit_code == 2


@pytest.mark.parametrize(
    ("token", "wrong"),
    [
        (sign().decode().rpartition(".")[0], "two dots and 3 sections"),
        (sign().decode() + "=", "signature is an invalid Base64url"),
        (sign_raw("RS256", b'{"alg":"RS256"}', b'{"sub":"a","sub":"b"}').decode(), "duplicate member"),
        (sign(alg="none").decode(), "[alg] is not supported"),
        (sign(crit=["x"]).decode(), "[crit] is not supported"),
        (sign("RS256", claims(exp="soon")).decode(), "[exp] field is not an integer"),
        ("not a token", "two dots and 3 sections"),
        ("a.b.c.d.e", "JWE"),
    ],
)
def test_decode_says_what_is_wrong_with_the_form(token: str, wrong: str) -> None:
    """And shows as much as can be read."""
    result = run("decode", token)

    assert result.exit_code == 1
    assert "What is wrong with it" in result.output
    assert wrong in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_decode_lets_no_token_steer_the_terminal() -> None:
    """Escape sequences, direction marks and rich's own markup are text here."""
    result = run(
        "decode", sign("RS256", claims(sub="\x1b[31mred\u202e\x9b[bold]x[/bold]:smile:\u2028")).decode()
    )

    assert "\x1b" not in result.output
    assert "\u202e" not in result.output
    assert "\x9b" not in result.output
    assert "\\u202e" in result.output
    assert "[bold]x[/bold]:smile:" in result.output


def test_decode_survives_deep_nesting_and_huge_numbers() -> None:
    """No traceback, whatever is pasted."""
    payloads = [
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a":' + b"[" * 600 + b"]" * 600 + b"}",
        b'{"exp":1e300}',
        b'{"exp":' + b"9" * 5000 + b"}",
        b'{"exp":99999999999999}',
        b"\xff\xfe",
    ]
    for payload in payloads:
        result = run("decode", "-", stdin=sign_raw("RS256", b'{"alg":"RS256"}', payload))
        assert result.exit_code in {0, 1}
        assert "Traceback" not in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)


# ---- verify ---------------------------------------------------------------------------------------------------------


def test_verify_accepts_a_good_token(jwks_file: str) -> None:
    """Exit code 0 is for scripts; the payload for people."""
    result = verify(sign(), jwks_file)

    assert result.exit_code == 0
    assert 'VERIFIED: RS256 signature by key "k1"' in result.output
    assert '"sub": "demo"' in result.output
    assert "expires in 5 min" in result.output


def test_verify_says_what_it_did_not_check(jwks_file: str) -> None:
    """Or a pass would look like more than it is."""
    result = run("verify", sign().decode(), "--jwks", jwks_file)

    assert result.exit_code == 0
    assert "issuer was not checked" in result.output
    assert "audience was not checked" in result.output


@pytest.mark.parametrize(
    ("token", "text", "hint"),
    [
        (sign("RS256", claims(exp=NOW - 300)), "Jwt is expired", "expired 5 min ago"),
        (sign("RS256", claims(nbf=NOW + 300)), "Jwt not yet valid", "not valid for another 5 min"),
        (sign("RS256", claims(iss=ISSUER + "/")), "Jwt issuer is not configured", f'"{ISSUER}/"'),
        (sign("RS256", claims(aud=["web"])), "Audiences in Jwt are not allowed", '["web"]'),
        (sign("RS256", claims(aud=None)), "Audiences in Jwt are not allowed", "null"),
        (sign(kid="rotated"), "Jwks doesn't have key to match", 'names kid "rotated"'),
        (sign(kid="rotated"), "Jwks doesn't have key to match", 'kid "k1": RSA for RS256'),
        (sign(kid="enc"), "Jwks doesn't have key to match", 'kid "enc": not used, [use] is not sig'),
        (sign(name="forger"), "Jwt verification fails (signature)", "changed after it was signed"),
        (sign("RS256", claims(exp=None)), "Jwt verification fails", "--allow-missing-exp"),
        (sign(alg="none"), "Jwt header [alg] is not supported", "RS256"),
        (sign(b64=False), "Jwt verification fails", "never granted"),
        (b"abc", "two dots and 3 sections", "jwt decode"),
    ],
)
def test_verify_says_which_check_failed_and_what_would_fix_it(
    token: bytes, text: str, hint: str, jwks_file: str
) -> None:
    """Why the command exists."""
    result = verify(token, jwks_file)

    assert result.exit_code == 1
    assert result.output.startswith("REFUSED: ")
    assert text in result.output
    assert hint in result.output
    assert not any(part.decode() in result.output for part in token.split(b".") if len(part) > 5)


def test_options_that_were_hinted_at_do_fix_it(jwks_file: str) -> None:
    """A hint that does not work is worse than none."""
    expired = sign("RS256", claims(exp=NOW - 300))

    assert verify(expired, jwks_file, "--clock-skew-s", "300").exit_code == 0
    assert verify(sign("RS256", claims(exp=None)), jwks_file, "--allow-missing-exp").exit_code == 0
    assert verify(sign("RS256", claims(aud="web")), jwks_file, "--audience", "web").exit_code == 0


def test_symmetric_key_in_a_file_may_be_used(tmp_path: Path) -> None:
    """The article signs with HS256 as well."""
    file = tmp_path / "secret.json"
    file.write_text(json.dumps({"keys": [public_jwk("HS256")]}))
    result = verify(sign("HS256"), str(file))

    assert result.exit_code == 0
    assert encode_base64url(b"k" * 32).decode() not in result.output


@pytest.mark.parametrize(
    "content",
    [None, b"", b"<html>", b"{}", b'{"keys":[]}', b" " * (jwt_commands.MAX_JWKS_BYTES + 1)],
    ids=["missing", "empty", "html", "object", "no keys", "large"],
)
def test_unusable_key_file_is_exit_code_2(tmp_path: Path, content: bytes | None) -> None:
    """The token was not judged, so neither 0 nor 1 would be true."""
    file = tmp_path / "jwks.json"
    if content is not None:
        file.write_bytes(content)
    result = verify(sign(), str(file))

    assert result.exit_code == 2
    assert "--jwks" in result.output


# ---- keys by URL ----------------------------------------------------------------------------------------------------


class _Issuer(BaseHTTPRequestHandler):
    """Answers by path."""

    def do_GET(self) -> None:
        body = json.dumps({"keys": [public_jwk("RS256"), public_jwk("HS256", kid="h")]}).encode()
        answers: dict[str, tuple[int, bytes, dict[str, str]]] = {
            "/certs": (200, body, {}),
            "/moved": (302, b"", {"location": "/certs"}),
            "/large": (200, b" " * (jwt_commands.MAX_JWKS_BYTES + 10), {}),
        }
        status, content, headers = answers.get(self.path, (404, b"no", {}))
        self.send_response(status)
        for name, value in ({"content-length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(content)
        except OSError:
            return

    def log_message(self, *_: Any) -> None:
        """Keep the test output clean."""


@pytest.fixture(scope="module")
def issuer_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Issuer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_keys_are_fetched_from_a_url(issuer_url: str) -> None:
    """http because the URL says so."""
    assert verify(sign(), f"{issuer_url}/certs").exit_code == 0


def test_symmetric_key_from_a_url_is_not_used(issuer_url: str) -> None:
    """S4: a secret that is served over the network is none."""
    result = verify(sign("HS256", kid="h"), f"{issuer_url}/certs")

    assert result.exit_code == 1
    assert "never used" in result.output


@pytest.mark.parametrize(
    ("path", "text"),
    [("/moved", "redirects are not followed"), ("/none", "answered 404"), ("/large", "larger than")],
)
def test_fetch_that_gives_no_keys_is_exit_code_2(issuer_url: str, path: str, text: str) -> None:
    """S37, S40: no redirects, and a limit on size."""
    result = verify(sign(), issuer_url + path)

    assert result.exit_code == 2
    assert text in " ".join(result.output.split())


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/certs", "http://", "https://[::1", "http://127.0.0.1:x/", "ftp://x/y"]
)
def test_unreachable_or_odd_address_is_a_message(url: str) -> None:
    """No traceback for a typo."""
    result = verify(sign(), url)

    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


def test_slow_answer_is_given_up(issuer_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit holds for the whole answer, not for each piece of it."""
    times = iter([0.0])
    monkeypatch.setattr(clock, "monotonic", lambda: next(times, jwt_commands.FETCH_TIMEOUT_S + 1))
    result = verify(sign(), f"{issuer_url}/certs")

    assert result.exit_code == 2
    assert "timed out" in result.output


# ---- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (86400, "24 h"),
        (172800, "2 days"),
    ],
)
def test_ages_are_in_the_unit_people_would_use(seconds: float, text: str) -> None:
    """`expired 3 min ago` says at once that a token is merely old."""
    assert format_age(seconds) == format_age(-seconds) == text


@pytest.mark.parametrize("value", ["x", None, True, [], 10**18, -(10**18), 1e300])
def test_dates_that_are_none_are_said_to_be_none(value: object) -> None:
    """Anything may stand in an unverified token."""
    assert describe_date("exp", value, NOW).startswith("not a")
