"""Health over a reload: what stays is not checked anew, what is new warms up in silence."""

from dataclasses import replace

from fastproxy.control.health.service import HealthService
from fastproxy.ipc.messages import ClusterEndpoints, ClusterUsed, EndpointAddress, ImmediateFailure
from tests.control.health.support import (
    REFUSED,
    Script,
    Told,
    check_settings,
    cluster_settings,
    endpoint,
    flags,
)


def found(_cluster: str) -> list[EndpointAddress]:
    return [endpoint(1), endpoint(2)]


async def test_unchanged_cluster_is_shared_and_goes_on_after_the_old_service_ended() -> None:
    """A reload that changes a route must not make every endpoint unchecked again."""
    script, told = Script(), Told()
    old = HealthService((cluster_settings(),), told.listener, script.tools)
    old.start(found)
    assert await old.wait_first_round(5.0)
    new = HealthService((cluster_settings(),), told.listener, script.tools, previous=old)
    new.start(found)
    assert await new.wait_first_round(5.0)
    assert new.take_over(old) == []
    await old.stop()
    checked = len(script.checked)
    await script.next_round()
    assert len(script.checked) == checked + 2
    assert new.clusters["c"] is old.clusters["c"]
    await new.stop()


async def test_changed_cluster_keeps_what_is_known_and_speaks_only_when_it_is_in_force() -> None:
    """Health of endpoints that stay; another weight or timeout does not make them sick."""
    script, told = Script(), Told()
    script.will_find(2, REFUSED)
    old = HealthService((cluster_settings(),), told.listener, script.tools)
    old.start(found)
    await old.wait_first_round(5.0)
    old.on_worker_message(ClusterUsed("c"))
    before = len(told.health)
    changed = replace(cluster_settings(), connect_timeout_s=1.0)
    new = HealthService((changed,), told.listener, script.tools, previous=old)
    new.start(found)
    # Before any check of its own.
    assert flags(new.clusters["c"]) == {"192.0.2.1": "healthy", "192.0.2.2": "/failed_active_hc"}
    assert new.clusters["c"].had_traffic
    new.on_discovered(ClusterEndpoints("c", [endpoint(1)]))
    assert (len(told.health), told.lists) == (before, [])

    dropped = new.take_over(old)
    await old.stop()
    assert dropped == [old.clusters["c"]]
    new.on_discovered(ClusterEndpoints("c", [endpoint(1), endpoint(3)]))
    assert [one.host for one in told.lists[-1].endpoints][:2] == ["192.0.2.1", "192.0.2.3"]
    old.on_discovered(ClusterEndpoints("c", []))
    assert len(told.lists) == 1
    await new.stop()


async def test_other_checks_begin_anew() -> None:
    """What passed one check says nothing about another."""
    script = Script()
    old = HealthService((cluster_settings(),), Told().listener, script.tools)
    old.start(found)
    await old.wait_first_round(5.0)
    new = HealthService(
        (cluster_settings(check_settings(timeout_s=2.0)),), Told().listener, script.tools, previous=old
    )
    new.start(found)
    assert set(flags(new.clusters["c"]).values()) == {"/failed_active_hc"}
    await new.stop()
    # Giving up the new one leaves the old one at work.
    checked = len(script.checked)
    await script.next_round()
    assert len(script.checked) == checked + 2
    await old.stop()


async def test_wait_for_the_first_round_is_bounded() -> None:
    """An endpoint that answers late delays nobody for ever."""
    script = Script()
    settings = check_settings()
    settings = replace(settings, intervals=replace(settings.intervals, initial_jitter_s=1.0))
    service = HealthService((cluster_settings(settings),), Told().listener, script.tools)
    service.start(found)
    assert not await service.wait_first_round(0.0)
    await service.stop()


async def test_messages_of_workers_about_unknown_clusters_are_ignored() -> None:
    """A worker that has not switched yet may speak of a cluster that is gone."""
    script, told = Script(), Told()
    service = HealthService((cluster_settings(),), told.listener, script.tools)
    service.start(found)
    await script.settle()
    service.on_worker_message(ClusterUsed("gone"))
    service.on_worker_message(ImmediateFailure("gone", "192.0.2.1:80"))
    service.on_worker_message(ImmediateFailure("c", "192.0.2.1:80"))
    assert told.health[-1][0] == "192.0.2.1:80"
    assert service.endpoints("gone") == ()
    assert [one.host for one in service.snapshot()[0].endpoints] == ["192.0.2.1", "192.0.2.2"]
    await service.stop()
