"""The tests' tokens are valid at one moment only: the clock stands there."""

import pytest

from tests.listener.support import NOW


@pytest.fixture(autouse=True)
def standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastproxy.clock.unix_time", lambda: float(NOW))
