"""A report on any set of runs: a page, figures for print, and tables."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..components.files import write_atomically, writing
from ..registry import ConfigError, suggest
from .cautions import cautions
from .figures import all_figures
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
_WIDTH = 120  # of a terminal
_OWN_FILES = re.compile(
    r"report\.html"
    r"|tables/(final|overall|improvement|efficiency|time|settings|runs)\.(csv|tex)"
    r"|figures/(curves_.+|performance_profile|probability_of_improvement|sample_efficiency_\d+|scaling(_.+)?)\.(png|pdf)"
)
"""What reports write, see `all_sheets` and `all_figures`."""


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
    notes += cautions(study)
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
    _remove_earlier(directory, files)
    return Report(tuple(files), tuple(notes), sheets[0].text(width=_WIDTH))


def _remove_earlier(directory: Path, files: Sequence[Path]) -> None:
    """Delete what an earlier report in the same directory has and this one has not: it is about other runs.

    Raises:
        WriteError: a file cannot be deleted.
    """
    for path in (directory / "report.html", *directory.glob("tables/*"), *directory.glob("figures/*")):
        if path not in files and _OWN_FILES.fullmatch(path.relative_to(directory).as_posix()):
            with writing(path):
                path.unlink(missing_ok=True)


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
