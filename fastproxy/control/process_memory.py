"""How much memory processes use, as the kernel counts it."""

import resource
from pathlib import Path

_PAGE_BYTES = resource.getpagesize()


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 where /proc does not tell, and for one that has just ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0
