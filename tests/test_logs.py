"""The application log: Envoy's layout and levels, and no way in for what peers send."""

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy import logs

_log = logging.getLogger("fastproxy.some.part")


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("fastproxy")
    before = (root.handlers[:], root.level, ours.level)
    yield
    logs.set_level("info")
    for handler in root.handlers[:]:
        if handler not in before[0]:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(before[1])
    ours.setLevel(before[2])
    logging.captureWarnings(capture=False)


def written(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_line_has_envoys_layout(tmp_path: Path) -> None:
    """Log pipelines that parse Envoy's lines go on to work."""
    path = tmp_path / "log"
    logs.configure("info", path=str(path))
    _log.warning("hello %s", "you")

    (line,) = written(path)
    assert re.fullmatch(
        r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\]\[\d+\]\[warning\]\[some\.part\] \[test_logs\.py:\d+\] hello you",
        line,
    )


@pytest.mark.parametrize("level", list(logs.LEVELS))
def test_level_decides_what_is_written(tmp_path: Path, level: str) -> None:
    """`off` is really off."""
    path = tmp_path / "log"
    logs.configure(level, path=str(path))
    for name, number in logs.LEVELS.items():
        if name != "off":
            _log.log(number, name)

    expected = [name for name in logs.LEVELS if logs.LEVELS[name] >= logs.LEVELS[level] and name != "off"]
    assert [line.rsplit(" ", 1)[1] for line in written(path)] == expected


def test_component_levels_win_and_are_forgotten_by_a_level_for_all(tmp_path: Path) -> None:
    """As in Envoy's /logging."""
    logs.configure("info", path=str(tmp_path / "log"), component_levels={"some": "trace"})
    assert logs.levels()["some.part"] == "trace"
    logs.set_level("error", "some.part")
    assert logs.levels()["some.part"] == "error"
    logs.set_level("warn")

    assert set(logs.levels().values()) == {"warning"}


def test_unknown_level_is_refused_with_the_list() -> None:
    """Silence instead would hide the next incident."""
    with pytest.raises(ValueError, match=r"unknown log level 'loud': one of trace, debug"):
        logs.configure("loud")


def test_s54_peers_cannot_forge_log_lines(tmp_path: Path) -> None:
    """A `kid` with a line end would otherwise write its own line, or speak to the operator's terminal."""
    path = tmp_path / "log"
    logs.configure("info", path=str(path))
    _log.warning("kid %s", "a\n[2026-01-01 00:00:00.000][1][info] all fine\x1b[2J\u2028\x9b")

    (line,) = written(path)
    assert "\\x0a[2026" in line
    assert "\\x1b[2J\\u2028\\x9b" in line


def test_s54_untrusted_text_is_escaped_and_cut() -> None:
    """A kid of 10 kB must not fill the disk."""
    assert logs.printable("a\r\nb") == "a\\x0d\\x0ab"
    assert logs.printable(b"\xff\x00") == "\u00ff\\x00"
    assert logs.printable("x" * 1000, 10) == "xxxxxxxxxx... (990 more)"


def _raised() -> BaseException:
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("secret detail")
    return caught.value


def test_traceback_is_for_debug_only(tmp_path: Path) -> None:
    """An operator needs what and where; a developer asks for the rest."""
    path = tmp_path / "log"
    for level in ("info", "debug"):
        logs.configure(level, path=str(path))
        _log.error("failed", exc_info=_raised())

    first, *rest = written(path)
    assert re.search(
        r"failed \[RuntimeError at test_logs\.py:\d+; log level debug shows the traceback\]$", first
    )
    assert rest[1] == "Traceback (most recent call last):"


def test_libraries_stay_quiet_below_warning(tmp_path: Path) -> None:
    """S53: asyncio's and aiohttp's debug lines hold requests, which hold tokens."""
    path = tmp_path / "log"
    logs.configure("trace", path=str(path))
    logging.getLogger("aiohttp.client").debug("GET /?access_token=secret")
    logging.getLogger("aiohttp.client").warning("careful")

    assert [line.rsplit(" ", 1)[1] for line in written(path)] == ["careful"]


def test_stderr_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    """stdout belongs to the access log."""
    logs.configure("info")
    _log.info("hello")

    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err
    assert sys.stderr is not None
