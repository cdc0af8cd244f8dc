"""What came of the updates of one file with resources, under Envoy's names (`update_attempt`, `version_text`...)."""

from dataclasses import dataclass, field

from fastproxy import clock
from fastproxy.config import version_number
from fastproxy.stats import StatsSink


@dataclass(slots=True)
class UpdateStats:
    """Counts of one subscription; `write` adds them to a snapshot."""

    prefix: str
    """`cluster_manager.cds.`, `cluster.NAME.`..."""
    version: str = ""
    """`version_info` of what was accepted last."""
    last_error: str = ""
    """Why the last content is not used; empty if it is."""
    updated_at: float = 0.0
    """Unix time at which something was accepted last."""
    attempts: int = 0
    successes: int = 0
    failures: int = 0
    """Contents that could not be understood at all."""
    rejections: int = 0
    empty: int = 0
    fetch_timeouts: int = 0
    reloads: int = 0
    """Contents that changed the configuration."""
    counts_empty: bool = True
    counts_reloads: bool = False
    _numbers: dict[str, int] = field(default_factory=dict)

    def on_success(self, version: str, *, empty: bool = False) -> None:
        """A content was accepted."""
        self.attempts += 1
        self.successes += 1
        self.empty += empty
        self.version, self.last_error = version, ""
        self.updated_at = clock.unix_time()

    def on_failure(self, why: str) -> None:
        """A content was no response at all."""
        self.attempts += 1
        self.failures += 1
        self.last_error = why

    def on_rejected(self, why: str) -> None:
        """What a content says cannot be used."""
        self.attempts += 1
        self.rejections += 1
        self.last_error = why

    def write(self, sink: StatsSink) -> None:
        """Add the numbers."""
        prefix = self.prefix
        sink.counter(prefix + "update_attempt", self.attempts)
        sink.counter(prefix + "update_success", self.successes)
        sink.counter(prefix + "update_failure", self.failures)
        sink.counter(prefix + "update_rejected", self.rejections)
        if self.counts_empty:
            sink.counter(prefix + "update_empty", self.empty)
        if self.counts_reloads:
            sink.counter(prefix + "config_reload", self.reloads)
            sink.gauge(prefix + "config_reload_time_ms", int(self.updated_at * 1000))
        sink.counter(prefix + "init_fetch_timeout", self.fetch_timeouts)
        sink.gauge(prefix + "version", self._number())
        sink.gauge(prefix + "update_time", int(self.updated_at * 1000))
        sink.text(prefix + "version_text", self.version)

    def _number(self) -> int:
        if self.version not in self._numbers:
            self._numbers = {self.version: version_number(self.version) if self.successes else 0}
        return self._numbers[self.version]
