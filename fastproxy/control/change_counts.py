"""How many clusters and listeners came, went and changed in all reloads (`cluster_manager.*`, `listener_manager.*`)."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastproxy.config import ResourceKind
from fastproxy.control.generation import Configuration


@dataclass(slots=True)
class ChangeCounts:
    """Totals since the start."""

    clusters_modified: int = 0
    clusters_removed: int = 0
    listeners_modified: int = 0
    listeners_removed: int = 0

    def count(self, old: Configuration, new: Configuration) -> None:
        """One configuration has taken the place of another."""
        modified, removed = _compare(
            {one.name: one for one in old.settings.clusters}, {one.name: one for one in new.settings.clusters}
        )
        self.clusters_modified += modified
        self.clusters_removed += removed
        modified, removed = _compare(_listeners(old), _listeners(new))
        self.listeners_modified += modified
        self.listeners_removed += removed


def _compare(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[int, int]:
    modified = sum(1 for name, one in old.items() if name in new and new[name] != one)
    return modified, len(old.keys() - new.keys())


def _listeners(configuration: Configuration) -> dict[str, object]:
    """What stands for each listener; other routes from a file of their own are no other listener."""
    found: dict[str, object] = {one.name: one for one in configuration.settings.listeners}
    for one in configuration.resources.shown:
        if one.kind is ResourceKind.LISTENERS:
            found[one.name] = one.message
    return found
