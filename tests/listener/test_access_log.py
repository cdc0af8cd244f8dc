"""Access log files: batched, reopened after rotation, and never in the way of traffic."""

import logging
from pathlib import Path

import pytest

from fastproxy.http.messages import Request
from fastproxy.listener.access_log import AccessLog, AccessLogFile
from fastproxy.listener.settings import AccessLogSettings, LogMoments
from tests.listener.support import GET, OK, LogLines, Proxy, SteppedLoop


def test_lines_are_written_within_a_second(tmp_path: Path) -> None:
    """One write for many requests."""
    loop = SteppedLoop()
    path = tmp_path / "access.log"
    file = AccessLogFile(str(path), loop.as_loop())
    file.append("one\n")
    file.append("two\n")
    assert path.read_text() == ""
    loop.advance(1)
    assert path.read_text() == "one\ntwo\n"
    assert loop.live_timers == 0
    file.close()


def test_a_full_batch_is_written_at_once(tmp_path: Path) -> None:
    """Memory is bounded under load."""
    loop = SteppedLoop()
    path = tmp_path / "access.log"
    file = AccessLogFile(str(path), loop.as_loop())
    file.append("x" * 70_000)
    assert path.stat().st_size == 70_000
    file.append("rest")
    file.close()
    assert path.read_text().endswith("rest")
    assert loop.live_timers == 0


def test_files_are_appended_to(tmp_path: Path) -> None:
    """Several workers share one, and a restart keeps it."""
    loop = SteppedLoop()
    path = tmp_path / "access.log"
    path.write_text("before\n")
    first, second = (AccessLogFile(str(path), loop.as_loop()) for _ in range(2))
    first.append("1\n")
    second.append("2\n")
    second.close()
    first.close()
    assert path.read_text() == "before\n2\n1\n"


def test_reopening_follows_a_rotation(tmp_path: Path) -> None:
    """SIGUSR1: queued lines go to the old file, later ones to the new."""
    path = tmp_path / "access.log"
    file = AccessLogFile(str(path), SteppedLoop().as_loop())
    file.append("old\n")
    path.rename(tmp_path / "access.log.1")
    file.reopen()
    file.append("new\n")
    file.close()
    assert (tmp_path / "access.log.1").read_text() == "old\n"
    assert path.read_text() == "new\n"


def test_a_path_that_cannot_be_reopened_keeps_the_old_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A rotation gone wrong must not stop the log, or the proxy."""
    directory = tmp_path / "logs"
    directory.mkdir()
    path = directory / "access.log"
    file = AccessLogFile(str(path), SteppedLoop().as_loop())
    moved = directory.rename(tmp_path / "moved")
    with caplog.at_level(logging.ERROR):
        file.reopen()
    file.append("still\n")
    file.close()
    assert (moved / "access.log").read_text() == "still\n"
    assert "cannot be reopened" in caplog.text


def test_a_full_disk_loses_lines_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """Traffic goes on; the operator is told."""
    file = AccessLogFile("/dev/full", SteppedLoop().as_loop())
    file.append("x\n")
    with caplog.at_level(logging.ERROR):
        file.flush()
    assert "lines are lost" in caplog.text
    file.close()


@pytest.mark.parametrize(("path", "fd"), [("/dev/stdout", 1), ("/dev/stderr", 2)])
def test_standard_streams_are_duplicated(path: str, fd: int, capfd: pytest.CaptureFixture[str]) -> None:
    """The path cannot be opened where the stream is a socket; the descriptor always works."""
    file = AccessLogFile(path, SteppedLoop().as_loop())
    file.append("line\n")
    file.close()
    assert capfd.readouterr()[fd - 1] == "line\n"


def test_an_entry_has_a_text_a_json_or_the_default_format() -> None:
    """`log_format`."""
    request = Request(b"GET", b"/", {})
    request.response_status = 200
    lines = LogLines()
    for settings in (
        AccessLogSettings("", text_format="%RESPONSE_CODE%"),
        AccessLogSettings("", text_format=""),
        AccessLogSettings("", json_format={"code": "%RESPONSE_CODE%"}),
        AccessLogSettings(""),
    ):
        AccessLog(settings, lines).write(request, 0.0)
    assert lines.lines[:3] == ["200", "", '{"code":200}\n']
    assert lines.lines[3].startswith('[1970-01-01T00:00:00.000Z] "GET / HTTP/1.1" 200 - ')


def test_a_disk_that_stays_full_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A message for every batch would fill the other disk."""
    link = tmp_path / "access.log"
    link.symlink_to("/dev/full")
    file = AccessLogFile(str(link), SteppedLoop().as_loop())
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            file.append("x\n")
            file.flush()
        assert caplog.text.count("lines are lost") == 1
        link.unlink()
        file.reopen()
        file.append("y\n")
        file.close()
    assert "written again; 5 lines" in caplog.text
    assert link.read_text() == "y\n"


def test_lines_after_the_end_are_lost(tmp_path: Path) -> None:
    """A connection may outlive the configuration that logs it; the descriptor may be somebody else's by then."""
    path = tmp_path / "access.log"
    file = AccessLogFile(str(path), SteppedLoop().as_loop())
    file.close()
    file.append("late" * 100_000)
    assert path.read_text() == ""


TYPES = "%ACCESS_LOG_TYPE% %RESPONSE_CODE% %RESPONSE_FLAGS%"


def test_a_request_can_be_logged_when_it_begins() -> None:
    """`flush_access_log_on_new_request`; one that has no route is logged, too, one that is unreadable is not."""
    with Proxy(log_format=TYPES, log_moments=LogMoments(at_start=True)) as proxy:
        proxy.send(GET)
        assert proxy.log.lines == ["DownstreamStart 0 -"]
        proxy.upstream.respond(OK)
        assert proxy.log.lines[1:] == ["DownstreamEnd 200 -"]
        proxy.send(b"garbage\r\n\r\n")
        assert proxy.log.lines[2:] == ["DownstreamEnd 400 DPE"]


def test_a_request_can_be_logged_while_it_lasts() -> None:
    """`access_log_flush_interval`: from its begin to its end, and not between two requests."""
    with Proxy(log_format=TYPES, log_moments=LogMoments(interval_s=2.0)) as proxy:
        proxy.send(GET)
        proxy.advance(5)
        assert proxy.log.lines == ["DownstreamPeriodic 0 -"] * 2
        proxy.upstream.respond(OK)
        proxy.advance(5)
        assert proxy.log.lines[2:] == ["DownstreamEnd 200 -"]
        proxy.send(GET)
        proxy.advance(1)
        proxy.send(b"")
        proxy.upstream.respond(OK)
        proxy.send(GET)
        proxy.advance(1.5)
        assert proxy.log.lines[3:] == ["DownstreamEnd 200 -"], "the interval is each request's own"
        proxy.leave()
        assert proxy.log.lines[4:] == ["DownstreamEnd 0 DC"]
        proxy.advance(5)
        assert len(proxy.log.lines) == 5


def test_a_request_is_logged_once_where_nothing_else_is_said() -> None:
    """And its only line says why it is written."""
    with Proxy(log_format=TYPES) as proxy:
        proxy.send(GET)
        proxy.advance(5)
        proxy.upstream.respond(OK)
        assert proxy.log.lines == ["DownstreamEnd 200 -"]
