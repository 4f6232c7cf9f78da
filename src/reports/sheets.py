"""The tables of a report, and their forms: text, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..components.statistics import bootstrap_ratio_ci, mean_ci
from .estimates import FloatArray, Interval
from .groups import Group, differing_keys, value_text
from .learning_curve import short_count
from .study import Study
from .tables import digits_of, format_number, format_table, is_plain

_MOST_LABELS = 12
_TRIMMED = 4  # scores, of which an interquartile mean is not the mean


class Badge(NamedTuple):
    """A word that a page shows in a color: ``good``, ``fair``, ``bad`` or ``neutral``."""

    text: str
    tone: str


Cell = str | int | float | Interval | Badge | None
_ESCAPES: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # at the beginning of a row, it would be an argument of the \\ before it, and so would the star
    "*": "{*}",
    "±": r"$\pm$",
    "–": "--",
    "∞": r"$\infty$",
}


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One table.

    Attributes:
        name: of its files.
        title: its heading.
        note: what its numbers are.
        headers: one per column.
        rows: cells; None is an empty one.
    """

    name: str
    title: str
    note: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def text(self, *, width: int | None = None) -> str:
        """The table for a terminal; of one wider than so many characters, the first columns and the others' names."""
        rows = [[format_cell(c) for c in row] for row in self.rows]
        n = len(self.headers)
        while True:
            text = format_table(self.headers[:n], [row[:n] for row in rows])
            if n == 1 or width is None or max(map(len, text.splitlines())) <= width:
                break
            n -= 1
        missing = self.headers[n:]
        return f"{text}\nin the report also: {', '.join(missing)}" if missing else text

    def csv(self) -> str:
        """Numbers in full; an interval in three columns."""
        wide = [any(isinstance(row[i], Interval) for row in self.rows) for i in range(len(self.headers))]
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        heads = [[h, f"{h} low", f"{h} high"] if w else [h] for h, w in zip(self.headers, wide, strict=True)]
        writer.writerow([text for part in heads for text in part])
        for row in self.rows:
            cells = [_numbers(cell) if w else [cell] for cell, w in zip(row, wide, strict=True)]
            writer.writerow(["" if c is None or c != c else c for part in cells for c in part])
        return buffer.getvalue()

    def latex(self) -> str:
        """A ``tabular`` with the rules of booktabs."""
        numeric = [
            all(not isinstance(row[i], str) for row in self.rows) and bool(self.rows) for i in range(len(self.headers))
        ]
        lines = [
            f"% {self.title}: {self.note}".replace("\n", " "),
            r"\begin{tabular}{" + "".join("r" if n else "l" for n in numeric) + "}",
            r"\toprule",
            " & ".join(map(_latex, self.headers)) + r" \\",
            r"\midrule",
            *(" & ".join(_latex(format_cell(cell)) for cell in row) + r" \\" for row in self.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
        return "\n".join(lines) + "\n"


def format_cell(cell: Cell) -> str:
    """A cell as people read it: ``74.1 [73.8, 74.6]``, as precise as its interval is wide."""
    if cell is None:
        return ""
    if isinstance(cell, Badge):
        return cell.text
    if isinstance(cell, Interval):
        if math.isnan(cell.value):
            return ""
        if math.isnan(cell.low):
            return format_number(cell.value)
        if not all(map(math.isfinite, cell)) or not is_plain(*cell):
            return f"{format_number(cell.value)} [{format_number(cell.low)}, {format_number(cell.high)}]"
        digits = digits_of(cell.high - cell.low)
        return f"{cell.value:.{digits}f} [{cell.low:.{digits}f}, {cell.high:.{digits}f}]"
    return format_number(cell) if isinstance(cell, float) else str(cell)


def all_sheets(study: Study) -> Iterator[Sheet]:
    """The tables, in the order of the page."""
    yield _final(study)
    if study.overall and (len(study.tasks) > 1):
        yield _overall(study)
    if study.improvements:
        yield _improvements(study)
    efficiency = _efficiency(study)
    if efficiency.rows:
        yield efficiency
    yield _time(study)
    settings = _settings(study)
    if settings.rows:
        yield settings
    yield _runs(study)


def _final(study: Study) -> Sheet:
    """Learned methods and scripted policies, by task."""
    several = len(study.tasks) > 1
    ratios = [m for m in study.metrics if any(study.ratio(group, m) is not None for group in study.groups.values())]
    trimmed = any(len(scores) >= _TRIMMED for scores in study.scores.raw.get(study.metric, {}).values())
    headers = [*(["task"] if several else []), "method", "runs", *study.metrics]
    headers += [*([f"{study.metric} IQM"] if trimmed else [])]
    headers += [f"{metric} / {study.settings.baseline}" for metric in ratios]
    rows: list[list[Cell]] = []
    for task in study.tasks:
        where: list[Cell] = [task] if several else []
        for method in study.methods:
            group = study.groups.get((task, method))
            if group is None:
                continue
            scores = [study.scores.raw.get(metric, {}).get((task, method)) for metric in study.metrics]
            means: list[Cell] = [None if values is None else _student(values) for values in scores]
            middle: list[Cell] = [study.iqm_interval(group)] if trimmed else []
            ratio: list[Cell] = [study.ratio(group, metric) for metric in ratios]
            rows.append([*where, method, _runs_in(study, group), *means, *middle, *ratio])
        for policy, tests in study.references[task].items():
            means = [_student(tests[metric]) if metric in tests else None for metric in study.metrics]
            ratio = [_policy_ratio(study, task, policy, metric) for metric in ratios]
            rows.append([*where, f"{policy} (scripted)", None, *means, *([None] if trimmed else []), *ratio])
    what = {"test": "the mean over its test episodes", "last": "its last evaluation"}[study.scores.kind]
    note = (
        f"The score of a run is {what}. Of methods: means over runs with Student's 95 % interval over runs, "
        f"{'interquartile means (IQM) and ' if trimmed else ''}ratios with a 95 % bootstrap interval over runs. Of "
        f"scripted policies: means over the test episodes with Student's 95 % interval over episodes, ratios with a "
        f"paired bootstrap interval. One run has no interval."
    )
    return Sheet(name="final", title="Final results", note=note, headers=headers, rows=rows)


def _runs_in(study: Study, group: Group) -> Cell:
    """How many runs a mean is over, and of how many if some have no score."""
    n, lacking = len(group.runs), len(study.scores.lacking(group, study.metric))
    return f"{n - lacking} of {n}" if lacking else n


def _policy_ratio(study: Study, task: str, policy: str, metric: str) -> Cell:
    """The ratio of a scripted policy to the baseline, over the episodes that both played and have a value in."""
    if policy == study.settings.baseline:
        return 1.0
    pair = [study.references[task].get(name, {}) for name in (policy, study.settings.baseline or "")]
    if not all(metric in tests and "episode" in tests for tests in pair):
        return None
    _, *places = np.intersect1d(pair[0]["episode"], pair[1]["episode"], return_indices=True)
    values, baseline = (tests[metric][place] for tests, place in zip(pair, places, strict=True))
    known = ~(np.isnan(values) | np.isnan(baseline))
    if not known.any() or values[known].mean() <= 0 or baseline[known].mean() <= 0:
        return None
    return Interval(*bootstrap_ratio_ci(values[known], baseline[known], seed=study.settings.seed))


def _overall(study: Study) -> Sheet:
    return Sheet(
        name="overall",
        title="Over all tasks",
        note=f"Scores: {study.scores.scale}. All tasks count the same, with 95 % stratified bootstrap intervals: runs "
        f"are drawn again within each task. Only methods with runs on every task.",
        headers=["method", "runs", "IQM", "mean"],
        rows=[[m, sum(map(len, study.strata[m])), middle, mean] for m, (mean, middle) in study.overall.items()],
    )


def _improvements(study: Study) -> Sheet:
    return Sheet(
        name="improvement",
        title="Probability of improvement",
        note=f"How probable it is that a run of the first method is better than one of the second in {study.metric}, "
        f"averaged over tasks, with 95 % stratified bootstrap intervals; none where so few runs show no difference.",
        headers=["method", "than", "probability"],
        rows=[[pair.method, pair.other, pair.probability] for pair in study.improvements],
    )


def _efficiency(study: Study) -> Sheet:
    rows: list[list[Cell]] = []
    for task in study.tasks:
        for level in study.levels(task):
            for method, reached in study.reached(task, level).items():
                n = int(np.isfinite(reached.steps).sum())
                within = f"not within {short_count(reached.until)}"
                steps: Cell = within if math.isinf(reached.median.value) else reached.median
                rows.append([task, level.label, method, f"{n} of {len(reached.steps)}", steps])
    return Sheet(
        name="efficiency",
        title="Sample efficiency",
        note=f"Environment steps until an evaluation reached the level in {study.metric} for the first time: the "
        f"median over runs (the lower of two middle ones) with a 95 % bootstrap interval; ∞: not within a run's "
        f"training.",
        headers=["task", "level", "method", "runs that reached it", "steps"],
        rows=rows,
    )


def _time(study: Study) -> Sheet:
    rows: list[list[Cell]] = []
    for (task, method), group in study.groups.items():
        minutes = np.array([run.wall_s / 60 for run in group.runs])
        speeds = np.array([run.steps_per_s for run in group.runs])
        if not (np.isnan(minutes).all() and np.isnan(speeds).all()):
            rows.append([task, method, len(group.runs), _student(minutes), _student(speeds)])
    return Sheet(
        name="time",
        title="Wall time",
        note="Means over runs with Student's 95 % interval. Minutes of training with its validations; environment "
        "steps per second of collecting and updates, without validations where their time is known. They depend on the "
        "machine and its load.",
        headers=["task", "method", "runs", "minutes", "steps per second"],
        rows=rows,
    )


def _settings(study: Study) -> Sheet:
    """One row per key and value that not all groups have."""
    groups = list(study.groups.values())
    rows: list[list[Cell]] = []
    for key in differing_keys([group.runs[0] for group in groups]):
        values: dict[str, list[str]] = {}
        for group in groups:
            value = group.runs[0].config.get(key)
            values.setdefault(value_text(value), []).append(group.label if len(study.tasks) > 1 else group.method)
        common = max(values, key=lambda value: len(values[value]))
        for value, labels in values.items():
            others = value == common and len(labels) > len(groups) / 2
            more = f" and {len(labels) - _MOST_LABELS} more" if len(labels) > _MOST_LABELS else ""
            rows.append([key, value, "all others" if others else "; ".join(labels[:_MOST_LABELS]) + more])
    return Sheet(
        name="settings",
        title="Settings that differ",
        note="Those in which runs of one group may differ, such as seed, loggers, device and threads, are left out; so "
        "are settings that all groups have in common.",
        headers=["setting", "value", "where"],
        rows=rows,
    )


def _runs(study: Study) -> Sheet:
    rows: list[list[Cell]] = []
    for (task, method), group in study.groups.items():
        for run in group.runs:
            curve = run.curves.get(study.metric)
            seed = run.config.get("seed")
            score: Cell = study.scores.of(run, study.metric)
            if study.scores.kind == "test" and run.policy not in run.tests:
                score = "no test"
            steps = short_count(curve.steps[-1]) if curve else None
            finished = "yes" if run.finished else "no"
            rows.append([task, method, seed, score, steps, finished, run.wall_s / 60, str(run.path)])
    return Sheet(
        name="runs",
        title="Runs",
        note="",
        headers=["task", "method", "seed", study.metric, "steps", "finished", "minutes", "directory"],
        rows=rows,
    )


def _student(values: FloatArray) -> Interval | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    value, half = mean_ci(known)
    return Interval(value, value - half, value + half)


def _numbers(cell: Cell) -> list[Cell]:
    if isinstance(cell, Interval):
        return list(cell)
    return [cell, None, None]


def _latex(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)
