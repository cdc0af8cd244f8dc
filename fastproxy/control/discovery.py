"""The address list of one cluster as DNS answers or files come in; resolves and reads nothing."""

from collections.abc import Sequence
from dataclasses import replace

from fastproxy.control.update_stats import UpdateStats
from fastproxy.errors import FastProxyError
from fastproxy.ipc.messages import AdditionalAddress, ClusterEndpoints, EndpointAddress
from fastproxy.stats import StatsSink
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    DiscoveryType,
    EndpointSettings,
)

#: Host lists in log lines are cut here; /clusters has them all.
_DESCRIBED_HOSTS = 8


class LookupFailed(FastProxyError):
    """A name could not be looked up: no answer, or the server failed. Not the same as "does not exist"."""


class ClusterDiscovery:
    """Current addresses of one cluster, with Envoy's `cluster.<name>.update_*` numbers."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.endpoints: tuple[EndpointAddress, ...] = ()
        self.failing = ""
        """Why the last round of lookups did not give a complete answer; empty if it did."""
        self._last_answers: list[tuple[EndpointAddress, ...]] = [() for _ in settings.endpoints]
        self._attempts = self._successes = self._failures = self._empty = self._no_rebuild = 0
        self._membership_changes = 0
        self._policy = (0, False)
        self.updates = UpdateStats(f"cluster.{settings.stat_name or settings.name}.")
        """What came of the file, if it is an EDS cluster."""
        if settings.discovery is DiscoveryType.STATIC:
            self._replace(tuple(_address(e, e.host, e.hostname) for e in settings.endpoints))

    def on_answers(self, answers: list[list[str] | LookupFailed]) -> bool:
        """Take one round of lookups, one answer per configured endpoint and in that order.

        Returns:
            Whether the address list changed.
        """
        logical = self.settings.discovery is DiscoveryType.LOGICAL_DNS
        self.failing = ""
        for index, (endpoint, answer) in enumerate(zip(self.settings.endpoints, answers, strict=True)):
            self._attempts += 1
            if isinstance(answer, LookupFailed) or (logical and not answer):
                self._failures += 1
                reason = answer if isinstance(answer, LookupFailed) else "the name has no address"
                self.failing = f"{endpoint.host} cannot be resolved: {reason}"
                continue
            self._successes += 1
            self._empty += not answer
            if not answer:
                self.failing = f"{endpoint.host} has no address"
            self._last_answers[index] = (
                _one_host(endpoint, answer) if logical else _addresses(endpoint, answer)
            )
        combined = tuple(dict.fromkeys(address for addresses in self._last_answers for address in addresses))
        if frozenset(combined) == frozenset(self.endpoints):
            # Servers rotate their answers; the order alone is no change.
            self._no_rebuild += 1
            return False
        self._replace(combined)
        return True

    def on_assignment(self, endpoints: Sequence[EndpointSettings], policy: tuple[int, bool]) -> bool:
        """Take what a file says about an EDS cluster; whether anything changed.

        `policy`: overprovisioning factor, and whether weights count in the health of priorities.
        """
        found = dict.fromkeys(_address(one, one.host, one.hostname) for one in endpoints)
        before, self._policy = self._policy, policy
        if tuple(found) == self.endpoints and policy == before:
            self._no_rebuild += 1
            return False
        self._replace(tuple(found))
        return True

    def message(self) -> ClusterEndpoints:
        """Return the complete current list as the workers get it."""
        return ClusterEndpoints(self.settings.name, list(self.endpoints), *self._policy)

    def describe(self) -> str:
        """Return the current list for a log line."""
        if not self.endpoints:
            return "no addresses"
        shown = ", ".join(str(Address(e.host, e.port)) for e in self.endpoints[:_DESCRIBED_HOSTS])
        return shown + (
            f" and {len(self.endpoints) - _DESCRIBED_HOSTS} more" if self.endpoints[_DESCRIBED_HOSTS:] else ""
        )

    def write_stats(self, sink: StatsSink) -> None:
        """Add this cluster's discovery numbers under Envoy's names."""
        prefix = f"cluster.{self.settings.stat_name or self.settings.name}."
        sink.counter(prefix + "membership_change", self._membership_changes)
        sink.counter(prefix + "update_no_rebuild", self._no_rebuild)
        if self.settings.discovery is DiscoveryType.EDS:
            self.updates.write(sink)
            return
        sink.counter(prefix + "update_attempt", self._attempts)
        sink.counter(prefix + "update_success", self._successes)
        sink.counter(prefix + "update_failure", self._failures)
        sink.counter(prefix + "update_empty", self._empty)

    def _replace(self, endpoints: tuple[EndpointAddress, ...]) -> None:
        # As Envoy: another weight or health is no change of members.
        self._membership_changes += {(one.host, one.port) for one in endpoints} != {
            (one.host, one.port) for one in self.endpoints
        }
        self.endpoints = endpoints


def _addresses(endpoint: EndpointSettings, answer: list[str]) -> tuple[EndpointAddress, ...]:
    hostname = endpoint.hostname or endpoint.host
    return tuple(_address(endpoint, address, hostname) for address in answer)


def _one_host(endpoint: EndpointSettings, answer: list[str]) -> tuple[EndpointAddress, ...]:
    """LOGICAL_DNS is one host: new connections go to the first address of the latest answer, or the next that works."""
    first = _address(endpoint, answer[0], endpoint.hostname or endpoint.host)
    return (replace(first, additional=tuple(AdditionalAddress(one, endpoint.port) for one in answer[1:])),)


def _address(endpoint: EndpointSettings, host: str, hostname: str) -> EndpointAddress:
    traits = endpoint.traits
    return EndpointAddress(
        host,
        endpoint.port,
        hostname,
        weight=traits.weight,
        priority=traits.priority,
        region=traits.locality.region,
        zone=traits.locality.zone,
        sub_zone=traits.locality.sub_zone,
        locality_weight=traits.locality_weight,
        health=traits.health.value,
        metadata=traits.metadata,
        check_host=endpoint.check_target.host,
        check_port=endpoint.check_target.port,
        check_hostname=endpoint.check_target.hostname,
        unchecked=endpoint.check_target.disabled,
        additional=tuple(AdditionalAddress(one.host, one.port) for one in endpoint.additional),
    )
