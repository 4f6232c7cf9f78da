"""What a reader of a report may not be aware of, one sentence each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .figures import drawn_methods, label
from .groups import Group, differing_keys, is_of_task
from .learning_curve import short_count
from .runs import Run
from .study import ALL_PAIRS, Study

_FEW = 10
_COVERAGE = ((2, 50), (3, 73), (4, 80), (5, 82), (7, 87))
"""How many of 100 bootstrap intervals of a mean over so many runs hold the true one, if scores are normal.

Measured in 2,000 trials of 500 samples each; of interquartile means, from four runs on, some more do.
"""
_SHOWN = 4
_ALIKE = 0.95  # as long training: whole episodes seldom end at the same step
_OF_TIME = ("device", "threads", "env.threads", "runner.workers")


def cautions(study: Study) -> list[str]:
    """Everything that a reader must know about the numbers of a study, beside what its tables and captions say."""
    return [
        *_about_runs(study),
        *_about_samples(study),
        *_about_lengths(study),
        *(note for task in study.tasks for note in _about_tasks(study, task)),
        *_about_methods(study),
    ]


def _about_runs(study: Study) -> Iterator[str]:
    """Runs that are less than they seem."""
    runs = [run for group in study.groups.values() for run in group.runs]
    for run in runs:
        if run.doubt:
            yield f"{run.path} {run.doubt}."
    unfinished = [run.path for run in runs if not run.finished]
    if unfinished:
        yield f"Not finished, and compared as far as they got: {_some(unfinished)}."
    if study.scores.kind == "test":
        untested = [run.path for run in runs if run.policy not in run.tests]
        if untested:
            yield (
                f"Without a score, as they have no test: {_some(untested)}; report.final=last takes the last "
                f"evaluation of every run instead."
            )
    for metric in study.metrics:
        have = study.scores.raw.get(metric, {})
        lacking = [
            run.path
            for cell, group in study.groups.items()
            if cell in have
            for run in study.scores.lacking(group, metric)
            if study.scores.kind == "last" or run.policy in run.tests
        ]
        if lacking:
            yield f"In no mean of {metric}, as they have no final value of it: {_some(lacking)}."


def _about_samples(study: Study) -> Iterator[str]:
    """How much so few runs can say."""
    sizes = {len(group.runs) for group in study.groups.values()}
    if min(sizes) == 1:
        yield "Groups of a single run have no interval: nothing is known about how their runs differ."
    several = sorted(size for size in sizes if 1 < size < _FEW)
    if several:
        n = several[0]
        percent = max(part for size, part in _COVERAGE if size <= n)
        yield (
            f"There are groups of only {n} runs: bootstrap intervals of so few are too narrow: about {percent} of 100 "
            f"hold the true mean, not 95; of Student's in the final table 95 do, if scores are normally distributed."
        )
    if study.too_few and max(sizes) > 1:
        pairs = [f"{pair.method} and {pair.other}" for pair in study.too_few]
        yield (
            f"Too few runs for any difference to be shown at 5 % (Mann and Whitney's exact test), so that "
            f"probabilities of improvement have no interval: {_some(pairs, '; ')}."
        )
    seedless = [
        f"{sum(run.config.get('seed') is None for run in group.runs)} runs of {group.label}"
        for group in study.groups.values()
        if sum(run.config.get("seed") is None for run in group.runs) > 1
    ]
    if seedless:
        yield f"Copies of one run would count as several, as the seeds are not known of {_some(seedless)}."


def _about_lengths(study: Study) -> Iterator[str]:
    """Where curves end."""
    cut: dict[str, str] = {}
    for curves in study.curves.values():
        for cell in curves:
            group = study.groups[cell]
            ends = {run.path: _end(run) for run in group.runs if run.curves}
            first = min(ends, key=lambda path: ends[path])
            if ends[first] < _ALIKE * max(ends.values()):
                cut[group.label] = (
                    f"The curve of {group.label} ends at {short_count(ends[first])} steps, where {first} ends; others "
                    f"of its runs go on to {short_count(max(ends.values()))}."
                )
    yield from cut.values()
    for name, metrics in study.without_curve.items():
        yield f"{name} has no learning curve of {', '.join(metrics)}: its runs have no step of training in common."
    for task in study.tasks:
        ends_of = {
            method: max(_end(run) for run in group.runs if run.curves)
            for (at, method), group in study.groups.items()
            if at == task and any(run.curves for run in group.runs)
        }
        if ends_of and min(ends_of.values()) < _ALIKE * max(ends_of.values()):
            short, long = (f(ends_of, key=lambda method: ends_of[method]) for f in (min, max))
            yield (
                f"Methods on {task} were trained for different times, from {short_count(ends_of[short])} steps "
                f"({short}) to {short_count(ends_of[long])} ({long}): who trains for longer has more time to improve."
            )


def _about_tasks(study: Study, task: str) -> Iterator[str]:
    """Whether the methods on a task were given the same."""
    groups = [group for (at, _), group in study.groups.items() if at == task]
    for what, keys in _hidden_differences(groups):
        yield (
            f"Methods on {task} were not {what}: they differ in {_some(keys, ', ')}; report.by=[…,{keys[0]}] separates "
            f"them."
        )
    other = study.scores.other_references.get(task)
    if other:
        yield (
            f"Scripted policies on {task} did not play the same test episodes in all runs: rows and lines are of those "
            f"in the first run, which differ from {other.path}'s; ratios are to what each run was compared with."
        )
    runs = [run for group in groups for run in group.runs]
    timed = [key for key in _OF_TIME if len({run.config.get(key) for run in runs}) > 1]
    if timed:
        texts = [f"{key} ({', '.join(sorted({str(run.config.get(key)) for run in runs}))})" for key in timed]
        yield f"Times of runs on {task} are averaged and compared though these differ: {', '.join(texts)}."


def _hidden_differences(groups: Sequence[Group]) -> Iterator[tuple[str, list[str]]]:
    """What groups were not given alike, and the settings that no label shows."""
    keys = [key for key in differing_keys(group.runs[0] for group in groups) if key not in groups[0].keys]
    for what, found in (
        ("given the same task", [key for key in keys if is_of_task(key)]),
        ("evaluated alike", [key for key in keys if key.startswith("eval.")]),
        ("trained equally long", [key for key in keys if key == "train.total_steps"]),
    ):
        if found:
            yield what, found


def _about_methods(study: Study) -> Iterator[str]:
    """Methods that are not everywhere."""
    drawn = len(drawn_methods(study))
    if drawn < len(study.methods):
        yield f"Figures show the {drawn} best of {len(study.methods)} methods; tables have all of them."
    if len(study.strata) > ALL_PAIRS:
        yield (
            "The method with which each other is compared is the one with the best scores of these same runs, which "
            "favors it."
        )
    scores = study.scores
    if study.settings.normalize == "baseline" and scores.normalization == "range":
        yield (
            f"report.normalize=baseline: not every run has a ratio of {label(study.metric)} to "
            f"{study.settings.baseline}, for which both must be above 0 on the test episodes; scores go from 0 (worst "
            f"run on the task) to 1 (best) instead."
        )
    absent: dict[str, list[str]] = {"was not run": [], f"has no final {study.metric}": []}
    for method in study.methods:
        if scores.raw.get(study.metric) and method not in study.complete:
            everywhere = all((task, method) in study.groups for task in study.tasks)
            absent[[*absent][everywhere]].append(method)
    for why, methods in absent.items():
        if methods:
            where = " over all tasks" if len(study.tasks) > 1 else ""
            yield f"Not compared{where}, since it {why}{' on all of them' if where else ''}: {_some(methods)}."


def _end(run: Run) -> float:
    return max((float(series.steps[-1]) for series in run.curves.values()), default=math.nan)


def _some(items: Iterable[str | Path], separator: str = ", ") -> str:
    texts = [*map(str, items)]
    return separator.join(texts[:_SHOWN]) + (f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")
