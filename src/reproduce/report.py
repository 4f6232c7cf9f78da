"""The report of a reproduction: one page that needs no network, and the same in Markdown."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from ..components.files import write_atomically
from ..registry import ConfigError
from ..reports.drawing import Figure, Line, Panel
from ..reports.figures import learning_curves
from ..reports.groups import Group
from ..reports.page import page
from ..reports.paper import draw
from ..reports.runs import Run
from ..reports.settings import ReportSettings
from ..reports.sheets import Badge, Cell, Sheet, format_cell
from ..reports.study import Study
from ..reports.tables import format_number, format_table
from .tasks import EVIDENCE, Row, Task
from .verdicts import VERDICTS, Finding, Verdict

_TONES: Mapping[Verdict, str] = {
    "reproduced": "good",
    "within tolerance": "fair",
    "not reproduced": "bad",
    "not comparable": "neutral",
    "not run": "bad",
}
_EXPECTED = ", as expected"  # beside the verdict of a row that is known to fail
_SAMPLES = 500
_HEADERS = ("verdict", "what", "ours [95 % interval]", "runs", "reference", "evidence", "agrees if")


@dataclass(frozen=True, kw_only=True)
class Result:
    """A task with its runs and what was found.

    Attributes:
        task: the task.
        runs: by method, those that have finished.
        findings: one for each row.
    """

    task: Task
    runs: Mapping[str, Sequence[Run]]
    findings: Sequence[Finding]


def require_packages() -> None:
    """Refuse to begin what could not be reported on.

    Raises:
        ConfigError: a package is missing.
    """
    for package in ("scipy", "plotly"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"the report needs {package}, which is not installed: pip install 'hymarl[report]'")


def write(results: Sequence[Result], name: str, conditions: Mapping[str, str], notes: Sequence[str], to: Path) -> Sheet:
    """Write ``report.html``, ``report.md`` and the figures of the latter.

    Args:
        results: the tasks.
        name: of what was reproduced, such as ``tier seconds``.
        conditions: under which the runs were made, by name: command, hardware, versions, time.
        notes: what a reader must know, one sentence each.
        to: the folder.

    Returns:
        The table of verdicts.

    Raises:
        WriteError: a file cannot be written.
    """
    figures = [figure for result in results for figure in _figures(result)]
    verdicts = _verdicts(results)
    sheets = [verdicts, *map(_sheet, results), _meaning(), _conditions(conditions)]
    summary = f"{_counted(results)} {'; '.join(f'{key}: {text}' for key, text in conditions.items())}."
    title = f"Reproduction: {name}"
    write_atomically(to / "report.html", page(title, summary, notes, figures, sheets).encode())
    for figure in figures:
        draw(figure, to / "figures", ["png"])
    text = _markdown(title, _counted(results), notes, results, sheets, figures)
    write_atomically(to / "report.md", text.encode())
    return verdicts


def _counted(results: Sequence[Result]) -> str:
    """How many rows have which verdict, those that were expected to fail apart."""
    labels = Counter(_badge(finding).text for result in results for finding in result.findings)
    order = [label for verdict in VERDICTS for label in (verdict, verdict + _EXPECTED) if labels[label]]
    return f"{labels.total()} rows: {'; '.join(f'{labels[label]} {label}' for label in order)}."


def _verdicts(results: Sequence[Result]) -> Sheet:
    found = [(result.task.title, finding) for result in results for finding in result.findings]
    open_ones = "not run", "not reproduced"  # are what people look for among many rows
    found.sort(key=lambda entry: (not entry[1].failed, entry[1].verdict not in open_ones))
    rows: list[list[Cell]] = [
        [_badge(f), title, _what(f.row), _ours(f), _reference(f.row), EVIDENCE[f.row.evidence]] for title, f in found
    ]
    headers = ["verdict", "task", "what", "ours [95 % interval]", "reference", "evidence"]
    return Sheet(name="verdicts", title="Verdicts", note="", headers=headers, rows=rows)


def _sheet(result: Result) -> Sheet:
    task = result.task
    rows: list[list[Cell]] = [
        [_badge(f), _what(f.row), _ours(f), f.n_runs or None, _reference(f.row), _evidence(f.row), _allowed(f.row)]
        for f in result.findings
    ]
    return Sheet(name=task.name, title=task.title, note=_about(task), headers=_HEADERS, rows=rows)


def _about(task: Task) -> str:
    """Source, package and protocol of a task, and what is known of its rows."""
    reasons = [row.not_comparable for row in task.rows] + [row.why for row in task.rows]
    parts = [f"Source: {task.source}.", f"Played: {_played(task)}.", f"Protocol: {task.protocol}."]
    parts += [task.note or "", *dict.fromkeys(reason for reason in reasons if reason)]
    parts.append(f"Run alone: python main.py reproduce.task={task.name}; settings: experiment={task.experiment}.")
    return " ".join(part for part in parts if part)


def _played(task: Task) -> str:
    """The package whose game is played, with the version here and that of the reference."""
    if task.package is None:
        return f"hymarl {version('hymarl')}, which has the game itself"
    try:
        here = f"{task.package} {version(task.package)}"
    except PackageNotFoundError:
        here = f"{task.package}, which is not installed here"
    return f"{here}; the reference is of {task.version or 'an unknown version'}"


def _what(row: Row) -> str:
    of, what = row.of[0], row.label or row.metric
    return {
        "each": f"{of}: {what} of each run",
        "mean": f"{of}: mean {what}",
        "last": f"{of}: mean {what} of the last {row.over} evaluations",
        "best": f"{of}: largest mean {what} of an evaluation",
        "best_of_each": f"{of}: best {what} of each run, mean",
        "training": f"{of}: {what} over the last {row.over} training episodes"
        + (f" of {row.until:,}" if row.until else ""),
        "order": f"order by mean {what}",
    }[row.statistic]


def _ours(finding: Finding) -> Cell:
    if not finding.each:
        return None
    if finding.row.statistic == "order":
        pairs = sorted(zip(finding.row.of, finding.each, strict=True), key=lambda pair: -pair[1])
        return " > ".join(f"{method} {format_number(value)}" for method, value in pairs)
    if finding.row.statistic == "each":
        counts = Counter(format_number(round(x, 4) + 0.0) for x in finding.each)
        return ", ".join(f"{value} on {n} of {len(finding.each)}" for value, n in counts.items())
    return finding.ours


def _reference(row: Row) -> str:
    if row.statistic == "order":
        text = " > ".join(row.of)
    elif row.value is not None:
        text = format_number(row.value) + ("" if row.deviation is None else f" ± {format_number(row.deviation)}")
    elif row.low is row.high is None:
        return "none that could be read"
    else:
        text = f"{_end(row.low)} to {_end(row.high)}"
    return f"{text} (recalled, unverified)" if row.evidence == "recalled" else text


def _end(x: float | None) -> str:
    return "any" if x is None else format_number(x)


def _evidence(row: Row) -> str:
    return EVIDENCE[row.evidence] + (f": {row.source}" if row.source else "")


def _allowed(row: Row) -> str:
    if row.not_comparable:
        return ""
    if row.statistic == "order":
        return "in this order"
    if row.value is None:
        return "within"
    if row.low is not None:
        return f"at least {format_number(row.low)}"
    allowed = max(row.tolerance, row.relative * abs(row.value))
    text = f"± {format_number(allowed)}" if allowed else "equal"
    if row.statistic == "each":
        return f"{text}, on {row.share:.0%} of the runs" if row.share < 1 else f"{text}, on every run"
    return text


def _badge(finding: Finding) -> Badge:
    expected = "" if finding.row.must_hold or finding.verdict != "not reproduced" else _EXPECTED
    return Badge(finding.verdict + expected, "neutral" if expected else _TONES[finding.verdict])


def _meaning() -> Sheet:
    rows: list[list[Cell]] = [[Badge(verdict, _TONES[verdict]), text] for verdict, text in VERDICTS.items()]
    return Sheet(name="meaning", title="What the verdicts mean", note="", headers=["verdict", "meaning"], rows=rows)


def _conditions(conditions: Mapping[str, str]) -> Sheet:
    rows: list[list[Cell]] = [[key, text] for key, text in conditions.items()]
    return Sheet(name="conditions", title="How it was made", note="", headers=["", "what"], rows=rows)


def _figures(result: Result) -> Iterator[Figure]:
    """The learning curves of a task, or where nothing is learned ours over the references."""
    task = result.task
    learned = {method: runs for method, runs in result.runs.items() if runs and any(run.curves for run in runs)}
    if task.figure and learned:
        study = Study([_group(task, method, runs) for method, runs in learned.items()], _settings(task.figure))
        for figure in learning_curves(study, task.figure):
            if figure.version == "mean":
                panels = [replace(panel, lines=[*panel.lines, *_levels(task, panel)]) for panel in figure.panels]
                yield replace(figure, name=task.name, section=task.title, version="", panels=panels)
    elif ratios := _ratios(result):
        yield ratios


def _group(task: Task, method: str, runs: Sequence[Run]) -> Group:
    return Group(task=task.title, family=task.title, agents=None, method=method, keys=(), runs=tuple(runs))


def _settings(metric: str) -> ReportSettings:
    return ReportSettings(
        runs=[],
        by=[],
        where=None,
        unfinished=False,
        metrics=[metric],
        lower_is_better=["jct_mean"],
        final=None,
        levels=[],
        baseline=None,
        normalize="none",
        samples=_SAMPLES,
        seed=0,
        formats=["html"],
    )


def _levels(task: Task, panel: Panel) -> Iterator[Line]:
    """The references of the metric that is drawn, as horizontal lines; one for each value.

    They look otherwise than the scripted policies that the panel has already.
    """
    first = min([0, *(line.style for line in panel.lines)]) - 1
    by_value: dict[float, list[str]] = {}
    for row in task.rows:
        if row.metric == task.figure and row.value is not None and row.statistic not in ("training", "order"):
            by_value.setdefault((row.value - row.offset) / row.scale, []).append(row.of[0])
    for i, (value, methods) in enumerate(by_value.items()):
        label = f"reference: {', '.join(dict.fromkeys(methods))}"
        yield Line(label=label, style=first - i, kind="level", x=np.zeros(1), y=np.array([value]))


def _ratios(result: Result) -> Figure | None:
    """Ours over the references, where these are no zeros."""
    found = [f for f in result.findings if f.row.value and not math.isnan(f.ours.value) and f.row.statistic != "each"]
    if not found:
        return None
    labels = [f"{f.row.of[0]} {f.row.label or f.row.metric}" for f in found]
    values = np.array([[x / (f.row.value or 1) for x in f.ours] for f in found])
    line = Line(
        label="ours",
        style=0,
        kind="interval",
        x=values[:, 0],
        y=np.arange(float(len(found))),
        low=values[:, 1],
        high=values[:, 2],
    )
    panel = Panel(
        title="",
        x_label="ours / reference",
        y_label="",
        y_ticks={float(i): text for i, text in enumerate(labels)},
        marked_x=1.0,
        lines=[line],
    )
    caption = "Our number over the reference; bar: 95 % interval over test episodes or runs."
    return Figure(name=result.task.name, section=result.task.title, version="", caption=caption, panels=[panel])


def _markdown(
    title: str,
    counted: str,
    notes: Sequence[str],
    results: Sequence[Result],
    sheets: Sequence[Sheet],
    figures: Sequence[Figure],
) -> str:
    drawn = {figure.section: figure for figure in figures}
    parts = [f"# {title}", counted, *(f"- {note}" for note in notes)]
    for sheet in sheets:
        parts.append(f"## {sheet.title}")
        parts += [sheet.note] if sheet.note else []
        if sheet.title in drawn:
            parts.append(f"![{sheet.title}](figures/{drawn[sheet.title].name}.png)\n\n{drawn[sheet.title].caption}")
        cells = [[format_cell(cell) for cell in row] for row in sheet.rows]
        parts.append(format_table(sheet.headers, cells, markdown=True))
    return "\n\n".join(parts) + "\n"
