"""Keeps the choice among a list of endpoints current while these, and their health, change.

Most pickers are made in microseconds. A ring or table may take a tenth of a second: then the old one goes on serving
while the new one is built in slices of a few milliseconds, between which the event loop serves requests. Endpoints
that must not be used any more are passed over meanwhile. Changes that come during a build are taken up at its end, so
that a list that keeps changing still gets a new table now and then.
"""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import final

from fastproxy.upstream.balancer.picker import NOWHERE, Picker, Tools
from fastproxy.upstream.balancer.policy import Layout
from fastproxy.upstream.balancer.settings import LoadBalancingSettings
from fastproxy.upstream.endpoint import Endpoint

#: How long a build may hold up the event loop at a time: far below what a person or a health check notices.
_SLICE_S = 0.005


@final
class Balancer:
    """Chooses one of a list of endpoints."""

    __slots__ = ("_building", "_dirty", "_endpoints", "_layout", "_settings", "_tools", "picker")

    def __init__(self, settings: LoadBalancingSettings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._endpoints: tuple[Endpoint, ...] = ()
        self._layout: Layout | None = None
        """Under construction."""
        self._building: Iterator[None] | None = None
        self._dirty = False
        """Endpoints or health changed after the construction began."""
        self.picker: Picker = NOWHERE
        """Who chooses at the moment."""

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Choose among these from now on; also to be called when the health of some has changed."""
        self._endpoints = tuple(endpoints)
        if self._layout is not None:
            self._dirty = True
            self._keep_serving()
            return
        self._start(self._layout_now())

    def _layout_now(self) -> Layout:
        return Layout(self._endpoints, self._settings, self._tools)

    def _start(self, layout: Layout) -> None:
        self._dirty = False
        if not layout.tables:
            self._finish(layout)
            return
        building = itertools.chain.from_iterable([table.build() for table in layout.tables])
        # Nothing to go on with, or nobody to serve meanwhile: build to the end.
        at_once = self.picker is NOWHERE or not _is_loop_running()
        if _advance(building, self._tools, None if at_once else _SLICE_S):
            self._finish(layout)
            return
        self._layout, self._building = layout, building
        self._keep_serving()
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        layout, building = self._layout, self._building
        assert layout is not None
        assert building is not None
        if not _advance(building, self._tools, _SLICE_S):
            asyncio.get_running_loop().call_soon(self._go_on)
            return
        self._layout = self._building = None
        self._finish(layout)
        if self._dirty:
            self._start(self._layout_now())

    def _finish(self, layout: Layout) -> None:
        self.picker = layout.root

    def _keep_serving(self) -> None:
        """Let the table in use go on, without the endpoints that must not be used any more."""
        if not self._endpoints:
            self.picker = NOWHERE
            return
        picker = self.picker
        before = picker.before if isinstance(picker, Interim) else picker
        usable = [endpoint for endpoint in self._endpoints if endpoint.is_healthy or endpoint.is_degraded]
        # Without any, the new table will say whether health is to be ignored; until then it is.
        self.picker = Interim(before, usable or self._endpoints)


@final
class Interim(Picker):
    """The table of before, while a new one is under construction."""

    __slots__ = ("_usable", "_usable_set", "before")

    def __init__(self, before: Picker, usable: Sequence[Endpoint]) -> None:
        self.before = before
        self._usable = tuple(usable)
        self._usable_set = frozenset(usable)

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """The choice of before, or if that must not be used any more, another one by the same hash. Hot path."""
        chosen = self.before.select(hash_value, attempt)
        if chosen in self._usable_set:
            return chosen
        return self._usable[(hash_value or 0) % len(self._usable)]


def _advance(building: Iterator[None], tools: Tools, limit_s: float | None) -> bool:
    """Build on, for about `limit_s` seconds (None: to the end); says whether it is complete."""
    until = None if limit_s is None else tools.now() + limit_s
    return all(until is None or tools.now() < until for _ in building)


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
