"""The figures of a report, made of its numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .drawing import Figure, Line, Panel, spans_much
from .estimates import FloatArray, Interval
from .groups import Group
from .measures import MEASURES
from .scores import known_mean
from .study import Curve, Reached, Study
from .tables import format_number

_OTHERS: Mapping[str, str] = {"jain_q": "Jain's index of loads", "steps_per_s": "steps per second"}
"""Axes of metrics that are not called what they are, beside `MEASURES`."""
_MOST_POINTS, _FEWEST_POINTS = 200, 8  # of a curve; more than that nobody sees
_MOST_METHODS = 24
_NEAR = 2.0  # factor
_MARGIN, _NOTE_MARGIN = 0.05, 0.17  # of an axis, the latter where references are named
_FOCUS = " The axis ends where the second half of training and what is near it do; what lies beyond is named there."
_ALL_POINTS = 24_000  # of all learning curves together, which the page must hold
_BAND = "95 % stratified bootstrap interval over runs"


def all_figures(study: Study) -> Iterator[Figure]:
    """The figures that the runs allow, in the order of the page; no two with one name."""
    taken: Counter[str] = Counter()
    for figure in _figures(study):
        taken[figure.name] += 1
        n = taken[figure.name]
        yield replace(figure, name=f"{figure.name}_{n}") if n > 1 else figure


def _figures(study: Study) -> Iterator[Figure]:
    for metric in study.metrics:
        yield from learning_curves(study, metric)
    if study.strata:
        yield _profile(study)
    if study.improvements:
        yield _improvements(study)
    yield from _efficiency(study)
    for family, methods in study.scaling.items():
        yield _scaling(study, family, methods)


def label(metric: str) -> str:
    """How a metric is called on an axis."""
    return MEASURES[metric].label if metric in MEASURES else _OTHERS.get(metric, metric)


def _style(study: Study, method: str) -> int:
    return study.ranking.index(method)


def drawn_methods(study: Study) -> tuple[str, ...]:
    """The methods that figures show: of very many only the best, or the page would be too large."""
    return study.ranking[:_MOST_METHODS]


def learning_curves(study: Study, metric: str) -> Iterator[Figure]:
    """The courses over training in one metric: interquartile means and means, nothing without any curve."""
    curves = study.curves.get(metric, {})
    if not curves:
        return
    for version, words in (("iqm", "interquartile mean"), ("mean", "mean")):
        panels = [
            _focused(
                study,
                metric,
                Panel(
                    title=task if len(study.tasks) > 1 else "",
                    x_label="environment steps",
                    y_label=label(metric),
                    x_steps=True,
                    lines=lines,
                ),
            )
            for task in study.tasks
            if (lines := _course(study, task, metric, version))
        ]
        yield Figure(
            name=f"curves_{_file(metric)}_{version}",
            section=f"Learning curves: {label(metric)}",
            version=words,
            caption=f"{words.capitalize()} over {_so_many_runs([c.n_runs for c in curves.values()])} of the mean over "
            f"the validation episodes; band: {_BAND}. Gray: scripted policies, mean over the test episodes."
            + (_FOCUS if any(panel.y_range for panel in panels) else ""),
            panels=panels,
        )


def _course(study: Study, task: str, metric: str, version: str) -> list[Line]:
    """The methods' curves on a task and the levels of scripted policies; empty without any curve."""
    curves = study.curves[metric]
    lines = [
        _curve(study, method, curves[task, method], version)
        for method in drawn_methods(study)
        if (task, method) in curves
    ]
    return [*lines, *_reference_levels(study, task, metric)] if lines else []


def _focused(study: Study, metric: str, panel: Panel) -> Panel:
    """Of a time or the like, show the differences that matter: what is learned late in training, and what is near it.

    The axis reaches as far as the second half of the learned lines, with their bands, and the references within a
    factor of `_NEAR` of them; it is logarithmic where even these span much. References beyond are named at its ends.
    """
    every = np.concatenate([line.y for line in panel.lines])
    if study.higher(metric) or every.min() <= 0:
        return panel
    late = np.concatenate([_late(line) for line in panel.lines if line.style >= 0])
    late = late[late > 0]
    limits = (late.min() / _NEAR, late.max() * _NEAR)
    lines: list[Line] = []
    below: list[str] = []
    above: list[str] = []
    for line in panel.lines:
        near = line.y[(line.y >= limits[0]) & (line.y <= limits[1])]
        if line.style >= 0 or len(near):
            lines.append(line)
            late = np.concatenate([late, near]) if line.style < 0 else late
        else:
            (below if line.y.max() < limits[0] else above).append(f"{line.label} {_about(line.y)}")
    log = spans_much(late)
    low, high = float(late.min()), float(late.max())
    if every.min() >= low and every.max() <= high:
        return replace(panel, y_log=log)
    span = (math.log(high / low) if log else high - low) or high
    margins = [(_NOTE_MARGIN if named else _MARGIN) * span for named in (below, above)]
    ends = (low - margins[0], high + margins[1])
    if log:
        ends = (low * math.exp(-margins[0]), high * math.exp(margins[1]))
    return replace(panel, lines=lines, y_log=log, y_range=ends, beyond=(", ".join(below), ", ".join(above)))


