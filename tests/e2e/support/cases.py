"""A differential test case as data, and the pair of proxies that it is put to."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from tests.e2e.support.differences import Difference
from tests.e2e.support.exchange import Fill, Observed, Script, differences_between, perform
from tests.e2e.support.proxies import RunningProxy
from tests.e2e.support.upstream import ScriptedUpstream
from tests.e2e.support.wire import method_of

#: `envoy` puts the real Envoy on both sides: it proves that the tests themselves are deterministic.
CONTENDER = os.environ.get("FASTPROXY_E2E_CONTENDER", "fastproxy")


@dataclass(frozen=True, slots=True)
class Case:
    """One exchange and what to expect of it."""

    id: str
    requests: tuple[bytes, ...]
    statuses: tuple[int, ...]
    """What Envoy answers; () means that it closes without an answer, (0,) that the test does not say."""
    listener: str = "plain"
    differs: Difference | None = None
    """None: FastProxy must do exactly the same."""
    fastproxy_statuses: tuple[int, ...] = ()
    """With `differs`: what FastProxy answers instead; empty means the same statuses."""
    pipelined: bool = False
    half_close: bool = False
    reaches_upstream: bool | None = None
    """Pins whether Envoy forwards anything at all; None does not ask."""
    order_only: bool = False
    """With `differs`: only the order of upstream headers with different names differs."""
    any_order: bool = False
    """The order of upstream headers with different names is not compared: it has no meaning (`header-order`)."""

    @property
    def script(self) -> Script:
        """What the downstream does."""
        methods = tuple(method_of(request) for request in self.requests)
        if self.pipelined and len(self.statuses) > len(self.requests):
            methods += (b"GET",) * (len(self.statuses) - len(self.requests))
        return Script(self.requests, self.pipelined, self.half_close, methods)


@dataclass(frozen=True, slots=True)
class Pair:
    """Envoy and FastProxy over the same file, and the upstream behind both."""

    envoy: RunningProxy
    contender: RunningProxy
    upstream: ScriptedUpstream
    fill: Fill = bytes

    def check(self, case: Case) -> None:
        """Play the case to both proxies and compare.

        Raises:
            AssertionError: they differ and the case does not say so, or the case says so and they do not.
        """
        expected = self.observe(self.envoy, case)
        _check_reference(case, expected)
        if CONTENDER == "envoy" and case.differs is not None:
            return
        found = self.observe(self.contender, case)
        if case.any_order:
            expected, found = expected.without_order(), found.without_order()
        lines = differences_between(expected, found)
        report = "\n  ".join(lines)
        if case.differs is None:
            assert not lines, f"{case.id}: envoy != {self.contender.name}:\n  {report}"
        else:
            assert lines, f"{case.id}: `{case.differs.id}` is listed but makes no difference any more"
            wanted = case.fastproxy_statuses or case.statuses
            assert found.statuses == wanted, f"{case.id}: {found.statuses}, wanted {wanted}\n  {report}"
            if case.order_only:
                rest = differences_between(expected.without_order(), found.without_order())
                assert not rest, f"{case.id}: more than the order differs:\n  {rest}"
            elif case.reaches_upstream is not None and wanted and wanted[0] >= 400:
                assert not found.upstream, f"{case.id}: a refused request reached the upstream"

    def observe(self, proxy: RunningProxy, case: Case) -> Observed:
        """Play the case to one proxy."""
        assert proxy.process.poll() is None, f"{proxy.name} is gone\n{proxy.log()}"
        return perform(case.script, proxy.ports[case.listener], self.upstream, self.fill)


def parametrize_cases(cases: Sequence[Case]) -> pytest.MarkDecorator:
    """The table as a parametrised test; ids are unique."""
    ids = [case.id for case in cases]
    assert len(ids) == len(set(ids)), "two cases share an id"
    return pytest.mark.parametrize("case", cases, ids=ids)


def _check_reference(case: Case, observed: Observed) -> None:
    # A case that Envoy refuses for another reason than it was written for would compare nothing.
    assert case.statuses in ((0,), observed.statuses), f"{case.id}: the reference answered {observed}"
    if case.reaches_upstream is not None:
        assert bool(observed.upstream) is case.reaches_upstream, observed.upstream
