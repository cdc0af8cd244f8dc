"""The log of requests to the admin interface."""

import asyncio
from pathlib import Path

import pytest

from fastproxy.admin_log import AdminLog
from fastproxy.listener.settings import AccessLogSettings
from tests.listener.support import SteppedLoop

ENDS = (("192.0.2.1", 4711), ("192.0.2.2", 9901))
FLUSH = (1.0, 65536)


def lines(tmp_path: Path, target: str, *headers: tuple[bytes, bytes], text: str | None = None) -> list[str]:
    path = tmp_path / "admin.log"
    log = AdminLog((AccessLogSettings(str(path), text_format=text),), FLUSH, SteppedLoop().as_loop())
    noted = log.begin("GET", target, headers, ENDS)
    log.end(noted, 200, [(b"content-type", b"text/plain")], 5)
    log.close()
    return path.read_text().splitlines()


def test_the_default_line_says_who_asked_for_what(tmp_path: Path) -> None:
    """The peer stands where the peer of a request to a listener does."""
    (line,) = lines(tmp_path, "/ready?x=1", (b"Host", b"a:9901"), (b"User-Agent", b"curl"))
    assert line.partition("] ")[2] == (
        '"GET /ready?x=1 HTTP/1.1" 200 - 0 5 0 - "192.0.2.1" "curl" "-" "a:9901" "-"'
    )


def test_whoever_forwarded_the_request_is_named_first(tmp_path: Path) -> None:
    """As on a listener that uses the remote address."""
    format_ = (
        "%REQ(x-forwarded-for)% %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_PORT% %RESP(content-type)%\n"
    )
    (line,) = lines(tmp_path, "/", (b"X-Forwarded-For", b"203.0.113.1"), text=format_)
    assert line == "203.0.113.1,192.0.2.1 192.0.2.1:4711 9901 text/plain"


def test_s53_tokens_in_the_query_are_not_logged(tmp_path: Path) -> None:
    """Somebody will paste one into the wrong window."""
    (line,) = lines(tmp_path, "/ready?t=eyJhbGciOiJub25lIn0.eyJhIjoxfQ.c2ln", (b"authorization", b"Bearer x"))
    assert "eyJ" not in line
    assert "/ready?t=[redacted] " in line


def test_a_path_cannot_begin_another_line(tmp_path: Path) -> None:
    """Whatever the HTTP library lets through (S54)."""
    assert len(lines(tmp_path, "/\n[forged]\udc80")) == 1


def test_several_entries_share_a_file_and_follow_a_rotation(tmp_path: Path) -> None:
    """SIGUSR1 and /reopen_logs."""
    path = tmp_path / "admin.log"
    entries = tuple(AccessLogSettings(str(path), text_format=text) for text in ("a\n", "b\n"))
    log = AdminLog(entries, FLUSH, SteppedLoop().as_loop())
    log.end(log.begin("GET", "/", [], ENDS), 200, [], 0)
    path.rename(tmp_path / "old")
    log.reopen()
    log.end(log.begin("GET", "/", [], ENDS), 200, [], 0)
    log.close()
    assert (tmp_path / "old").read_text() == path.read_text() == "a\nb\n"


async def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    """At the start, not at the first request."""
    entries = (AccessLogSettings(str(tmp_path / "a")), AccessLogSettings(str(tmp_path)))
    with pytest.raises(OSError, match=str(tmp_path)):
        AdminLog(entries, FLUSH, asyncio.get_running_loop())
