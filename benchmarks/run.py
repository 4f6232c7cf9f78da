"""Interleaved comparisons: ``python benchmarks/run.py --help``. docs/benchmarks.md says what is measured and how."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cases import CASES, HERE, Case, Contestant, declared, matches, variant
from peers import PEERS, python_of
from report import Report, machine

RESULTS = HERE.parent / "results" / "benchmarks"
SPAWNED = "BENCHMARK_SPAWNED"  # contestants/measure.py reads it


def main(argv: Sequence[str]) -> None:
    """Measure, and write after every case what is known by then."""
    options = parse(argv)
    contestants = chosen(options)
    pythons = {c.peer: python_of(c.peer, options.venvs) for c in contestants if c.peer}
    folder = options.output or RESULTS / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder.mkdir(parents=True)
    report = Report(folder, {**machine(HERE.parent), "rounds": options.rounds, "command": " ".join(argv)})
    for case in (c for c in CASES if matches(c.name, options.cases)):
        parties = [c for c in contestants if c.takes_part(case)]
        if not parties:
            continue
        for number in range(options.rounds):
            for contestant in order(parties, number):
                python = pythons[contestant.peer] if contestant.peer else Path(sys.executable)
                result = measure(contestant, case, python, options.seconds or case.seconds)
                report.add(case, contestant, number, result)
                print(f"{case.name:20} round {number + 1}  {contestant.name:18} {brief(result, case)}", flush=True)
        report.write([c for c in contestants if c.ours])
    print(folder)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    names = ", ".join(c.name for c in CASES)
    parser = argparse.ArgumentParser("benchmarks/run.py", description=__doc__, epilog=f"Cases: {names}")
    listed = {"type": lambda text: text.split(","), "default": []}
    parser.add_argument("--cases", help="patterns, separated by commas, e.g. train-w1*,learner-*", **listed)
    parser.add_argument("--only", help="contestants: patterns, separated by commas", **listed)
    parser.add_argument("--peers", help=f"frameworks to measure beside ours: {', '.join(PEERS)}", **listed)
    parser.add_argument(
        "--variant", action="append", default=[], help="'NAME OVERRIDE ...': a variant of ours; repeatable"
    )
    parser.add_argument("--seconds", type=float, help="for every measurement, instead of each case's own")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--venvs", type=Path, default=HERE / ".venvs", help="where the peers' environments are made")
    parser.add_argument("--output", type=Path, help="a new folder; results/benchmarks/<date-time> unless told")
    options = parser.parse_args(argv)
    unknown = sorted({*options.peers} - {*PEERS})
    if unknown:
        parser.error(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    if not any(matches(c.name, options.cases) for c in CASES):
        parser.error(f"no case is called so; there are {names}")
    try:
        options.variant = [variant(text) for text in options.variant]
    except ValueError as error:
        parser.error(str(error))
    options.venvs = options.venvs.resolve()
    return options


def chosen(options: argparse.Namespace) -> list[Contestant]:
    """Who takes part."""
    everybody = [c for c in declared() if c.peer is None or c.peer in options.peers]
    return [c for c in [*everybody, *options.variant] if matches(c.name, options.only)]


def order(parties: Sequence[Contestant], number: int) -> list[Contestant]:
    """Who comes when in a round: A B C, then C A B, then B C A, so that nobody always follows the same one."""
    shift = -number % len(parties)
    return [*parties[shift:], *parties[:shift]]


def measure(contestant: Contestant, case: Case, python: Path, seconds: float) -> dict[str, Any]:
    """Run one contestant in a process and a folder of its own; what it reports, or ``error``."""
    command = [str(python), str(contestant.script), case.name, str(seconds), *contestant.overrides]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "SDL_VIDEODRIVER": "dummy", SPAWNED: str(time.time())}
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600 + 10 * seconds
            )
        except subprocess.TimeoutExpired:
            return {"error": "no answer in time"}
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"value"')]
    if not lines:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        return {"error": said[-1][:300]}
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def brief(result: Mapping[str, Any], case: Case) -> str:
    """One line for the console."""
    return result["error"] if "error" in result else f"{result['value']:.4g} {case.unit}"


if __name__ == "__main__":
    main(sys.argv[1:])
