"""Pasted curl commands: understood, or refused by name; never half understood."""

import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from hypothesis import given, strategies

from fastproxy.explain.asked import AskedRequest, BadQuestion
from fastproxy.explain.curl import parse_curl

URL = "http://api.test:8080/a/b?x=1"


@pytest.mark.parametrize(
    ("command", "method", "target"),
    [
        (f"curl {URL}", "GET", "/a/b?x=1"),
        (f"curl -X DELETE '{URL}'", "DELETE", "/a/b?x=1"),
        (f"curl -sSXPUT --url {URL}", "PUT", "/a/b?x=1"),
        (f"curl -I {URL}", "HEAD", "/a/b?x=1"),
        (f"curl {URL} -d a=b", "POST", "/a/b?x=1"),
        (f"curl -F f=@file {URL}", "POST", "/a/b?x=1"),
        (f"curl -T file {URL}", "PUT", "/a/b?x=1"),
        (f"curl -G {URL} --data-urlencode 'q=a b&c'", "GET", "/a/b?x=1&q=a+b%26c"),
        ("curl api.test", "GET", "/"),
        ("curl http://api.test/x/../y/./z", "GET", "/y/z"),
        ("curl --path-as-is http://api.test/x/../y", "GET", "/x/../y"),
        ("curl 'http://api.test/a#frag'", "GET", "/a"),
        (f"/usr/bin/curl \\\n  -L {URL} \\\n  -k", "GET", "/a/b?x=1"),
    ],
)
def test_request_line(command: str, method: str, target: str) -> None:
    asked = parse_curl(command)

    assert (asked.method.decode(), asked.target.decode()) == (method, target)


def header(asked: AskedRequest, name: str) -> list[str]:
    return [value.decode() for key, value in asked.headers if key.decode().lower() == name]


def test_headers_cookies_and_credentials() -> None:
    asked = parse_curl(
        f"curl {URL} -H 'Authorization: Bearer T' -H 'X-Empty;' -H 'Accept:' -b 'a=1' --cookie 'b=2'"
        " -A me -e ref -r 0-9"
    )

    assert header(asked, "authorization") == ["Bearer T"]
    assert header(asked, "x-empty") == [""]
    assert header(asked, "accept") == []
    assert header(asked, "cookie") == ["a=1; b=2"]
    assert header(asked, "user-agent") == ["me"]
    assert header(asked, "range") == ["bytes=0-9"]
    assert header(parse_curl(f"curl --oauth2-bearer T {URL}"), "authorization") == ["Bearer T"]
    assert header(parse_curl(f"curl -u me:pw {URL}"), "authorization") == ["Basic bWU6cHc="]


def test_host_and_port_of_the_url_tell_the_listener() -> None:
    asked = parse_curl(f"curl {URL}")
    assert (asked.host, asked.port) == (b"api.test:8080", 8080)
    assert parse_curl("curl https://api.test/").port == 443
    assert parse_curl(f"curl -H 'Host: other.test' {URL}").host == b"other.test"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "does not begin with curl"),
        ("wget x", "does not begin with curl"),
        ("curl", "no URL"),
        ("curl http://a http://b", "one URL"),
        ("curl 'http://a", "cannot be read"),
        ("curl --frobnicate http://a", "--frobnicate is not understood"),
        ("curl -Z http://a", "-Z is not understood"),
        ("curl http://a -H", "needs a value"),
        ("curl -b jar.txt http://a", "names a file"),
        ("curl -H @file http://a", "@file"),
        ("curl ftp://a/", "http or https"),
        ("curl http://[::1", "not valid"),
    ],
)
def test_what_is_not_understood_is_named(command: str, words: str) -> None:
    with pytest.raises(BadQuestion, match=words):
        parse_curl(command)


def test_variables_are_pointed_out() -> None:
    """`$TOKEN` in quotation marks that keep the shell from it is the most common paste of all."""
    asked = parse_curl(f"curl {URL} -H 'Authorization: Bearer $TOKEN'")

    assert any("shell variables" in note for note in asked.notes)


@given(strategies.text(max_size=120))
def test_any_text_is_a_request_or_a_sentence(text: str) -> None:
    for command in (text, f"curl {text}", f"curl {URL} {text}"):
        try:
            parse_curl(command).encode(b"a")
        except BadQuestion:
            continue


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.peer("curl")
@pytest.mark.parametrize(
    "arguments",
    [
        ["-H", "X-A: b", "-b", "c=d"],
        ["-d", "a=b", "-d", "c"],
        ["-G", "-d", "a=b", "--data-urlencode", "q=ä b/c"],
        ["-X", "PATCH", "--json", '{"a":1}'],
        ["-u", "me:pw", "-A", "agent", "-r", "1-2"],
        ["-H", "Accept:", "-H", "Content-Type: text/x", "-d", "x"],
        ["--oauth2-bearer", "T", "-e", "http://r.test/"],
    ],
    ids=" ".join,
)
def test_curl_itself_sends_the_same(arguments: list[str]) -> None:
    """The peer decides what a command line means."""
    seen: list[tuple[str, str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            self.send_response(204)
            self.end_headers()

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - the base class looks for these names

        def log_message(self, *_: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/x/../y?z=1"
        subprocess.run(["curl", "-s", "--noproxy", "*", *arguments, url], check=True, timeout=20)
        thread.join()
    ((method, target, headers),) = seen
    import shlex

    asked = parse_curl(shlex.join(["curl", *arguments, url]))

    assert (asked.method.decode(), asked.target.decode()) == (method, target)
    mine = {name.decode().lower(): value.decode() for name, value in asked.headers}
    theirs = {name: value for name, value in headers.items() if name not in {"host", "content-length"}}
    if theirs.get("user-agent", "").startswith("curl/"):
        theirs["user-agent"] = "curl"
    assert mine == theirs
