"""The log of ejections: Envoy's form for every kind. `tests/e2e/test_diff_outliers.py` holds it beside Envoy's own."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fastproxy.control.health.outlier import Ejection, OutlierDetector
from fastproxy.control.health.outlier_log import OutlierLog
from fastproxy.upstream.health.settings import OutlierKind, OutlierSettings


def detector(path: Path, **more: Any) -> OutlierDetector:
    log = OutlierLog("c", str(path), lambda: 1_000_000_000.5)
    settings = OutlierSettings(**{"max_ejection_percent": 100, **more})
    return OutlierDetector(settings, Random(1), lambda event: log.write(event, "192.0.2.1:80"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_life_of_an_ejection(tmp_path: Path) -> None:
    """Detected, ejected, brought back, and ejected again: since when counts from the action before."""
    path, one = tmp_path / "log", Ejection()
    made = detector(path)
    kind = OutlierKind.CONSECUTIVE_GATEWAY_FAILURE
    made.on_detection(one, [one], kind, enforced=False, now=1.0)
    made.on_detection(one, [one], kind, enforced=True, now=2.0)
    made.uneject(one, 7.9)
    made.on_detection(one, [one], kind, enforced=True, now=9.0)
    common = {"timestamp": "2001-09-09T01:46:40.500Z", "cluster_name": "c", "upstream_url": "192.0.2.1:80"}
    told = {"type": "CONSECUTIVE_GATEWAY_FAILURE", "action": "EJECT", "eject_consecutive_event": {}}
    assert lines(path) == [
        {**common, **told, "num_ejections": 0, "enforced": False},
        {**common, **told, "num_ejections": 1, "enforced": True},
        {
            **common,
            "type": "CONSECUTIVE_5XX",
            "action": "UNEJECT",
            "secs_since_last_action": "5",
            "num_ejections": 1,
            "enforced": False,
        },
        {**common, **told, "secs_since_last_action": "1", "num_ejections": 2, "enforced": True},
    ]


@pytest.mark.parametrize(
    ("local", "enforcing", "kind", "facts"),
    [
        (
            False,
            "enforcing_success_rate",
            "SUCCESS_RATE",
            {
                "eject_success_rate_event": {
                    "host_success_rate": 0,
                    "cluster_average_success_rate": 80,
                    "cluster_success_rate_ejection_threshold": 40,
                }
            },
        ),
        (
            True,
            "enforcing_local_origin_success_rate",
            "SUCCESS_RATE_LOCAL_ORIGIN",
            {
                "eject_success_rate_event": {
                    "host_success_rate": 0,
                    "cluster_average_success_rate": 80,
                    "cluster_success_rate_ejection_threshold": 40,
                }
            },
        ),
        (
            False,
            "enforcing_failure_percentage",
            "FAILURE_PERCENTAGE",
            {"eject_failure_percentage_event": {"host_success_rate": 0}},
        ),
        (
            True,
            "enforcing_failure_percentage_local_origin",
            "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
            {"eject_failure_percentage_event": {"host_success_rate": 0}},
        ),
    ],
)
def test_rates_are_told_with_what_they_were_judged_by(
    tmp_path: Path, *, local: bool, enforcing: str, kind: str, facts: dict[str, Any]
) -> None:
    """Who reads the log wants to know how far it was below the others."""
    chances = dict.fromkeys(
        (
            "enforcing_success_rate",
            "enforcing_local_origin_success_rate",
            "enforcing_failure_percentage",
            "enforcing_failure_percentage_local_origin",
        ),
        0,
    )
    made = detector(
        tmp_path / "log",
        success_rate_stdev_factor=1000,
        split_local_origin=True,
        **{**chances, enforcing: 100},
    )
    everybody = [Ejection() for _ in range(5)]
    for number, one in enumerate(everybody):
        counts = (0, 100) if number == 0 else (100, 0)
        if local:
            one.local_successes, one.local_failures = counts
        else:
            one.successes, one.failures = counts
    assert made.on_interval(everybody, 1.0) == everybody[:1]
    (ejected,) = (event for event in lines(tmp_path / "log") if event["enforced"])
    assert ejected["type"] == kind
    assert {name: value for name, value in ejected.items() if name.endswith("_event")} == facts


def test_endpoint_bad_by_both_rates_is_ejected_once(tmp_path: Path) -> None:
    """Envoy ejects it twice in a moment, and so for twice the time."""
    made = detector(tmp_path / "log", success_rate_stdev_factor=1000, enforcing_failure_percentage=100)
    everybody = [Ejection(successes=0, failures=100), *(Ejection(successes=100) for _ in range(4))]
    made.on_interval(everybody, 1.0)
    assert [event["type"] for event in lines(tmp_path / "log")] == ["SUCCESS_RATE"]
    assert everybody[0].backoff == 1
