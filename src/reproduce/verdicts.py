"""What became of a row: our number, with its interval, and the verdict beside the reference."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..components.statistics import mean_ci
from ..registry import ConfigError
from ..reports.estimates import FloatArray, Interval, on_grid
from ..reports.evaluations import complete_lines
from ..reports.runs import LEARNED, Run
from ..reports.scores import known_mean
from .tasks import Row, Task

Verdict = Literal["reproduced", "within tolerance", "not reproduced", "not comparable", "not run"]
VERDICTS: Mapping[Verdict, str] = {
    "reproduced": "ours is within the tolerance, and the reference in our 95 % interval or equal to ours",
    "within tolerance": "ours is within the tolerance, but our interval leaves out the reference, or there is none",
    "not reproduced": "ours is further off than the tolerance",
    "not comparable": "both are shown, and the row says why they cannot be compared",
    "not run": "a run that the row needs has not finished",
}
"""What each verdict means."""
_EQUAL = 1e-6
_NOTHING = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A row and what was found.

    Attributes:
        row: the row.
        ours: our number with its 95 % interval, NaN where there is none; of an ``order`` NaN.
        each: the number of each run, or of each method of an ``order``.
        n_runs: how many runs it is over; 0 for a rule, whose interval is over test episodes.
        verdict: what became of it.
    """

    row: Row
    ours: Interval
    each: tuple[float, ...]
    n_runs: int
    verdict: Verdict

    @property
    def failed(self) -> bool:
        """Whether a row that should hold does not."""
        return self.row.must_hold and self.verdict in ("not reproduced", "not run")


def judge(task: Task, runs: Mapping[str, Sequence[Run]], expected: Mapping[str, int]) -> list[Finding]:
    """What became of the rows of a task.

    Args:
        task: the task.
        runs: by method, those that have finished.
        expected: by method, how many there should be.

    Raises:
        ConfigError: a row needs a column that the runs do not have.
    """
    return [_judge(task, row, runs, expected) for row in task.rows]


def _judge(task: Task, row: Row, runs: Mapping[str, Sequence[Run]], expected: Mapping[str, int]) -> Finding:
    needed = [method for method in row.of if method in task.methods]
    if any(len(runs.get(method, ())) < expected[method] for method in needed):
        return Finding(row=row, ours=_NOTHING, each=(), n_runs=0, verdict="not run")
    if row.statistic == "order":
        found = [_of_method(task, row, method, runs) for method in row.of]
        each = tuple(interval.value for interval in found)
        verdict: Verdict = "not comparable" if row.not_comparable else _of_order(found)
        return Finding(row=row, ours=_NOTHING, each=each, n_runs=_n_runs(runs[needed[0]]), verdict=verdict)
    ours, each = _measured(task, row, runs[row.of[0]])
    ours, each = _in_units(row, ours), tuple(_in_units(row, Interval(x, x, x)).value for x in each)
    verdict = "not comparable" if row.not_comparable else _compared(row, ours, each)
    return Finding(row=row, ours=ours, each=each, n_runs=_n_runs(runs[row.of[0]]), verdict=verdict)


def _n_runs(runs: Sequence[Run]) -> int:
    return len(runs) if runs[0].policy == LEARNED else 0


def _in_units(row: Row, ours: Interval) -> Interval:
    value, *ends = (x * row.scale + row.offset for x in ours)
    low, high = sorted(ends)
    return Interval(value, low, high)


def _measured(task: Task, row: Row, runs: Sequence[Run]) -> tuple[Interval, tuple[float, ...]]:
    """Our number in our own unit, and that of each run."""
    if runs[0].policy != LEARNED:
        tests = runs[0].tests.get(runs[0].policy, {}).get(row.metric)
        if tests is None:
            raise _lacks(task, row)
        return _student(tests), (known_mean(tests),)
    if row.statistic == "best":
        return _best_evaluation(task, row, runs)
    each = np.array([_MEASURES[row.statistic](task, row, run) for run in runs])
    return _student(each), tuple(each.tolist())


def _score(task: Task, row: Row, run: Run) -> float:
    tests = run.tests.get(run.policy, {}).get(row.metric)
    if tests is None:
        raise _lacks(task, row)
    return known_mean(tests)


def _evaluations(task: Task, row: Row, run: Run) -> FloatArray:
    if row.metric not in run.curves:
        raise _lacks(task, row)
    return run.curves[row.metric].values