def _late(line: Line) -> FloatArray:
    """The values of a line and its band, of a curve those of the second half."""
    half = slice(len(line.y) // 2 if line.kind == "line" else 0, None)
    found = np.concatenate([values[half] for values in (line.y, line.low, line.high) if values is not None])
    return found[np.isfinite(found)]


def _about(values: FloatArray) -> str:
    low, high = format_number(float(values.min())), format_number(float(values.max()))
    return low if low == high else f"{low} to {high}"


def _curve(study: Study, method: str, curve: Curve, version: str) -> Line:
    band = curve.iqm if version == "iqm" else curve.mean
    few = _thin(len(curve.steps), _ALL_POINTS // sum(2 * len(curves) for curves in study.curves.values()))
    return Line(
        label=method,
        style=_style(study, method),
        kind="line",
        x=curve.steps[few],
        y=band.value[few],
        low=band.low[few],
        high=band.high[few],
    )


def _reference_levels(study: Study, task: str, metric: str) -> Iterator[Line]:
    for i, (policy, tests) in enumerate(study.references[task].items()):
        if not math.isnan(y := known_mean(tests.get(metric))):
            yield Line(label=policy, style=-1 - i, kind="level", x=np.zeros(1), y=np.array([y]))


def _profile(study: Study) -> Figure:
    thresholds, profiles = study.profiles
    drawn = drawn_methods(study)
    better = "above" if study.scores.sign > 0 else "below"
    return Figure(
        name="performance_profile",
        section="Performance profiles",
        version="",
        caption=f"The part of the runs{', averaged over tasks,' if len(study.tasks) > 1 else ''} whose final score is "
        f"{better} the threshold; band: {_BAND}. A method whose line is nowhere below another's is better, whatever is "
        f"averaged.",
        panels=[
            Panel(
                title="",
                x_label=f"threshold: {_scale(study)}",
                y_label=f"part of runs {better} it",
                unit=True,
                lines=[
                    Line(
                        label=method,
                        style=_style(study, method),
                        kind="line",
                        x=thresholds,
                        y=band.value,
                        low=band.low,
                        high=band.high,
                    )
                    for method, band in profiles.items()
                    if method in drawn
                ],
            )
        ],
    )


def _improvements(study: Study) -> Figure:
    found = study.improvements[:_MOST_METHODS]
    rows = {float(i): f"{pair.method} > {pair.other}" for i, pair in enumerate(found)}
    lines = [
        Line(
            label=pair.method,
            style=_style(study, pair.method),
            kind="interval",
            x=np.array([pair.probability.value]),
            y=np.array([float(i)]),
            low=np.array([pair.probability.low]),
            high=np.array([pair.probability.high]),
        )
        for i, pair in enumerate(found)
    ]
    return Figure(
        name="probability_of_improvement",
        section="Probability of improvement",
        version="",
        caption=f"How probable it is that a run of the first method is better than one of the second, in "
        f"{label(study.metric)}, averaged over tasks; a tie counts one half. Bar: {_BAND}, none where so few runs can "
        f"show no difference.",
        panels=[
            Panel(
                title="",
                x_label="probability that the first is better",
                y_label="",
                y_ticks=rows,
                unit=True,
                marked_x=0.5,
                lines=lines,
            )
        ],
    )


def _efficiency(study: Study) -> Iterator[Figure]:
    """The part of the runs that have reached a level, over training; one version per level."""
    by_task = {task: study.levels(task) for task in study.tasks}
    for k in range(max(map(len, by_task.values()), default=0)):
        panels = []
        for task, levels in by_task.items():
            if k >= len(levels):
                continue
            lines = [
                _reached(study, method, reached)
                for method, reached in study.reached(task, levels[k]).items()
                if method in drawn_methods(study)
            ]
            title = f"{task}\n{levels[k].label}" if len(study.tasks) > 1 else levels[k].label
            panels.append(
                Panel(
                    title=title,
                    x_label="environment steps",
                    y_label="part of runs",
                    x_steps=True,
                    unit=True,
                    lines=lines,
                )
            )
        first = next(levels[k] for levels in by_task.values() if k < len(levels))
        yield Figure(
            name=f"sample_efficiency_{k + 1}",
            section="Sample efficiency",
            version=first.label.partition(":")[0] if len(study.tasks) > 1 else first.label,
            caption=f"The part of the runs whose validation has reached the level in {label(study.metric)} at least "
            f"once after so many steps; a line ends with the first run that has not reached it. The level of a "
            f"scripted policy is its mean over the test episodes.",
            panels=panels,
        )


def _reached(study: Study, method: str, reached: Reached) -> Line:
    """The line ends where it is no longer known which runs had reached the level."""
    x = np.sort(reached.steps[reached.steps <= reached.until])
    y = np.arange(1, len(x) + 1) / len(reached.steps)
    return Line(
        label=method,
        style=_style(study, method),
        kind="step",
        x=np.array([0.0, *x, reached.until]),
        y=np.array([0.0, *y, y[-1] if len(y) else 0.0]),
    )


def _scaling(study: Study, family: str, methods: Mapping[str, Sequence[Group]]) -> Figure:
    counts = sorted({group.agents for groups in methods.values() for group in groups if group.agents})
    panels = []
    for metric in (*study.metrics, "steps_per_s"):
        lines = [
            line
            for method, groups in methods.items()
            if method in drawn_methods(study) and (line := _scaling_line(study, method, groups, metric))
        ]
        if lines:
            lines += _scaling_references(study, methods, metric)
            panel = Panel(
                title="",
                x_label="agents",
                y_label=label(metric),
                x_ticks={float(n): str(n) for n in counts},
                x_log=True,
                lines=lines,
            )
            panels.append(_focused(study, metric, panel))
    return Figure(
        name="scaling" if len(study.scaling) == 1 else f"scaling_{_file(family)}",
        section=f"Scaling with the number of agents{f': {family}' if len(study.scaling) > 1 else ''}",
        version="",
        caption=f"Mean final score against the number of agents; bar: {_BAND}. Gray: scripted policies on the same "
        f"test episodes; those far from what was learned are named at the end of the axis. Steps per second: of "
        f"collecting and updates together, without validations where their time is known.",
        panels=panels,
    )


def _scaling_line(study: Study, method: str, groups: Sequence[Group], metric: str) -> Line | None:
    found: list[tuple[float, Interval]] = []
    for group in groups:
        estimate = study.score_interval(group, metric)
        if group.agents is not None and not math.isnan(estimate.value):
            found.append((float(group.agents), estimate))
    if not found:
        return None
    return Line(
        label=method,
        style=_style(study, method),
        kind="marked",
        x=np.array([x for x, _ in found]),
        y=np.array([e.value for _, e in found]),
        low=np.array([e.low for _, e in found]),
        high=np.array([e.high for _, e in found]),
    )


def _scaling_references(study: Study, methods: Mapping[str, Sequence[Group]], metric: str) -> Iterator[Line]:
    tasks = {group.task: float(group.agents) for groups in methods.values() for group in groups if group.agents}
    policies = list(dict.fromkeys(policy for task in tasks for policy in study.references[task]))
    for i, policy in enumerate(policies):
        means = {
            n: y
            for task, n in sorted(tasks.items(), key=lambda item: item[1])
            if not math.isnan(y := known_mean(study.references[task].get(policy, {}).get(metric)))
        }
        if means:
            yield Line(label=policy, style=-1 - i, kind="marked", x=np.array([*means]), y=np.array([*means.values()]))


def _scale(study: Study) -> str:
    return label(study.metric) if study.scores.normalization == "none" else study.scores.scale


def _so_many_runs(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low} run{'s' if low > 1 else ''}" if low == high else f"{low} to {high} runs"


def _thin(n: int, most: int) -> NDArray[np.int64]:
    """Which of n points to draw: all, or about ``most`` of them with the first and the last."""
    most = min(max(most, _FEWEST_POINTS), _MOST_POINTS)
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _file(text: str) -> str:
    """A name for a file."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower() or "x"
