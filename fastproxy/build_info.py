"""Which form of FastProxy runs: modules compiled to machine code, or interpreted ones (docs/performance.md).

Both are built from the same source and behave alike; they differ in speed.
"""

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from typing import Literal

Form = Literal["compiled", "interpreted"]

#: Compiled whenever anything is. Only found, never imported: `--version` should not wait for httptools.
_WITNESS = "fastproxy.listener.connection"


def form() -> Form:
    """Say which form this process runs."""
    spec = find_spec(_WITNESS)
    origin = spec.origin if spec is not None else None
    compiled = origin is not None and origin.endswith(tuple(EXTENSION_SUFFIXES))
    return "compiled" if compiled else "interpreted"
