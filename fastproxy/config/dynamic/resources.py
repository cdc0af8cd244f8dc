"""What a configuration takes from files: which ones, what they held, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class ResourceKind(Enum):
    """What a file is asked for."""

    CLUSTERS = "cds"
    LISTENERS = "lds"
    ROUTES = "rds"


@dataclass(frozen=True, slots=True)
class ResourceSource:
    """One subscription to a file; several may name the same."""

    kind: ResourceKind
    path: str
    stat_prefix: str
    """Where Envoy counts its updates: `cluster_manager.cds.`, `http.PREFIX.rds.NAME.`..."""
    name: str = ""
    """The one resource that is asked for (`route_config_name`); empty: all of them."""


@dataclass(frozen=True, slots=True)
class ResourceFile:
    """What a file held when it was loaded."""

    content: bytes = field(repr=False)
    version: str
    """`version_info`."""
    is_empty: bool
    """`resources: []`."""


@dataclass(frozen=True, slots=True)
class ShownResource:
    """One resource as it was written, for /config_dump."""

    kind: ResourceKind
    name: str
    message: bytes = field(repr=False)
    """Serialised."""
    version: str


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything that a configuration took from files; endpoints, which are no part of it, excepted."""

    sources: tuple[ResourceSource, ...] = ()
    files: Mapping[str, ResourceFile] = field(default_factory=dict)
    """By path."""
    shown: tuple[ShownResource, ...] = ()
    bootstrap: bytes = field(default=b"", repr=False)
    """The configuration without all that, serialised."""
    listeners: frozenset[bytes] = field(default=frozenset(), repr=False)
    """Digests of the listeners as they are, their routes included."""

    def __bool__(self) -> bool:
        """Whether there are any such files."""
        return bool(self.sources)

    @property
    def contents(self) -> dict[str, bytes]:
        """What the files held, by path."""
        return {path: one.content for path, one in self.files.items()}

    def cluster_names(self) -> frozenset[str]:
        """Names of the clusters that come from a file."""
        return frozenset(one.name for one in self.shown if one.kind is ResourceKind.CLUSTERS)
