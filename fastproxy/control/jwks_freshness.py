"""How long an answer says that it is fresh: `Cache-Control` and `Age` (RFC 9111 sections 5.1 and 5.2.2)."""

import re
from typing import Final

#: Ten digits are three centuries. Both forms of a delta-seconds argument are to be accepted (section 5.2).
_MAX_AGE: Final = re.compile(r'(?:^|[,\s])max-age\s*=\s*(?:"(\d{1,10})"|(\d{1,10}))\s*(?=,|$)', re.IGNORECASE)
_AGE: Final = re.compile(r"\d{1,10}")
#: Longer headers are not looked at: no server needs them.
_LONGEST: Final = 1024


def parse_max_age_s(cache_control: str, age: str) -> float | None:
    """Return the seconds for which an answer is still fresh, or None if it does not say.

    `no-cache`, `no-store` and `max-age=0` say nothing about keys: many identity providers put them on
    everything, their key set included, and `cache_duration` is the operator's word. Of several values the
    smallest counts. What a cache on the way has used up (`Age`) is gone; 0 is possible then.

    Args:
        cache_control: all `Cache-Control` lines, joined with commas; may be empty.
        age: the `Age` header; may be empty.
    """
    if len(cache_control) > _LONGEST:
        return None
    values = [int(quoted or plain) for quoted, plain in _MAX_AGE.findall(cache_control)]
    if not values or min(values) == 0:
        return None
    used = int(age) if _AGE.fullmatch(age.strip()) else 0
    return float(max(min(values) - used, 0))
