"""Every line of the security requirements has its tests, by name: `test_s07_unknown_crit_is_refused`.

The requirements are numbered S1 to S64. A line about a feature that does not exist binds nothing yet; it stands below
with the reason, and has to go from there with the first test of its name.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
LAST_LINE = 64

#: Number -> why there is nothing to test.
UNBOUND = {
    27: "issuers are exact strings; there is no template with a tenant in it",
    45: "tokens are not introspected",
    59: "DPoP is not offered; a proof never passes as an access token (S26)",
    60: "no token is bound to a key",
    62: "there is no list of revoked tokens",
    63: "streams are not ended when their token expires",
}

_TEST = re.compile(r"^ *(?:async )?def test_s(\d{2})_[a-z]", re.MULTILINE)


def count_by_line() -> Counter[int]:
    """How many test functions bear each number."""
    sources = (path for path in TESTS.rglob("test_*.py") if "node_modules" not in path.parts)
    return Counter(
        int(number) for path in sources for number in _TEST.findall(path.read_text(encoding="utf-8"))
    )


@pytest.mark.parametrize("line", [n for n in range(1, LAST_LINE + 1) if n not in UNBOUND])
def test_line_has_a_test_of_its_name(line: int) -> None:
    """A requirement that nobody tests is a wish."""
    assert count_by_line()[line] > 0, f"write test_s{line:02}_..., or say in UNBOUND why it binds nothing"


@pytest.mark.parametrize("line", UNBOUND)
def test_line_that_binds_nothing_has_no_test(line: int) -> None:
    """Its feature came: from now on it binds."""
    assert count_by_line()[line] == 0, f"there is a test_s{line:02}_... now; remove S{line} from UNBOUND"


def test_no_test_bears_a_number_that_does_not_exist() -> None:
    """A typing error in the name would be a test that nobody finds."""
    assert [line for line in count_by_line() if not 1 <= line <= LAST_LINE] == []
    assert [line for line in UNBOUND if not 1 <= line <= LAST_LINE] == []
