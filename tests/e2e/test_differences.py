"""The list of differences itself: what is listed is tested, and says what a reader needs."""

import ast
from pathlib import Path

from tests.e2e.support import differences
from tests.e2e.support.differences import all_differences

_HERE = Path(__file__).parent


def test_every_listed_difference_is_used_by_a_case() -> None:
    """An entry that no case names is a claim that nobody checks."""
    used: set[str] = set()
    for path in _HERE.glob("test_diff_*.py"):
        used |= {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    listed = {name for name, value in vars(differences).items() if isinstance(value, differences.Difference)}

    assert listed - used == set()


def test_every_difference_has_its_own_id_and_a_reason() -> None:
    """The list is the source of the documentation."""
    found = all_differences()

    assert len({difference.id for difference in found}) == len(found)
    assert all(difference.envoy and difference.fastproxy and difference.reason for difference in found)
