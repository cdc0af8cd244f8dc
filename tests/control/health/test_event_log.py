"""The event log: Envoy's form, one line an event."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from fastproxy.control.health.event_log import EventLog
from fastproxy.control.health.state import CheckResult, CheckState
from fastproxy.ipc.messages import EndpointAddress
from tests.control.health.support import DOWN, PASS, check_settings, endpoint


def events(path: Path, *results: CheckResult, at: EndpointAddress | None = None, **more: Any) -> list[Any]:
    settings = check_settings(event_log_paths=(str(path),), healthy_threshold=1, **more)
    log, state = EventLog("c", settings, lambda: 1_000_000_000.5), CheckState(settings)
    for result in results:
        before, first = state.flags, not state.is_checked
        state.on_result(result)
        log.on_result(at or endpoint(1, zone="z"), result, before, state.flags, first=first)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def kinds(found: list[Any]) -> list[str]:
    known = {"health_checker_type", "host", "cluster_name", "timestamp", "locality"}
    return [next(iter(one.keys() - known)) for one in found]


def test_event_has_envoys_form(tmp_path: Path) -> None:
    """Tools that read Envoy's log read this one."""
    (found,) = events(tmp_path / "log", PASS)
    assert found == {
        "health_checker_type": "HTTP",
        "host": {
            "socket_address": {
                "protocol": "TCP",
                "address": "192.0.2.1",
                "port_value": 80,
                "resolver_name": "",
                "ipv4_compat": False,
                "network_namespace_filepath": "",
            }
        },
        "cluster_name": "c",
        "timestamp": "2001-09-09T01:46:40.500Z",
        "add_healthy_event": {"first_check": True},
        "locality": {"region": "", "zone": "z", "sub_zone": ""},
    }


def test_changes_are_written_and_the_rest_on_demand(tmp_path: Path) -> None:
    """`always_log_health_check_failures`, `always_log_health_check_success`."""
    story = (PASS, PASS, DOWN, DOWN, CheckResult(degraded=True), PASS)
    assert kinds(events(tmp_path / "a", *story)) == [
        "add_healthy_event",
        "eject_unhealthy_event",
        "add_healthy_event",
        "degraded_healthy_host",
        "no_longer_degraded_host",
    ]
    every = kinds(events(tmp_path / "b", *story, always_log_failures=True, always_log_successes=True))
    assert every.count("health_check_failure_event") == 2
    assert every.count("successful_health_check_event") == 2


def test_first_failure_is_written_without_an_ejection(tmp_path: Path) -> None:
    """It was never in use, so nothing is taken out of it (Envoy)."""
    (found,) = events(tmp_path / "log", DOWN)
    assert found["health_check_failure_event"] == {
        "failure_type": "ACTIVE",
        "first_check": True,
        "http_status_code": 500,
    }


def test_a_socket_is_named_by_its_path(tmp_path: Path) -> None:
    """Not by a port that it does not have."""
    (found,) = events(tmp_path / "log", PASS, at=EndpointAddress("/run/app.sock", 0, ""))
    assert found["host"] == {"pipe": {"path": "/run/app.sock", "mode": 0}}


def test_file_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk must not stop the checks, nor fill the other log."""
    with caplog.at_level(logging.ERROR):
        events(tmp_path / "no" / "such" / "log", PASS, DOWN, PASS)
    assert [record.message.count("cannot be written") for record in caplog.records] == [1]
