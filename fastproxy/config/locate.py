"""From the path of a field, as settings and messages name it, to the line where it stands."""

import re
from dataclasses import dataclass

from fastproxy.config.problems import Place, quote

_FIELD = re.compile(r"\.?([A-Za-z_][A-Za-z0-9_]*)")
_INDEX = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Position:
    """Where something stands in a configuration."""

    file: str
    line: int | None
    """Counted from 1; None if the text has no lines to speak of."""
    is_written: bool
    """False: it is not in the text, and this is the nearest thing around it that is."""


def locate(places: Place, path: str) -> Position:
    """Find a path (`static_resources.listeners[0].name`, map keys as `["a b"]`) below the root of a load."""
    place, at = places, 0
    while at < len(path):
        step = _step(place, path, at)
        if step is None:
            return Position(place.file, place.line, is_written=False)
        place, at = step
    return Position(place.file, place.line, is_written=True)


def _step(place: Place, path: str, at: int) -> tuple[Place, int] | None:
    """The child that the next part of the path names, and where that part ends."""
    if path.startswith('["', at):
        # Keys are escaped and cut in paths, and cannot be read back; there are few of them.
        for key, child in place.children.items():
            shown = f"[{quote(key)}]" if isinstance(key, str) else ""
            if shown and path.startswith(shown, at):
                return child, at + len(shown)
        return None
    match = _INDEX.match(path, at) or _FIELD.match(path, at)
    if match is None:
        return None
    part: str | int = int(match[1]) if match[1].isdigit() else match[1]
    return (place.children[part], match.end()) if part in place.children else None
