"""Every module has its test file, where a reader looks for it (style.md section 9).

`fastproxy/jwt/claims.py` is tested by `tests/jwt/test_claims.py`. What is not is in one of the two lists below.
"""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fastproxy"
TESTS = ROOT / "tests"

#: Nothing to test: names, data classes and constants only.
DATA_ONLY = {"__init__.py", "__main__.py", "settings.py"}
#: The same, where one module would be too long.
DATA_ONLY_FOLDERS = {"settings", "messages"}

#: Tested through the thing they are parts of. Module -> test file.
TESTED_BY = {
    "clock.py": "test_layers.py",
    "errors.py": "http/test_small_parts.py",
    "serve.py": "test_cli.py",
    # What a configuration becomes in a worker is tested by what it does there.
    "runtime/clusters.py": "test_worker.py",
    "runtime/generations.py": "test_worker.py",
    "runtime/log_files.py": "test_runtime.py",
    "runtime/networks.py": "test_runtime.py",
    "runtime/runtime.py": "test_runtime.py",
    # Small parts of HTTP and of the counters.
    "http/connection_info.py": "listener/test_acceptor.py",
    "http/chunks.py": "http/test_small_parts.py",
    "http/dates.py": "http/test_small_parts.py",
    "http/errors.py": "http/test_small_parts.py",
    "http/messages.py": "http/test_small_parts.py",
    "http/octets.py": "http/test_small_parts.py",
    "http/request_id.py": "http/test_small_parts.py",
    "http/special.py": "http/test_small_parts.py",
    "http/status.py": "http/test_small_parts.py",
    "format/context.py": "format/test_compile.py",
    "format/message.py": "format/test_compile.py",
    "format/metadata.py": "format/test_compile.py",
    "format/operators.py": "format/test_compile.py",
    "format/redaction.py": "format/test_compile.py",
    "format/times.py": "format/test_compile.py",
    "filters/base.py": "filters/test_chain.py",
    "filters/build.py": "config/test_small_filters.py",
    "filters/jwt_authn/verdict.py": "filters/jwt_authn/test_requirement.py",
    "filters/jwt_authn/build.py": "filters/jwt_authn/test_requirement.py",
    "listener/chain_entry.py": "listener/tls/test_termination.py",
    "config/build/filter_metadata.py": "config/test_filter_metadata.py",
    "config/build/name_case.py": "config/test_name_case.py",
    "control/admin/process_pages.py": "control/test_dump_page.py",
    "config/build/health_check.py": "config/test_health_check.py",
    "filters/health_check/settings.py": "filters/health_check/test_filter.py",
    "control/process_memory.py": "control/test_admin.py",
    "control/admin/dump_page.py": "control/test_dump_page.py",
    "config/build/listen_address.py": "config/test_listeners.py",
    "listener/upgrades.py": "router/test_upgrade.py",
    "config/build/config_source.py": "config/test_clusters.py",
    "config/digest.py": "config/dynamic/test_expand.py",
    "config/dynamic/resources.py": "config/dynamic/test_expand.py",
    "control/change_counts.py": "control/test_resources.py",
    "control/admin/endpoints_dump.py": "e2e/test_diff_dynamic.py",
    "control/update_stats.py": "control/test_eds.py",
    "config/build/compressor.py": "config/test_compressor.py",
    "config/build/rate_limits.py": "config/test_rate_limits.py",
    "config/build/cors.py": "config/test_cors.py",
    "config/build/upgrades.py": "config/test_upgrades.py",
    "listener/network_filter.py": "listener/test_acceptor.py",
    "listener/tcp_proxy/socket_relay.py": "listener/tcp_proxy/test_session.py",
    "listener/tcp_proxy/stats.py": "listener/tcp_proxy/test_proxy.py",
    "tls/openssl.py": "listener/tls/test_contexts.py",
    "tls/stats.py": "listener/tls/test_termination.py",
    "listener/stats.py": "listener/test_manager.py",
    "listener/transport.py": "listener/test_connection.py",
    "router/downstream.py": "router/test_forward.py",
    "router/replies.py": "router/test_forward.py",
    "router/domains.py": "router/test_table.py",
    "router/route.py": "router/test_table.py",
    "router/virtual_host.py": "router/test_table.py",
    "router/stats.py": "router/test_router.py",
    "upstream/health/events.py": "upstream/test_monitor.py",
    "control/health/host.py": "control/health/test_cluster.py",
    "control/health/check_loop.py": "control/health/test_cluster.py",
    "control/health/outlier_watch.py": "control/health/test_outlier.py",
    "control/health/tools.py": "control/health/test_cluster.py",
    "control/health/stats.py": "control/health/test_cluster.py",
    "control/health/target.py": "control/health/test_checkers.py",
    "config/build/outlier_detection.py": "config/test_outlier_detection.py",
    "config/build/health_checks.py": "config/test_health_checks.py",
    "upstream/errors.py": "router/test_forward.py",
    "upstream/response_handler.py": "upstream/test_connection.py",
    "upstream/balancer/hash_key.py": "upstream/balancer/test_ring_hash.py",
    "upstream/balancer/picker.py": "upstream/balancer/test_policy.py",
    "upstream/balancer/priority.py": "upstream/balancer/test_policy.py",
    "upstream/members.py": "upstream/test_cluster.py",
    "upstream/tcp_connections.py": "upstream/test_monitor.py",
    "upstream/stats.py": "upstream/test_cluster.py",
    "match/query.py": "match/test_request.py",
    "ipc/codec.py": "ipc/test_channel.py",
    "control/generation.py": "control/test_reload.py",
    "control/inheritance.py": "control/test_activation.py",
    "control/succession.py": "e2e/test_upgrade.py",
    "control/reload_status.py": "control/test_reload.py",
    # The steps from a file to settings are tested from the file: what counts is the message and the line.
    "config/decode.py": "config/test_coercions.py",
    "config/formats.py": "config/test_rules.py",
    "config/harmless.py": "config/test_nothing_ignored.py",
    "config/nodes.py": "config/test_yaml_text.py",
    "config/problems.py": "config/test_load.py",
    "config/scalars.py": "config/test_coercions.py",
    "config/schema.py": "config/test_load.py",
    "config/view.py": "config/test_nothing_ignored.py",
    "config/well_known.py": "config/test_nothing_ignored.py",
    "config/build/access_log.py": "config/test_listeners.py",
    "config/build/log_moments.py": "config/test_log_filter.py",
    "tls/failure.py": "upstream/test_dial.py",
    "config/build/downstream_tls.py": "config/test_downstream_tls.py",
    "config/build/filter_chains.py": "config/test_filter_chains.py",
    "config/build/listener_filters.py": "config/test_filter_chains.py",
    "config/build/overload.py": "config/test_filter_chains.py",
    "config/build/tls_parts.py": "config/test_downstream_tls.py",
    "config/build/upstream_http.py": "config/test_clusters.py",
    "config/build/upstream_tls.py": "config/test_upstream_tls.py",
    "config/build/secrets.py": "config/test_downstream_tls.py",
    "config/build/tls_files.py": "config/test_tls_update.py",
    "config/build/validation_context.py": "config/test_downstream_tls.py",
    "config/build/dns.py": "config/test_dns.py",
    "config/build/address.py": "config/test_listeners.py",
    "config/build/bootstrap.py": "config/test_load.py",
    "config/build/circuit_breakers.py": "config/test_circuit_breakers.py",
    "config/build/retry_policy.py": "config/test_retry_policy.py",
    "config/build/request_line.py": "config/test_request_line.py",
    "config/build/cluster_reference.py": "config/test_routes.py",
    "config/build/clusters.py": "config/test_clusters.py",
    "config/build/context.py": "config/test_load.py",
    "config/build/data_source.py": "config/test_jwt_authn.py",
    "config/build/uri_template.py": "config/test_uri_template.py",
    "config/build/header_rules.py": "config/test_header_rules.py",
    "config/build/format_string.py": "config/test_log_filter.py",
    "config/build/local_reply.py": "config/test_log_filter.py",
    "config/build/log_filter.py": "config/test_log_filter.py",
    "config/build/http_filters.py": "config/test_listeners.py",
    "config/build/buffer.py": "config/test_small_filters.py",
    "config/build/filter_kinds.py": "config/test_small_filters.py",
    "config/build/header_mutation.py": "config/test_small_filters.py",
    "config/build/http_manager.py": "config/test_listeners.py",
    "config/build/http_options.py": "config/test_http_options.py",
    "config/build/jwt_authn.py": "config/test_jwt_authn.py",
    "config/build/jwt_provider.py": "config/test_jwt_requirements.py",
    "config/build/jwt_requirement.py": "config/test_jwt_requirements.py",
    "config/build/key_sources.py": "config/test_jwt_authn.py",
    "config/build/lb_policy.py": "config/test_load_balancing.py",
    "config/build/lb_subset.py": "config/test_load_balancing.py",
    "config/build/load_assignment.py": "config/test_clusters.py",
    "config/build/listeners.py": "config/test_listeners.py",
    "config/build/matchers.py": "config/test_jwt_requirements.py",
    "config/build/path_match.py": "config/test_routes.py",
    "config/build/per_filter.py": "config/test_jwt_requirements.py",
    "config/build/fraction.py": "config/test_routes.py",
    "config/build/hash_policy.py": "config/test_routes.py",
    "config/build/metadata_match.py": "config/test_routes.py",
    "config/build/route_action.py": "config/test_routes.py",
    "config/build/route_match.py": "config/test_routes.py",
    "config/build/substitution.py": "config/test_routes.py",
    "config/build/weighted_clusters.py": "config/test_routes.py",
    "config/build/routes.py": "config/test_routes.py",
    "config/build/runtime_keys.py": "config/test_load.py",
    "config/build/tcp_proxy.py": "config/test_tcp_proxy.py",
    "config/build/upstream_proxy_protocol.py": "config/test_tcp_proxy.py",
    # Lint's own data classes, tested by every rule.
    "lint/requirements.py": "lint/test_survey.py",
    "lint/rule.py": "lint/test_check.py",
    # The control plane's helpers are tested with whoever they help.
    "control/admin/access.py": "control/test_admin.py",
    "control/admin/certs_page.py": "control/test_tls_watcher.py",
    "control/admin/pages.py": "control/test_admin.py",
    "control/admin/prometheus.py": "control/test_prometheus.py",
    "control/admin/quantiles.py": "control/test_admin.py",
    "control/admin/replies.py": "control/test_admin.py",
    "control/admin/server.py": "control/test_admin.py",
    "control/admin/histograms.py": "control/test_admin.py",
    "control/admin/connections.py": "control/test_admin.py",
    "control/cert_expiry.py": "e2e/test_diff_stats_pages.py",
    "control/constant_stats.py": "e2e/test_diff_stats_pages.py",
    "control/admin/stats_page.py": "control/test_admin.py",
    "control/admin/view.py": "control/test_admin.py",
    "control/ballot.py": "control/test_supervisor.py",
    "control/backoff.py": "control/test_supervisor.py",
    "control/lookup.py": "control/test_dns.py",
    "control/discovery.py": "control/test_jwks_fetcher.py",
    "control/jwks_http.py": "control/test_jwks_fetcher.py",
    "control/jwks_refresh.py": "control/test_jwks_fetcher.py",
    "control/jwks_report.py": "control/test_admin.py",
    "control/jwks_source.py": "control/test_jwks_fetcher.py",
    "control/key_store.py": "control/test_jwks_fetcher.py",
    "control/admin_door.py": "control/test_plane.py",
    "control/life.py": "control/test_plane.py",
    "control/options.py": "control/test_plane.py",
    "control/overview.py": "control/test_admin.py",
    "control/own_stats.py": "control/test_admin.py",
    "control/stats_collector.py": "control/test_plane.py",
    "control/worker_process.py": "control/test_supervisor.py",
    # What is said about tokens is tested by the situations in which it is said.
    "advice/case.py": "explain/test_session.py",
    "advice/claims.py": "explain/test_session.py",
    "advice/form.py": "explain/test_session.py",
    "advice/keys.py": "explain/test_session.py",
    "advice/words.py": "test_jwt_commands.py",
    "explain/asked.py": "explain/test_cli.py",
    "explain/describe.py": "explain/test_session.py",
    "explain/findings.py": "explain/test_session.py",
    "explain/memory_io.py": "explain/test_rehearsal.py",
    "explain/near_misses.py": "explain/test_session.py",
    "explain/outcome.py": "explain/test_session.py",
    "explain/report.py": "explain/test_cli.py",
    "explain/running.py": "explain/test_keybook.py",
    "explain/text.py": "explain/test_cli.py",
    "explain/trace.py": "explain/test_rehearsal.py",
    # The demo is a story: it is played.
    "demo/cli.py": "demo/test_story.py",
    "demo/report.py": "demo/test_story.py",
    "demo/world.py": "demo/test_story.py",
}


def modules() -> list[str]:
    """Every module but the data-only ones, as a path below fastproxy/."""
    found = (path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py")))
    return [
        str(path)
        for path in found
        if path.name not in DATA_ONLY and path.parent.name not in DATA_ONLY_FOLDERS
    ]


def own_test(module: str) -> Path:
    """Where the test file of a module belongs."""
    return TESTS / Path(module).with_name(f"test_{Path(module).name}")


@pytest.mark.parametrize("module", modules())
def test_module_has_a_test_file(module: str) -> None:
    """A module without one grows without one."""
    if own_test(module).is_file():
        return
    assert module in TESTED_BY, (
        f"write {own_test(module).relative_to(ROOT)}, or say in TESTED_BY what tests it"
    )
    assert (TESTS / TESTED_BY[module]).is_file(), f"tests/{TESTED_BY[module]} does not exist"


def test_no_exception_is_stale() -> None:
    """An exception for a module that is gone hides the next one of that name."""
    assert [module for module in TESTED_BY if not (PACKAGE / module).is_file()] == []
