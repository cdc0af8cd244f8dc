"""A pasted curl command line as the request that curl would send (curl(1)).

Options that change the request are understood, those that cannot change the verdict are skipped, and any other is an
error that names it: a request that was only half understood would be explained wrongly.
"""

import base64
import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final
from urllib.parse import quote_plus, urlsplit

from fastproxy.explain.asked import AskedRequest, BadQuestion, Header, parse_header

_FLAGS: Final = frozenset(
    # The lists of curl(1) as words, not as two hundred lines.
    """-s --silent -S --show-error -i --include -v --verbose -k --insecure -L --location -f --fail -g --globoff
    -N --no-buffer -# --progress-bar -4 --ipv4 -6 --ipv6 --compressed --http1.1 --http2 --http2-prior-knowledge
    --fail-with-body --tcp-nodelay --no-keepalive --no-progress-meter --ssl-no-revoke -O --remote-name
    -J --remote-header-name -q --disable --tlsv1.2 --tlsv1.3 --raw --no-sessionid --styled-output""".split()  # noqa: SIM905
)
"""Without an argument, and without influence on what is sent."""
_WITH_ARGUMENT: Final = frozenset(
    """-o --output -w --write-out -m --max-time --connect-timeout --retry --retry-delay --retry-max-time --cacert
    --capath -E --cert --key --cert-type --key-type --pass --resolve --connect-to -x --proxy -c --cookie-jar
    -D --dump-header --trace --trace-ascii --stderr --limit-rate -Y --speed-limit -y --speed-time --interface
    --ciphers --tls-max --dns-servers --keepalive-time --max-redirs --max-filesize --local-port
    --unix-socket --abstract-unix-socket""".split()  # noqa: SIM905
)
_MEANT: Final = {
    "-X": "method", "--request": "method", "-H": "header", "--header": "header", "-b": "cookie",
    "--cookie": "cookie", "--url": "url", "-d": "data", "--data": "data", "--data-ascii": "data",
    "--data-binary": "data", "--data-raw": "raw", "--data-urlencode": "urlencode", "--json": "json",
    "-F": "form", "--form": "form", "--form-string": "form", "-T": "upload", "--upload-file": "upload",
    "--oauth2-bearer": "bearer", "-A": "agent", "--user-agent": "agent", "-e": "referer",
    "--referer": "referer", "-u": "user", "--user": "user", "-r": "range", "--range": "range",
}  # fmt: skip
_MEANT_FLAGS: Final = {"-G": "get", "--get": "get", "-I": "head", "--head": "head", "--path-as-is": "as_is"}
_DATA_TYPE: Final = b"application/x-www-form-urlencoded"
_VARIABLE: Final = re.compile(r"\$(?:\{\w+\}|[A-Za-z_]\w*|\()")


@dataclass(slots=True)
class _Command:
    """What the options said so far."""

    urls: list[str] = field(default_factory=list)
    method: str = ""
    headers: list[str] = field(default_factory=list)
    own: dict[str, str] = field(default_factory=lambda: {"accept": "*/*", "user-agent": "curl"})
    """Headers that curl writes by itself, unless one of that name is given."""
    data: list[str] = field(default_factory=list)
    cookies: list[str] = field(default_factory=list)
    has_form: bool = False
    has_upload: bool = False
    flags: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def parse_curl(text: str) -> AskedRequest:
    """Read a curl command line.

    Raises:
        BadQuestion: it is none, or has an option that is not understood.
    """
    try:
        # The shell takes a backslash at the end of a line for a blank; shlex does not.
        words = shlex.split(text.replace("\\\r\n", " ").replace("\\\n", " "))
    except ValueError as error:
        raise BadQuestion(f"the curl command cannot be read: {str(error).lower()}") from None
    if not words or PurePath(words[0]).name not in ("curl", "curl.exe"):
        raise BadQuestion("the command does not begin with curl")
    command = _Command()
    if _VARIABLE.search(text):
        command.notes.append("the command has shell variables in it, which are taken as they stand")
    _read_options(words[1:], command)
    if len(command.urls) != 1:
        raise BadQuestion(
            "the curl command must have one URL" if command.urls else "the curl command has no URL"
        )
    return _build(command)


def _read_options(words: list[str], command: _Command) -> None:
    position = 0
    only_urls = False
    while position < len(words):
        word = words[position]
        position += 1
        if only_urls or not word.startswith("-") or word == "-":
            command.urls.append(word)
            continue
        if word == "--":
            only_urls = True
            continue
        for option, attached in _split_option(word):
            meaning = _MEANT.get(option)
            if meaning is None and option not in _WITH_ARGUMENT:
                _apply_flag(option, command)
                continue
            value = attached
            if value is None:
                if position >= len(words):
                    raise BadQuestion(f"curl's {option} needs a value")
                value = words[position]
                position += 1
            if meaning is not None:
                _apply(meaning, value, command)


def _split_option(word: str) -> list[tuple[str, str | None]]:
    """`-sXPOST` is `-s` and `-X POST`; the value is None if it stands in the next word."""
    if word.startswith("--"):
        return [(word, None)]
    found: list[tuple[str, str | None]] = []
    for index in range(1, len(word)):
        option = f"-{word[index]}"
        if option in _MEANT or option in _WITH_ARGUMENT:
            return [*found, (option, word[index + 1 :] or None)]
        found.append((option, None))
    return found


