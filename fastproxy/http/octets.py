"""Octets that heads are searched for, as numbers.

`in` finds a number in bytes at once; asked for text of one byte it first raises an exception and drops it: 290 ns
instead of 40, in a request that takes 6 us.
"""

from typing import Final

PERCENT: Final = 0x25
COMMA: Final = 0x2C
DOT: Final = 0x2E
HASH: Final = 0x23
