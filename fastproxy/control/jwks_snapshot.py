"""Fetched key sets on disk, so that a restart during the identity provider's outage has keys.

One file per source, `<digest of the source id>.json`, mode 0600, replaced as a whole. What a file says is
trusted like a fetched answer and no further: whoever can write it can sign tokens, so a file or directory that
others may write is not read. Keys age from their fetch (`JwksSchedule.on_restored`), so `max_stale` holds across
restarts. All functions block; call them in a thread while traffic flows.
"""

import contextlib
import hashlib
import logging
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

from fastproxy.control.jwks_http import MAX_BODY_BYTES

_log = logging.getLogger("fastproxy.control.jwks")
_VERSION: Final = 1
#: The key set as a JSON string may need more bytes than as received, for quotes are escaped.
_MAX_FILE_BYTES: Final = 2 * MAX_BODY_BYTES + 65536
#: NTP may have set the clock back by a little since.
_CLOCK_STEP_S: Final = 60.0
_NOT_OURS: Final = stat.S_IWGRP | stat.S_IWOTH


class SnapshotRefused(Exception):
    """A snapshot cannot be used; the text is fit for a log and holds nothing of the content."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One good fetch as it is kept."""

    source_id: str
    fetched_at: float
    """Unix time of the fetch that brought the keys or found them current."""
    lifetime_s: float
    """How long they are fresh from then."""
    jwks: str
    """Public keys only: private members were dropped before."""


class SnapshotStore:
    """A directory of snapshots; created with mode 0700 if it is missing."""

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)

    def load(self, source_id: str, unix_now: float) -> Snapshot | None:
        """Return the snapshot of a source, or None if there is none.

        Raises:
            SnapshotRefused: there is one, but it cannot be trusted or read.
        """
        path = self._path(source_id)
        try:
            _check_owner(self.directory.stat(), "the directory")
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SnapshotRefused(f"{path}: {error.strerror}") from None
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SnapshotRefused(f"{path} is not a regular file")
            _check_owner(status, str(path))
            try:
                content = stream.read(_MAX_FILE_BYTES + 1)
            except OSError as error:
                raise SnapshotRefused(f"{path}: {error.strerror}") from None
        return _parse(content, source_id, unix_now, path)

    def save(self, snapshot: Snapshot) -> None:
        """Replace the snapshot of a source; after a crash the old file or the new one is there, whole.

        Raises:
            OSError: the directory cannot be written.
        """
        self.directory.mkdir(mode=0o700, exist_ok=True)
        path = self._path(snapshot.source_id)
        # Another proxy may use the same directory at the same moment, so each has its own name.
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as stream:
            stream.write(orjson.dumps({"version": _VERSION, **asdict(snapshot)}))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)

    def _path(self, source_id: str) -> Path:
        return self.directory / f"{hashlib.sha256(source_id.encode()).hexdigest()[:32]}.json"


def _check_owner(status: os.stat_result, name: str) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        raise SnapshotRefused(f"{name} belongs to another user, who could put keys there")
    if status.st_mode & _NOT_OURS:
        raise SnapshotRefused(f"{name} can be written by other users, who could put keys there")


def _parse(content: bytes, source_id: str, unix_now: float, path: Path) -> Snapshot:
    try:
        members = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise SnapshotRefused(f"{path} is damaged") from None
    if not isinstance(members, dict) or members.pop("version", None) != _VERSION:
        raise SnapshotRefused(f"{path} is no key snapshot of this version")
    match members:
        case {
            "source_id": str(found),
            "fetched_at": float(fetched_at) | int(fetched_at),
            "lifetime_s": float(lifetime_s) | int(lifetime_s),
            "jwks": str(jwks),
        }:
            pass
        case _:
            raise SnapshotRefused(f"{path} is damaged")
    if found != source_id:
        raise SnapshotRefused(f"{path} is of another key source")
    if fetched_at > unix_now + _CLOCK_STEP_S:
        # Either the clock was set back or somebody wants the keys to live longer.
        raise SnapshotRefused(f"{path} comes from the future")
    return Snapshot(source_id, float(fetched_at), max(float(lifetime_s), 0.0), jwks)