def _apply_flag(option: str, command: _Command) -> None:
    if option in _MEANT_FLAGS:
        command.flags.add(_MEANT_FLAGS[option])
    elif option not in _FLAGS:
        shown = option if re.fullmatch(r"--?[\w.#-]{1,40}", option) else "an option"
        raise BadQuestion(
            f"curl's {shown} is not understood here; leave it out if it does not change the request"
        )


def _apply(meaning: str, value: str, command: _Command) -> None:
    if meaning == "method":
        command.method = value
    elif meaning == "header":
        _add_header(value, command)
    elif meaning == "url":
        command.urls.append(value)
    elif meaning == "cookie":
        if "=" not in value:
            raise BadQuestion("curl's -b names a file here; write the cookies as -b 'name=value'")
        command.cookies.append(value)
    elif meaning in ("data", "raw", "json", "urlencode"):
        command.data.append(_data(meaning, value, command))
        kind = "application/json" if meaning == "json" else _DATA_TYPE.decode()
        command.own.setdefault("content-type", kind)
        if meaning == "json":
            command.own["accept"] = "application/json"
    elif meaning == "form":
        command.has_form = True
        command.own["content-type"] = "multipart/form-data; boundary=------------------------explain"
        command.notes.append("the form is not sent: a body cannot change the verdict")
    elif meaning == "upload":
        command.has_upload = True
        command.notes.append("the file is not sent: a body cannot change the verdict")
    elif meaning == "bearer":
        command.own["authorization"] = f"Bearer {value}"
    elif meaning == "user":
        command.own["authorization"] = "Basic " + base64.b64encode(os.fsencode(value)).decode()
    else:
        command.own[{"agent": "user-agent", "referer": "referer", "range": "range"}[meaning]] = (
            f"bytes={value}" if meaning == "range" else value
        )


def _add_header(value: str, command: _Command) -> None:
    if value.startswith("@"):
        raise BadQuestion("curl's -H @file is not understood here; write the headers out")
    name, colon, content = value.partition(":")
    if not colon and value.endswith(";"):
        command.headers.append(f"{value[:-1]}:")
    elif colon and not content.strip():
        # curl: a name without a value takes its own header away.
        command.own.pop(name.strip().lower(), None)
    else:
        command.headers.append(value)


def _data(meaning: str, value: str, command: _Command) -> str:
    if meaning == "urlencode":
        name, equals, content = value.partition("=")
        if not equals:
            if "@" in value:
                return _file_data(command)
            return _urlencode(value)
        return f"{name}={_urlencode(content)}" if name else _urlencode(content)
    if value.startswith("@") and meaning != "raw":
        return _file_data(command)
    return value


def _urlencode(text: str) -> str:
    """Encode as curl does: `+` for a blank, and small letters."""
    return re.sub("%[0-9A-F]{2}", lambda found: found.group().lower(), quote_plus(text))


def _file_data(command: _Command) -> str:
    command.notes.append("data from a file is not sent: a body cannot change the verdict")
    return ""


def _build(command: _Command) -> AskedRequest:
    url = command.urls[0]
    if not re.match(r"[a-z][a-z0-9+.-]*://", url, re.IGNORECASE):
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadQuestion("the URL of the curl command is not valid") from None
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise BadQuestion("the URL of the curl command must be an http or https URL")
    if parts.username is not None and "authorization" not in command.own:
        user = f"{parts.username}:{parts.password or ''}"
        command.own["authorization"] = "Basic " + base64.b64encode(os.fsencode(user)).decode()
    path = parts.path or "/"
    if "as_is" not in command.flags:
        path = _without_dot_segments(path)
    data = "&".join(command.data)
    query = parts.query
    if "get" in command.flags and data:
        query, data = (f"{query}&{data}" if query else data), ""
        command.own.pop("content-type", None)
    target = path + (f"?{query}" if query else "")
    headers, host = _headers(command)
    authority = host or os.fsencode(parts.netloc.rpartition("@")[2])
    default_port = 443 if parts.scheme.lower() == "https" else 80
    return AskedRequest(
        os.fsencode(_method(command)).upper(),
        os.fsencode(target),
        authority,
        headers,
        os.fsencode(data),
        port or default_port,
        tuple(dict.fromkeys(command.notes)),
    )


def _method(command: _Command) -> str:
    if command.method:
        return command.method
    if "head" in command.flags:
        return "HEAD"
    if "get" in command.flags:
        return "GET"
    if command.has_upload:
        return "PUT"
    return "POST" if command.data or command.has_form else "GET"


def _headers(command: _Command) -> tuple[tuple[Header, ...], bytes]:
    given = [parse_header(text) for text in command.headers]
    names = {name.lower() for name, _ in given}
    own = [(name.encode(), os.fsencode(value)) for name, value in command.own.items()]
    lines = [line for line in own if line[0] not in names] + given
    if command.cookies:
        lines.append((b"cookie", os.fsencode("; ".join(command.cookies))))
    host = next((value for name, value in lines if name.lower() == b"host"), b"")
    dropped = (b"host", b"content-length", b"expect")
    return tuple(line for line in lines if line[0].lower() not in dropped), host


def _without_dot_segments(path: str) -> str:
    """What curl does to a path unless told `--path-as-is` (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
            continue
        if last:
            kept.append("")
    return "/" + "/".join(kept)
