"""Carries the active checks of one cluster's endpoints out, each again and again; what a result means others decide."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from fastproxy.control.health.checkers import Checker
from fastproxy.control.health.host import CheckedHost, HostCheck
from fastproxy.control.health.state import CheckResult, FailureKind
from fastproxy.control.health.tools import HealthTools
from fastproxy.tasks import cancel_and_wait, spawn

_log = logging.getLogger("fastproxy.control.health")

#: Takes a result in, and says how long to wait for the next check.
OnResult = Callable[[CheckedHost, HostCheck, CheckResult], float]


class CheckLoop:
    """One task for each check of each endpoint.

    Args:
        cluster: its name.
        tools: see there.
        on_attempt: is called when a check begins.
        on_result: see there.
    """

    def __init__(
        self, cluster: str, tools: HealthTools, *, on_attempt: Callable[[], None], on_result: OnResult
    ) -> None:
        self._cluster = cluster
        self._tools = tools
        self._on_attempt = on_attempt
        self._on_result = on_result
        self._stopping: set[asyncio.Task[None]] = set()

    def start(self, host: CheckedHost) -> None:
        """Check an endpoint from now on."""
        for check in host.checks:
            check.task = spawn(self._run(host, check), name=f"health {self._cluster} {host.address}")

    def end(self, host: CheckedHost) -> None:
        """Check it no longer, or not at this address; may be called from `on_result`."""
        for check in host.checks:
            task, check.task = check.task, None
            if task is not None:
                task.cancel()
                self._stopping.add(task)
                task.add_done_callback(self._stopping.discard)

    async def stop(self, hosts: Iterable[CheckedHost]) -> None:
        """End the checks of these, and wait for the end of those that were told to before."""
        await asyncio.gather(*(host.stop() for host in hosts))
        await cancel_and_wait(*self._stopping)

    async def _run(self, host: CheckedHost, check: HostCheck) -> None:
        tools = self._tools
        checker = host.make_checker(check, tools.make_checker)
        try:
            jitter_s = check.settings.intervals.initial_jitter_s
            if jitter_s:
                await tools.sleep(tools.random.random() * jitter_s)
            while True:
                self._on_attempt()
                result = await _bounded(checker, check.settings.timeout_s)
                await tools.sleep(self._on_result(host, check, result))
        finally:
            await checker.close()


async def _bounded(checker: Checker, timeout_s: float) -> CheckResult:
    """One check; whatever happens, there is a result within `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            return await checker.check()
    except TimeoutError:
        return CheckResult(FailureKind.NETWORK_TIMEOUT, reason=f"no answer within {timeout_s:g} s")
    except Exception as error:
        # Unforeseen, so a bug; but the next check must come all the same.
        _log.exception("a health check failed unexpectedly")
        return CheckResult(FailureKind.NETWORK, reason=f"internal error ({type(error).__name__})")
