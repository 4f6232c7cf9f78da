"""The tables of a report, and their forms: text, Markdown, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..components.statistics import bootstrap_ratio_ci, mean_ci
from .estimates import FloatArray, Interval
from .groups import differing_keys
from .learning_curve import short_count
from .study import Study
from .tables import format_table

_MOST_LABELS = 12
Cell = str | int | float | Interval | None
_ESCAPES: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
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

    def text(self, *, markdown: bool = False) -> str:
        """The table for a terminal, or in Markdown."""
        return format_table(self.headers, [[format_cell(c) for c in row] for row in self.rows], markdown=markdown)

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
    if isinstance(cell, Interval):
        if math.isnan(cell.value):
            return ""
        if math.isinf(cell.value) or math.isinf(cell.high):
            return f"{_short(cell.value)} [{_short(cell.low)}, {_short(cell.high)}]"
        if math.isnan(cell.low):
            return f"{cell.value:.4g}"
        digits = _digits(cell.high - cell.low)
        return f"{cell.value:.{digits}f} [{cell.low:.{digits}f}, {cell.high:.{digits}f}]"
    if isinstance(cell, float):
        return "" if math.isnan(cell) else "∞" if math.isinf(cell) else f"{cell:.4g}"
    return str(cell)


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
    ratios = [
        metric
        for metric in study.metrics
        if study.final != "last" and any(study.baseline(task, metric) is not None for task in study.tasks)
    ]
    headers = [*(["task"] if several else []), "method", "runs", f"{study.metric} IQM"]
    headers += [*study.metrics, *(f"{metric} / {study.settings.baseline}" for metric in ratios)]
    rows: list[list[Cell]] = []
    for task in study.tasks:
        where: list[Cell] = [task] if several else []
        for method in study.methods:
            group = study.groups.get((task, method))
            if group is None:
                continue
            scores = [study.scores.get(metric, {}).get((task, method)) for metric in study.metrics]
            means: list[Cell] = [None if values is None else _student(values) for values in scores]
            ratio: list[Cell] = [study.ratio(group, metric) for metric in ratios]
            rows.append([*where, method, len(group.runs), study.iqm_interval(group), *means, *ratio])
        for policy, tests in study.references[task].items():
            means = [_student(tests[metric]) if metric in tests else None for metric in study.metrics]
            ratio = [_policy_ratio(study, task, policy, metric) for metric in ratios]
            rows.append([*where, f"{policy} (scripted)", None, None, *means, *ratio])
    what = {
        "test": "the mean over its test episodes",
        "last": "its last evaluation",
        "mixed": "the mean over its test episodes, of runs that have none the last evaluation",
    }[study.final]
    note = (
        f"The score of a run is {what}. Of methods: means over runs with Student's 95 % interval over runs, "
        f"interquartile means (IQM) and ratios with a 95 % bootstrap interval over runs. Of scripted policies: means "
        f"over the test episodes with Student's 95 % interval over episodes, ratios with a paired bootstrap interval. "
        f"One run has no interval."
    )
    return Sheet(name="final", title="Final results", note=note, headers=headers, rows=rows)


def _policy_ratio(study: Study, task: str, policy: str, metric: str) -> Cell:
    values, baseline = study.references[task][policy].get(metric), study.baseline(task, metric)
    if values is None or baseline is None or values.shape != baseline.shape:
        return None
    known = ~(np.isnan(values) | np.isnan(baseline))
    if policy == study.settings.baseline or not known.any() or not baseline[known].mean():
        return 1.0 if policy == study.settings.baseline else None
    return Interval(*bootstrap_ratio_ci(values[known], baseline[known], seed=study.settings.seed))


def _overall(study: Study) -> Sheet:
    return Sheet(
        name="overall",
        title="Over all tasks",
        note=f"Scores: {study.scale}. All runs of all tasks together, each counted once, with 95 % stratified "
        f"bootstrap intervals: runs are drawn again within each task. Only methods with runs on every task.",
        headers=["method", "runs", "IQM", "mean"],
        rows=[[m, sum(map(len, study.strata[m])), middle, mean] for m, (mean, middle) in study.overall.items()],
    )


def _improvements(study: Study) -> Sheet:
    return Sheet(
        name="improvement",
        title="Probability of improvement",
        note=f"How probable it is that a run of the first method is better than one of the second in {study.metric}, "
        f"averaged over tasks, with 95 % stratified bootstrap intervals.",
        headers=["method", "than", "probability"],
        rows=[[pair.method, pair.other, pair.probability] for pair in study.improvements],
    )


def _efficiency(study: Study) -> Sheet:
    rows: list[list[Cell]] = []
    for task in study.tasks:
        for level in study.levels(task):
            for method, reached in study.reached(task, level).items():
                n = int(np.isfinite(reached.steps).sum())
                rows.append([task, level.label, method, f"{n} of {len(reached.steps)}", reached.median])
    return Sheet(
        name="efficiency",
        title="Sample efficiency",
        note=f"Environment steps until an evaluation reached the level in {study.metric} for the first time: the "
        f"median over runs (the lower of two middle ones) with a 95 % bootstrap interval; ∞ is a run that never did.",
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
        "steps per second, of each run the median over training. They depend on the machine and its load.",
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
            values.setdefault("null" if value is None else str(value), []).append(
                group.label if len(study.tasks) > 1 else group.method
            )
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
            score: Cell = study.score_of(run, study.metric)
            steps = short_count(curve.steps[-1]) if curve else None
            rows.append([task, method, seed, score, steps, run.wall_s / 60, str(run.path)])
    return Sheet(
        name="runs",
        title="Runs",
        note="",
        headers=["task", "method", "seed", study.metric, "steps", "minutes", "directory"],
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


def _digits(width: float) -> int:
    """Decimals that show two digits of a width."""
    return min(max(1 - math.floor(math.log10(width)), 0), 6) if width > 0 else 2


def _short(number: float) -> str:
    return (
        "∞"
        if math.isinf(number)
        else ""
        if math.isnan(number)
        else f"{number:,.0f}"
        if number >= 1000
        else f"{number:g}"
    )


def _latex(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)
