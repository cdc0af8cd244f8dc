"""Conditions as the configuration fixes them (Envoy `RouteMatch`). Built by `fastproxy.config`."""

from dataclasses import dataclass
from enum import Enum


class PathKind(Enum):
    """The path forms of a `RouteMatch`."""

    PREFIX = "prefix"
    EXACT = "path"
    SEPARATED_PREFIX = "path_separated_prefix"
    REGEX = "safe_regex"


@dataclass(frozen=True, slots=True)
class PathMatch:
    """One path condition; compared with the path before `?`."""

    kind: PathKind
    value: str
    case_sensitive: bool = True
