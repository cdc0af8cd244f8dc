"""`outlier_detection`, from the file."""

import pytest

from fastproxy.upstream.health.settings import OutlierSettings
from tests.config.support import cluster, load, minimal, problems


def build(text: str) -> OutlierSettings | None:
    return load(minimal(clusters=cluster(f"outlier_detection: {{{text}}}"))).settings.clusters[0].outliers


def test_empty_message_means_envoys_defaults_and_none_means_none() -> None:
    """Its presence switches it on."""
    assert load(minimal()).settings.clusters[0].outliers is None
    assert build("") == OutlierSettings()


def test_every_field_is_taken() -> None:
    """Each with a value that is not its default."""
    assert build(
        "consecutive_5xx: 1, consecutive_gateway_failure: 2, consecutive_local_origin_failure: 3, "
        "enforcing_consecutive_5xx: 4, enforcing_consecutive_gateway_failure: 5, "
        "enforcing_consecutive_local_origin_failure: 6, interval: 7s, base_ejection_time: 8s, "
        "max_ejection_time: 9s, max_ejection_time_jitter: 1s, max_ejection_percent: 11, always_eject_one_host: true, "
        "success_rate_minimum_hosts: 12, success_rate_request_volume: 13, success_rate_stdev_factor: 14, "
        "enforcing_success_rate: 15, enforcing_local_origin_success_rate: 16, failure_percentage_threshold: 17, "
        "failure_percentage_minimum_hosts: 18, failure_percentage_request_volume: 19, "
        "enforcing_failure_percentage: 20, enforcing_failure_percentage_local_origin: 21, "
        "split_external_local_origin_errors: true, successful_active_health_check_uneject_host: false"
    ) == OutlierSettings(
        1, 2, 3, 4, 5, 6, 7.0, 8.0, 9.0, 1.0, 11, True, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, True, False
    )  # fmt: skip


def test_longest_time_is_never_below_the_base_unless_it_is_written() -> None:
    """Envoy: 300 s, or the base if that is more."""
    found = build("base_ejection_time: 600s")
    assert found is not None
    assert found.max_ejection_time_s == 600.0


def test_what_cannot_be_done_is_an_error() -> None:
    """Monitors of other makes."""
    text = minimal(clusters=cluster("outlier_detection: {monitors: [{name: a}]}"))
    assert any(one.path.endswith("outlier_detection.monitors") for one in problems(text))


def test_log_of_the_cluster_manager_is_for_all_clusters_that_look_for_outliers() -> None:
    """One file; a cluster without `outlier_detection` has nothing to write."""
    manager = "\ncluster_manager: {local_cluster_name: here, outlier_detection: {event_log_path: /log}}\n"
    (found,) = load(minimal(clusters=cluster("outlier_detection: {}")) + manager).settings.clusters
    assert found.outliers is not None
    assert found.outliers.event_log_path == "/log"
    (found,) = load(minimal(clusters=cluster("")) + manager).settings.clusters
    assert found.outliers is None


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (
            "outlier_detection: {event_service: {google_grpc: {target_uri: a, stat_prefix: b}}}",
            "event_service",
        ),
        (
            "upstream_bind_config: {source_address: {address: 127.0.0.1, port_value: 0}}",
            "upstream_bind_config",
        ),
    ],
)
def test_what_the_cluster_manager_cannot_do_is_refused(text: str, path: str) -> None:
    """It was to send events, or connections, somewhere else."""
    found = problems(minimal() + f"\ncluster_manager: {{{text}}}\n")
    assert any(one.path.endswith(path) for one in found)
