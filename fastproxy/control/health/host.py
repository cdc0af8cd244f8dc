"""The checks of one endpoint: each has a state and a checker, and all of them must pass."""

import asyncio

from fastproxy.control.health.checkers import Checker, CheckerFactory
from fastproxy.control.health.outlier import Ejection
from fastproxy.control.health.state import CheckState
from fastproxy.control.health.target import Target
from fastproxy.ipc.messages import EndpointAddress
from fastproxy.tasks import cancel_and_wait
from fastproxy.upstream.health.settings import HealthCheckSettings
from fastproxy.upstream.settings import Address, ClusterSettings, HealthFlag


class HostCheck:
    """One check of one endpoint at work."""

    def __init__(self, settings: HealthCheckSettings, state: CheckState) -> None:
        self.settings = settings
        self.state = state
        self.task: asyncio.Task[None] | None = None


class CheckedHost:
    """One endpoint as the control plane sees it.

    Args:
        endpoint: what discovery says about it.
        cluster: its cluster.
        known: what equal checks found before, one entry for each; None: nothing.
    """

    def __init__(
        self,
        endpoint: EndpointAddress,
        cluster: ClusterSettings,
        known: tuple[HealthFlag, ...] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._cluster = cluster
        self.is_leaving = False
        """Discovery no longer names it; it stays in use until a check fails."""
        self.ejection = Ejection()
        """What outlier detection knows about it."""
        health = cluster.health
        self.checks: tuple[HostCheck, ...] = ()
        if not endpoint.unchecked:
            flags: tuple[HealthFlag | None, ...] = known or (None,) * len(health.checks)
            self.checks = tuple(
                HostCheck(one, CheckState(one, found, exclude_unchecked=health.exclude_unchecked))
                for one, found in zip(health.checks, flags, strict=True)
            )

    @property
    def address(self) -> str:
        """`ip:port`, or the path of a socket."""
        return str(Address(self.endpoint.host, self.endpoint.port))

    @property
    def flags(self) -> HealthFlag:
        """All flags that are the control plane's to set."""
        flags = HealthFlag(0)
        for check in self.checks:
            flags |= check.state.flags
        if self.is_leaving:
            flags |= HealthFlag.PENDING_DYNAMIC_REMOVAL
        if self.ejection.is_ejected:
            flags |= HealthFlag.FAILED_OUTLIER_CHECK
        return flags

    @property
    def check_flags(self) -> tuple[HealthFlag, ...] | None:
        """What each check found, for a successor with equal checks; None before all of them have a result."""
        if not all(check.state.is_checked for check in self.checks):
            return None
        return tuple(check.state.flags for check in self.checks) or None

    @property
    def is_checked(self) -> bool:
        """Whether every check has had a result."""
        return all(check.state.is_checked for check in self.checks)

    def make_checker(self, check: HostCheck, factory: CheckerFactory) -> Checker:
        """Make what carries a check out."""
        endpoint = self.endpoint
        address = Address(
            endpoint.check_host or endpoint.host,
            # A socket has no port.
            (endpoint.check_port or check.settings.alt_port or endpoint.port) if endpoint.port else 0,
            endpoint.hostname,
        )
        target = Target(
            address,
            self._cluster.name,
            self._cluster.tls,
            endpoint.check_hostname,
            check.settings.alpn,
            self._cluster.proxy_protocol,
        )
        return factory(check.settings, target)

    async def stop(self) -> None:
        """Check no longer."""
        await cancel_and_wait(*(check.task for check in self.checks))