def _last(task: Task, row: Row, run: Run) -> float:
    return float(_evaluations(task, row, run)[-(row.over or 1) :].mean())


def _best_of_each(task: Task, row: Row, run: Run) -> float:
    return float(_evaluations(task, row, run).max())


def _best_evaluation(task: Task, row: Row, runs: Sequence[Run]) -> tuple[Interval, tuple[float, ...]]:
    """The largest mean over runs, and its interval over runs at that evaluation."""
    for run in runs:
        _evaluations(task, row, run)
    curves = [run.curves[row.metric] for run in runs]
    _, values = on_grid([c.steps for c in curves], [c.values for c in curves])  # R P
    at = int(values.mean(axis=0).argmax())
    return _student(values[:, at]), tuple(values[:, at].tolist())


def _training(task: Task, row: Row, run: Run) -> float:
    """The mean of a column of ``metrics.csv`` over the last training episodes; a row counts with its episodes."""
    reader = csv.DictReader(complete_lines(run.path / "metrics.csv"))
    if row.metric not in (reader.fieldnames or ()):
        raise _lacks(task, row)
    rows = [(float(cells["episodes"]), float(cells[row.metric] or math.nan)) for cells in reader]
    if row.until is not None:  # a row of the table that goes beyond counts as far as it goes
        before = [0.0, *(episode for episode, _ in rows)]
        ends = [min(episode, float(row.until)) for episode, _ in rows]
        rows = [(end, value) for end, start, (_, value) in zip(ends, before, rows, strict=False) if end > start]
    episodes = np.diff([0.0, *(episode for episode, _ in rows)])
    total = weight = 0.0
    for n, (_, value) in zip(episodes[::-1], rows[::-1], strict=True):
        n = min(float(n), (row.over or 1) - weight)
        if not math.isnan(value):
            total, weight = total + n * value, weight + n
        if weight >= (row.over or 1):
            break
    return total / weight if weight else math.nan


_MEASURES: Mapping[str, Callable[[Task, Row, Run], float]] = {
    "each": _score,
    "mean": _score,
    "last": _last,
    "best_of_each": _best_of_each,
    "training": _training,
}


def _of_method(task: Task, row: Row, method: str, runs: Mapping[str, Sequence[Run]]) -> Interval:
    """The mean of a method, or of a rule that the runs of the row's first method were compared with."""
    if method not in task.methods:
        compared = runs[next(of for of in row.of if of in task.methods)][0].references
        if row.metric not in compared.get(method, {}):
            raise _lacks(task, row)
        return _student(compared[method][row.metric])
    if runs[method][0].policy != LEARNED:
        return _measured(task, row, runs[method])[0]
    return _student(np.array([_score(task, row, run) for run in runs[method]]))


def _of_order(found: Sequence[Interval]) -> Verdict:
    """From the largest to the smallest; ``reproduced`` if neighbors' intervals are apart."""
    pairs = [*itertools.pairwise(found)]
    if not all(one.value > other.value for one, other in pairs):
        return "not reproduced"
    return "reproduced" if all(one.low > other.high for one, other in pairs) else "within tolerance"


def _compared(row: Row, ours: Interval, each: Sequence[float]) -> Verdict:
    if row.value is None:  # a range
        inside = (row.low is None or ours.value >= row.low) and (row.high is None or ours.value <= row.high)
        return "reproduced" if inside else "not reproduced"
    allowed = max(row.tolerance, row.relative * abs(row.value), _EQUAL)
    if row.statistic == "each":
        hits = sum(abs(x - row.value) <= allowed for x in each)
        if hits == len(each):
            return "reproduced"
        return "within tolerance" if hits >= row.share * len(each) and row.share < 1 else "not reproduced"
    low = row.low if row.low is not None else row.value - allowed
    high = math.inf if row.low is not None else row.value + allowed
    if not low <= ours.value <= high:
        return "not reproduced"
    close = abs(ours.value - row.value) <= _EQUAL or ours.low <= row.value <= ours.high
    better = row.low is not None and ours.value >= row.value
    return "reproduced" if close or better else "within tolerance"


def _student(values: FloatArray) -> Interval:
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return _NOTHING
    value, half = mean_ci(known)
    return Interval(value, value - half, value + half)


def _lacks(task: Task, row: Row) -> ConfigError:
    return ConfigError(f"published/{task.name}.yaml: runs of {row.of[0]} have no {row.metric} for its {row.statistic}")
