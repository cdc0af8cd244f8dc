"""The only module that reads the clock. Everything else takes `now` as an argument or these functions."""

import time

#: Seconds on a clock that never goes back; for durations and deadlines.
monotonic = time.monotonic  # noqa: TID251

#: Unix time in seconds; for `exp`, `nbf`, log lines and nothing else, for an operator may step it.
unix_time = time.time  # noqa: TID251
