"""A report on any set of runs: a page, figures for print, and tables."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..components.files import write_atomically
from ..registry import ConfigError, suggest
from .figures import all_figures, drawn_methods
from .groups import group_runs
from .page import page
from .paper import draw
from .runs import Found, Run, find_runs, read_config, read_run
from .selection import condition
from .settings import FORMATS, ReportSettings
from .sheets import all_sheets
from .study import Study

_PROGRESS_STEPS = 10
_WORTH_PROGRESS = 20  # runs


class Report(NamedTuple):
    """What was made.

    Attributes:
        files: the page first, if there is one.
        notes: what a reader must know, such as which runs were left out and why; one sentence each.
        text: the final table, for a terminal.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...]
    text: str


def make(settings: ReportSettings, directory: Path, show: Callable[[str], None]) -> Report:
    """Read runs, group and compare them, and write a report.

    A run that cannot be read is left out with a sentence; the report is made of the others.

    Args:
        settings: what it is about.
        directory: where ``report.html``, ``figures/`` and ``tables/`` are written, over earlier ones.
        show: is given a line for people about how far it is.

    Raises:
        ConfigError: a setting cannot be met, runs that differ in more than the seed would be averaged, or no run is
            left.
        WriteError: a file cannot be written.
    """
    if not settings.runs:
        raise ConfigError("report.runs: name the runs, as in report.runs=[results/two_step]")
    unknown = [text for text in settings.formats if text not in FORMATS]
    if unknown:
        raise ConfigError(f"report.formats: there is no {unknown[0]!r}; {suggest(unknown[0], FORMATS)}")
    for package in ("scipy", *(["plotly"] if "html" in settings.formats else [])):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"a report needs {package}, which is not installed: pip install 'hymarl[report]'")
    try:
        found = find_runs(settings.runs)
        notes: list[str] = []
        selected = _selected(found, settings.where, notes, show)
        runs = _read(selected, settings, notes, show)
        groups = group_runs(runs, settings.by)
        show(f"{_count(len(runs), 'run')} in {_count(len(groups), 'group')}")
        study = Study(groups, settings)
        return _write(study, runs, settings, directory, notes, show)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _selected(
    found: Sequence[Found], where: str | None, notes: list[str], show: Callable[[str], None]
) -> list[tuple[Found, Mapping[str, Any]]]:
    """The runs whose configuration can be read and fulfills the condition."""
    read: list[tuple[Found, Mapping[str, Any]]] = []
    for run in found:
        try:
            read.append((run, read_config(run)))
        except ValueError as error:
            notes.append(f"Left out: {error}.")
            show(notes[-1])
    if where is None or not read:
        return read
    holds = condition(where, {key for _, config in read for key in config})
    kept = [(run, config) for run, config in read if holds(config)]
    if not kept:
        raise ValueError(f"report.where={where}: none of the {len(read)} runs fulfills it")
    return kept


def _read(
    selected: Sequence[tuple[Found, Mapping[str, Any]]],
    settings: ReportSettings,
    notes: list[str],
    show: Callable[[str], None],
) -> list[Run]:
    runs: list[Run] = []
    every = max(1, len(selected) // _PROGRESS_STEPS)
    for i, (found, config) in enumerate(selected, 1):
        try:
            run = read_run(found, config, settings.metrics)
        except ValueError as error:
            notes.append(f"Left out: {error}.")
            show(notes[-1])
        else:
            if run.finished or settings.unfinished:
                runs.append(run)
            else:
                notes.append(
                    f"Left out: {found.path} did not finish; report.unfinished=true takes it as far as it got."
                )
                show(notes[-1])
        if len(selected) >= _WORTH_PROGRESS and i % every == 0:
            show(f"read {i} of {len(selected)} runs")
    if not runs:
        raise ValueError("no run is left to report on: " + (notes[-1].removeprefix("Left out: ") if notes else ""))
    return runs


def _write(
    study: Study,
    runs: Sequence[Run],
    settings: ReportSettings,
    directory: Path,
    notes: list[str],
    show: Callable[[str], None],
) -> Report:
    sheets = [*all_sheets(study)]
    show("tables done")
    figures = [*all_figures(study)]
    notes += [*study.notes, *_cautions(study, settings)]
    files: list[Path] = []
    if "html" in settings.formats:
        files.append(directory / "report.html")
        text = page(_title(study), _summary(study, runs, settings), notes, figures, sheets)
        write_atomically(files[-1], text.encode())
        show("page done")
    for sheet in sheets:
        for ending, form in (("csv", sheet.csv), ("tex", sheet.latex)):
            if ending in settings.formats:
                files.append(directory / "tables" / f"{sheet.name}.{ending}")
                write_atomically(files[-1], form().encode())
    for i, figure in enumerate(figures, 1):
        files += draw(figure, directory / "figures", settings.formats)
        if {"png", "pdf"} & set(settings.formats):
            show(f"drew {i} of {len(figures)} figures: {figure.name}")
    return Report(tuple(files), tuple(notes), sheets[0].text())


def _cautions(study: Study, settings: ReportSettings) -> list[str]:
    """What a reader of the figures may not be aware of."""
    found = []
    sizes = {len(group.runs) for group in study.groups.values()}
    if min(sizes) == 1:
        found.append("Groups of a single run have no interval: nothing is known about how their runs differ.")
    elif min(sizes) < 5:
        found.append(
            f"There are groups of only {min(sizes)} runs: bootstrap intervals of so few are too narrow; Student's "
            f"intervals in the final table are not."
        )
    for task in study.tasks:
        tasks = [group for (at, _), group in study.groups.items() if at == task]
        differing = study.task_differences(tasks)
        if differing:
            found.append(
                f"Methods on {task} were not given the same task: they differ in {', '.join(differing[:4])}"
                f"{' and more' if len(differing) > 4 else ''}; report.by=[…,{differing[0]}] separates them."
            )
    drawn = len(drawn_methods(study))
    if drawn < len(study.methods):
        found.append(f"Figures show the {drawn} best of {len(study.methods)} methods; tables have all of them.")
    if study.final == "mixed":
        found.append("Scores are those of the test for some runs, and the last evaluation for others that had no test.")
    if study.strata and len(study.complete) < len(study.methods):
        missing = [method for method in study.methods if method not in study.complete]
        found.append(f"Not compared over all tasks, since it was not run on all of them: {', '.join(missing)}.")
    return found


def _title(study: Study) -> str:
    methods = ", ".join(study.methods[:6]) + (", …" if len(study.methods) > 6 else "")
    return f"{methods} on {study.tasks[0] if len(study.tasks) == 1 else f'{len(study.tasks)} tasks'}"


def _summary(study: Study, runs: Sequence[Run], settings: ReportSettings) -> str:
    which = f" with {settings.where}" if settings.where else ""
    return (
        f"{_count(len(runs), 'run')}{which}: {_count(len(study.methods), 'method')} on "
        f"{_count(len(study.tasks), 'task')}, found in {', '.join(settings.runs)}. "
        f"Bootstrap: {settings.samples:,} samples, seed {settings.seed}."
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
