"""From single runs to the table: medians per contender, and the ratio of paired rounds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Run:
    """One round of one scenario against one contender."""

    scenario: str
    contender: str
    round: int
    requests: int
    seconds: float
    cpu_seconds: float
    p50_us: float
    p99_us: float
    failures: int
    """Answers that were not 2xx, and broken connections. Must be 0, or the numbers mean nothing."""

    @property
    def cpu_us_per_request(self) -> float:
        """CPU time of the contender for one request; the number to look at on a noisy machine."""
        return self.cpu_seconds / max(1, self.requests) * 1e6

    @property
    def requests_per_second(self) -> float:
        """What the load generator saw."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def requests_per_cpu_second(self) -> float:
        """How many requests one core does."""
        return self.requests / self.cpu_seconds if self.cpu_seconds else 0.0


def ratio(runs: Sequence[Run], scenario: str, mine: str = "fastproxy", theirs: str = "envoy") -> float | None:
    """How many times as many requests per CPU second as the other: the median over rounds run next to each other."""
    by_round: dict[int, dict[str, Run]] = {}
    for run in runs:
        if run.scenario == scenario:
            by_round.setdefault(run.round, {})[run.contender] = run
    ratios = [
        pair[theirs].cpu_us_per_request / pair[mine].cpu_us_per_request
        for pair in by_round.values()
        if mine in pair and theirs in pair and pair[mine].cpu_seconds
    ]
    return statistics.median(ratios) if ratios else None


def markdown_table(runs: Sequence[Run]) -> str:
    """One line per scenario and contender."""
    lines = [
        "| scenario | contender | CPU us/request | requests per CPU second | requests/s | p50 us | p99 us | ratio |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for scenario in dict.fromkeys(run.scenario for run in runs):
        mine = [run for run in runs if run.scenario == scenario]
        for contender in sorted({run.contender for run in mine}):
            rounds = [run for run in mine if run.contender == contender]
            quotient = ratio(runs, scenario) if contender == "fastproxy" else None
            failures = sum(run.failures for run in rounds)
            cells = [
                scenario,
                contender + (f" ({failures} FAILURES)" if failures else ""),
                f"{_median(rounds, 'cpu_us_per_request'):.1f}",
                f"{_median(rounds, 'requests_per_cpu_second'):,.0f}",
                f"{_median(rounds, 'requests_per_second'):,.0f}",
                f"{_median(rounds, 'p50_us'):,.0f}",
                f"{_median(rounds, 'p99_us'):,.0f}",
                f"{quotient:.2f} x" if quotient is not None else "",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _median(runs: Sequence[Run], attribute: str) -> float:
    return statistics.median(float(getattr(run, attribute)) for run in runs)
