"""Event logs as files: one object a line, wherever it can be written."""

import json
import logging
import os
from pathlib import Path

import pytest

from fastproxy.control.health.event_file import EventFile, encode_moment


def test_each_file_gets_every_event_on_a_line_of_its_own(tmp_path: Path) -> None:
    """Two sinks are two files."""
    paths = (tmp_path / "a", tmp_path / "b")
    made = EventFile(tuple(map(str, paths)), "tests")
    made.write({"n": 1})
    made.write({"n": 2})
    assert [path.read_text() for path in paths] == ['{"n":1}\n{"n":2}\n'] * 2


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    """Whoever rotates logs need not say so."""
    path = tmp_path / "log"
    made = EventFile((str(path),), "tests")
    made.write({"n": 1})
    path.rename(tmp_path / "log.1")
    made.write({"n": 2})
    assert json.loads(path.read_text()) == {"n": 2}


def test_others_may_not_read_it(tmp_path: Path) -> None:
    """It names addresses of the inner network."""
    path = tmp_path / "log"
    EventFile((str(path),), "tests").write({})
    assert path.stat().st_mode & 0o007 == 0


def test_a_pipe_that_nobody_reads_holds_nobody_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Health checks must go on; it is told once."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    made = EventFile((str(path),), "tests")
    with caplog.at_level(logging.ERROR):
        made.write({})
        made.write({})
    assert [record.message.partition(" to ")[0] for record in caplog.records] == [
        "events of tests cannot be written"
    ]


def test_moments_are_protobufs() -> None:
    """As Envoy's logs have them."""
    assert encode_moment(1_000_000_000.5) == "2001-09-09T01:46:40.500Z"
