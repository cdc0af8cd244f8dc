"""Digests of parts of a configuration as they stand in it; `fingerprint` looks into the files that they name, too."""

import hashlib
from typing import Any


def digest_listener(listener: Any) -> bytes:
    """What stands for a `Listener` message in comparisons; its routes are part of it."""
    return hashlib.sha256(listener.SerializeToString(deterministic=True)).digest()
